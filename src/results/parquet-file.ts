/** A file as parquet-wasm reads it, whose memory is given back as soon as it has been read. */
import type { BigIntStats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** The file is not the one that was opened. */
export class FileChanged extends Error {}

/** Parts of an open file; what they lend can be freed. */
export class FileBlob extends Blob {
  readonly #file: FileHandle
  readonly #then: BigIntStats
  #lent: ArrayBuffer[] = []

  private constructor(file: FileHandle, then: BigIntStats) {
    super()
    this.#file = file
    this.#then = then
  }

  static async open(path: string): Promise<FileBlob> {
    const file = await open(path)
    return new FileBlob(file, await file.stat({ bigint: true }))
  }

  override get size(): number {
    return Number(this.#then.size)
  }

  override slice(start = 0, end: number = this.size): Blob {
    const at = (place: number): number => Math.min(Math.max(place < 0 ? this.size + place : place, 0), this.size)
    return new FilePart((from, size) => this.#read(from, size), at(start), Math.max(at(end) - at(start), 0))
  }

  /** @throws FileChanged where its size or time is not what it was */
  async check(): Promise<void> {
    const { size, mtimeNs } = await this.#file.stat({ bigint: true })
    if (size !== this.#then.size || mtimeNs !== this.#then.mtimeNs)
      throw new FileChanged('it was changed while it was read')
  }

  /** Gives back the memory of all that was read: nobody may use it any more. */
  free(): void {
    const lent = this.#lent
    this.#lent = []
    freeBuffers(lent)
  }

  async #read(from: number, size: number): Promise<ArrayBuffer> {
    const buffer = new ArrayBuffer(size)
    for (let done = 0; done < size; ) {
      const { bytesRead } = await this.#file.read(new Uint8Array(buffer), done, size - done, from + done)
      if (bytesRead === 0) throw new FileChanged('it was cut off while it was read')
      done += bytesRead
    }
    this.#lent.push(buffer)
    return buffer
  }
}

class FilePart extends Blob {
  readonly #read: (from: number, size: number) => Promise<ArrayBuffer>
  readonly #from: number
  readonly #size: number

  constructor(read: (from: number, size: number) => Promise<ArrayBuffer>, from: number, size: number) {
    super()
    this.#read = read
    this.#from = from
    this.#size = size
  }

  override get size(): number {
    return this.#size
  }

  override arrayBuffer(): Promise<ArrayBuffer> {
    return this.#read(this.#from, this.#size)
  }
}

/** Gives memory back now: a thread that makes few objects collects them late. */
export function freeBuffers(buffers: readonly ArrayBuffer[]): void {
  const { port1 } = new MessageChannel()
  port1.close()
  port1.postMessage(undefined, [...buffers])
}
