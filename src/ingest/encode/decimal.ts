/** An exact decimal number: `digits` × 10 ^ −`scale`, or one of the three a numeric knows beside. */
export type Decimal = { readonly digits: bigint; readonly scale: number } | 'NaN' | 'Infinity' | '-Infinity'

const pattern = /^\s*([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?\s*$/i

/** @throws RangeError for a text that is no number */
export function parseDecimal(text: string): Decimal {
  const word = text.trim().toLowerCase().replace(/^\+/, '')
  if (word === 'nan') return 'NaN'
  if (word === 'inf' || word === 'infinity') return 'Infinity'
  if (word === '-inf' || word === '-infinity') return '-Infinity'
  const [, sign, whole = '', fraction = '', exponent = '0'] = pattern.exec(text) ?? []
  if (whole + fraction === '') throw new RangeError('Not a number')
  const digits = BigInt(`${sign === '-' ? '-' : ''}${whole}${fraction}`)
  return { digits, scale: fraction.length - Number(exponent) }
}

/** Half goes away from zero, as the server rounds. */
export function roundDecimal(value: Decimal, scale: number): Decimal {
  if (typeof value === 'string' || value.scale <= scale) return value
  const unit = 10n ** BigInt(value.scale - scale)
  const size = value.digits < 0n ? -value.digits : value.digits
  const rounded = (size + unit / 2n) / unit
  return { digits: value.digits < 0n ? -rounded : rounded, scale }
}

export function addDecimals(one: Decimal, other: Decimal): Decimal {
  if (typeof one === 'string' || typeof other === 'string') return addSpecial(one, other)
  const scale = Math.max(one.scale, other.scale)
  return { digits: scaled(one, scale) + scaled(other, scale), scale }
}

/** As the server orders: NaN is greater than all. Negative where the first is less. */
export function compareDecimals(one: Decimal, other: Decimal): number {
  if (typeof one === 'string' || typeof other === 'string') return rank(one) - rank(other)
  const scale = Math.max(one.scale, other.scale)
  const difference = scaled(one, scale) - scaled(other, scale)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

function addSpecial(one: Decimal, other: Decimal): Decimal {
  const found = [one, other].filter((value) => typeof value === 'string')
  const [first] = found
  if (first === undefined || found.some((value) => value !== first)) return 'NaN'
  return first
}

function rank(value: Decimal): number {
  if (typeof value !== 'string') return 0
  return value === 'NaN' ? 2 : value === 'Infinity' ? 1 : -1
}

function scaled({ digits, scale }: { readonly digits: bigint; readonly scale: number }, to: number): bigint {
  return digits * 10n ** BigInt(to - scale)
}
