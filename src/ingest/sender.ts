import type { TableColumn, TableDescription } from '../catalog/column.ts'
import type { LoadTarget } from '../catalog/load-target.ts'
import type { RelationName } from '../catalog/relation.ts'
import { listTouchedChunks } from '../catalog/touched-chunk.ts'
import { copyLine } from '../connection/copy-in.ts'
import type { Session } from '../connection/session.ts'
import { BatchError, QueryError } from '../errors.ts'
import { type Sql, sql } from '../sql/template.ts'
import { type CopyRows, counted, firstBad, sendFitting } from './bad-row.ts'
import type { EncodedBatch, RejectedRow, RowBatch } from './batch.ts'
import type { OrderPlan } from './compressed/order-check.ts'
import { decompressSql } from './compressed/recompress.ts'
import type { SortedLoad } from './compressed/sorted-load.ts'
import { type ConflictRule, columnList, conflictSql, lastOfKeySql } from './conflict.ts'
import type { WindowState } from './ledger.ts'
import { atRow, hintOf, inColumn, isRowFailure, withoutValues } from './row-failure.ts'

/** A column to be written. */
export interface TargetColumn extends Pick<TableColumn, 'name' | 'baseName' | 'typeName'> {
  /** True where the data is the server's text of a type whose binary form is not known. */
  readonly asText: boolean
}

/** What one batch came to. */
export interface Delivery {
  readonly written: number
  readonly skipped: number
  readonly rejected: readonly RejectedRow[]
  readonly notices: readonly string[]
  /** Why the server did not compress the rows as they came in, though it was asked to. */
  readonly notDirect?: string | undefined
  /** Whether the rows were declared sorted. */
  readonly declared?: boolean
  readonly state?: WindowState | undefined
  /** Set where another loader of the import has dealt with it: how many rows that are. Nothing else is counted then. */
  readonly other?: number
}

/** What a batch may say about its order. */
export interface BatchOrder {
  readonly load: SortedLoad
  /** Whether its ranges were reserved. */
  readonly apart: boolean
}

/** Where batches go, and how. */
export interface SendRules {
  readonly table: TableDescription
  readonly columns: readonly TargetColumn[]
  readonly target: LoadTarget
  readonly conflict: ConflictRule
  /** Options of COPY, such as `format binary`. */
  readonly format: string
  /** Settings of the transaction, by name. */
  readonly settings: ReadonlyMap<string, string>
  /** Whether bytes that are sent as they are shall be compressed as they come in. */
  readonly direct: boolean
  /** Whether rows that fail are left out. */
  readonly skipBad: boolean
  /** How to see whether rows are in the order of compression; or why they are not declared so. Default: they are not. */
  readonly order?: OrderPlan | string
  /** Whether chunks of which most is touched are decompressed before an update. */
  readonly decompress?: boolean
  /** Whether the rows' types may be others than the table's, so that the server must convert. */
  readonly staged?: boolean
}

let stagings = 0

/** Writes batches into one table, each in the transaction it is given. */
export class Sender {
  readonly #rules: SendRules
  /** What the settings of a surrounding transaction were. */
  readonly #before = new Map<string, string>()

  constructor(rules: SendRules) {
    this.#rules = rules
  }

  /**
   * Sends bytes as they are.
   * @param lines - how many lines of the source come before them
   * @param handedOver - called when all of them are on their way
   * @throws BatchError naming the line the server refused
   */
  async sendBytes(tx: Session, blocks: readonly Buffer[], lines: number, handedOver: () => void): Promise<Delivery> {
    await this.#set(tx, this.#rules.direct, false)
    try {
      return await this.#copy(tx, followed(blocks, handedOver))
    } catch (error) {
      if (!isRowFailure(error)) throw error
      const line = copyLine(error)
      if (line === undefined) throw lineUnknown(error)
      const row = lines + line - 1
      const shown = withoutValues(error, fieldsOf(blocks, line))
      throw new BatchError(`Line ${row + 1}: ${inColumn(shown, this.#copied)}`, {
        row,
        rowCount: row + 1,
        hint: hintOf(shown),
        cause: shown,
      })
    }
  }

