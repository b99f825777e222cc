import { createReadStream } from 'node:fs'
import { crc32 } from 'node:zlib'
import { cancelledError } from '../../connection/server-error.ts'

/** What a file is known again by so far: a checksum of its first bytes. */
export interface SourceMark {
  readonly bytes: number
  readonly crc: number
}

/** The mark of what went through it. */
export class RunningMark implements SourceMark {
  bytes = 0
  crc = 0

  add(block: Buffer): void {
    this.crc = crc32(block, this.crc)
    this.bytes += block.length
  }

  /** As it is now. */
  get now(): SourceMark {
    return { bytes: this.bytes, crc: this.crc }
  }
}

/** The mark of a whole file. */
export async function markOf(path: string, signal: AbortSignal | undefined): Promise<SourceMark> {
  const mark = new RunningMark()
  for await (const block of blocks(path, signal)) mark.add(block)
  return mark.now
}

/**
 * Looks whether a file begins as it did when marks of it were made: a few seconds for a gigabyte.
 * @returns between which of its bytes it does not; undefined where it does
 */
export async function changedBytes(
  path: string,
  marks: readonly SourceMark[],
  signal: AbortSignal | undefined,
): Promise<readonly [after: number, upTo: number] | undefined> {
  const expected = marks.toSorted((one, other) => one.bytes - other.bytes)
  const mark = new RunningMark()
  let next = 0
  let same = 0
  for await (const block of blocks(path, signal)) {
    let at = 0
    for (; next < expected.length; next++) {
      const { bytes = 0, crc } = expected[next] ?? {}
      const end = at + bytes - mark.bytes
      if (end > block.length) break
      mark.add(block.subarray(at, end))
      at = end
      if (mark.crc !== crc) return [same, bytes]
      same = bytes
    }
    if (next === expected.length) return undefined
    mark.add(block.subarray(at))
  }
  const missing = expected[next]
  return missing === undefined ? undefined : [same, missing.bytes]
}

async function* blocks(path: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: 2 ** 20, ...(signal !== undefined && { signal }) })
  try {
    for await (const block of file) if (Buffer.isBuffer(block)) yield block
  } catch (error) {
    throw signal?.aborted ? cancelledError(signal) : error
  }
}
