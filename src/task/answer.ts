/** A value as JSON: times are ISO 8601 in UTC, a bigint beyond ±2^53 is a text, bytes are `\x…`, undefined is null. */
export function toJson(value: unknown): unknown {
  return convert(value, (key) => key)
}

/** A result as a task answers: as JSON, with names such as `job_id`. What others have named stays as it is. */
export function toAnswer(result: object): Record<string, unknown> {
  return { ...Object(convert(result, toSnakeCase)) }
}

/** `jobId` as `job_id`. */
export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** Keys whose values are the user's own. */
const FOREIGN = new Set(['rows', 'data', 'config'])

function convert(value: unknown, rename: (key: string) => string): unknown {
  if (value === undefined) return null
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`
  if (Array.isArray(value)) return value.map((item) => convert(item, rename))
  // The columns of a DataFrame are typed arrays.
  if (ArrayBuffer.isView(value)) return Object.values(value).map((item) => convert(item, rename))
  const entries = Object.entries(value).map(([key, item]) => {
    const inner = FOREIGN.has(key) ? (name: string): string => name : rename
    return [rename(key), convert(item, inner)]
  })
  return Object.fromEntries(entries)
}
