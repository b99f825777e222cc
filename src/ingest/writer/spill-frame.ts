/**
 * A spill file is a sequence of frames: 16 bytes of head (mark, length of the body, checksum of the body, checksum of the
 * head before it; all big-endian), then the body. The first frame's body says whose file it is.
 */
import { crc32 } from 'node:zlib'
import type { WriterBatch } from './writer-batch.ts'

export const HEAD_BYTES = 16
const mark = 0x54534b46

/** What the first frame of a file says. */
export interface SpillHeader {
  readonly version: 1
  readonly importId: string
  /** The quoted name of the table. */
  readonly target: string
}

/** A frame around a body. */
export function encodeFrame(body: readonly Buffer[]): Buffer[] {
  const head = Buffer.alloc(HEAD_BYTES)
  let length = 0
  let sum = 0
  for (const part of body) {
    length += part.length
    sum = crc32(part, sum)
  }
  head.writeUInt32BE(mark, 0)
  head.writeUInt32BE(length, 4)
  head.writeUInt32BE(sum, 8)
  head.writeUInt32BE(crc32(head.subarray(0, 12)), 12)
  return [head, ...body]
}

/** What a frame's head says of its body; undefined where these 16 bytes are no head as it was written. */
export function decodeHead(head: Buffer): { readonly length: number; readonly sum: number } | undefined {
  if (head.readUInt32BE(0) !== mark || head.readUInt32BE(12) !== crc32(head.subarray(0, 12))) return undefined
  return { length: head.readUInt32BE(4), sum: head.readUInt32BE(8) }
}

/** Where the mark of a frame may be next in these bytes; −1 for nowhere. */
export function findMark(bytes: Buffer, from: number): number {
  return bytes.indexOf(Buffer.from('TSKF', 'latin1'), from)
}

export function encodeHeader(header: SpillHeader): Buffer[] {
  return [Buffer.from(JSON.stringify(header))]
}

/** @throws SyntaxError, TypeError for bytes that are none */
export function decodeHeader(body: Buffer): SpillHeader {
  const header: SpillHeader = JSON.parse(body.toString('utf8'))
  if (header.version !== 1 || typeof header.importId !== 'string') throw new TypeError('not a header of version 1')
  return header
}

type SpilledMeta = Omit<WriterBatch, 'blocks' | 'sources' | 'lane'> & {
  readonly sourceBytes: number
  readonly lane?: WriterBatch['lane']
}

/** A batch as a body: the length of what describes it, that in JSON, then the sources, then the rows. */
export function encodeBatchBody(batch: WriterBatch): Buffer[] {
  const { blocks, sources, ...rest } = batch
  const meta = Buffer.from(JSON.stringify({ ...rest, sourceBytes: sources.length }))
  const size = Buffer.alloc(4)
  size.writeUInt32BE(meta.length)
  return [size, meta, sources, ...blocks]
}

/** @throws SyntaxError for bytes that are none */
export function decodeBatchBody(body: Buffer): WriterBatch {
  const end = 4 + body.readUInt32BE(0)
  const { sourceBytes, ...rest }: SpilledMeta = JSON.parse(body.toString('utf8', 4, end))
  const sources = body.subarray(end, end + sourceBytes)
  // Files of the first version did not say it.
  return { ...rest, lane: rest.lane ?? 'live', sources, blocks: [body.subarray(end + sourceBytes)] }
}
