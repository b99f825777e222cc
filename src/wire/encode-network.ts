import { isIPv4, isIPv6 } from 'node:net'
import type { CopyBuffer } from './copy-buffer.ts'

/** `inet_send`: family (PostgreSQL's own numbers), bits of the mask, whether it is a cidr, size, address. */
const FAMILY = { four: 2, six: 3 }

/**
 * Writes a field of type inet or cidr from its text, such as `10.0.0.0/8` or `2001:db8::1`.
 * @returns false, and writes nothing, for any other text; a cidr must be written in full, with no bits beyond its mask
 */
export function writeInet(buffer: CopyBuffer, source: string, cidr: boolean): boolean {
  const [, address = '', mask] = /^([0-9a-f.:]+)(?:\/(\d{1,3}))?$/i.exec(source.trim()) ?? []
  const bytes = isIPv4(address) ? address.split('.').map(Number) : isIPv6(address) ? ipv6Bytes(address) : undefined
  if (bytes === undefined) return false
  const bits = mask === undefined ? bytes.length * 8 : Number(mask)
  if (bits > bytes.length * 8) return false
  if (cidr && bytes.some((byte, index) => (byte & (0xff >> Math.min(Math.max(bits - index * 8, 0), 8))) !== 0)) {
    return false
  }
  const at = buffer.reserve(8 + bytes.length)
  buffer.view.setInt32(at, 4 + bytes.length)
  buffer.bytes.set([bytes.length === 4 ? FAMILY.four : FAMILY.six, bits, cidr ? 1 : 0, bytes.length, ...bytes], at + 4)
  return true
}

function ipv6Bytes(address: string): number[] {
  const words = (part: string | undefined): number[] =>
    part === undefined || part === ''
      ? []
      : part.split(':').flatMap((word) => {
          if (word.includes('.')) return word.split('.').map(Number)
          const value = Number.parseInt(word, 16)
          return [value >> 8, value & 0xff]
        })
  const [head, tail] = address.split('::')
  const start = words(head)
  const end = words(tail)
  return [...start, ...Array<number>(16 - start.length - end.length).fill(0), ...end]
}

/**
 * Writes a field of type macaddr (6 bytes) or macaddr8 from its hexadecimal digits and any separators of the server's.
 * @returns false, and writes nothing, for any other text
 */
export function writeMacAddress(buffer: CopyBuffer, source: string, size: 6 | 8): boolean {
  const text = source.trim()
  const digits = text.replaceAll(/[:.-]/g, '')
  if (digits.length !== size * 2 || !/^[0-9a-f]+$/i.test(digits)) return false
  if (!macShapes.some((shape) => shape.test(text))) return false
  buffer.field(Buffer.from(digits, 'hex'))
  return true
}

const macShapes = [
  /^[\da-f]{2}(:[\da-f]{2})+$/i,
  /^[\da-f]{2}(-[\da-f]{2})+$/i,
  /^[\da-f]{4}(\.[\da-f]{4})+$/i,
  /^[\da-f]{6}[:-][\da-f]{6}$/i,
  /^[\da-f]+$/i,
]

/**
 * Writes a field of type uuid from its text, with or without hyphens and braces.
 * @returns false, and writes nothing, for any other text
 */
export function writeUuid(buffer: CopyBuffer, source: string): boolean {
  const digits = /^(\{?)([\da-f]{4}(?:-?[\da-f]{4}){7})(\}?)$/i.exec(source.trim())
  if (digits === null || (digits[1] === '') !== (digits[3] === '')) return false
  buffer.field(Buffer.from((digits[2] ?? '').replaceAll('-', ''), 'hex'))
  return true
}
