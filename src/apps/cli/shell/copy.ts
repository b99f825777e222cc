import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { type Connection, UsageError, unreadableFile } from '../../../index.ts'

/** `TABLE from 'FILE' …` or `(QUERY) to 'FILE' …`; without quotes a file's name ends at a space. */
const FORM = /^(.+?)\s+(from|to)\s+(?:'((?:[^']|'')*)'|(\S+))(.*)$/is

/**
 * COPY with a file of this machine, or to standard output. Gives what it did, as a command tag.
 * @throws UsageError INVALID_OPTION; QueryError; what the file system says
 */
export async function copy(connection: Connection, text: string, signal: AbortSignal): Promise<string> {
  const [, what, direction = '', quoted, bare, rest = ''] = FORM.exec(text.trim().replace(/;$/, '')) ?? []
  if (what === undefined) {
    throw new UsageError('INVALID_OPTION', '\\copy needs a table or a query in parentheses, and a file.', {
      hint: "Write \\copy reading from 'reading.csv' with (format csv, header).",
    })
  }
  const file = quoted?.replaceAll("''", "'") ?? bare ?? ''
  if (direction.toLowerCase() === 'from') {
    const source = createReadStream(file)
    // A file that is not there is said before the server waits for it.
    await once(source, 'open').catch((cause: unknown) => {
      throw unreadableFile(file, cause)
    })
    const { rowCount } = await connection.copyIn(`copy ${what} from stdin ${rest}`, source, { signal })
    return `COPY ${rowCount}`
  }
  const rows = connection.copyOut(`copy ${toQuery(what)} to stdout ${rest}`, { signal })
  if (bare?.toLowerCase() === 'stdout') {
    for await (const block of rows) process.stdout.write(block)
    return 'COPY'
  }
  await pipeline(rows, createWriteStream(file))
  return 'COPY'
}

/** A table as a query: COPY of a hypertable itself finds no rows, since they are in its chunks. */
function toQuery(what: string): string {
  if (what.startsWith('(')) return what
  const [, table = what, columns = '*'] = /^(.*?)\s*\(([^()]*)\)$/s.exec(what) ?? []
  return `(select ${columns} from ${table})`
}