  /**
   * Sends an encoded batch, and says when all of its bytes are on their way. With `skipBad` a row the server refuses is found and left out, the others are written.
   * @throws BatchError naming the row the server refused; OrderDoubt where it must be sent again without `order`
   */
  async send(
    tx: Session,
    batch: RowBatch,
    encoded: EncodedBatch,
    handedOver: () => void,
    order?: BatchOrder,
  ): Promise<Delivery> {
    const { sorted } = encoded
    const declaration = order && sorted && (await order.load.begin(tx, sorted, order.apart))
    await this.#set(tx, encoded.direct, declaration !== undefined)
    const delivery = await this.#send(tx, batch, encoded, handedOver)
    if (order === undefined || declaration === undefined) return delivery
    return { ...delivery, declared: true, state: await order.load.confirm(tx, declaration) }
  }

  /** How to see whether rows are in the order of compression, or why they are not declared so. */
  get order(): OrderPlan | string | undefined {
    return this.#rules.order
  }

  async #send(tx: Session, batch: RowBatch, encoded: EncodedBatch, handedOver: () => void): Promise<Delivery> {
    const copy: CopyRows = (on, blocks) => this.#copy(on, blocks)
    const blocks = followed(encoded.blocks, handedOver)
    if (this.#rules.skipBad) return sendFitting({ tx, batch, copy }, Array.from(encoded.order), blocks)
    try {
      // Of a failure behind the temporary table no line is known: the row is then looked for, in this transaction.
      const done = await (this.staged ? tx.transaction((inner) => copy(inner, blocks)) : copy(tx, blocks))
      return counted(done, encoded.order.length)
    } catch (error) {
      if (!isRowFailure(error)) throw error
      const line = copyLine(error)
      const row = line === undefined ? undefined : encoded.order[line - 1]
      if (row !== undefined) throw atRow(error, batch, row, this.#copied)
      if (!this.staged) throw error
      const found = await firstBad({ tx, batch, copy }, Array.from(encoded.order))
      throw found === undefined ? error : atRow(found.error, batch, found.row, this.#copied)
    }
  }

  /** The columns by the names that they have in its COPY. */
  get #copied(): ReadonlyMap<string, string> {
    return new Map(this.#rules.columns.map(({ name }, at) => [this.staged ? `c${at}` : name, name]))
  }

  /** Puts the settings of a surrounding transaction back. */
  async restore(tx: Session): Promise<void> {
    if (tx.inTransaction) await setLocal(tx, this.#before)
  }

  async #set(tx: Session, direct: boolean, sorted: boolean): Promise<void> {
    const { settings, target, conflict } = this.#rules
    const wanted = new Map(settings)
    if (target.notDirect === undefined) {
      wanted.set('timescaledb.enable_direct_compress_copy', direct ? 'on' : 'off')
      // Also when it is off: the role's own default may be on.
      if (direct) wanted.set('timescaledb.enable_direct_compress_copy_client_sorted', sorted ? 'on' : 'off')
    }
    // Without this, an update of more than 100,000 compressed rows fails with 53400.
    if (conflict.onConflict !== 'error' && target.segmentBy.length + target.orderBy.length > 0) {
      wanted.set('timescaledb.max_tuples_decompressed_per_dml_transaction', '0')
    }
    const before = await setLocal(tx, wanted)
    for (const [name, value] of before) if (!this.#before.has(name)) this.#before.set(name, value)
  }

  /** Whether rows go through a temporary table. */
  get staged(): boolean {
    const { conflict, columns, staged = false } = this.#rules
    return staged || conflict.onConflict !== 'error' || columns.some(({ asText }) => asText)
  }

  async #copy(tx: Session, blocks: Iterable<Buffer>): Promise<Delivery> {
    const { table, columns, format } = this.#rules
    const names = columnList(columns.map(({ name }) => name))
    if (this.staged) return this.#stage(tx, blocks)
    const text = `copy ${sql`${sql.name(table)} (${names})`.text} from stdin (${format})`
    const { rowCount, notices } = await tx.copyIn(text, blocks)
    const refused = notices.find(({ sqlState, message }) => sqlState === '01000' && message.includes('direct compress'))
    return {
      written: rowCount,
      skipped: 0,
      rejected: [],
      notices: notices.map(({ message }) => message),
      notDirect: refused?.message,
    }
  }

  /** Through a table of this transaction alone, where keys can be compared and texts be cast. */
  async #stage(tx: Session, blocks: Iterable<Buffer>): Promise<Delivery> {
    const { columns, format } = this.#rules
    const staging = sql.column(`tsdbkit_load_${process.pid}_${++stagings}`)
    const place = sql.column('place')
    const fields = columns.map(({ baseName, asText }, at) => sql`${field(at)} ${sql.raw(asText ? 'text' : baseName)}`)
    await tx.query(sql`create temporary table ${staging} (
      ${place} bigint generated always as identity, ${sql.join(fields)}) on commit drop`)
    const list = sql.join(columns.map((_, at) => field(at)))
    const copied = await tx.copyIn(`copy ${sql`${staging} (${list})`.text} from stdin (${format})`, blocks)
    const decompressed = this.#rules.decompress === true ? await this.#decompress(tx, staging) : []
    const { rowCount, notices } = await tx.query(this.#insertSql(staging, place))
    // In a longer transaction many of them would pile up.
    await tx.query(sql`drop table ${staging}`)
    const messages = [...copied.notices, ...notices].map(({ message }) => message)
    const state = decompressed.length === 0 ? undefined : { decompressed }
    return { written: rowCount, skipped: copied.rowCount - rowCount, rejected: [], notices: messages, state }
  }

  /** Decompresses the chunks of which most is to be updated. */
  async #decompress(tx: Session, staging: Sql): Promise<readonly RelationName[]> {
    const { table, columns, target } = this.#rules
    const names = new Map(columns.map(({ name }, at) => [name, field(at)]))
    const chunks = await listTouchedChunks(tx, table, target, { name: staging, columns: names })
    for (const chunk of chunks) await tx.query(decompressSql(chunk))
    return chunks
  }

  #insertSql(staging: Sql, place: Sql): Sql {
    const { table, columns, conflict, target } = this.#rules
    const names = columns.map(({ name }) => name)
    const selected = columns.map(({ baseName, asText }, at) =>
      asText ? sql`${field(at)}::${sql.raw(baseName)} as ${field(at)}` : field(at),
    )
    const key = conflict.key.map((column) => field(names.indexOf(column)))
    const last = conflict.onConflict === 'update' ? lastOfKeySql(key, place) : undefined
    const rows =
      last === undefined
        ? sql`select ${sql.join(selected)}, ${place} from ${staging}`
        : sql`select ${last.distinct} ${sql.join(selected)}, ${place} from ${staging} ${last.order}`
    // Rows of one compressed batch together: each batch is then decompressed once.
    const order = [...target.segmentBy, ...(target.time === undefined ? [] : [target.time.column])]
      .filter((column) => names.includes(column))
      .map((column) => field(names.indexOf(column)))
    // The condition is always true: with a bound value, errors of a conversion do not quote their input.
    return sql`insert into ${sql.name(table)} (${columnList(names)})
      select ${sql.join(columns.map((_, at) => field(at)))} from (${rows}) r where ${null}::int is null
      order by ${sql.join([...order, place])}${conflictSql(conflict, names)}`
  }
}

