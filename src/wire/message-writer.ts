import type { BoundValue } from './bind-value.ts'

/**
 * Writes messages of the extended query protocol one after another into one buffer (PostgreSQL manual, "Extended Query"
 * and "Message Formats").
 */
export class MessageWriter {
  #bytes: Buffer = Buffer.allocUnsafe(512)
  #at = 0
  #start = 0

  parse(name: string, text: string): this {
    return this.#begin('P').#text(name).#text(text).#int16(0).#end()
  }

  /** @param formats - one format code for each result column; none means text for all */
  bind(name: string, values: readonly BoundValue[], formats: readonly number[]): this {
    this.#begin('B').#text('').#text(name)
    if (values.some((value) => typeof value === 'object' && value !== null)) {
      this.#int16(values.length)
      for (const value of values) this.#int16(typeof value === 'object' && value !== null ? 1 : 0)
    } else this.#int16(0)
    this.#int16(values.length)
    for (const value of values) this.#value(value)
    this.#int16(formats.length)
    for (const format of formats) this.#int16(format)
    return this.#end()
  }

  describeStatement(name: string): this {
    return this.#begin('D').#text(`S${name}`).#end()
  }

  describePortal(): this {
    return this.#begin('D').#text('P').#end()
  }

  /** Runs the unnamed portal to its end. */
  execute(): this {
    return this.#begin('E').#text('').#int32(0).#end()
  }

  closeStatement(name: string): this {
    return this.#begin('C').#text(`S${name}`).#end()
  }

  flush(): this {
    return this.#begin('H').#end()
  }

  sync(): this {
    return this.#begin('S').#end()
  }

  /** What was written; the writer is not to be used again. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  #begin(type: string): this {
    this.#room(5)
    this.#bytes[this.#at] = type.charCodeAt(0)
    this.#start = this.#at + 1
    this.#at += 5
    return this
  }

  #end(): this {
    this.#bytes.writeInt32BE(this.#at - this.#start, this.#start)
    return this
  }

  #value(value: BoundValue): void {
    if (value === null) {
      this.#int32(-1)
      return
    }
    const length = Buffer.byteLength(value)
    this.#int32(length).#room(length)
    if (typeof value === 'string') this.#bytes.write(value, this.#at)
    else this.#bytes.set(value, this.#at)
    this.#at += length
  }

  #text(text: string): this {
    const length = Buffer.byteLength(text)
    this.#room(length + 1)
    this.#bytes.write(text, this.#at)
    this.#bytes[this.#at + length] = 0
    this.#at += length + 1
    return this
  }

  #int16(value: number): this {
    this.#room(2)
    this.#bytes.writeUInt16BE(value, this.#at)
    this.#at += 2
    return this
  }

  #int32(value: number): this {
    this.#room(4)
    this.#bytes.writeInt32BE(value, this.#at)
    this.#at += 4
    return this
  }

  #room(length: number): this {
    const needed = this.#at + length
    if (needed <= this.#bytes.length) return this
    const wider = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length))
    this.#bytes.copy(wider, 0, 0, this.#at)
    this.#bytes = wider
    return this
  }
}
