import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { backgroundOf } from '../connection/background.ts'
import type { ColumnChunk } from '../connection/column-rows.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { instantText, serverText } from '../results/column-text.ts'
import { type Access, exactAccess, listAccess, withNulls } from '../results/column-value.ts'
import { formatName, type ObjectName, quoteIdentifier } from '../sql/identifier.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { type Statement, sql } from '../sql/template.ts'
import type { ColumnBatch, ResultField } from '../wire/column.ts'
import { checkCreate } from './create/create-option.ts'
import type { InputRow } from './encode/encoder.ts'
import { columnPairs } from './encode/layout.ts'
import { load } from './load.ts'
import { LOAD_KEYS, type LoadOptions, type LoadReport } from './load-option.ts'
import type { SourceMark } from './source/source-mark.ts'

/** What only files and streams have. */
const fileKeys = [
  'format',
  'header',
  'delimiter',
  'nullText',
  'encoding',
  'measurement',
  'measurementColumn',
  'missingTime',
  'timeUnit',
] as const

/** How a table is copied from another database. */
export interface CopyFromTableOptions extends Omit<LoadOptions, (typeof fileKeys)[number]> {
  /** Columns of the source that order its rows. With `importId` they must be given, and say the place of each row. */
  readonly orderBy?: readonly string[]
}

/** What is copied: a table or view by its name, or a query. */
export type CopySourceRows = ObjectName | Statement

/**
 * Copies rows from another database while they come, in constant memory. The source sees one statement, and with it one
 * state of its data.
 *
 * @throws UsageError INVALID_OPTION for importId without orderBy, INVALID_VALUE for rows that orderBy does not tell apart
 * @throws BatchError, QueryError, ConnectionError as {@link load}
 */
export async function copyFromTable(
  source: Session,
  from: CopySourceRows,
  session: Session,
  name: ObjectName,
  options: CopyFromTableOptions = {},
): Promise<LoadReport> {
  const keys = [...LOAD_KEYS.filter((key) => !fileKeys.some((other) => other === key)), 'orderBy']
  checkKeys(options, keys, 'copyFromTable')
  const { orderBy, ...loadOptions } = options
  const statement = orderedStatement(from, orderBy, options)
  if (source.database === session.database && backgroundOf(session) !== undefined) {
    throw invalidOption('The embedded engine cannot copy from itself.', 'Write insert into … select ….')
  }
  const { signal, importId } = options
  const chunks = source.streamColumns(statement, { batchRows, numeric: 'string', ...(signal && { signal }) })
  try {
    const first = await chunks.next()
    if (first.done === true) throw new UsageError('INVALID_VALUE', 'The source gives no columns.')
    const { fields } = first.value
    const rows = new SourceRows(fields, options.columns, importId === undefined ? undefined : orderBy)
    const create = await createWithTypes(source, rows.fields, rows.columns, options.create)
    const known =
      importId === undefined ? undefined : { fingerprint: fingerprintOf(statement), markOfRows: () => rows.mark() }
    const more = { ...loadOptions, columns: rows.columns, ...(create === undefined ? {} : { create }) }
    return await load(session, name, rows.read(first.value, chunks), more, known)
  } finally {
    await chunks.return?.()
  }
}

/** Rows that are read together. */
const batchRows = 8192

/** @throws UsageError */
function orderedStatement(
  from: CopySourceRows,
  orderBy: readonly string[] | undefined,
  { importId, columns }: CopyFromTableOptions,
): Statement {
  const given = isStatement(from)
  if (importId !== undefined && orderBy === undefined) {
    throw invalidOption(
      'Option importId needs orderBy.',
      'Name columns that say the place of each row, such as its key.',
    )
  }
  if (orderBy !== undefined && !(isTexts(orderBy) && orderBy.length > 0)) {
    throw invalidOption('Option orderBy must be a list of columns.')
  }
  const order = orderBy === undefined ? '' : ` order by ${orderBy.map(quoteIdentifier).join(', ')}`
  // On lines of their own: a comment may be the end of a query.
  if (given)
    return {
      text: order === '' ? from.text : `select * from (\n${from.text}\n) as source${order}`,
      values: from.values,
    }
  if (typeof from === 'string' && /^\s*(?:select|with|values|table)\s/i.test(from)) {
    throw invalidOption('A text is the name of a table to copy from, and no query.', 'Write sql`select …`.')
  }
  const names = columns === undefined ? undefined : Array.isArray(columns) ? columns : Object.keys(columns)
  const needed = names === undefined || names.length === 0 ? undefined : [...new Set([...names, ...(orderBy ?? [])])]
  const list = isTexts(needed) ? needed.map(quoteIdentifier).join(', ') : '*'
  return { text: `select ${list} from ${formatName(from)}${order}`, values: [] }
}

