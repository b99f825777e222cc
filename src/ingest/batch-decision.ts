import { invalidOption } from '../sql/option.ts'
import type { LoadSettings, SkippedBatch } from './load-option.ts'

/** The batch that a decision is about. */
export type SkippedPart = Pick<SkippedBatch, 'first' | 'rows'>

/**
 * Runs a step of a batch until it succeeds or onBatchError decides otherwise.
 * @param leaveOut - notes that the batch is left out
 * @returns undefined for a batch that is left out
 */
export async function decided<T>(
  { onBatchError, signal }: LoadSettings,
  batch: SkippedPart,
  run: () => Promise<T>,
  leaveOut: (error: unknown) => Promise<void>,
): Promise<T | undefined> {
  for (let failures = 1; ; failures++) {
    try {
      return await run()
    } catch (error) {
      if (onBatchError === undefined || signal?.aborted) throw error
      const decision = await onBatchError(error, { ...batch, failures })
      if (decision === 'retry') continue
      if (decision === 'stop') throw error
      if (decision !== 'skip') throw invalidOption("onBatchError must decide 'retry', 'skip' or 'stop'.")
      await leaveOut(error)
      return undefined
    }
  }
}
