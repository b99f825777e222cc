/**
 * Names that are a connection's own on a server and would be everybody's in the engine's one session: prepared
 * statements, the unnamed one included, and channels. Rewrites the messages that use them.
 */
import { HEADER_BYTES, message, readText } from '../wire/message.ts'
import { refusalOf } from './refused-statement.ts'

const STATEMENT = 0x53

/** Bytes that stand in for a command, and the tag that is answered instead of theirs. */
export interface Replacement {
  readonly bytes: Buffer
  readonly tag: string
}

export class OwnNames {
  /** The channels it listens on; the engine listens on those of all connections. */
  readonly channels: Set<string> = new Set()
  channelsChanged = false
  readonly #prefix: string
  readonly #statements = new Set<string>()
  /** The Parse that made the unnamed statement: others may have replaced it since. */
  #unnamed: Buffer | undefined
  /** True where the unnamed statement was made in this turn. */
  #unnamedThere = false
  #unnamedMissing = false

  constructor(connection: number) {
    this.#prefix = `${connection}:`
  }

  /** True where nothing of this connection is left in the session. */
  get none(): boolean {
    return this.#statements.size === 0 && this.channels.size === 0
  }

  /** The message as the engine gets it. */
  rewrite(type: string, bytes: Buffer): Buffer {
    if (type === 'Q') return this.#query(bytes)
    if (type === 'P') return this.#parse(bytes)
    if (type === 'B') return this.#bind(bytes)
    if ((type === 'D' || type === 'C') && bytes[HEADER_BYTES] === STATEMENT) return this.#describeOrClose(type, bytes)
    return bytes
  }

  /** A Parse that must run before what was rewritten since the last call, and whose answer the client must not see. */
  takeMissing(): Buffer | undefined {
    const missing = this.#unnamedMissing ? this.#unnamed : undefined
    this.#unnamedMissing = false
    return missing
  }

  /** From here on the session may be somebody else's for a while. */
  endTurn(): void {
    this.#unnamedThere = false
  }

  /** Messages that close all prepared statements. */
  closeAll(): Buffer[] {
    const close = [...this.#statements].map((name) => message('C', Buffer.from('S'), name))
    this.#statements.clear()
    return close
  }

  /** What stands in for a simple query that would take the statements and channels of all connections, or name one of its own. */
  replace(text: string, inTransaction: boolean): Replacement | undefined {
    const [, command, plans] = DISCARD.exec(text) ?? []
    if (command === undefined) return this.#replaceDeallocate(text)
    const discards = command.toLowerCase() === 'discard'
    // In a transaction the engine itself refuses DISCARD ALL, and nothing is lost.
    if (plans !== undefined || (discards && inTransaction)) return undefined
    const close = this.closeAll()
    if (discards) this.#setChannels(() => this.channels.clear())
    const reset = discards ? [message('Q', RESET)] : []
    return { bytes: Buffer.concat([...close, message('S'), ...reset]), tag: `${command.toUpperCase()} ALL` }
  }

  #replaceDeallocate(text: string): Replacement | undefined {
    const [, quoted, plain] = DEALLOCATE.exec(text) ?? []
    const name = this.#own(quoted === undefined ? (plain ?? '').toLowerCase() : quoted.replaceAll('""', '"'))
    if (!this.#statements.delete(name)) return undefined
    return { bytes: Buffer.concat([message('C', Buffer.from('S'), name), message('S')]), tag: 'DEALLOCATE' }
  }

  #query(bytes: Buffer): Buffer {
    const [text] = readText(bytes, HEADER_BYTES)
    this.#watchChannels(text)
    this.#unnamed = undefined
    const refusal = refusalOf(text)
    return refusal === undefined ? bytes : message('Q', refusal)
  }

  #parse(bytes: Buffer): Buffer {
    const [name, next] = readText(bytes, HEADER_BYTES)
    const [text] = readText(bytes, next)
    this.#watchChannels(text)
    const instead = refusalOf(text) ?? this.#discardBlock(text)
    const rest = instead === undefined ? bytes.subarray(next) : Buffer.from(`${instead}\0\0\0`)
    if (name === '') {
      const parse = instead === undefined ? bytes : message('P', '', rest)
      this.#unnamed = Buffer.from(parse)
      this.#unnamedThere = true
      return parse
    }
    const own = this.#own(name)
    if (instead === undefined) this.#statements.add(own)
    return message('P', own, rest)
  }

  #bind(bytes: Buffer): Buffer {
    const [portal, next] = readText(bytes, HEADER_BYTES)
    const [name, rest] = readText(bytes, next)
    if (name !== '') return message('B', portal, this.#own(name), bytes.subarray(rest))
    this.#needUnnamed()
    return bytes
  }

  #describeOrClose(type: string, bytes: Buffer): Buffer {
    const [name] = readText(bytes, HEADER_BYTES + 1)
    if (name !== '') {
      if (type === 'C') this.#statements.delete(this.#own(name))
      return message(type, Buffer.from('S'), this.#own(name))
    }
    if (type === 'C') this.#unnamed = undefined
    else this.#needUnnamed()
    return bytes
  }

  #needUnnamed(): void {
    if (!this.#unnamedThere && this.#unnamed !== undefined) this.#unnamedMissing = true
    this.#unnamedThere = true
  }

  #own(name: string): string {
    return this.#prefix + name
  }

  /** The extended protocol's DISCARD ALL and DEALLOCATE ALL, as one statement. */
  #discardBlock(text: string): string | undefined {
    const [, command, plans] = DISCARD.exec(text) ?? []
    if (command === undefined || plans !== undefined) return undefined
    const discards = command.toLowerCase() === 'discard'
    if (discards) this.#setChannels(() => this.channels.clear())
    const names = [...this.#statements].map((name) => `'${name.replaceAll("'", "''")}'`)
    this.#statements.clear()
    return `do $discard$ declare name text; begin
      for name in select p.name from pg_catalog.pg_prepared_statements p where p.name in (${['null', ...names].join(', ')})
      loop execute pg_catalog.format('deallocate %I', name); end loop; ${discards ? RESET : ''} end $discard$`
  }

  #watchChannels(text: string): void {
    if (!LISTENS.test(text)) return
    for (const [, stop, quoted, plain] of text.matchAll(LISTEN)) {
      const channel = quoted === undefined ? (plain ?? '').toLowerCase() : quoted.replaceAll('""', '"')
      this.#setChannels(() => {
        if (stop === undefined) this.channels.add(channel)
        else if (channel === '*') this.channels.clear()
        else this.channels.delete(channel)
      })
    }
  }

  #setChannels(change: () => void): void {
    change()
    this.channelsChanged = true
  }
}

const RESET = 'reset session authorization; reset all;'
const DISCARD = /^\s*(discard|deallocate)\s+(?:all|(plans|temp|temporary|sequences))\s*;?\s*$/i
const DEALLOCATE =
  /^\s*deallocate\s+(?:prepare\s+)?(?:"((?:[^"]|"")+)"|([a-z_\u0080-\uffff][\w$\u0080-\uffff]*))\s*;?\s*$/i
const LISTENS = /listen/i
const LISTEN = /\b(un)?listen\s+(?:"((?:[^"]|"")+)"|(\*|[a-z_\u0080-\uffff][\w$\u0080-\uffff]*))/gi
