import { DuckDBInstance } from '@duckdb/node-api'

/** Writes rows of (time, sensor_id, temperature, humidity, location) into a file of Parquet or CSV, in little memory. */
export async function writeRows(path: string, rows: number): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', { memory_limit: '512MB', threads: '1' })
  const connection = await instance.connect()
  const step = Math.max(1, Math.floor((4 * 86_400e6) / rows))
  const options = path.endsWith('.csv') ? '(format csv, header)' : '(format parquet, row_group_size 100000)'
  await connection.run(`
    copy (
      select make_timestamptz(1735689600000000 + n * ${step}) as time, (n % 50)::int as sensor_id,
        20 + (n % 997) / 99.7 as temperature, 40 + (n % 499) / 24.95 as humidity,
        ['Office', 'Warehouse', 'Lab', 'Roof'][n % 4 + 1] as location
      from range(${rows}) r (n)
    ) to '${path.replaceAll("'", "''")}' ${options}`)
  connection.closeSync()
  instance.closeSync()
}