function isStatement(from: CopySourceRows): from is Statement {
  if (typeof from !== 'object' || from === null || !('text' in from)) return false
  if (typeof from.text === 'string' && Array.isArray(from.values)) return true
  throw invalidOption('A query to copy from needs text and values.', 'Write sql`select …`.')
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

/** The rows of the source as lists of values, in the order of `columns`. */
class SourceRows {
  /** The columns they go to. */
  readonly columns: readonly string[]
  /** The columns of the source that are copied. */
  readonly fields: readonly ResultField[]
  readonly #places: readonly number[]
  readonly #key: readonly number[]
  #lastKey: string | undefined
  #row = 0
  /** Keys that are not in the checksum yet. */
  #keys: string[] = []
  #crc = 0

  /** @param key - columns in which no two rows may be the same */
  constructor(fields: readonly ResultField[], columns: LoadOptions['columns'], key: readonly string[] | undefined) {
    const names = fields.map((field) => field.name)
    const pairs = columnPairs(names, columns)
    const taken = pairs
      .map((pair) => ({ ...pair, place: names.indexOf(pair.source) }))
      .filter(({ place }) => place >= 0)
    this.columns = taken.map(({ column }) => column)
    this.fields = taken.flatMap(({ place }) => fields[place] ?? [])
    this.#places = taken.map(({ place }) => place)
    this.#key = (key ?? []).map((name) => names.indexOf(name))
  }

  async *read(first: ColumnChunk, rest: AsyncIterator<ColumnChunk, undefined>): AsyncGenerator<InputRow> {
    for (let chunk: ColumnChunk | undefined = first; chunk !== undefined; chunk = (await rest.next()).value) {
      const { columns, rowCount } = chunk
      const accesses = this.#places.map((place) => loadValue(columns[place]))
      const keys = this.#key.map((place) => keyText(columns[place]))
      for (let row = 0; row < rowCount; row++) {
        if (keys.length > 0) this.#checkKey(keys.map((key) => key(row)).join('\0'))
        this.#row++
        yield accesses.map((access) => access(row))
      }
    }
  }

  /** How many rows were read, and a checksum of their keys. */
  mark(): SourceMark {
    this.#crc = crc32(this.#keys.join(''), this.#crc)
    this.#keys = []
    return { bytes: this.#row, crc: this.#crc }
  }

  #checkKey(key: string): void {
    if (key === this.#lastKey) {
      throw new UsageError(
        'INVALID_VALUE',
        `Rows ${this.#row - 1} and ${this.#row} are the same in the columns of orderBy.`,
        {
          hint: 'Their order may be another one next time: name more columns, until no two rows are the same.',
        },
      )
    }
    this.#lastKey = key
    this.#keys.push(key, '\n')
  }
}

/** Values as a load takes them: times are texts, so that the target's column decides what they mean. */
function loadValue(batch: ColumnBatch | undefined): Access {
  if (batch === undefined) return () => null
  switch (batch.type.kind) {
    case 'timestamp':
      return withNulls(batch, instantText(batch, 'T', ''))
    case 'timestamptz':
      return withNulls(batch, instantText(batch, 'T', 'Z'))
    case 'date':
    case 'time':
    case 'interval':
      return withNulls(batch, serverText(batch))
    case 'list':
      return withNulls(batch, listAccess(batch, loadValue))
    default:
      return exactAccess(batch)
  }
}

function keyText(batch: ColumnBatch | undefined): (row: number) => string {
  if (batch === undefined) return () => ''
  const text = withNulls(batch, serverText(batch))
  return (row) => {
    const value = text(row)
    return value === null ? 'null' : `=${String(value)}`
  }
}

/** For a table that is to be made: the types that the source's columns have. */
async function createWithTypes(
  source: Session,
  fields: readonly ResultField[],
  columns: readonly string[],
  option: LoadOptions['create'],
): Promise<LoadOptions['create']> {
  const create = checkCreate(option)
  if (create === undefined) return undefined
  const ids = fields.map(({ typeId }) => typeId)
  const modifiers = fields.map(({ typeModifier }) => typeModifier)
  const { rows } = await source.query<{ type: string }>(sql`
    select pg_catalog.format_type(id, modifier) as type
    from unnest(${ids}::oid[], ${modifiers}::int4[]) with ordinality as field (id, modifier, place) order by place`)
  const types = Object.fromEntries(columns.map((column, at) => [column, rows[at]?.type ?? 'text']))
  return { ...create, columns: { ...types, ...create.columns } }
}

function fingerprintOf({ text, values }: Statement): string {
  const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value)
  return createHash('sha256')
    .update(JSON.stringify([text, values], plain))
    .digest('hex')
}
