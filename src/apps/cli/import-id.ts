import { isAbsolute, resolve } from 'node:path'
import { type Database, PlanError } from '../../index.ts'

/**
 * The id of each file's import. One file alone has the user's own; of several each has one with its path, however it was
 * written, since the windows of an import are places in one file. What was begun one way goes on that way: by another id
 * its rows would be loaded once more.
 * @throws PlanError DRIFT for several files where the id is that of an import of one
 */
export async function importIds(
  db: Database,
  importId: string | undefined,
  files: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (importId === undefined) return new Map()
  const idOf = (file: string): string => `${importId} ${file === '-' ? file : resolve(file)}`
  const known = await knownIds(db, importId)
  const [first] = files
  const isOfOne = files.length === 1 && !known.some((id) => id !== importId)
  if (first !== undefined && isOfOne) return new Map([[first, importId]])
  if (!known.includes(importId)) return new Map(files.map((file) => [file, idOf(file)]))
  throw new PlanError('DRIFT', `The import ${JSON.stringify(importId)} is one of a single file.`, {
    hint: 'Load the other files with another --import-id, and that one alone with this.',
  })
}

/** The imports of this id alone, and of this id and a path. */
async function knownIds(db: Database, importId: string): Promise<readonly string[]> {
  const [ledger] = await db.sql<{
    there: boolean
  }>`select pg_catalog.to_regclass('tsdbkit.import') is not null as there`
  if (ledger?.there !== true) return []
  const rows = await db.sql<{ id: string }>`
    select id from tsdbkit.import where id = ${importId} or starts_with(id, ${`${importId} `})`
  const isFile = (id: string): boolean => id.endsWith(' -') || isAbsolute(id.slice(importId.length + 1))
  return rows.map(({ id }) => id).filter((id) => id === importId || isFile(id))
}
