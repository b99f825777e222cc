import { appendFileSync, chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/** Statements that are kept, and shown again with the arrow keys. */
const LIMIT = 1000

/** A word that announces a secret, in a statement that quotes something; or a URL with a password. */
const SECRET = /passw|secret|credential|token|api_?key|private_?key|pgp_sym_|:\/\/[^\s/@:]*:[^\s/@]+@/i

/** True for a statement that may hold a password. */
export function holdsSecret(statement: string): boolean {
  return SECRET.test(statement) && /['$]|:\/\//.test(statement)
}

/** The history's file in the user's state directory. */
export function historyFile(env: NodeJS.ProcessEnv): string {
  const windows = env['LOCALAPPDATA']
  if (process.platform === 'win32' && windows !== undefined) return join(windows, 'tsdbkit', 'history')
  const state = env['XDG_STATE_HOME']
  return join(state ? state : join(homedir(), '.local', 'state'), 'tsdbkit', 'history')
}

/**
 * The statements of earlier shells, the newest first as readline wants them; the file becomes the user's alone, and is
 * cut where it grew long. Empty where nothing can be read.
 */
export function readHistory(file: string): string[] {
  try {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
    chmodSync(file, 0o600)
    const kept = lines.slice(-LIMIT)
    if (lines.length > 2 * LIMIT) {
      const temporary = `${file}.${process.pid}`
      writeFileSync(temporary, `${kept.join('\n')}\n`, { mode: 0o600 })
      renameSync(temporary, file)
    }
    return kept.reverse()
  } catch {
    // A shell without a history is better than none.
    return []
  }
}

/** Adds a statement of one line, as it is, at the end of the file. Gives what went wrong, which must not end a shell. */
export function appendHistory(file: string, line: string): unknown {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    appendFileSync(file, `${line}\n`, { mode: 0o600 })
    return undefined
  } catch (error) {
    return error
  }
}

/** The statement on one line, to be found again with one press of a key; undefined where a line break belongs to it. */
export function foldStatement(text: string): string | undefined {
  if (!text.includes('\n')) return text
  return /['"$]|--|\/\*/.test(text) && !isFoldable(text) ? undefined : text.replaceAll(/\s*\n\s*/g, ' ')
}

/** Whether no line ends in a comment or inside of a quote. */
function isFoldable(text: string): boolean {
  const plain = text.replaceAll(/'(?:[^'\n]|'')*'|"(?:[^"\n]|"")*"|\/\*(?:(?!\*\/|\/\*)[^\n])*\*\//g, '')
  return !/['"$]|--|\/\*/.test(plain)
}
