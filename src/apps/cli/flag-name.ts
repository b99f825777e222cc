/**
 * The library's messages and hints speak of its options and methods; here they are flags and verbs. In one place, so that
 * no message of the library has to know who shows it.
 */
import type { Command, Option } from 'commander'

/** Where a flag is not called as the option is: the names it may have, and what stands for one of the parts of `create`. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  aggregates: ['aggregate'],
  aggregations: ['aggregate'],
  bucketInterval: ['bucket'],
  chunkTimeInterval: ['chunkInterval'],
  compressedOnly: ['compressed'],
  constants: ['constant'],
  'create.columns': ['type'],
  endTime: ['to', 'end'],
  hypertable: ['on'],
  intervalMs: ['interval'],
  numberPartitions: ['partition'],
  overwrite: ['yes'],
  params: ['param'],
  partitioningColumn: ['partition'],
  startTime: ['from', 'start'],
  timeoutMs: ['timeout'],
  tls: ['tlsCert'],
  withData: ['data'],
}

/** What is said in other words. */
const PHRASES: readonly (readonly [RegExp, string])[] = [
  [/\benableCompression or addCompressionPolicy\b/g, '`tsdb policy add compression`'],
  [/\badd(Compression|Retention|Reorder)Policy\b/g, '`tsdb policy add $1`'],
  [/\bremove(Compression|Retention|Reorder)Policy\b/g, '`tsdb policy remove $1`'],
  [/\baddContinuousAggregatePolicy\b/g, '`tsdb policy add refresh`'],
  [/\bremoveContinuousAggregatePolicy\b/g, '`tsdb policy remove refresh`'],
  [/\blistJobs(\(\)|\b)/g, '`tsdb job list`'],
  [/: give each a call of its own, within transaction\(\) where they belong together/g, '; `tsdb shell` runs several'],
  // What only a program can write.
  [/ or \{ (?:schema, name|[a-z]+: \d+) \}/g, ''],
  [/\ba Date, \{ ago: ('[^']+?)' \}/g, "$1 ago'"],
  [/\ba Date, a text, a number or \{ ago: interval \}/g, "a text, a number or '24 hours ago'"],
  [/\{ total: sum\('x'\) \}/g, "'total=SUM(x)'"],
  [/'skip' or \{ file \}/g, "'skip' or a file"],
  [/\bUse the methods for COPY\./g, 'Use `tsdb load` and `tsdb export`, or \\copy in `tsdb shell`.'],
  [/\bUse executeQuery for other statements, copy(?:In|Out) for COPY/g, 'Use `tsdb load` or `tsdb export` for COPY'],
]

const WORD = '(?:create\\.)?[a-z][A-Za-z]*'
/** `create.timeColumn`, `name: true`, `the option name: 'value'`, and any word that is written like an option. */
const MENTION = new RegExp(
  `\\b(?:(?:the )?[Oo]ption (${WORD})|(${WORD})(?=: (?:true|false|'))|(create\\.[a-z][A-Za-z]*|[a-z]+(?:[A-Z][a-z]+)+)\\b)` +
    `(?:: (true|false|'[^']*'))?`,
  'g',
)

/**
 * A text of the library with the flags of the command that ran, and verbs for methods. Names within double quotes are the
 * user's; a word that is no flag of this command stays as it is.
 */
export function toFlags(text: string, command: Command | undefined): string {
  if (command === undefined) return text
  const outside = text.split(/("(?:[^"\\]|\\.)*")/)
  return outside.map((part, index) => (index % 2 === 1 ? part : translate(part, command))).join('')
}

function translate(text: string, command: Command): string {
  let said = text
  for (const [phrase, words] of PHRASES) said = said.replace(phrase, (...found) => filled(words, found[1]))
  said = said.replace(MENTION, (whole: string, option?: string, named?: string, alone?: string, value?: string) => {
    const flag = flagOf(command, option ?? named ?? alone ?? '', value === 'false')
    if (flag === undefined) return whole
    return value === undefined || /^(?:true|false)$/.test(value) ? flag : `${flag} ${value}`
  })
  return said.replace('; false makes a plain table', '; --no-time-column makes a plain table')
}

function filled(words: string, kind: unknown): string {
  return words.replace('$1', typeof kind === 'string' ? kind.toLowerCase() : '')
}

/** The flag of an option of the library, or the one that turns it off; undefined where the command has none. */
function flagOf(command: Command, name: string, off: boolean): string | undefined {
  const bare = name.replace(/^create\./, '')
  const names = OTHER_NAMES[name] ?? OTHER_NAMES[bare] ?? [bare]
  const given: Option[] = []
  for (let at: Command | null = command; at !== null; at = at.parent) given.push(...at.options)
  const found = given.filter((option) => names.includes(option.attributeName()))
  const flag = found.find(({ negate }) => negate === off) ?? (off ? undefined : found[0])
  return flag?.long ?? undefined
}
