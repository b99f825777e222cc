import { COMMANDS } from './command-list.ts'
import type { Names, RelationNames } from './names.ts'

const KEYWORDS = (
  'add all alter analyze and any array as asc begin between by cascade case cast check checkpoint column commit ' +
  'constraint create cross current_date current_timestamp database default delete desc distinct do drop else end except ' +
  'exists explain extension fetch filter first for foreign from full function grant group having if in index inner ' +
  'insert intersect interval into is join key last lateral left like limit materialized not null nulls offset on or ' +
  'order outer over partition policy primary procedure references refresh reset returning revoke right rollback row ' +
  'rows savepoint schema select set show table temporary then timestamptz to transaction truncate union unique update ' +
  'using vacuum values verbose view when where window with'
).split(' ')

/** Words after which a table stands. */
const BEFORE_TABLE =
  /\b(?:from|join|into|update|table|view|truncate|analyze|vacuum|references|on table)\s+(?:only\s+)?$/i

/** What is whole, and a quoted name that is still open at the end. It matches nothing within an open text. */
const CUT = /^((?:"(?:[^"]|"")*"|'(?:[^']|'')*'|[^"'])*)("(?:[^"]|"")*)?$/s

/** A name before a dot, at the end. */
const QUALIFIER = /("(?:[^"]|"")*"|[\p{L}_][\p{L}\p{N}_$]*)\.$/u

const MENTION =
  /\b(?:from|join|update|into|table|view)\s+(?:only\s+)?((?:"(?:[^"]|"")*"|[\p{L}_][\p{L}\p{N}_$]*)(?:\.(?:"(?:[^"]|"")*"|[\p{L}_][\p{L}\p{N}_$]*))?)(?:\s+(?:as\s+)?("(?:[^"]|"")*"|[\p{L}_][\p{L}\p{N}_$]*))?/giu

/**
 * What may follow, and the end of the text that it replaces, as readline wants them.
 * @param text - the statement so far, up to the cursor
 */
export function complete(text: string, names: Names): [string[], string] {
  const command = /(?:^|\n)\s*(\\\S*)$/.exec(text)?.[1]
  if (command !== undefined)
    return [COMMANDS.map(({ name }) => name).filter((name) => name.startsWith(command)), command]
  const argument = /(?:^|\n)\s*\\\S+\s+(\S*)$/.exec(text)?.[1]
  if (argument !== undefined) return [matching(argument, names.relations.map(writtenName)), argument]
  const cut = CUT.exec(text)
  if (cut === null) return [[], '']
  const word = cut[2] ?? /[\p{L}_][\p{L}\p{N}_$]*$/u.exec(text)?.[0] ?? ''
  const before = text.slice(0, text.length - word.length)
  const qualifier = QUALIFIER.exec(before)?.[1]
  if (qualifier !== undefined) {
    const found = matching(word, qualified(unquote(qualifier), text, names).map(quote))
    return [found.map((name) => `${qualifier}.${name}`), `${qualifier}.${word}`]
  }
  // The extension's own views only where they are asked for.
  const isWanted = (name: string): boolean => !name.startsWith('timescaledb_') || word.startsWith('timescaledb')
  const tables = [...names.relations.map(writtenName), ...schemas(names)].filter(isWanted)
  if (BEFORE_TABLE.test(before)) return [matching(word, tables), word]
  const columns = mentioned(text, names).flatMap(({ relation }) => relation.columns.map(quote))
  // Before anything is typed, what a statement can go on with is too much to be shown.
  if (word === '') return [[...new Set(columns)], word]
  const keywords = matching(word, KEYWORDS).map((keyword) => (/^[A-Z]/.test(word) ? keyword.toUpperCase() : keyword))
  const functions = matching(word, names.functions.map(quote)).map((name) => `${name}(`)
  return [[...new Set([...matching(word, columns), ...keywords, ...matching(word, tables), ...functions])], word]
}

/** What stands behind `schema.`, `table.` or `alias.`. */
function qualified(qualifier: string, text: string, { relations, ...rest }: Names): string[] {
  const found = mentioned(text, { relations, ...rest }).filter(
    ({ alias, relation }) => alias === qualifier || relation.name === qualifier,
  )
  const columns = found.flatMap(({ relation }) => relation.columns)
  const tables = relations.filter(({ schema }) => schema === qualifier).map(({ name }) => name)
  return [...new Set([...columns, ...tables])]
}

interface Mention {
  readonly relation: RelationNames
  readonly alias: string | undefined
}

/** The tables that the statement names so far. */
function mentioned(text: string, { relations }: Names): Mention[] {
  return [...text.matchAll(MENTION)].flatMap(([, name = '', alias]) => {
    const relation = relations.find((one) => writtenName(one) === name || fullName(one) === name)
    return relation === undefined ? [] : [{ relation, alias: alias === undefined ? undefined : unquote(alias) }]
  })
}

/** Those that begin with the word; where it has no quote, whatever their quotes and letters' case. */
function matching(word: string, candidates: readonly string[]): string[] {
  const isMatch = (name: string): boolean =>
    word.startsWith('"')
      ? quoted(name).startsWith(word)
      : name.replaceAll('"', '').toLowerCase().startsWith(word.toLowerCase())
  return [...new Set(candidates)].filter(isMatch)
}

/** A relation as one writes it: with its schema where the search path does not find it. */
function writtenName(relation: RelationNames): string {
  return relation.visible ? quote(relation.name) : fullName(relation)
}

function fullName({ schema, name }: RelationNames): string {
  return `${quote(schema)}.${quote(name)}`
}

function schemas({ relations }: Names): string[] {
  return [...new Set(relations.map(({ schema }) => `${quote(schema)}.`))]
}

const RESERVED = new Set([
  'order',
  'group',
  'user',
  'table',
  'column',
  'select',
  'from',
  'where',
  'end',
  'limit',
  'default',
])

/** A name as SQL writes it: in quotes where it needs them. */
function quote(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) && !RESERVED.has(name) ? name : quoted(name)
}

function quoted(name: string): string {
  return name.startsWith('"') ? name : `"${name.replaceAll('"', '""')}"`
}

function unquote(name: string): string {
  return name.startsWith('"') ? name.replaceAll(/^"|"$/g, '').replaceAll('""', '"') : name.toLowerCase()
}
