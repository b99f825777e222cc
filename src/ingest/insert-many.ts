import type { BatchRows } from '../connection/batch-query.ts'
import { type BatchResult, executeMany as executeEach } from '../connection/execute-many.ts'
import type { QueryOptions, Session } from '../connection/session.ts'
import { checkQueryOptions } from '../connection/transaction-option.ts'
import { BatchError, QueryError, TimescaleError, UsageError } from '../errors.ts'
import { type Statement, sql } from '../sql/template.ts'
import { type BoundValue, bindValues } from '../wire/bind-value.ts'

import { type Chunk, ChunkReader } from './chunk-reader.ts'

/**
 * Runs one statement for every row of values: either all rows are kept or none. A plain `INSERT INTO t (a, b) VALUES ($1, $2)`
 * with at most `ON CONFLICT … DO NOTHING` goes as one array per column, thousands of rows in a statement; every other
 * statement, and whatever is not the same that way, row by row without waiting for answers.
 *
 * @throws BatchError BATCH_FAILED naming the first failing row; QueryError, ConnectionError; what the iterable throws
 */
export async function executeMany(
  session: Session,
  text: string,
  rows: BatchRows,
  options: QueryOptions = {},
): Promise<BatchResult> {
  const insert = plainInsert(text)
  if (insert === undefined) return executeEach(session, text, rows, options)
  checkQueryOptions(options)
  const chunks = new ChunkReader(rows, options)
  try {
    const first = await chunks.next()
    if (first === undefined || (first.last && first.rows.length < leastRows)) {
      return await executeEach(session, text, first?.rows ?? [], options)
    }
    const run = new ArrayInsert(text, insert, options)
    const { signal } = options
    return await session.transaction((tx) => run.all(tx, first, chunks), signal === undefined ? {} : { signal })
  } finally {
    await chunks.close()
  }
}

/** Below this, asking for the columns' types costs more than it saves. */
const leastRows = 200
/** The parts of a statement that may go as arrays. */
interface PlainInsert {
  /** The table as it is written. */
  readonly table: string
  /** The columns as they are written; undefined where none are named. */
  readonly columns: readonly string[] | undefined
  readonly parameters: number
  /** What stands behind the values. */
  readonly conflict: string
}

const identifier = `(?:[a-z_][a-z0-9_$]*(?![a-z0-9_$])|"(?:[^"]|"")+")`
const columnsPattern = String.raw`\(\s*(${identifier}(?:\s*,\s*${identifier})*)\s*\)`
const insertPattern = new RegExp(
  String.raw`^\s*insert\s+into\s+(${identifier}(?:\s*\.\s*${identifier})?)\s*(?:${columnsPattern}\s*)?` +
    String.raw`values\s*\(\s*(\$\d+(?:\s*,\s*\$\d+)*)\s*\)\s*` +
    String.raw`(on\s+conflict\s*(?:${columnsPattern}\s*)?do\s+nothing)?\s*;?\s*$`,
  'i',
)

/**
 * Recognizes exactly one form, in which every value is a parameter in its turn. DO UPDATE is none of it: rows of one key
 * would update each other one after another, which one statement does not do.
 */
function plainInsert(text: string): PlainInsert | undefined {
  const match = insertPattern.exec(text)
  const [, table, names, values, conflict = ''] = match ?? []
  if (table === undefined || values === undefined) return undefined
  const parameters = values.split(',').map((one) => one.trim())
  if (parameters.some((one, at) => one !== `$${at + 1}`)) return undefined
  const columns =
    names === undefined ? undefined : [...names.matchAll(new RegExp(identifier, 'gi'))].map(([one]) => one)
  if (columns !== undefined && columns.length !== parameters.length) return undefined
  return { table, columns, parameters: parameters.length, conflict }
}

interface Target {
  /** Whether rows of one statement are treated as those of several. */
  readonly plain: boolean
  /** The type of each parameter, as the server writes it; null for one whose values make no array. */
  readonly types: readonly (string | null)[]
}

/** One statement for many rows, under way. */
class ArrayInsert {
  readonly #text: string
  readonly #insert: PlainInsert
  readonly #options: QueryOptions
  readonly #deadline: number
  #types: readonly string[] | undefined
  #width: number | undefined

  constructor(text: string, insert: PlainInsert, options: QueryOptions) {
    this.#text = text
    this.#insert = insert
    this.#options = options
    this.#deadline = options.timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutMs
  }

  async all(tx: Session, first: Chunk, others: ChunkReader): Promise<BatchResult> {
    this.#types = await this.#typesOf(tx)
    let rowCount = 0
    for (let chunk: Chunk | undefined = first; chunk !== undefined; chunk = await others.next()) {
      rowCount += await this.#write(tx, chunk)
    }
    return { rowCount }
  }

