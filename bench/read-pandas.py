"""As read-child.js: psycopg2 and pandas. Prints JSON, or nothing where they are not installed."""
import json
import resource
import sys
import time

try:
    import pandas
    import psycopg2
except ImportError:
    sys.exit(0)

task = json.loads(sys.argv[1])
target = task["target"]
connection = psycopg2.connect(
    host=target["host"],
    port=target["port"],
    user=target.get("user"),
    password=target.get("password"),
    dbname=target.get("database"),
    sslmode="require" if target.get("tls") else "disable",
)
pandas.read_sql_query(task["warmUp"], connection)
cpu = time.process_time()
start = time.perf_counter()
frame = pandas.read_sql_query(task["text"], connection)
ms = (time.perf_counter() - start) * 1000
print(
    json.dumps(
        {
            "ms": ms,
            "cpuMs": (time.process_time() - cpu) * 1000,
            "memoryMb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "count": len(frame),
        }
    )
)
