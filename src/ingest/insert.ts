import { readTable, type TableDescription } from '../catalog/column.ts'
import type { QueryOptions, Row, Session } from '../connection/session.ts'
import { QueryError, UsageError } from '../errors.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys, toList } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { CopyBuffer } from '../wire/copy-buffer.ts'
import {
  type ConflictOptions,
  type ConflictRule,
  columnList,
  conflictRule,
  conflictSql,
  lastOfKeySql,
} from './conflict.ts'
import {
  type EncodedColumn,
  emptyRow,
  rowError,
  type TableEncoder,
  tableEncoder,
  writeAsText,
} from './encode/encoder.ts'
import { arrayItems, plainItem } from './encode/plain-item.ts'
import { checkTimeZone } from './encode/time-zone.ts'
import { kindOf, type ValueOptions } from './encode/value.ts'
import { withoutValues } from './row-failure.ts'

/** A row to be inserted into a table whose rows are `T`: any of its columns, each as what may be written to it. */
export type InsertRow<T extends object> = {
  readonly [K in keyof T]?: T[K] | (T[K] extends Date ? string : never) | null
}

/** How rows are inserted. */
export interface InsertOptions<C extends string = string>
  extends ConflictOptions,
    ValueOptions,
    Pick<QueryOptions, 'signal' | 'timeoutMs' | 'int8' | 'numeric' | 'timestamps' | 'json'> {
  /** Columns of the inserted and updated rows to give back; `'*'` for all. Rows that were ignored give nothing. */
  readonly returning?: '*' | readonly C[]
}

const INSERT_KEYS = Object.keys({
  onConflict: true,
  conflictColumns: true,
  timeUnit: true,
  timeFormat: true,
  timeZone: true,
  returning: true,
  signal: true,
  timeoutMs: true,
  int8: true,
  numeric: true,
  timestamps: true,
  json: true,
} satisfies Record<keyof InsertOptions, true>)

/** What an insert did. */
export interface InsertResult<R extends object = Row> {
  /** Rows inserted or updated. */
  readonly rowCount: number
  /** What `returning` asked for, in no particular order. */
  readonly rows: R[]
}

/** Rows of one statement: arrays of this length are what one statement is fastest with. */
const statementRows = 20_000

/**
 * Inserts rows given as objects, in one statement of one array per column (in one transaction of several above 20,000
 * rows): all or nothing. Values are written as `load` writes them; see there for what fits a column.
 *
 * @throws BatchError BATCH_FAILED, before anything is sent, naming row, column, type and kind of a value that does not fit
 * @throws QueryError, ConnectionError; UsageError for columns that do not exist
 */
