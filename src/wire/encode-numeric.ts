import type { CopyBuffer } from './copy-buffer.ts'

/** `numeric_send` of PostgreSQL: digit count, weight, sign, display scale, then digits of base 10,000. */
const NEGATIVE = 0x4000
const special: ReadonlyMap<string, number> = new Map([
  ['nan', 0xc000],
  ['infinity', 0xd000],
  ['inf', 0xd000],
  ['-infinity', 0xf000],
  ['-inf', 0xf000],
])

const decimal = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d{1,6}))?$/i
/** What `numeric` holds: digits before and after the point. */
const maxBefore = 131_072
const maxAfter = 16_383

/**
 * Writes a field of type numeric from its decimal text, with as many places as are written.
 * @returns false, and writes nothing, for a text that is no number the type can hold
 */
export function writeNumeric(buffer: CopyBuffer, source: string): boolean {
  const text = source.trim()
  const sign = special.get(text.toLowerCase().replace(/^\+/, ''))
  if (sign !== undefined) {
    writeParts(buffer, [], 0, sign, 0)
    return true
  }
  const match = decimal.exec(text)
  if (match === null) return false
  const [, minus, whole = '', fraction = '', exponent = '0'] = match
  if (whole === '' && fraction === '') return false
  const shift = Number(exponent)
  // Digits with the point after `point` of them.
  const digits = whole + fraction
  const point = whole.length + shift
  const scale = Math.max(fraction.length - shift, 0)
  const first = digits.search(/[1-9]/)
  if (first >= 0 && point - first > maxBefore) return false
  if (scale > maxAfter) return false
  const groups = first < 0 ? { digits: [], weight: 0 } : group(digits, point)
  writeParts(buffer, groups.digits, groups.weight, minus === '-' && first >= 0 ? NEGATIVE : 0, scale)
  return true
}

/** Cuts decimal digits into groups of four from the point, without leading and trailing zero groups. */
function group(digits: string, point: number): { readonly digits: readonly number[]; readonly weight: number } {
  // Digits in the first group: what is before the point decides, and that may be negative.
  const rest = ((point % 4) + 4) % 4
  const before = rest === 0 ? 4 : rest
  const padded = '0'.repeat(4 - before) + digits
  const groups: number[] = []
  for (let at = 0; at < padded.length; at += 4) groups.push(Number(padded.slice(at, at + 4).padEnd(4, '0')))
  let weight = Math.floor((point + 4 - before) / 4) - 1
  let start = 0
  while (groups[start] === 0) {
    start++
    weight--
  }
  let end = groups.length
  while (end > start && groups[end - 1] === 0) end--
  return { digits: groups.slice(start, end), weight }
}

function writeParts(buffer: CopyBuffer, digits: readonly number[], weight: number, sign: number, scale: number): void {
  const at = buffer.reserve(12 + digits.length * 2)
  const { view } = buffer
  view.setInt32(at, 8 + digits.length * 2)
  view.setInt16(at + 4, digits.length)
  view.setInt16(at + 6, weight)
  view.setUint16(at + 8, sign)
  view.setUint16(at + 10, scale)
  for (let index = 0; index < digits.length; index++) view.setInt16(at + 12 + index * 2, digits[index] ?? 0)
}
