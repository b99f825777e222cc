import { UsageError } from '../errors.ts'
import { nearest } from '../sql/nearest.ts'
import type { Task } from './run-task.ts'

/** A task of a file, and where it stands there. */
export interface ScriptTask {
  /** Its action and parameters are checked by `runTask`. */
  readonly task: Task
  /** The line it begins in, from 1. */
  readonly line: number
}

/**
 * The tasks of a text: a JSON object, an array, JSON lines, or a script of `(timescaledb) { … }` blocks, between which
 * may be empty lines, line numbers, and comments from `#`, `--` or `//` to the end of the line.
 * @throws UsageError INVALID_OPTION naming the line of what is none of these
 * @example
 * parseTasks('(timescaledb) { "action": "get_chunk_info", "table_name": "sensor_data" }')
 */
export function parseTasks(text: string): ScriptTask[] {
  if (typeof text !== 'string') throw invalid('Tasks must be a text.')
  const start = text.search(/\S/)
  if (start < 0) throw invalid('There is no task.')
  const tasks = text[start] === '[' ? parseArray(text, start) : parseBlocks(text)
  if (tasks.length === 0) throw invalid('There is no task.')
  return tasks
}

function parseArray(text: string, start: number): ScriptTask[] {
  const end = endOfValue(text, start)
  const rest = text.slice(end).search(/\S/)
  if (rest >= 0) throw invalid(`Line ${lineAt(text, end + rest)}: after the array is more.`)
  const list: unknown = parseJson(text, start, end)
  const items = Array.isArray(list) ? list : []
  const starts = itemStarts(text, start, end)
  const lineOf = lineCounter(text)
  return items.map((task, index) => toTask(task, lineOf(starts[index] ?? start)))
}

/** Where the items of the array begin. */
function itemStarts(text: string, start: number, end: number): number[] {
  const starts: number[] = []
  let at = start + 1
  while (at < end - 1) {
    if (/[\s,]/.test(text[at] ?? '')) at++
    else {
      starts.push(at)
      at = /[[{]/.test(text[at] ?? '')
        ? endOfValue(text, at)
        : at + (/^[^,\]]+/.exec(text.slice(at, end))?.[0].length ?? 1)
    }
  }
  return starts
}

/** Between tasks: space, the number of a line, comments. */
const BETWEEN = /(?:\s+|(?<=^[ \t]*)\d+(?=[ \t]*\()|(?:#|--|\/\/).*)*/my
const KIND = /\(\s*([\w-]+)\s*\)\s*/y

/** Objects one after another, each by itself or as a block of its kind. */
function parseBlocks(text: string): ScriptTask[] {
  const tasks: ScriptTask[] = []
  const lineOf = lineCounter(text)
  let at = skip(text, 0)
  while (at < text.length) {
    const line = lineOf(at)
    KIND.lastIndex = at
    const kind = KIND.exec(text)
    if (kind !== null) {
      checkKind(kind[1] ?? '', line)
      at += kind[0].length
    }
    if (text[at] !== '{') {
      throw invalid(`Line ${lineAt(text, at)}: ${JSON.stringify(text.slice(at, at + 20))} begins no task.`, HINT)
    }
    const end = endOfValue(text, at)
    tasks.push(toTask(parseJson(text, at, end), line))
    at = skip(text, end)
  }
  return tasks
}

const HINT = 'Write (timescaledb) { "action": …, … }; comments begin with # or --.'

function skip(text: string, at: number): number {
  BETWEEN.lastIndex = at
  return at + (BETWEEN.exec(text)?.[0].length ?? 0)
}

function checkKind(kind: string, line: number): void {
  if (kind === 'timescaledb') return
  const isMisspelt = nearest(kind, ['timescaledb']) !== undefined
  throw invalid(
    `Line ${line}: (${kind}) is not a task of this program.`,
    isMisspelt ? 'Did you mean (timescaledb)?' : HINT,
  )
}

/** Where the object or array that begins at `start` ends; braces in texts do not count. */
function endOfValue(text: string, start: number): number {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\]]/gs
  token.lastIndex = start
  let depth = 0
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    if (/[{[]/.test(match[0][0] ?? '')) depth++
    else if (/[}\]]/.test(match[0][0] ?? '') && --depth === 0) return token.lastIndex
  }
  throw invalid(`Line ${lineAt(text, start)}: what begins here does not end.`)
}

function parseJson(text: string, start: number, end: number): unknown {
  const json = text.slice(start, end)
  try {
    return JSON.parse(json)
  } catch (cause) {
    const position = /position (\d+)/.exec(cause instanceof Error ? cause.message : '')?.[1]
    const line = lineAt(text, start + Number(position ?? 0))
    throw new UsageError('INVALID_OPTION', `Line ${line}: this is not JSON.`, {
      hint: 'Names and texts are in double quotes; no comma after the last.',
      cause,
    })
  }
}

function toTask(value: unknown, line: number): ScriptTask {
  if (typeof value === 'object' && value !== null && 'action' in value && typeof value.action === 'string') {
    return { task: { ...value, action: value.action }, line }
  }
  throw invalid(`Line ${line}: a task is an object with an action.`, HINT)
}

function lineAt(text: string, position: number): number {
  return lineCounter(text)(position)
}

/** Counts on from the position before. */
function lineCounter(text: string): (position: number) => number {
  let line = 1
  let next = text.indexOf('\n')
  return (position) => {
    for (; next >= 0 && next < position; next = text.indexOf('\n', next + 1)) line++
    return line
  }
}

function invalid(message: string, hint?: string): UsageError {
  return new UsageError('INVALID_OPTION', message, { hint })
}
