/** What the ingest soak writes, the same for all its processes. */
export const TABLE = 'Soak ed'

/** Rows with the ids from `from` up to `to`, each to be known again. */
export function* ingestRows(from: number, to: number): Generator<{ readonly id: number; readonly note: string }> {
  for (let id = from; id < to; id++) yield { id, note: `row ${id}` }
}
