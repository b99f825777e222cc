import type { Duplex } from 'node:stream'
import { UsageError } from '../errors.ts'
import type { ArrayTypes } from '../wire/array-type.ts'
import type { BoundValue } from '../wire/bind-value.ts'
import type { ResultField } from '../wire/column.ts'
import type { MessageRouter } from '../wire/message-router.ts'
import { type TextParser, type TextTypeOptions, textParser } from '../wire/text-type.ts'
import type { Notice, NoticeOptions, QueryResult, ResultColumn, Row } from './session.ts'
import type { ColumnTypes, StatementCache } from './statement-cache.ts'

/** What is used of the driver's connection; messages as in "Message Formats" of the PostgreSQL manual. */
export interface WireConnection {
  readonly stream: Duplex
  /** Takes rows past the driver; undefined until the first byte may come. */
  readonly router: MessageRouter | undefined
  readonly statements: StatementCache
  parse(message: { readonly name: string; readonly text: string; readonly types: string[] }, more: boolean): void
  bind(message: { readonly values: BoundValue[] }, more: boolean): void
  describe(message: { readonly type: 'P' }, more: boolean): void
  execute(message: null, more: boolean): void
  flush(): void
  sync(): void
  sendCopyFail?(reason: string): void
  once(event: 'parseComplete', listener: () => void): unknown
  off(event: 'parseComplete', listener: () => void): unknown
}

/** A column of the driver's RowDescription. */
export interface WireField {
  readonly name: string
  readonly dataTypeID: number
  readonly dataTypeModifier: number
  readonly format: string
}

/** The column in this library's words. */
export function resultField({ name, dataTypeID, dataTypeModifier, format }: WireField): ResultField {
  return { name, typeId: dataTypeID, typeModifier: dataTypeModifier, format: format === 'binary' ? 1 : 0 }
}

/** A row whose columns are all null. */
export function emptyRow(columns: readonly { readonly name: string }[]): Row {
  const empty: Row = {}
  for (const { name } of columns) {
    // Every column is an own property first, so that one named __proto__ is a column and nothing else.
    if (name === '__proto__') Object.defineProperty(empty, name, ownNull)
    else empty[name] = null
  }
  return empty
}

/** Anything the driver can run that reports the server's notices. */
export interface WireQuery {
  /** True once a byte may have reached the server. */
  readonly sent: boolean
  /** True once the server has answered, with a result or an error. */
  readonly settled: boolean
  /** What was bound, so that errors can hide it. */
  readonly boundValues: readonly BoundValue[]
  /** An error of this side, such as a value that cannot be read: the connection is whole. */
  readonly failure: unknown
  submit(connection: WireConnection): Error | null
  handleNotice(notice: Notice): void
  /** Called when the server is asked to cancel: what this side must do so that the answer can come. */
  interrupt?(): void
}

const noNotices: readonly Notice[] = []
const ownNull = { value: null, enumerable: true, writable: true, configurable: true }
const noColumns: readonly ResultColumn[] = []

/**
 * One statement in the extended protocol, as pg runs it: one trip, one statement per call, values never in its text.
 * The driver's own Query is not used: its parsers do not know the column, and it cannot tell whether anything was sent.
 */
export class StatementQuery<R extends object = Row> implements WireQuery {
  sent = false
  settled = false
  failure: unknown
  readonly boundValues: BoundValue[]
  /** The types of columns, by their oids, that have to be looked up: their values are still the server's text. */
  unknownTypes: readonly number[] = []
  /** What the connection knows of them; undefined before it is submitted. */
  types: ColumnTypes | undefined
  readonly #text: string
  readonly #options: TextTypeOptions & NoticeOptions
  readonly #done: (error: unknown, result: QueryResult<R> | undefined) => void
  #rows: R[] = []
  #columns: readonly ResultColumn[] = noColumns
  #parsers: TextParser[] = []
  #emptyRow: Row = {}
  #notices: Notice[] | undefined
  #tag = ''

