/**
 * Session state per connection, although the engine has one session. Settings are read and compared through the
 * engine's own C functions (about 0.2 ms for all of them), so a change is noticed however it was made: SET, a
 * function, RESET, DISCARD. Restoring runs SQL, and only for what differs.
 */
import type { EngineHandle } from './engine-hook.ts'
import type { Setting } from './engine-message.ts'

// guc.h: GucContext and GucSource. A value set from PGC_S_CLIENT is also what RESET goes back to.
const CONTEXT_SUPERUSER = 5
const CONTEXT_BACKEND = 4
const SOURCE_CLIENT = 9
const SOURCE_OVERRIDE = 10

/** The session's identity; restored by statements of their own, since changing them needs a catalog look-up. */
const IDENTITY = ['session_authorization', 'role']

/** What every connection starts with; the engine's own defaults are those of its build, not of a server. */
export const ENGINE_DEFAULTS: readonly Setting[] = [
  ['search_path', '"$user", public'],
  ['timezone', 'UTC'],
  ['datestyle', 'ISO, MDY'],
  ['client_min_messages', 'notice'],
  // The build starts with these off or on for its own tests.
  ['enable_seqscan', 'on'],
  ['log_min_messages', 'warning'],
  ['allow_system_table_mods', 'off'],
]

interface ConnectionState {
  /** Settings of the start-up message, until they were checked by the engine. */
  pending: readonly Setting[]
  /** Where RESET goes back to, beyond the engine's defaults. */
  defaults: readonly Setting[]
  /** The values at the last change of owner, by index into `names`. */
  values: readonly string[] | undefined
  /** All are reset when another connection has its turn: what it set may have names that are not in `names`. */
  readonly resets: boolean
}

const newState = (): ConnectionState => ({ pending: [], defaults: [], values: undefined, resets: false })

export interface StatementRunner {
  /** Runs SQL as the engine's own; throws with the server's message. */
  run(text: string): void
}

/** Keeps the settings of every connection and puts them in place when another connection takes its turn. */
export class SessionSettings {
  readonly #engine: EngineHandle
  readonly #runner: StatementRunner
  readonly #names: string[]
  readonly #pointers: number[]
  readonly #known: Set<string>
  readonly #connections = new Map<number, ConnectionState>()
  readonly #base: readonly string[]
  readonly #bytes: Uint8Array[] = []
  readonly #texts: string[] = []
  /** What RESET goes back to at this moment. */
  #defaults: readonly Setting[] = []
  #current: number
  #remembered: { readonly count: number; readonly current: number } | undefined

  /** `names` are all settings, by whether a session may change them; `owner` is the connection whose turn it is now. */
  constructor(
    engine: EngineHandle,
    runner: StatementRunner,
    names: { readonly changeable: readonly string[]; readonly fixed: readonly string[] },
    owner: number,
  ) {
    this.#engine = engine
    this.#runner = runner
    const others = names.changeable.map((name) => name.toLowerCase()).filter((name) => !IDENTITY.includes(name))
    this.#names = [...IDENTITY, ...others]
    this.#pointers = this.#names.map((name) => cString(this.#engine, name))
    this.#known = new Set([...this.#names, ...names.fixed.map((name) => name.toLowerCase())])
    this.#current = owner
    this.#connections.set(owner, newState())
    this.#base = this.#read()
  }

  /** Remembers this moment; afterwards `rewind` goes back to it, together with the engine's memory. */
  remember(): void {
    this.#remembered = { count: this.#names.length, current: this.#current }
  }

