import { copyFile, constants as flags, open, readFile, truncate } from 'node:fs/promises'
import { types } from 'node:util'
import { crc32 } from 'node:zlib'
import { decodeBatchBody, decodeHead, decodeHeader, findMark, HEAD_BYTES, type SpillHeader } from './spill-frame.ts'
import type { Lane, WriterBatch } from './writer-batch.ts'

/** Where a batch is in a spill file, and what is to be known of it without reading it. */
export interface SpilledBatch {
  readonly offset: number
  /** The frame's bytes, with its head. */
  readonly length: number
  readonly importId: string
  readonly number: number
  readonly lane: Lane
  readonly rows: number
  readonly since: number
}

/** What a spill file holds. */
export interface SpillContent {
  readonly header: SpillHeader | undefined
  readonly batches: readonly SpilledBatch[]
  /** The end of what is whole. */
  readonly size: number
  /** Bytes at the end that were never written whole, and are cut off. */
  readonly tornBytes: number
  /** Bytes that are not as they were written. */
  readonly damagedBytes: number
}

/**
 * Reads a whole file and checks every byte. A last frame that ends too early is what a kill leaves: it is cut off. What is
 * whole and has another checksum is damage: it is left out, and what comes after it is found again.
 */
export async function scanSpillFile(path: string): Promise<SpillContent> {
  const bytes = await readFile(path)
  const content = scan(bytes)
  if (content.damagedBytes > 0) await keepDamaged(path)
  if (content.tornBytes > 0) await truncate(path, content.size)
  return content
}

function scan(bytes: Buffer): SpillContent {
  let header: SpillHeader | undefined
  const batches: SpilledBatch[] = []
  let damagedBytes = 0
  let at = 0
  while (at < bytes.length) {
    const frame = frameAt(bytes, at)
    if (frame === 'torn') break
    if (frame !== 'damaged') {
      if (at === 0) header = readHeader(frame.body)
      else batches.push(describe(decodeBatchBody(frame.body), at, frame.length))
      at += frame.length
      continue
    }
    const next = nextFrame(bytes, at + 1)
    damagedBytes += next - at
    at = next
  }
  return { header, batches, size: at, tornBytes: bytes.length - at, damagedBytes }
}

function frameAt(bytes: Buffer, at: number): { readonly body: Buffer; readonly length: number } | 'torn' | 'damaged' {
  if (bytes.length - at < HEAD_BYTES) return 'torn'
  const head = decodeHead(bytes.subarray(at, at + HEAD_BYTES))
  // A power failure can leave zeros where bytes were not synced yet.
  if (head === undefined) return bytes.subarray(at).every((byte) => byte === 0) ? 'torn' : 'damaged'
  const length = HEAD_BYTES + head.length
  if (at + length > bytes.length) return 'torn'
  const body = bytes.subarray(at + HEAD_BYTES, at + length)
  return crc32(body) === head.sum ? { body, length } : 'damaged'
}

/** Where the next whole frame begins; the end of the file where there is none. */
function nextFrame(bytes: Buffer, from: number): number {
  for (let at = findMark(bytes, from); at >= 0; at = findMark(bytes, at + 1)) {
    if (typeof frameAt(bytes, at) === 'object') return at
  }
  return bytes.length
}

function readHeader(body: Buffer): SpillHeader | undefined {
  try {
    return decodeHeader(body)
  } catch {
    return undefined
  }
}

/** What is kept in memory of a batch on disk. */
export function describe(batch: WriterBatch, offset: number, length: number): SpilledBatch {
  const { importId, number, lane, rows, since } = batch
  return { offset, length, importId, number, lane, rows, since }
}

/** Reads one batch again; undefined where its bytes are not as they were written any more. */
export async function readSpilled(path: string, { offset, length }: SpilledBatch): Promise<WriterBatch | undefined> {
  const file = await open(path, 'r')
  try {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; ) {
      const { bytesRead } = await file.read(bytes, at, length - at, offset + at)
      if (bytesRead === 0) return undefined
      at += bytesRead
    }
    const frame = frameAt(bytes, 0)
    return typeof frame === 'object' ? decodeBatchBody(frame.body) : undefined
  } finally {
    await file.close()
  }
}

/** Keeps a copy of a damaged file, for whoever wants to look what can be saved of it. */
export async function keepDamaged(path: string): Promise<void> {
  await copyFile(path, `${path}.damaged`, flags.COPYFILE_EXCL).catch((error: unknown) => {
    if (!(types.isNativeError(error) && 'code' in error && error.code === 'EEXIST')) throw error
  })
}
