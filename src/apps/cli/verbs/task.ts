import type { Command } from 'commander'
import {
  type Database,
  PlanError,
  parseTasks,
  type ReadOnlyLimits,
  readerRoleSql,
  runTask,
  type ScriptTask,
  type Statement,
  type TaskFailure,
  TimescaleError,
  taskMetadata,
  taskSql,
  UsageError,
} from '../../../index.ts'
import { collect, given } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatOf, printResult, printRows } from '../output.ts'
import { readText } from '../read-text.ts'
import { addDryRun, formatStatement, printSteps } from '../script.ts'

interface TaskVerbOptions {
  readonly list?: boolean
  readonly metadata?: boolean
  readonly readerRole?: string
  readonly schema?: string[]
  readonly keepGoing?: boolean
  readonly readOnly?: boolean
  readonly maxRows?: string
  readonly maxBytes?: string
  readonly timeout?: string
  readonly trust?: string[]
  readonly dryRun?: boolean
}

const EXAMPLES = `
A file is a JSON object, an array, JSON lines, or a script of blocks:
  (timescaledb) { "action": "get_chunk_info", "table_name": "sensor_data" }

Each answer is a line of JSON: {"success": true, …} or {"success": false, "error": …}.

Examples:
  tsdb task --list
  tsdb task setup.task --dry-run
  echo '{"action": "execute_query", "query": "select 1 as one"}' | tsdb task - --read-only
  tsdb task --reader-role reporting --schema public`

/** `tsdb task`: what a file of tasks says. */
export function addTask(command: Command): void {
  command
    .argument('[file]', 'the file, or - for stdin')
    .option('--keep-going', 'go on after a task that failed')
    .option('--read-only', 'allow only what changes nothing; every task is rolled back')
    .option('--max-rows <number>', 'with --read-only: the most rows of an answer, default 1000')
    .option('--max-bytes <number>', 'with --read-only: the most bytes of an answer, default 1000000')
    .option('--timeout <ms>', 'with --read-only: the most time of a task, default 10000')
    .option('--trust <schema.function>', 'with --read-only: a function that changes nothing; may be repeated', collect)
    .option('--list', 'print the actions')
    .option('--metadata', 'print all about the actions as JSON: parameters, examples, JSON Schema')
    .option('--reader-role <name>', 'print the SQL that makes a role which can only read')
    .option('--schema <schema>', 'with --reader-role: what it may read, default public; may be repeated', collect)
    .addHelpText('after', EXAMPLES)
    .action(run)
  addYes(addDryRun(addFormats(command)))
}

async function run(file: string | undefined, options: TaskVerbOptions, command: Command): Promise<void> {
  const { list, metadata, readerRole, schema } = options
  const chosen = [file, list, metadata, readerRole].filter((one) => one !== undefined)
  if (chosen.length !== 1) throw usage('Give one of: a file, --list, --metadata, --reader-role.')
  if (schema !== undefined && readerRole === undefined) throw usage('--schema belongs to --reader-role.')
  if (list === true) return printActions(command)
  if (metadata === true) {
    process.stdout.write(`${JSON.stringify(await taskMetadata(), null, 2)}\n`)
    return
  }
  if (readerRole !== undefined) return printReaderRole(command, readerRole, schema)
  const readOnly = readLimits(options)
  const tasks = parseTasks(readText(file ?? '-'))
  if (options.dryRun === true) return withDatabase(command, (db) => printPlan(command, db, tasks))
  await withDatabase(command, async (db, signal) => {
    if (readOnly === false) await confirmLoss(command, tasks, signal)
    await runAll(db, tasks, { readOnly, signal, keepGoing: options.keepGoing === true })
  })
}

interface RunOptions {
  readonly readOnly: ReadOnlyLimits | false
  readonly signal: AbortSignal
  readonly keepGoing: boolean
}

async function runAll(db: Database, tasks: readonly ScriptTask[], options: RunOptions): Promise<void> {
  const failures: { readonly line: number; readonly error: TaskFailure['error'] }[] = []
  for (const { task, line } of tasks) {
    const { readOnly, signal } = options
    const answer = await runTask(db, task, { readOnly, signal })
    process.stdout.write(`${JSON.stringify(answer)}\n`)
    if (answer.success) continue
    failures.push({ line, error: answer.error })
    if (!options.keepGoing || signal.aborted) break
  }
  const [first] = failures
  if (first === undefined) return
  const { code, message, hint } = first.error
  const others = failures.length === 1 ? '' : ` (and ${failures.length - 1} more failed)`
  throw failure(code, `The task of line ${first.line} failed: ${message}${others}`, hint)
}