/** About the fields of a line, whatever stands between them. @param line - its number in the blocks, from 1 */
function fieldsOf(blocks: readonly Buffer[], line: number): readonly string[] {
  const bytes = Buffer.concat(blocks)
  let start = 0
  for (let at = 1; at < line; at++) start = bytes.indexOf(10, start) + 1
  const end = bytes.indexOf(10, start)
  return bytes.toString('utf8', start, end === -1 ? bytes.length : end).split(/[,;\t|"\r]+/)
}

/** For an error behind the temporary table, which knows no lines. */
function lineUnknown(error: QueryError): QueryError {
  const hint = hintOf(error) ?? 'The line is looked for with the option onBadRow, and noted where it names a file.'
  return new QueryError(error.code, error.message, { ...error, hint, cause: error })
}

/** The same, and a word when the last was taken and what follows it in that turn was written too. */
function* followed(blocks: readonly Buffer[], handedOver: () => void): Generator<Buffer> {
  yield* blocks
  setImmediate(handedOver)
}

function field(at: number): Sql {
  return sql.column(`c${at}`)
}

async function setLocal(tx: Session, settings: ReadonlyMap<string, string>): Promise<Map<string, string>> {
  if (settings.size === 0) return new Map()
  const calls = [...settings].map(
    ([name, value], at) =>
      sql`current_setting(${name}, true) as ${field(at)}, set_config(${name}, ${value}, true) as ${sql.column(`s${at}`)}`,
  )
  // Read before they are set: a target list is evaluated from left to right.
  const { rows } = await tx.query<Record<string, string | null>>(sql`select ${sql.join(calls)}`)
  return new Map([...settings.keys()].map((name, at) => [name, rows[0]?.[`c${at}`] ?? '']))
}
