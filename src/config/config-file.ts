import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { types } from 'node:util'
import { ConfigError } from '../errors.ts'
import { unknownKey } from './unknown-key.ts'
import { whyUnreadable } from './unreadable-file.ts'
import { invalidValue, type Layer, type Place, setValue, type Values } from './value.ts'

const section = 'timescaledb'

const fileKeys: Readonly<Record<string, keyof Values>> = {
  HOST: 'host',
  PORT: 'port',
  DATABASE: 'database',
  USERNAME: 'user',
  PASSWORD: 'password',
  POOL_SIZE: 'poolSize',
  MAX_OVERFLOW: 'maxOverflow',
  SSLMODE: 'sslmode',
  SSLROOTCERT: 'ca',
}

/** What may be missing of a configuration file: nothing, the whole file, or also the section in it. */
export type Presence = 'required' | 'file optional' | 'section optional'

/**
 * What the section `[timescaledb]` of a file sets; undefined when that is missing and `presence` allows it. Other sections are not looked at: the file may belong to another program too.
 *
 * The text after the first `=` or `:` is the value, as Python's configparser reads it: `#` and `;` inside it are part
 * of it, and `%%` is one `%`. A value in quotes is the text between them, character for character.
 *
 * @throws ConfigError CONFIG_UNREADABLE, CONFIG_UNKNOWN_KEY, CONFIG_INVALID_VALUE; `source` is `file:line`
 */
export function readConfigFile(file: string, cwd: string, presence: Presence): Layer | undefined {
  const path = resolve(cwd, file)
  const lines = readLines(file, path, presence)
  if (lines === undefined) return undefined
  const start = findSection(file, lines)
  if (start === undefined) {
    if (presence !== 'section optional') throw missingSection(file, lines)
    return undefined
  }
  const layer: Layer = {}
  const seen = new Map<string, number>()
  for (let index = start + 1; index < lines.length && !isHeader(lines[index]); index++) {
    const line = lines[index] ?? ''
    if (/^\s*([#;]|$)/.test(line)) continue
    readLine(line, { origin: `${file}:${index + 1}`, label: '', directory: dirname(path) }, layer, seen)
  }
  return layer
}

function readLine(line: string, place: Place, layer: Layer, seen: Map<string, number>): void {
  const match = /^\s*([^=:]*?)\s*[=:]\s*(.*?)\s*$/s.exec(line)
  const key = match?.[1]?.toUpperCase() ?? ''
  const name = Object.hasOwn(fileKeys, key) ? fileKeys[key] : undefined
  if (name === undefined) {
    // An indented line would continue the value above: it may be part of a password, so it is not shown.
    if (match === null || key === '' || /^\s/.test(line)) throw malformed(place.origin, 'is not KEY = value')
    throw unknownKey(match[1] ?? '', Object.keys(fileKeys), place.origin)
  }
  const first = seen.get(key)
  if (first !== undefined) throw malformed(place.origin, `gives ${key} again, after line ${first}`)
  seen.set(key, Number(place.origin.slice(place.origin.lastIndexOf(':') + 1)))
  const labelled = { ...place, label: key }
  const value = unquote(match?.[2] ?? '', labelled)
  if (value !== '') setValue(layer, name, value, labelled)
}

function unquote(value: string, place: Place): string {
  const quoted = /^(["'])(.*)\1$/s.exec(value)
  if (quoted !== null) return quoted[2] ?? ''
  if (/^["']/.test(value)) throw invalidValue(place, 'begins with a quote that does not end')
  if (/%\(/.test(value.replaceAll('%%', ''))) {
    throw invalidValue(
      place,
      'uses %(name)s, which is not replaced here',
      'Put the value in quotes to mean it as it is.',
    )
  }
  return value.replaceAll('%%', '%')
}

function readLines(file: string, path: string, presence: Presence): string[] | undefined {
  try {
    const content = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path))
    return content.split(/\r\n|\n|\r/)
  } catch (cause) {
    const missing = types.isNativeError(cause) && 'code' in cause && cause.code === 'ENOENT'
    if (missing && presence !== 'required') return undefined
    const why = whyUnreadable(cause) ?? (cause instanceof TypeError ? 'is not UTF-8 text' : 'cannot be read')
    throw new ConfigError('CONFIG_UNREADABLE', `${file}: the configuration file ${why}.`, {
      source: file,
      hint: missing ? `It was looked for in ${dirname(path)}.` : undefined,
      cause,
    })
  }
}

function findSection(file: string, lines: readonly string[]): number | undefined {
  const found = lines.flatMap((line, index) => (headerName(line) === section ? [index] : []))
  const again = found[1]
  if (again !== undefined) {
    throw malformed(`${file}:${again + 1}`, `opens [${section}] again, after line ${(found[0] ?? 0) + 1}`)
  }
  return found[0]
}

function missingSection(file: string, lines: readonly string[]): ConfigError {
  const index = lines.findIndex((line) => headerName(line)?.toLowerCase().includes('timescale'))
  const source = index < 0 ? file : `${file}:${index + 1}`
  return new ConfigError('CONFIG_UNREADABLE', `${source}: there is no section [${section}].`, {
    source,
    hint: index < 0 ? `Put the settings below a line [${section}].` : `Write this line as [${section}].`,
  })
}

function isHeader(line: string | undefined): boolean {
  return headerName(line ?? '') !== undefined
}

function headerName(line: string): string | undefined {
  return /^\[([^\]]+)\]/.exec(line)?.[1]
}

function malformed(source: string, what: string): ConfigError {
  return new ConfigError('CONFIG_UNREADABLE', `${source}: this line ${what}.`, { source })
}