/** Of the class that decides the exit code. */
function failure(code: TaskFailure['error']['code'], message: string, hint: string | undefined): TimescaleError {
  if (code.startsWith('INVALID_')) return new UsageError(code, message, { hint })
  if (code === 'DRIFT' || code.endsWith('_REFUSED')) return new PlanError(code, message, { hint })
  return new TimescaleError(code, message, { hint })
}

async function confirmLoss(command: Command, tasks: readonly ScriptTask[], signal: AbortSignal): Promise<void> {
  const { methods } = await taskMetadata()
  const destroying = new Set(methods.filter(({ effect }) => effect === 'destroys').map(({ name }) => name))
  const actions = tasks.map(({ task }) => task.action).filter((action) => destroying.has(action))
  if (actions.length > 0) await confirm(command, `Run tasks that destroy data (${actions.join(', ')})?`, signal)
}

async function printPlan(command: Command, db: Database, tasks: readonly ScriptTask[]): Promise<void> {
  const plan: { line: number; action: string; sql: string[] }[] = []
  for (const { task, line } of tasks) {
    plan.push({ line, action: task.action, sql: (await taskSql(db, task)).map(show) })
  }
  const texts = plan.flatMap(({ line, action, sql }) => [
    `-- line ${line}: ${action}${sql.length === 0 ? ' only reads' : ''}`,
    ...sql.map((text) => `${text.trim().replace(/;$/, '')};`),
  ])
  printResult(command, plan, texts.join('\n'))
}

/** A value that is a list or an object has no SQL text of its own, since its type is the server's to say. */
function show(statement: Statement): string {
  const { text, values } = statement
  const isPlain = values.every((value) => typeof value !== 'object' || value === null)
  return isPlain ? formatStatement(statement) : `-- with the values ${JSON.stringify(values)}\n${text}`
}

async function printActions(command: Command): Promise<void> {
  const { methods } = await taskMetadata()
  const rows = methods.map(({ name, effect, description, parameters }) => {
    const { required, properties } = parameters
    const needed: readonly unknown[] = Array.isArray(required) ? required : []
    const names = typeof properties === 'object' && properties !== null ? Object.keys(properties) : []
    const list = names.map((one) => (needed.includes(one) ? one : `${one}?`)).join(', ')
    return { action: name, effect, description, parameters: list }
  })
  // Two lines each: as a table they are wider than a terminal.
  if (formatOf(command) !== 'text') printRows(command, ['action', 'effect', 'description', 'parameters'], rows)
  else {
    const text = rows.map((row) => `${row.action}  [${row.effect}]\n  ${row.description}\n  ${row.parameters}`)
    process.stdout.write(`${text.join('\n')}\n`)
  }
}

async function printReaderRole(command: Command, role: string, schemas: string[] | undefined): Promise<void> {
  await withDatabase(command, async (db) => {
    const [row] = await db.sql<{ readonly name: string }>`select current_database() as name`
    printSteps(command, readerRoleSql(role, { database: row?.name ?? '', ...given({ schemas }) }))
  })
}

function readLimits(options: TaskVerbOptions): ReadOnlyLimits | false {
  const { readOnly, maxRows, maxBytes, timeout, trust } = options
  if (readOnly === true) {
    return given({
      maxRows: toNumber('--max-rows', maxRows),
      maxBytes: toNumber('--max-bytes', maxBytes),
      timeoutMs: toNumber('--timeout', timeout),
      trustedFunctions: trust,
    })
  }
  const limits = { '--max-rows': maxRows, '--max-bytes': maxBytes, '--timeout': timeout, '--trust': trust }
  const [flag] = Object.keys(given(limits))
  if (flag !== undefined) throw usage(`${flag} belongs to --read-only.`)
  return false
}

function toNumber(flag: string, text: string | undefined): number | undefined {
  if (text !== undefined && !/^\d+$/.test(text)) throw usage(`${flag} must be a whole number.`)
  return text === undefined ? undefined : Number(text)
}

function usage(message: string): UsageError {
  return new UsageError('INVALID_OPTION', message)
}
