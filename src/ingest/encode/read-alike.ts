import type { ColumnType } from '../../catalog/column.ts'

/** Whether a text that can be written as a value here is the same value to the server. */
export type ReadAlike = (text: string) => boolean

const always: ReadAlike = () => true

/** The server's white space is that of ASCII. */
const withoutForeignSpace: ReadAlike = (text) => text.charCodeAt(0) < 128 && text.charCodeAt(text.length - 1) < 128

/** What has one meaning in every setting; of other ways to write a time, the server is to judge. */
const isoTime =
  /^[12]\d{3}-\d\d-\d\d(?:[ T](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)?)?$/

const time: ReadAlike = (text) => isoTime.test(text)

/** A text next to the middle of two floats: one that was rounded to a double before is rounded twice. */
const float4: ReadAlike = (text) => {
  const value = Number(text)
  const single = Math.fround(value)
  if (value === single || !Number.isFinite(value)) return withoutForeignSpace(text)
  scratch.setFloat64(0, value)
  return (scratch.getUint32(4) & 0x1fffffff) !== 0x10000000 && Math.abs(value) > 1e-37 && withoutForeignSpace(text)
}

const scratch = new DataView(new ArrayBuffer(8))

const alike: ReadonlyMap<string, ReadAlike> = new Map<string, ReadAlike>([
  ['boolrecv', withoutForeignSpace],
  ['int2recv', withoutForeignSpace],
  ['int4recv', withoutForeignSpace],
  ['int8recv', withoutForeignSpace],
  ['float4recv', float4],
  ['float8recv', withoutForeignSpace],
  ['numeric_recv', withoutForeignSpace],
  ['uuid_recv', withoutForeignSpace],
  ['timestamptz_recv', time],
  ['timestamp_recv', time],
  ['date_recv', time],
  ['textrecv', always],
  ['varcharrecv', always],
  ['bpcharrecv', always],
  ['citextrecv', always],
  ['enum_recv', always],
  ['json_recv', always],
  ['jsonb_recv', always],
  ['bytearecv', always],
])

/**
 * For a column: of which texts it is known that they are read here as the server reads them. Others may be refused by one
 * of both, or mean something else. Undefined for a type of which it is not known.
 * @param timeZone - in which the server reads times without one
 */
export function readAlike(type: Pick<ColumnType, 'receive' | 'element'>, timeZone: string): ReadAlike | undefined {
  if (type.element !== undefined) return undefined
  // When clocks change is in two lists, the server's and this process's.
  if (type.receive === 'timestamptz_recv' && timeZone !== 'UTC') return undefined
  return alike.get(type.receive)
}
