import { invalidOption } from '../../sql/option.ts'

/** What a text in a format stands for: ISO 8601, which all columns of times take; undefined where it is none. */
export type TimeFormat = (text: string) => string | undefined

interface Part {
  readonly name: string
  readonly pattern: string
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']

/** The server's patterns of to_timestamp that have one meaning; the longer ones first. */
const parts: readonly Part[] = [
  { name: 'YYYY', pattern: '\\d{4}' },
  { name: 'Month', pattern: '[a-z]{3,9}' },
  { name: 'Mon', pattern: '[a-z]{3}' },
  { name: 'HH24', pattern: '\\d{1,2}' },
  { name: 'HH12', pattern: '\\d{1,2}' },
  { name: 'TZH:TZM', pattern: '[+-]\\d\\d:\\d\\d' },
  { name: 'TZHTZM', pattern: '[+-]\\d{4}' },
  { name: 'TZH', pattern: '[+-]\\d\\d' },
  { name: 'MM', pattern: '\\d{1,2}' },
  { name: 'DD', pattern: '\\d{1,2}' },
  { name: 'MI', pattern: '\\d{1,2}' },
  { name: 'SS', pattern: '\\d{1,2}' },
  { name: 'MS', pattern: '\\d{1,3}' },
  { name: 'US', pattern: '\\d{1,6}' },
  { name: 'AM', pattern: '[ap]m' },
]

const known = new Map<string, TimeFormat>()

/** The reader of the option timeFormat; undefined where it is not given. @throws as {@link parseTimeFormat} */
export function timeFormatOf({ timeFormat }: { readonly timeFormat?: string | undefined }): TimeFormat | undefined {
  if (timeFormat === undefined) return undefined
  const format = known.get(timeFormat) ?? parseTimeFormat(timeFormat)
  known.set(timeFormat, format)
  return format
}

/**
 * Reads the option timeFormat.
 * @throws UsageError INVALID_OPTION for a format without year, month and day, or with a pattern that is not known
 */
function parseTimeFormat(format: string): TimeFormat {
  if (typeof format !== 'string') throw invalidOption('Option timeFormat must be a text.')
  const found: string[] = []
  let pattern = ''
  for (let at = 0; at < format.length; ) {
    const rest = format.slice(at)
    const part = parts.find(({ name }) => rest.startsWith(name))
    if (part === undefined && /^[A-Za-z]/.test(rest) && !/^[TZ](?![A-Za-z])/.test(rest) && !/^T(?=HH)/.test(rest)) {
      throw invalidOption(
        `Option timeFormat has a pattern that is not known, at ${JSON.stringify(rest)}.`,
        `Known are ${parts.map(({ name }) => name).join(', ')}.`,
      )
    }
    // Digits next to digits must be all there, or nobody knows which are whose.
    pattern += part === undefined ? escaped(rest.charAt(0)) : `(${part.pattern})`
    if (part !== undefined) found.push(part.name)
    at += part === undefined ? 1 : part.name.length
  }
  checkParts(found)
  const regex = new RegExp(`^\\s*${exactWhereJoined(pattern)}\\s*$`, 'i')
  return (text) => {
    const match = regex.exec(text)
    return match === null ? undefined : toIso(new Map(found.map((name, at) => [name, match[at + 1] ?? ''])))
  }
}

function escaped(char: string): string {
  return /\s/.test(char) ? '\\s+' : char.replace(/[\\^$.*+?()[\]{}|]/, '\\$&')
}

/** Without anything between them, numbers have all of their digits. */
function exactWhereJoined(pattern: string): string {
  return pattern.replaceAll('\\d{1,2})(', '\\d{2})(').replaceAll(/\)\(\\d\{1,2\}/g, ')(\\d{2}')
}

function checkParts(found: readonly string[]): void {
  const has = (...names: readonly string[]): boolean => names.some((name) => found.includes(name))
  const twice = found.find((name, at) => found.indexOf(name) !== at)
  const isDay = has('YYYY') && has('MM', 'Mon', 'Month') && has('DD')
  if (twice === undefined && isDay && has('HH12') === has('AM') && !(has('HH12') && has('HH24'))) return
  throw invalidOption(
    'Option timeFormat needs YYYY, a month (MM, Mon) and DD, each once, and HH12 with AM.',
    "For example 'DD/MM/YYYY HH24:MI:SS'.",
  )
}

function toIso(values: ReadonlyMap<string, string>): string | undefined {
  const number = (name: string): number => Number(values.get(name) ?? 0)
  const word = (values.get('Mon') ?? values.get('Month'))?.toLowerCase()
  const month = word === undefined ? number('MM') : monthOf(word)
  const hour = values.has('HH12') ? hourOf(number('HH12'), values.get('AM') ?? '') : number('HH24')
  if (hour === undefined || month === 0) return undefined
  const date = `${values.get('YYYY')}-${two(month)}-${two(number('DD'))}`
  if (!['HH24', 'HH12', 'MI', 'SS'].some((name) => values.has(name))) return date
  const fraction = values.get('US')?.padEnd(6, '0') ?? values.get('MS')?.padEnd(3, '0')
  const offset = values.get('TZH:TZM') ?? values.get('TZHTZM') ?? values.get('TZH') ?? ''
  return `${date}T${two(hour)}:${two(number('MI'))}:${two(number('SS'))}${fraction === undefined ? '' : `.${fraction}`}${offset}`
}

const longMonths = 'january february march april may june july august september october november december'.split(' ')

function monthOf(word: string): number {
  return (word.length === 3 ? months.indexOf(word) : longMonths.indexOf(word)) + 1
}

function hourOf(hour: number, half: string): number | undefined {
  if (hour < 1 || hour > 12) return undefined
  return (hour % 12) + (half.toLowerCase() === 'pm' ? 12 : 0)
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