export async function insert<R extends object = Row>(
  session: Session,
  name: ObjectName,
  rows: readonly object[],
  options: InsertOptions = {},
): Promise<InsertResult<R>> {
  checkKeys(options, INSERT_KEYS, 'insert')
  checkTimeZone(options.timeZone)
  if (!Array.isArray(rows)) {
    throw new UsageError('INVALID_VALUE', 'insert needs an array of rows', {
      hint: 'A single row stands in one: [row].',
    })
  }
  if (rows.length === 0) return { rowCount: 0, rows: [] }
  const table = await readTable(session, name)
  const encoder = tableEncoder(table, keysOf(rows), options)
  const columns = encoder.columns.map((column) => column.name)
  const rule = await conflictRule(session, table, columns, options)
  const returning = returningSql(table, options.returning)
  const statements = split(rows).map(({ part, start }) =>
    insertSql(table, encoder, arrays(encoder, part, start, options), rule, returning),
  )
  const { signal, timeoutMs, int8, numeric, timestamps, json } = options
  const queryOptions = {
    ...(signal !== undefined && { signal }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(int8 !== undefined && { int8 }),
    ...(numeric !== undefined && { numeric }),
    ...(timestamps !== undefined && { timestamps }),
    ...(json !== undefined && { json }),
  }
  const run = async (on: Session): Promise<InsertResult<R>> => {
    const result: { rowCount: number; rows: R[] } = { rowCount: 0, rows: [] }
    for (const statement of statements) {
      const { rowCount, rows: given } = await on.query<R>(statement, queryOptions)
      result.rowCount += rowCount
      for (const row of given) result.rows.push(row)
    }
    return result
  }
  const done = statements.length === 1 ? run(session) : session.transaction(run, signal === undefined ? {} : { signal })
  return done.catch((error: unknown) => {
    throw error instanceof QueryError
      ? withoutValues(
          error,
          rows.flatMap((row) => Object.values(row)),
        )
      : error
  })
}

/** Every property any row has, in the order of their first appearance. */
function keysOf(rows: readonly object[]): string[] {
  const keys = new Set<string>()
  rows.forEach((row, index) => {
    if (typeof row !== 'object' || row === null || Array.isArray(row)) {
      throw rowError(index, `The row is ${kindOf(row)}, not an object`)
    }
    for (const key in row) keys.add(key)
  })
  if (keys.size === 0) throw emptyRow(0, rows[0])
  return [...keys]
}

function split(rows: readonly object[]): { readonly part: readonly object[]; readonly start: number }[] {
  const parts = []
  for (let start = 0; start < rows.length; start += statementRows) {
    parts.push({ part: rows.slice(start, start + statementRows), start })
  }
  return parts
}

/** One array per column, in the binary form of the server's arrays. */
function arrays(encoder: TableEncoder, rows: readonly object[], start: number, options: ValueOptions): Buffer[] {
  const items = encoder.columns.map((column) => {
    const buffer = new CopyBuffer()
    writeArrayHeader(buffer, column, rows.length)
    return { name: column.name, buffer, write: itemWriter(column, options) }
  })
  const checks = new CopyBuffer()
  rows.forEach((row, index) => {
    // Finds what does not fit, with the row's number; the bytes are not used.
    const mark = checks.mark()
    encoder.row(checks, row, start + index)
    checks.rewind(mark)
    for (const { name, buffer, write } of items) {
      // Any property may be there, also that of a prototype.
      const value = (row as Readonly<Record<string, unknown>>)[name]
      if (value === null || value === undefined) buffer.null()
      else write(buffer, value)
    }
  })
  return items.map(({ buffer }) => Buffer.concat(buffer.take()))
}

const textId = 25

/** Arrays of arrays cannot be unnested by one level, so these go as texts too. */
function goesAsText(column: EncodedColumn): boolean {
  return column.asText || column.element !== undefined
}

function itemWriter(column: EncodedColumn, options: ValueOptions): EncodedColumn['write'] {
  if (!goesAsText(column)) return column.write
  const plain = column.element && plainItem(column.element.receive, options)
  return plain === undefined ? writeAsText : (buffer, value) => writeAsText(buffer, arrayItems(value, plain))
}

function writeArrayHeader(buffer: CopyBuffer, column: EncodedColumn, length: number): void {
  for (const word of [1, 1, goesAsText(column) ? textId : column.typeId, length, 1]) {
    const at = buffer.reserve(4)
    buffer.view.setUint32(at, word)
  }
}

function insertSql(
  table: TableDescription,
  encoder: TableEncoder,
  values: readonly Buffer[],
  rule: ConflictRule,
  returning: Sql,
): Sql {
  const { columns } = encoder
  const names = columns.map(({ name }) => name)
  const aliases = columns.map((_, at) => sql.column(`c${at}`))
  const parameters = columns.map(
    (column, at) => sql`${values[at]}::${sql.raw(goesAsText(column) ? 'text' : column.baseName)}[]`,
  )
  const selected = columns.map((column, at) => {
    const alias = aliases[at] ?? sql.empty
    return goesAsText(column) ? sql`${alias}::${sql.raw(column.baseName)}` : alias
  })
  const place = sql.column('place')
  const from = sql`unnest(${sql.join(parameters)}) with ordinality as r(${sql.join([...aliases, place])})`
  const key = rule.key.map((column) => selected[names.indexOf(column)] ?? sql.empty)
  const last = rule.onConflict === 'update' ? lastOfKeySql(key, place) : undefined
  const source =
    last === undefined
      ? sql`select ${sql.join(selected)} from ${from}`
      : sql`select ${last.distinct} ${sql.join(selected)} from ${from} ${last.order}`
  return sql`insert into ${sql.name(table)} (${columnList(names)}) ${source}${conflictSql(rule, names)}${returning}`
}

function returningSql(table: TableDescription, returning: '*' | readonly string[] | undefined): Sql {
  if (returning === undefined) return sql.empty
  if (returning === '*') return sql` returning *`
  const columns = toList(returning)
  const unknown = columns.find((name) => !table.columns.some((column) => column.name === name))
  if (unknown !== undefined) {
    throw new UsageError(
      'INVALID_OPTION',
      `Option returning names a column ${JSON.stringify(unknown)}, which does not exist`,
    )
  }
  return columns.length === 0 ? sql.empty : sql` returning ${columnList(columns)}`
}
