import { type IntervalInput, type TimeInput, UsageError } from '../../index.ts'

/** The options of a command that were given, without those that are undefined. */
export type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Leaves out what is undefined, as the library wants it. */
export function given<T extends object>(options: T): Given<T> {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  const kept: Given<T> = {}
  return Object.assign(kept, Object.fromEntries(entries))
}

/** A whole number as a bigint, anything else as the interval text it is. */
export function parseSpan(text: string): IntervalInput | bigint {
  return /^-?\d+$/.test(text) ? BigInt(text) : text
}

/** A span, or null for `open`. */
export function parseOffset(text: string): IntervalInput | bigint | null {
  return text === 'open' ? null : parseSpan(text)
}

const INSTANT = /^\s*(-?\+?\d{4,}-\d\d?-|[+-]?infinity|now\s*\(|current_timestamp)/i

/**
 * A time: `2025-01-31`, `2025-01-31T12:00Z`, `NOW()`, `30 days ago` (`30 days` means the same), or a whole number for an
 * integer time column. What it means is for the library to check.
 */
export function parseTime(text: string): TimeInput {
  if (/^-?\d+$/.test(text)) return BigInt(text)
  return INSTANT.test(text) ? text : { ago: text.replace(/\s+ago\s*$/i, '') }
}

/** A whole number, not below 0. @throws UsageError INVALID_OPTION */
export function parseWholeNumber(text: string, what: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new UsageError('INVALID_OPTION', `${what} must be a whole number.`)
}

/** What `<job>` stands for. */
export const JOB_ARGUMENT = 'its number, as `tsdb job list` shows it'

/** The id of a job. @throws UsageError INVALID_OPTION */
export function parseJob(text: string): number {
  return parseWholeNumber(text, 'The job')
}

/** Collects an option that may be given several times; a comma separates values too. */
export function collectList(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), ...splitList(text)]
}

/** Collects columns, exactly as written; double quotes are needed only around a comma. */
export function collectColumns(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), ...splitList(text).map(unquote)]
}

/** Collects an option that may be given several times. */
export function collect(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), text]
}

/** Cuts at commas outside of quotes and parentheses. */
function splitList(text: string): string[] {
  return (text.match(/(?:"(?:[^"]|"")*"|\([^)]*\)|[^,])+/g) ?? []).map((part) => part.trim())
}

/**
 * Aggregations by name, from texts as of {@link parseAggregation}.
 * @throws UsageError INVALID_OPTION
 */
export function parseAggregations(texts: readonly string[]): Record<string, string> {
  return columnsByName(texts.map(parseAggregation))
}

/**
 * Columns by their names.
 * @throws UsageError INVALID_OPTION for two of one name, of which only the last would be shown
 */
export function columnsByName<T>(columns: readonly (readonly [string, T])[]): Record<string, T> {
  const twice = findTwice(columns.map(([name]) => name))
  if (twice === undefined) return Object.fromEntries(columns)
  throw new UsageError('INVALID_OPTION', `Two columns are named ${JSON.stringify(twice)}.`, {
    hint: "Name them yourself, such as 'mean=AVG(temperature)'.",
  })
}

/** The first name that stands in the list twice. */
export function findTwice(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) < index)
}

/**
 * A name and an aggregation from `mean=AVG(temperature)`; from `AVG(temperature)` alone the name is `avg_temperature`.
 */
export function parseAggregation(text: string): [string, string] {
  const named = /^\s*("(?:[^"]|"")+"|[^"=()]+?)\s*=(.*)$/s.exec(text)
  if (named?.[1] !== undefined && named[2] !== undefined) return [unquote(named[1]), named[2].trim()]
  const name = text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, '_')
  return [name.replace(/^_+|_+$/g, ''), text]
}

/** A name without the double quotes and spaces around it. */
export function unquote(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.trim()
}

/**
 * Conditions by column from texts such as `symbol=AAPL`.
 * @throws UsageError INVALID_OPTION
 */
export function parseWhere(texts: readonly string[]): Record<string, string>[] {
  return texts.map((text) => {
    const [column, value] = splitPair('--where', text)
    return { [column]: value }
  })
}

/** A number; what is none is for the library to refuse. */
export function parseNumber(text: string): number {
  return /^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN
}

/**
 * The two parts of `column=value`; the column may be quoted.
 * @throws UsageError INVALID_OPTION
 */
export function splitPair(flag: string, text: string): [string, string] {
  const match = /^\s*("(?:[^"]|"")+"|[^"=]+?)\s*=(.*)$/s.exec(text)
  if (match?.[1] !== undefined && match[2] !== undefined) return [unquote(match[1]), match[2]]
  throw new UsageError('INVALID_OPTION', `${flag} ${JSON.stringify(text)} is not of the form column=value.`)
}
