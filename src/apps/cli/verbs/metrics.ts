import { createServer, type Server, type ServerResponse } from 'node:http'
import type { Command } from 'commander'
import { type Database, prometheusText, UsageError } from '../../../index.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatOf, printResult, printRows } from '../output.ts'

const EXAMPLES = `
Examples:
  tsdb metrics
  tsdb metrics --listen 9187            (then: curl http://127.0.0.1:9187/metrics)
  tsdb metrics --listen 0.0.0.0:9187    (for other machines: anybody there can read it)`

/** `tsdb metrics`: jobs and hypertables for Prometheus. */
export function addMetrics(command: Command): void {
  addFormats(command)
    .option('--listen <address>', '[host:]port of an HTTP endpoint, until it is ended; 127.0.0.1 if no host is given')
    .addHelpText('after', EXAMPLES)
    .action((options: { readonly listen?: string }, command: Command) => {
      const address = options.listen === undefined ? undefined : parseAddress(options.listen)
      return withDatabase(command, async (db, signal) => {
        if (address === undefined) {
          const metrics = await db.jobMetrics()
          const format = formatOf(command)
          if (format === 'csv' || format === 'chart') printSamples(command, metrics)
          else printResult(command, metrics, prometheusText(metrics).trimEnd())
        } else await listen(command, db, address, signal)
      })
    })
}

/** A row for each value, with its labels as Prometheus writes them. */
function printSamples(command: Command, metrics: Awaited<ReturnType<Database['jobMetrics']>>): void {
  const rows = metrics.flatMap(({ name, samples }) =>
    samples.map(({ labels, value }) => {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`)
      return { metric: `${name}{${pairs.join(',')}}`, value }
    }),
  )
  printRows(command, ['metric', 'value'], rows)
}

interface Address {
  readonly host: string
  readonly port: number
}

function parseAddress(text: string): Address {
  const match = /^(?:\[([^\]]+)\]:|([^:]+):)?(\d+)$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) {
    throw new UsageError('INVALID_OPTION', `--listen ${JSON.stringify(text)} is not of the form [host:]port.`)
  }
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
}

async function listen(command: Command, db: Database, { host, port }: Address, signal: AbortSignal): Promise<void> {
  // One reading at a time: who asks twice gets the same.
  let reading: Promise<string> | undefined
  const read = (): Promise<string> => {
    reading ??= db
      .jobMetrics()
      .then(prometheusText)
      .finally(() => {
        reading = undefined
      })
    return reading
  }
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') send(response, 404, 'Ask for /metrics.\n')
    else if (request.method !== 'GET' && request.method !== 'HEAD') send(response, 405, 'Ask with GET.\n')
    else {
      // What went wrong may name hosts and users: it is not for everybody who asks.
      read().then(
        (text) => send(response, 200, text),
        () => send(response, 503, 'The database does not answer.\n'),
      )
    }
  })
  await open(server, host, port)
  const bound = server.address()
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${typeof bound === 'object' ? bound?.port : port}/metrics`
  printResult(command, { url }, `Serving ${url}`)
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}

function open(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new UsageError('INVALID_OPTION', `It is not possible to listen on ${host}:${port}.`, { cause }))
    })
    server.listen(port, host, resolve)
  })
}

function send(response: ServerResponse, status: number, text: string): void {
  const type = status === 200 ? 'text/plain; version=0.0.4; charset=utf-8' : 'text/plain; charset=utf-8'
  response.writeHead(status, { 'content-type': type }).end(text)
}
