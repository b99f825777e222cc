import { type ArrayElement, type ArrayTypes, firstOwnType } from '../wire/array-type.ts'
import type { ColumnBatch, ColumnOptions, ColumnReader, ResultField } from '../wire/column.ts'

/** A Map that forgets the entry not used for the longest time when it is full. */
class LeastRecentlyUsed<V> {
  readonly #entries = new Map<string, V>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, value)
    return value
  }

  /** Gives what was forgotten for it. */
  set(key: string, value: V): V | undefined {
    this.#entries.set(key, value)
    if (this.#entries.size <= this.#limit) return undefined
    const [oldest] = this.#entries
    if (oldest === undefined) return undefined
    this.#entries.delete(oldest[0])
    return oldest[1]
  }

  take(key: string): V | undefined {
    const value = this.#entries.get(key)
    this.#entries.delete(key)
    return value
  }

  /** Forgets all, and gives what it was. */
  takeAll(): V[] {
    const values = [...this.#entries.values()]
    this.#entries.clear()
    return values
  }
}

/** Statements whose column types one pool remembers, and statements one connection keeps prepared on the server. */
const typeLimit = 1000
const preparedLimit = 100
/** Longer texts are hardly ever sent twice, and would fill the memory of both sides. */
const textLimit = 32_768
const noTypes: readonly number[] = []

/**
 * What one connection was told of types, and all others of its pool need not ask again: the column types of statements,
 * by their text, and the array types of the database's own.
 */
export class ColumnTypes {
  readonly #types = new LeastRecentlyUsed<readonly number[]>(typeLimit)
  readonly #arrays = new Map<number, ArrayElement>()
  /** The database's own types that were looked up. Their oids never come to mean another type. */
  readonly #known = new Set<number>()

  get arrays(): ArrayTypes {
    return this.#arrays
  }

  /** Which of the types are the database's own and have not been looked up. */
  unknownOf(typeIds: readonly number[]): readonly number[] {
    if (!typeIds.some((typeId) => typeId >= firstOwnType && !this.#known.has(typeId))) return noTypes
    return [...new Set(typeIds.filter((typeId) => typeId >= firstOwnType && !this.#known.has(typeId)))]
  }

  /** Notes what looking up the types gave: `found` are those that are arrays. */
  learn(typeIds: readonly number[], found: readonly (ArrayElement & { readonly id: number })[]): void {
    for (const { id, typeId, typeModifier } of found) this.#arrays.set(id, { typeId, typeModifier })
    for (const typeId of typeIds) this.#known.add(typeId)
  }

  get(text: string): readonly number[] | undefined {
    return this.#types.get(text)
  }

  set(text: string, types: readonly number[]): void {
    if (text.length <= textLimit) this.#types.set(text, types)
  }

  forget(text: string): void {
    this.#types.take(text)
  }
}

/** A statement that is prepared on the server under `name`. */
export interface PreparedStatement {
  readonly name: string
  readonly types: readonly number[]
  /** {@link StatementCache.epoch} at its description. */
  readonly epoch: number
  /** The RowDescription of its last run, what it says, and what read it. */
  description?: {
    readonly bytes: Buffer
    readonly fields: readonly ResultField[]
    readonly kept: KeptReaders
  }
}

/** Readers of a statement's columns, for its next result; empty while one is read. */
export interface KeptReaders {
  readers?: readonly ColumnReader<ColumnBatch>[] | undefined
  /** The option they were made with. */
  numeric?: ColumnOptions['numeric']
}

/** The prepared statements of one connection, by their text. */
export class StatementCache {
  /** Column types known to the whole pool. */
  readonly types: ColumnTypes
  readonly #prepare: boolean
  /** Changes with every command that may change what a prepared statement gives. */
  epoch = 0
  readonly #prepared = new LeastRecentlyUsed<PreparedStatement>(preparedLimit)
  #names = 0
  /** Names of statements that are of no use any more and still to be closed. */
  #useless: string[] = []

  /** @param prepare - whether statements may stay prepared; not behind a pooler that changes the session */
  constructor(types: ColumnTypes, prepare: boolean) {
    this.types = types
    this.#prepare = prepare
  }

  get(text: string): PreparedStatement | undefined {
    return this.#prepared.get(text)
  }

  /** A name for the statement, or the empty one, which the server forgets with the next, for one not worth keeping. */
  nameFor(text: string): string {
    return !this.#prepare || text.length > textLimit ? '' : `tsdbkit_${++this.#names}`
  }

  /** Notes that the server has prepared the statement. */
  add(text: string, name: string, types: readonly number[]): void {
    this.forget(text)
    const forgotten = this.#prepared.set(text, { name, types, epoch: this.epoch })
    if (forgotten !== undefined) this.#useless.push(forgotten.name)
  }

  /** Forgets the statement, which the server may still have. */
  forget(text: string): void {
    const prepared = this.#prepared.take(text)
    if (prepared !== undefined) this.#useless.push(prepared.name)
  }

  /** The names to be closed on the server, once. */
  takeUseless(): readonly string[] {
    if (this.#useless.length === 0) return this.#useless
    const names = this.#useless
    this.#useless = []
    return names
  }

  /** Hears of every command that completed on the connection, by its tag. */
  completed(tag: string): void {
    if (harmlessTag.test(tag)) return
    this.epoch++
    if (tag === 'DEALLOCATE ALL' || tag === 'DISCARD ALL') {
      this.#prepared.takeAll()
      this.#useless = []
    } else if (tag === 'DEALLOCATE') {
      // It may have been one of these; closing one that is gone is no error.
      for (const { name } of this.#prepared.takeAll()) this.#useless.push(name)
    }
  }
}

const harmlessTag = /^(?:SELECT|INSERT|UPDATE|DELETE|MERGE|COPY|FETCH|SAVEPOINT|RELEASE) ?/
