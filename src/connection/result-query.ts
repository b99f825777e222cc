import { QueryError, TimescaleError, UsageError } from '../errors.ts'
import type { ArrayTypes } from '../wire/array-type.ts'
import type { BoundValue } from '../wire/bind-value.ts'
import type { ResultField } from '../wire/column.ts'
import type { MessageSink } from '../wire/message-router.ts'
import { MessageWriter } from '../wire/message-writer.ts'
import type { Notice } from './session.ts'
import type { ColumnTypes, KeptReaders, PreparedStatement } from './statement-cache.ts'
import {
  resultField,
  tagCount,
  tagWord,
  type WireConnection,
  type WireField,
  type WireQuery,
} from './statement-query.ts'

/** What takes the rows of a result as bytes. */
export interface RowTarget {
  /** The format in which a column of this type is wanted. */
  formatOf(typeId: number, arrays: ArrayTypes): 0 | 1
  /** Comes before the first row. */
  describe(fields: readonly ResultField[], arrays: ArrayTypes, kept?: KeptReaders): void
  /** As {@link MessageSink.readRows}. */
  readRows(bytes: Buffer, view: DataView, at: number, end: number): number
  /** The last row was read; not called after an error. */
  finish(): void
  /** The server is asked to end the statement: what is kept back must be let go. */
  interrupt?(): void
}

/** What is known of a result beside its rows. */
export interface ResultSummary {
  readonly fields: readonly ResultField[]
  /** The row count of the command tag. */
  readonly rowCount: number
  /** The command tag's first word. */
  readonly command: string
  readonly notices: readonly Notice[]
}

/** What a {@link ResultQuery} runs. */
export interface ResultRequest {
  readonly text: string
  readonly values: readonly BoundValue[]
  readonly target: RowTarget
  readonly inTransaction: boolean
}

const PARSE_COMPLETE = 49
const BIND_COMPLETE = 50
const ROW_DESCRIPTION = 84
const NO_DATA = 110
const DATA_ROW = 68
const noArrays: ArrayTypes = new Map()

/**
 * Errors of Bind that say that what was known of the statement is outdated: gone, other types, other column count, a type
 * that was dropped ("cache lookup failed").
 */
const outdatedStates: ReadonlySet<unknown> = new Set(['26000', '0A000', '08P01', 'XX000'])

/**
 * One statement whose rows go, as bytes, past the driver to a target. The statement is described first, once per text:
 * from then on one trip is enough.
 */
export class ResultQuery implements WireQuery, MessageSink {
  sent = false
  settled = false
  failure: unknown
  /** True when nothing ran because what was known of the statement was outdated: it may be run again. */
  outdated = false
  /** Set when nothing ran because these types, by their oids, have to be looked up first. */
  unknownTypes: readonly number[] | undefined
  readonly #request: ResultRequest
  readonly #done: (error: unknown, result: ResultSummary | undefined) => void
  readonly #onFailure: (() => void) | undefined
  #connection: WireConnection | undefined
  #name = ''
  /** The server's word on the columns' types is awaited, before values are bound. */
  #describing = false
  /** A Parse was sent whose statement is to be kept. */
  #keeping = false
  /** What is sent relies on what was known before. */
  #trusting = false
  #bound = false
  #prepared: PreparedStatement | undefined
  /** The RowDescription that the parser reads now. */
  #announcement: Buffer | undefined
  #skipping = false
  #types: readonly number[] | undefined
  #fields: readonly ResultField[] = []
  #notices: Notice[] = []
  #tag = ''

  /**
   * @param done - called once, with the driver's error or the result
   * @param onFailure - called when this side cannot read the result, of which more may come
   */
  constructor(
    request: ResultRequest,
    done: (error: unknown, result: ResultSummary | undefined) => void,
    onFailure?: () => void,
  ) {
    this.#request = request
    this.#done = done
    this.#onFailure = onFailure
  }

  /** What the connection knows of types; undefined before it is submitted. */
  get types(): ColumnTypes | undefined {
    return this.#connection?.statements.types
  }

