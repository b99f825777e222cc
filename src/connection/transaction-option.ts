import { UsageError } from '../errors.ts'
import type { InterruptOptions } from './cancel.ts'
import type { TransactionOptions } from './session.ts'

const isolationLevels: readonly unknown[] = ['read committed', 'repeatable read', 'serializable']

/** The BEGIN of a transaction with these options. @throws UsageError INVALID_OPTION */
export function beginText(options: TransactionOptions): string {
  const { isolation, readOnly, retries } = options
  if (isolation !== undefined && !isolationLevels.includes(isolation)) {
    throw new UsageError('INVALID_OPTION', `Option isolation must be one of ${isolationLevels.join(', ')}`)
  }
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0)) {
    throw new UsageError('INVALID_OPTION', 'Option retries must be a whole number of at least 0')
  }
  const level = isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation.toUpperCase()}`
  return `BEGIN${level}${readOnly === undefined ? '' : readOnly ? ' READ ONLY' : ' READ WRITE'}`
}

/** @throws UsageError INVALID_OPTION for what only a whole transaction can have */
export function checkSavepointOptions(options: TransactionOptions): void {
  for (const name of ['isolation', 'readOnly', 'retries'] as const) {
    if (options[name] === undefined || options[name] === 0) continue
    throw new UsageError('INVALID_OPTION', `Option ${name} belongs to the outermost transaction, not to a nested one`)
  }
}

/** What of a statement's options only its type says. */
interface RowOptions extends InterruptOptions {
  readonly timestamps?: string | undefined
  readonly json?: string | undefined
}

/** @throws UsageError INVALID_OPTION */
export function checkQueryOptions(options: RowOptions): void {
  const { timeoutMs, timestamps, json } = options
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs < 2 ** 31)) {
    throw new UsageError('INVALID_OPTION', 'Option timeoutMs must be above 0 and below 2^31')
  }
  if (timestamps !== undefined && timestamps !== 'date' && timestamps !== 'string') {
    // A DataFrame has other ones.
    throw new UsageError('INVALID_OPTION', "Option timestamps of rows must be 'date' or 'string'")
  }
  if (json !== undefined && json !== 'value' && json !== 'string') {
    throw new UsageError('INVALID_OPTION', "Option json of rows must be 'value' or 'string'")
  }
}