  /** No connection of the time before is left. */
  rewind(): void {
    const { count, current } = this.#remembered ?? { count: this.#names.length, current: this.#current }
    for (const name of this.#names.splice(count)) this.#known.delete(name)
    this.#pointers.length = count
    this.#connections.clear()
    this.#connections.set(current, newState())
    this.#defaults = []
    this.#current = current
  }

  /** `checked`: names and values are known to be valid, and set without SQL. */
  open(
    connection: number,
    settings: readonly Setting[],
    { checked, resets }: { readonly checked: boolean; readonly resets: boolean },
  ): void {
    const [pending, defaults] = checked ? [[], settings] : [settings, []]
    this.#connections.set(connection, { pending, defaults, values: undefined, resets })
  }

  forget(connection: number): void {
    this.#connections.delete(connection)
  }

  /** Settings with a dot in their name exist once somebody sets them, so their names are taken from the statements. */
  watch(name: string): void {
    const key = name.toLowerCase()
    if (this.#known.has(key)) return
    this.#known.add(key)
    this.#names.push(key)
    this.#pointers.push(cString(this.#engine, key))
  }

  /** Gives the session to `connection`. Throws if its state cannot be restored, such as a role that is gone. */
  switchTo(connection: number): void {
    if (connection === this.#current) return
    const from = this.#connections.get(this.#current)
    if (from?.resets) this.#runner.run('reset all')
    const before = this.#read()
    if (from !== undefined) from.values = before
    const to = this.#connections.get(connection) ?? newState()
    this.#connections.set(connection, to)
    // From here on the session belongs to nobody: whoever comes next compares against what is really set.
    this.#current = Number.NaN
    const current = this.#useDefaults(to.defaults) ? this.#read() : before
    this.#restore(current, to.values ?? this.#defaultValues(to))
    if (to.pending.length > 0) this.#applyPending(to)
    this.#current = connection
  }

  #defaultValues(state: ConnectionState): string[] {
    const values = this.#names.map((_, index) => this.#base[index] ?? '')
    for (const [name, value] of state.defaults) {
      const index = this.#names.indexOf(name)
      if (index >= 0) values[index] = value
    }
    return values
  }

  /**
   * Makes RESET go back to these values: the start-up settings of the connection whose turn it is. True where settings
   * may have another value now.
   */
  #useDefaults(defaults: readonly Setting[]): boolean {
    if (defaults === this.#defaults || (defaults.length === 0 && this.#defaults.length === 0)) return false
    for (const [name] of this.#defaults) {
      const base = this.#base[this.#names.indexOf(name)]
      if (base !== undefined) setDefault(this.#engine, name, base)
    }
    for (const [name, value] of defaults) setDefault(this.#engine, name, value)
    this.#defaults = defaults
    return true
  }

  #applyPending(state: ConnectionState): void {
    const settings = state.pending
    for (const [name, value] of settings) {
      if (!this.#known.has(name.toLowerCase())) this.watch(name)
      this.#runner.run(`select pg_catalog.set_config(${quote(name)}, ${quote(value)}, false)`)
    }
    state.pending = []
    // Read back, so that the default is the server's own spelling. client_encoding cannot be set outside a statement.
    const current = this.#read()
    state.defaults = settings.flatMap(([name]) => {
      const key = name.toLowerCase()
      const value = current[this.#names.indexOf(key)]
      return value === undefined || key === 'client_encoding' ? [] : [[key, value] as const]
    })
    this.#useDefaults(state.defaults)
  }

  #restore(current: readonly string[], target: readonly string[]): void {
    const changed = this.#names.flatMap((_, index) => (current[index] === (target[index] ?? '') ? [] : [index]))
    if (changed.length === 0) return
    const identity = IDENTITY.length
    const hadIdentity = current.slice(0, identity).some((value, index) => value !== this.#base[index])
    if (hadIdentity) this.#runner.run('set session authorization postgres; reset role')
    const settings = changed.filter((index) => index >= identity)
    if (settings.length > 0) {
      const calls = settings.map((index) => {
        const value = target[index] ?? ''
        return `pg_catalog.set_config(${quote(this.#names[index] ?? '')}, ${quote(value)}, false)`
      })
      this.#runner.run(`select ${calls.join(', ')}`)
    }
    const [authorization = '', role = 'none'] = target
    if (authorization !== this.#base[0]) this.#runner.run(`set session authorization ${quote(authorization)}`)
    if (role !== this.#base[1]) this.#runner.run(`set role ${quote(role)}`)
  }

  /** All values now. Most did not change since the last time, so bytes are compared before text is made. */
  #read(): string[] {
    const values: string[] = []
    for (let index = 0; index < this.#pointers.length; index++) {
      const pointer = this.#engine.call('GetConfigOption', this.#pointers[index] ?? 0, 1, 0)
      values.push(this.#text(index, pointer))
    }
    return values
  }

  #text(index: number, pointer: number): string {
    if (pointer === 0) return ''
    const heap = new Uint8Array(this.#engine.memory.buffer)
    const known = this.#bytes[index]
    if (known !== undefined) {
      let at = 0
      while (at < known.length && heap[pointer + at] === known[at]) at++
      if (at === known.length) return this.#texts[index] ?? ''
    }
    let end = pointer
    while (heap[end] !== 0) end++
    const bytes = heap.slice(pointer, end + 1)
    const text = new TextDecoder().decode(new Uint8Array(bytes.subarray(0, -1)))
    this.#bytes[index] = bytes
    this.#texts[index] = text
    return text
  }
}

/** Sets what every connection starts with and RESET goes back to, before any connection exists. */
export function setEngineDefaults(engine: EngineHandle): void {
  for (const [name, value] of ENGINE_DEFAULTS) setDefault(engine, name, value)
}

/** What the server itself does for the user of a new session; inside a transaction, since it looks the user up. */
export function setOverride(engine: EngineHandle, name: string, value: string): void {
  setOption(engine, name, value, CONTEXT_BACKEND, SOURCE_OVERRIDE)
}

/** Sets a value that RESET goes back to too. It must be valid: an error here would end the engine. */
export function setDefault(engine: EngineHandle, name: string, value: string): void {
  setOption(engine, name, value, CONTEXT_SUPERUSER, SOURCE_CLIENT)
}

function setOption(engine: EngineHandle, name: string, value: string, context: number, source: number): void {
  const namePointer = cString(engine, name)
  const valuePointer = cString(engine, value)
  engine.call('SetConfigOption', namePointer, valuePointer, context, source)
  engine.call('free', namePointer)
  engine.call('free', valuePointer)
}

/** The values of settings, as a session sees them now. */
export function readSettings(engine: EngineHandle, names: readonly string[]): Setting[] {
  return names.map((name) => {
    const pointer = cString(engine, name)
    const value = readText(engine, engine.call('GetConfigOption', pointer, 1, 0))
    engine.call('free', pointer)
    return [name, value]
  })
}

function readText(engine: EngineHandle, pointer: number): string {
  if (pointer === 0) return ''
  const heap = new Uint8Array(engine.memory.buffer)
  let end = pointer
  while (heap[end] !== 0) end++
  // A copy: the decoder takes no shared memory.
  return new TextDecoder().decode(heap.slice(pointer, end))
}

/** A copy of `text` in the engine's heap; the caller frees it. */
function cString(engine: EngineHandle, text: string): number {
  const bytes = new TextEncoder().encode(`${text}\0`)
  const pointer = engine.call('malloc', bytes.length)
  new Uint8Array(engine.memory.buffer).set(bytes, pointer)
  return pointer
}

/** Safe whatever standard_conforming_strings says in the session at this moment. */
const quote = (text: string): string => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