  get #arrays(): ArrayTypes {
    return this.types?.arrays ?? noArrays
  }

  get boundValues(): readonly BoundValue[] {
    return this.#request.values
  }

  submit(connection: WireConnection): Error | null {
    const { router, stream } = connection
    if (!stream.writable || router === undefined) return new Error('The connection was closed')
    this.#connection = connection
    let messages: Buffer
    try {
      messages = this.#open(connection)
    } catch (error) {
      this.failure = error
      return new Error('The statement could not be written')
    }
    this.sent = true
    router.sink = this
    stream.write(messages)
    return null
  }

  /** The rows that come from now on are not read. */
  interrupt(): void {
    this.#skipping = true
    this.#request.target.interrupt?.()
  }

  readRows(bytes: Buffer, view: DataView, at: number, end: number): number {
    if (!this.#skipping) {
      try {
        return this.#request.target.readRows(bytes, view, at, end)
      } catch (error) {
        if (!(error instanceof TimescaleError)) throw error
        this.#fail(error)
      }
    }
    return skipRows(bytes, view, at, end)
  }

  take(type: number, bytes: Buffer, at: number, end: number): boolean {
    if (type === BIND_COMPLETE) {
      this.#bound = true
      return true
    }
    if (type === ROW_DESCRIPTION) return this.#announced(bytes, at, end)
    if (type === PARSE_COMPLETE) this.#keep()
    else if (type === NO_DATA && this.#describing) this.#described([])
    return false
  }

  /** Columns announced in the same bytes as the last time are known: small results cost less. */
  #announced(bytes: Buffer, at: number, end: number): boolean {
    if (this.#describing) return false
    const known = this.#prepared?.description
    if (known !== undefined && bytes.compare(known.bytes, 0, known.bytes.length, at, end) === 0) {
      this.#begin(known.fields, known.kept)
      return true
    }
    this.#announcement = this.#prepared === undefined ? undefined : Buffer.from(bytes.subarray(at, end))
    return false
  }

  handleRowDescription({ fields }: { readonly fields: readonly WireField[] }): void {
    if (this.#describing) {
      this.#described(fields.map(({ dataTypeID }) => dataTypeID))
      return
    }
    const columns = fields.map(resultField)
    if (this.#prepared !== undefined && this.#announcement !== undefined) {
      this.#prepared.description = { bytes: this.#announcement, fields: columns, kept: {} }
    }
    this.#begin(columns, this.#prepared?.description?.kept)
  }

  #begin(fields: readonly ResultField[], kept: KeptReaders | undefined): void {
    const { target } = this.#request
    const arrays = this.#arrays
    this.#fields = fields
    try {
      // Values are bound in the formats of the types that were known; a type changed since cannot be read in all of them.
      const changed = this.#fields.find(({ typeId, format }) => format !== target.formatOf(typeId, arrays))
      if (changed !== undefined) throw this.#changedType(changed)
      target.describe(this.#fields, arrays, kept)
    } catch (error) {
      this.#fail(error)
    }
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.#tag = text
  }

  handleDataRow(): void {}

  handleEmptyQuery(): void {}

  handlePortalSuspended(): void {}

  handleNotice(notice: Notice): void {
    this.#notices.push(notice)
  }

  handleCopyInResponse(connection: WireConnection): void {
    this.failure ??= copyRefused()
    connection.sendCopyFail?.('COPY FROM STDIN has a method of its own')
    // The server ignored the first Sync, which came in copy mode.
    connection.sync()
  }

  handleCopyData(): void {
    this.failure ??= copyRefused()
  }

  handleError(error: unknown): void {
    if (this.settled) return
    this.settled = true
    const connection = this.#connection
    if (connection !== undefined) {
      const { text } = this.#request
      const state = error instanceof Error && 'severity' in error && 'code' in error ? error.code : undefined
      this.outdated = this.#trusting && !this.#bound && outdatedStates.has(state)
      if (this.outdated) {
        connection.statements.forget(text)
        connection.statements.types.forget(text)
      }
      // After the error of a Parse the server waits for it.
      if (this.#describing) connection.sync()
    }
    this.#done(this.failure ?? error, undefined)
  }

  handleReadyForQuery(): void {
    if (this.settled) return
    this.settled = true
    if (this.failure === undefined && !this.#skipping) {
      try {
        this.#request.target.finish()
      } catch (error) {
        this.failure = error
      }
    }
    if (this.failure !== undefined) {
      this.#done(this.failure, undefined)
      return
    }
    this.#done(undefined, {
      fields: this.#fields,
      rowCount: tagCount(this.#tag),
      command: tagWord(this.#tag),
      notices: this.#notices,
    })
  }

  /** The first messages: all of them, or only what asks for the types. */
  #open({ statements }: WireConnection): Buffer {
    const { text, inTransaction } = this.#request
    const writer = new MessageWriter()
    for (const name of statements.takeUseless()) writer.closeStatement(name)
    const prepared = statements.get(text)
    // In a transaction an error is final, so only what cannot have changed since is trusted: the transaction's locks
    // keep the types of what was described in it.
    if (prepared !== undefined && (!inTransaction || prepared.epoch === statements.epoch)) {
      this.#trusting = true
      this.#prepared = prepared
      this.#name = prepared.name
      this.#types = prepared.types
      return this.#run(writer)
    }
    this.#types = inTransaction ? undefined : statements.types.get(text)
    this.#name = statements.nameFor(text)
    this.#keeping = this.#name !== ''
    writer.parse(this.#name, text)
    if (this.#types !== undefined) {
      this.#trusting = true
      return this.#run(writer)
    }
    this.#describing = true
    return writer.describeStatement(this.#name).flush().finish()
  }

  #run(writer: MessageWriter): Buffer {
    const { values, target } = this.#request
    const formats = (this.#types ?? []).map((typeId) => target.formatOf(typeId, this.#arrays))
    return writer.bind(this.#name, values, formats).describePortal().execute().sync().finish()
  }

  #described(types: readonly number[]): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#describing = false
    this.#types = types
    connection.statements.types.set(this.#request.text, types)
    this.#keep()
    const unknown = connection.statements.types.unknownOf(types)
    if (unknown.length > 0) {
      this.unknownTypes = unknown
      this.failure = new Error('Types have to be looked up first')
      connection.sync()
      return
    }
    try {
      connection.stream.write(this.#run(new MessageWriter()))
    } catch (error) {
      this.failure = error
      connection.sync()
    }
  }

  /** To be called when the server has parsed the statement, and when its types are known: the later of both counts. */
  #keep(): void {
    if (!this.#keeping || this.#types === undefined) return
    this.#keeping = false
    this.#connection?.statements.add(this.#request.text, this.#name, this.#types)
  }

  #fail(error: unknown): void {
    this.failure ??= error
    this.#skipping = true
    this.#onFailure?.()
  }

  #changedType({ name }: ResultField): QueryError {
    const statements = this.#connection?.statements
    statements?.forget(this.#request.text)
    statements?.types.forget(this.#request.text)
    return new QueryError('QUERY_FAILED', `The type of the column ${JSON.stringify(name)} has changed`, {
      sqlState: '0A000',
      hint: 'Run the statement again: it is then described anew. This time it may have run.',
    })
  }
}

function copyRefused(): UsageError {
  return new UsageError('INVALID_VALUE', 'COPY gives no result with columns', { hint: 'Use the methods for COPY.' })
}

/** Passes whole DataRows; gives where the first other, or cut, message begins. */
function skipRows(bytes: Buffer, view: DataView, start: number, end: number): number {
  let at = start
  while (at + 5 <= end && bytes[at] === DATA_ROW) {
    const next = at + 1 + view.getInt32(at + 1)
    if (next > end || next < at + 5) break
    at = next
  }
  return at
}
