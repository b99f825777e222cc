import { expect } from 'vitest'
import type { Database, JobRun } from '../../src/index.ts'

/** The runs of a job that have ended, the newest first. */
export const runsOf = async (db: Database, jobId: number): Promise<readonly JobRun[]> =>
  (await db.jobHistory({ jobId, outcome: ['success', 'failure', 'crash'] })).runs

/** Waits until a job has ended so often, and gives its runs. */
export async function runsAfter(db: Database, jobId: number, count: number): Promise<readonly JobRun[]> {
  await expect
    .poll(async () => (await runsOf(db, jobId)).length, { timeout: 10_000, interval: 50 })
    .toBeGreaterThanOrEqual(count)
  return runsOf(db, jobId)
}
