import type { Command } from 'commander'
import { type Client, type Database, type QueryResult, type Row, UsageError } from '../../../index.ts'
import { collect, findTwice } from '../argument.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatOf, printResult, printRows, type Rows, ServerJson } from '../output.ts'
import { readText } from '../read-text.ts'
import { addDryRun, printScript } from '../script.ts'

interface SqlOptions {
  readonly file?: string
  readonly param?: string[]
  readonly readOnly?: boolean
  readonly timeout?: string
  readonly dryRun?: boolean
}

const EXAMPLES = `
Examples:
  tsdb sql 'select * from sensor_data limit 10' --csv
  tsdb sql 'select count(*) from sensor_data where sensor_id = $1' -p 7
  tsdb sql --file query.sql --read-only
  echo 'select now()' | tsdb sql --file -`

/** `tsdb sql`: one statement. */
export function addSql(command: Command): void {
  command
    .argument('[statement]', 'the statement; $1 and so on stand for --param')
    .option('-f, --file <file>', 'read the statement from a file, or from stdin with -')
    .option('-p, --param <value>', 'the value of the next $n, as text; may be repeated', collect)
    .option('--read-only', 'in a read-only transaction that is rolled back; tsdb task has a stricter one')
    .option('--timeout <ms>', 'cancel it after so many milliseconds')
    .addHelpText('after', EXAMPLES)
    .action(runSql)
  addFormats(addDryRun(command))
}

async function runSql(statement: string | undefined, options: SqlOptions, command: Command): Promise<void> {
  const text = readStatement(statement, options.file)
  const values = options.param ?? []
  if (options.dryRun === true) return printScript(command, [{ text: text.trim().replace(/;$/, ''), values }])
  const timeoutMs = parseTimeout(options.timeout)
  await withDatabase(command, async (db, signal) => {
    // A chart has an axis of time; elsewhere the digits count.
    const timestamps = formatOf(command) === 'chart' ? 'date' : 'string'
    const query = {
      signal,
      int8: 'bigint',
      timestamps,
      json: 'string',
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    } as const
    const result =
      options.readOnly === true
        ? await runReadOnly(db, (tx) => tx.executeQuery(text, values, query))
        : await db.executeQuery(text, values, query)
    printAnswer(command, result)
  })
}

/** Rolled back: functions of TimescaleDB that drop a chunk do so in a read-only transaction too. */
async function runReadOnly(db: Database, run: (tx: Client) => Promise<QueryResult<Row>>): Promise<QueryResult<Row>> {
  const done: QueryResult<Row>[] = []
  const rollback = new Error('rolled back')
  await db
    .transaction(
      async (tx) => {
        done.push(await run(tx))
        throw rollback
      },
      { readOnly: true },
    )
    .catch((error: unknown) => {
      if (error !== rollback) throw error
    })
  const [result] = done
  if (result === undefined) throw rollback
  return result
}

/** The oids of json and jsonb, and of their arrays. */
const JSON_TYPES: readonly number[] = [114, 3802, 199, 3807]

/** The rows with their JSON as a part of the output's, not as a text in it. */
function asJson({ columns, rows }: QueryResult<Row>): Rows {
  const names = columns.filter(({ typeId }) => JSON_TYPES.includes(typeId)).map(({ name }) => name)
  if (names.length === 0) return rows
  return rows.map((row) => {
    const texts = names.map((name) => [name, row[name]] as const)
    const values = texts.map(([name, text]) => [name, serverJson(text)])
    return { ...row, ...Object.fromEntries(values) }
  })
}

function serverJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(serverJson)
  return typeof value === 'string' ? new ServerJson(value) : value
}

function printAnswer(command: Command, result: QueryResult<Row>): void {
  const { columns, rows, command: tag, rowCount, notices } = result
  for (const notice of notices) process.stderr.write(`${notice.severity}: ${notice.message}\n`)
  if (columns.length > 0) printRows(command, nameColumns(columns), formatOf(command) === 'json' ? asJson(result) : rows)
  else printResult(command, { command: tag, rowCount }, rowCount > 0 ? `${tag} ${rowCount}` : tag)
}

/** Rows are objects, so of two columns of one name only the last could be shown. */
function nameColumns(columns: QueryResult['columns']): string[] {
  const names = columns.map(({ name }) => name)
  const twice = findTwice(names)
  if (twice === undefined) return names
  throw new UsageError('INVALID_VALUE', `Two columns of the result are named ${JSON.stringify(twice)}.`, {
    hint: 'Give them different names with AS.',
  })
}

function readStatement(statement: string | undefined, file: string | undefined): string {
  if ((statement === undefined) === (file === undefined)) {
    throw new UsageError('INVALID_OPTION', 'Give either a statement or --file.')
  }
  if (file === undefined) return statement ?? ''
  return readText(file)
}

function parseTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d+$/.test(text)) throw new UsageError('INVALID_OPTION', '--timeout must be a number of milliseconds.')
  return Number(text)
}