  /** @param done - called once, with the driver's error or the result */
  constructor(
    text: string,
    values: BoundValue[],
    options: TextTypeOptions & NoticeOptions,
    done: (error: unknown, result: QueryResult<R> | undefined) => void,
  ) {
    this.#text = text
    this.boundValues = values
    this.#options = options
    this.#done = done
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error('The connection was closed')
    this.sent = true
    this.types = connection.statements.types
    connection.stream.cork()
    try {
      connection.parse({ name: '', text: this.#text, types: [] }, true)
      connection.bind({ values: this.boundValues }, true)
      connection.describe({ type: 'P' }, true)
      connection.execute(null, true)
      connection.sync()
    } finally {
      connection.stream.uncork()
    }
    return null
  }

  handleRowDescription(message: { readonly fields: readonly WireField[] }): void {
    const columns: ResultColumn[] = []
    for (const { name, dataTypeID } of message.fields) {
      columns.push({ name, typeId: dataTypeID })
      this.#parsers.push(textParser(dataTypeID, this.#options, this.types?.arrays))
    }
    this.#columns = columns
    this.unknownTypes = this.types?.unknownOf(columns.map(({ typeId }) => typeId)) ?? []
    this.#emptyRow = emptyRow(columns)
  }

  handleDataRow(message: { readonly fields: readonly (string | null)[] }): void {
    if (this.failure !== undefined) return
    const row = { ...this.#emptyRow }
    const { fields } = message
    try {
      for (let index = 0; index < fields.length; index++) {
        const text = fields[index]
        const column = this.#columns[index]
        const parse = this.#parsers[index]
        if (text === null || text === undefined || column === undefined || parse === undefined) continue
        row[column.name] = parse(text, column.name)
      }
    } catch (error) {
      this.failure = error
      return
    }
    // The caller names the row's type; the server decides what is in it.
    this.#rows.push(row as R)
  }

  /** Reads the arrays of the database's own types, once those have been looked up. @throws UsageError INVALID_VALUE */
  readArrays(): void {
    const arrays: ArrayTypes = this.types?.arrays ?? new Map()
    // Of two columns of one name the last one is in the rows.
    const typeIds = new Map(this.#columns.map(({ name, typeId }) => [name, typeId]))
    for (const [name, typeId] of typeIds) {
      if (!this.unknownTypes.includes(typeId) || !arrays.has(typeId)) continue
      const parse = textParser(typeId, this.#options, arrays)
      for (const row of this.#rows) {
        const text: unknown = Reflect.get(row, name)
        if (typeof text === 'string') Reflect.set(row, name, parse(text, name))
      }
    }
  }

  handleCommandComplete(message: { readonly text: string }): void {
    this.#tag = message.text
  }

  handleEmptyQuery(): void {}

  handlePortalSuspended(): void {}

  handleNotice(notice: Notice): void {
    this.#notices ??= []
    this.#notices.push(notice)
    try {
      this.#options.onNotice?.(notice)
    } catch (error) {
      this.failure ??= error
    }
  }

  handleCopyInResponse(connection: WireConnection): void {
    this.failure = copyRefused()
    connection.sendCopyFail?.('COPY FROM STDIN needs a stream')
    // The server ignored the first Sync, which came in copy mode.
    connection.sync()
  }

  handleCopyData(): void {
    this.failure ??= copyRefused()
  }

  handleError(error: unknown): void {
    if (this.settled) return
    this.settled = true
    this.#done(this.failure ?? error, undefined)
  }

  handleReadyForQuery(): void {
    if (this.settled) return
    this.settled = true
    if (this.failure !== undefined) {
      this.#done(this.failure, undefined)
      return
    }
    this.#done(undefined, {
      rows: this.#rows,
      rowCount: tagCount(this.#tag),
      command: tagWord(this.#tag),
      columns: this.#columns,
      notices: this.#notices ?? noNotices,
    })
  }
}

/** A bare Sync: one trip that runs nothing, so it is safe on any connection at any time. */
export class SyncQuery implements WireQuery {
  sent = false
  settled = false
  readonly failure: unknown = undefined
  readonly boundValues: readonly BoundValue[] = []
  readonly #done: (error: unknown) => void

  constructor(done: (error: unknown) => void) {
    this.#done = done
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error('The connection was closed')
    this.sent = true
    connection.sync()
    return null
  }

  handleNotice(): void {}

  handleError(error: unknown): void {
    if (this.settled) return
    this.settled = true
    this.#done(error)
  }

  handleReadyForQuery(): void {
    if (this.settled) return
    this.settled = true
    this.#done(undefined)
  }
}

/** The first word of a command tag: `INSERT` of `INSERT 0 5`. */
export function tagWord(tag: string): string {
  const space = tag.indexOf(' ')
  return space === -1 ? tag : tag.slice(0, space)
}

/** The row count of a command tag: 5 of `INSERT 0 5`, 0 where there is none. */
export function tagCount(tag: string): number {
  const count = Number(tag.slice(tag.lastIndexOf(' ') + 1))
  return Number.isNaN(count) ? 0 : count
}

function copyRefused(): UsageError {
  return new UsageError('INVALID_VALUE', 'COPY FROM STDIN and COPY TO STDOUT need a stream and cannot run as a query')
}
