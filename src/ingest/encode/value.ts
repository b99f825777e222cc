import type { CopyBuffer } from '../../wire/copy-buffer.ts'

/** Writes one value that is not null as a field. @throws Misfit */
export type ValueWriter = (buffer: CopyBuffer, value: unknown) => void

/** How values without a meaning of their own are read. */
export interface ValueOptions {
  /** What a number means in a time column. Without it a finite number does not fit one. */
  readonly timeUnit?: 's' | 'ms' | 'us' | 'ns' | undefined
  /**
   * How texts in time columns are written, in the server's patterns: `DD/MM/YYYY HH24:MI:SS.US`. Default ISO 8601, and
   * then nothing else.
   */
  readonly timeFormat?: string | undefined
  /** The time zone of texts without one, as an IANA name. Default `UTC`. */
  readonly timeZone?: string | undefined
}

/** A value that a column cannot hold; the message is the value's kind, never the value. */
export class Misfit extends Error {}

/** What a value is, without showing it. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid Date' : 'a Date'
  if (value instanceof Uint8Array) return 'bytes'
  switch (typeof value) {
    case 'string':
      return value === '' ? 'an empty text' : 'a text'
    case 'number':
      return Number.isFinite(value) ? 'a number' : 'a number that is not finite'
    case 'object':
      return 'an object'
    case 'undefined':
      return 'undefined'
    default:
      return `a ${typeof value}`
  }
}