  /** A time-out is for all statements together. */
  #left(): QueryOptions {
    if (this.#deadline === Number.POSITIVE_INFINITY) return this.#options
    return { ...this.#options, timeoutMs: Math.max(1, Math.ceil(this.#deadline - performance.now())) }
  }

  async #write(tx: Session, chunk: Chunk): Promise<number> {
    const arrays = this.#types === undefined ? undefined : this.#arrays(chunk, this.#types)
    if (arrays === undefined || this.#types === undefined) return this.#oneByOne(tx, chunk)
    const statement = this.#statement(arrays, this.#types)
    try {
      return await tx.transaction(async (inner) => (await inner.query(statement, this.#left())).rowCount)
    } catch (error) {
      if (!isOfRows(error)) throw error
      // Which row it was, and what the server says of it alone.
      return this.#oneByOne(tx, chunk)
    }
  }

  async #oneByOne(tx: Session, { rows, first }: Chunk): Promise<number> {
    const width = rows[0]?.length
    if (this.#width !== undefined && Array.isArray(rows[0]) && width !== this.#width) {
      const cause = new UsageError('INVALID_VALUE', `A row has ${width} values, the first one ${this.#width}`)
      throw batchError(first, first, cause)
    }
    this.#width ??= width
    try {
      return (await executeEach(tx, this.#text, rows, this.#left())).rowCount
    } catch (error) {
      const { cause } = error instanceof BatchError ? error : {}
      if (!(error instanceof BatchError && cause instanceof TimescaleError)) throw error
      throw batchError(first + error.row, first + error.rowCount, cause)
    }
  }

  /** The text of one array for each column; undefined where a row has none. */
  #arrays({ rows }: Chunk, types: readonly string[]): string[] | undefined {
    const columns: string[][] = types.map(() => [])
    for (const row of rows) {
      if (!Array.isArray(row) || row.length !== types.length) return undefined
      let values: readonly BoundValue[]
      try {
        values = bindValues(row)
      } catch {
        return undefined
      }
      for (const [at, value] of values.entries()) {
        const item = arrayItem(value, types[at] === 'bytea')
        if (item === undefined) return undefined
        columns[at]?.push(item)
      }
    }
    this.#width = types.length
    return columns.map((items) => `{${items.join(',')}}`)
  }

  #statement(arrays: readonly string[], types: readonly string[]): Statement {
    const { table, columns, conflict } = this.#insert
    const names = columns === undefined ? '' : ` (${columns.join(', ')})`
    const parameters = types.map((type, at) => `$${at + 1}::${type}[]`).join(', ')
    return { text: `insert into ${table}${names} select * from unnest(${parameters}) ${conflict}`, values: arrays }
  }

  /**
   * The types of the columns, which the parameters have; undefined where one statement of many rows would do something else
   * than many statements of one row: triggers for each statement, rules, foreign tables, arrays and composite types.
   */
  async #typesOf(tx: Session): Promise<readonly string[] | undefined> {
    const { table, columns, parameters } = this.#insert
    const names = columns?.map(unquoted) ?? null
    const { rows } = await tx.query<Target>(
      sql`select c.relkind in ('r', 'p') and not c.relhasrules and not exists (
          select from pg_catalog.pg_trigger where tgrelid = c.oid and tgtype & 1 = 0 and not tgisinternal) as plain,
        array(
          select case when t.typcategory not in ('A', 'C') and t.typarray <> 0 and t.typdelim = ','
            then pg_catalog.format_type(a.atttypid, -1) end
          from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            and (${names}::text[] is null or a.attname = any(${names}::text[]))
          order by coalesce(array_position(${names}::text[], a.attname::text), a.attnum) limit ${parameters}
        ) as types
        from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass(${table})`,
      this.#left(),
    )
    const [target] = rows
    if (target === undefined || !target.plain || target.types.length !== parameters) return undefined
    const types = target.types.filter((type) => type !== null)
    return types.length === parameters ? types : undefined
  }
}

/** What the server takes a name for. */
function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase()
}

/** A value within the text of an array; undefined for bytes that are the binary form of another type. */
function arrayItem(value: BoundValue, isBytes: boolean): string | undefined {
  if (value === null) return 'NULL'
  if (typeof value === 'string') return `"${value.replace(/[\\"]/g, '\\$&')}"`
  return isBytes ? `"\\\\x${value.toString('hex')}"` : undefined
}

/** Whether the rows may be to blame, and not the connection, a time-out or another transaction. */
function isOfRows(error: unknown): boolean {
  if (!(error instanceof QueryError)) return false
  return !['QUERY_CANCELLED', 'STATEMENT_TIMEOUT', 'SERIALIZATION_FAILURE'].includes(error.code)
}

function batchError(row: number, rowCount: number, cause: TimescaleError): BatchError {
  return new BatchError(`Row ${row}: ${cause.message}`, { row, rowCount, hint: cause.hint, cause })
}
