import type { LoadOptions } from './load-option.ts'

/** By which options a row of the source becomes one of the table, without those that are left at their default. */
export type Reading = Readonly<Record<string, unknown>>

const defaults: Readonly<Partial<Record<keyof LoadOptions, unknown>>> = {
  header: true,
  nullText: '',
  encoding: 'utf-8',
  missingTime: 'error',
}

const names = [
  'columns',
  'header',
  'delimiter',
  'nullText',
  'encoding',
  'timeUnit',
  'timeFormat',
  'timeZone',
  'measurement',
  'measurementColumn',
  'missingTime',
] as const satisfies readonly (keyof LoadOptions)[]

/**
 * What an import keeps of its options: those that another value of would number its rows differently, or put their values
 * elsewhere. Of constants only the columns: a value such as the time of loading is another one in each run.
 *
 * @param format - of the source, by its name or the option
 */
export function readingOf(options: LoadOptions, format?: string): Reading {
  const separator = format === 'tsv' ? '\t' : ','
  const kept: Record<string, unknown> = format === undefined ? {} : { format }
  for (const name of names) {
    const value = options[name]
    const usual = name === 'delimiter' ? separator : defaults[name]
    if (value !== undefined && value !== usual) kept[name] = value
  }
  const constants = Object.keys(options.constants ?? {}).sort()
  return constants.length > 0 ? { ...kept, constants } : kept
}

/** The names of the options that are not as they were; none where it is not known how they were. */
export function changedOptions(before: Reading | null, now: Reading | undefined): string[] {
  if (before === null || now === undefined) return []
  const all = [...new Set([...Object.keys(before), ...Object.keys(now)])]
  return all.filter((name) => canonical(before[name]) !== canonical(now[name])).sort()
}

/** The same text for the same value: jsonb has keys in an order of its own. */
function canonical(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value)
  return JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
