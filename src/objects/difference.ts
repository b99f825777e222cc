import { PlanError } from '../errors.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'

/** A setting of something that exists already and that the call wanted otherwise. */
export interface Difference {
  /** The option's name. */
  readonly setting: string
  /** As it is; `'(none)'` where it is not set. */
  readonly existing: string
  /** As the call asked for. */
  readonly wanted: string
}

/** The difference of one setting, or none. Undefined for `wanted` means that the call does not ask for it. */
export function compareSetting(
  setting: string,
  existing: string | undefined,
  wanted: string | undefined,
  isEqual: (existing: string, wanted: string) => boolean = (left, right) => left === right,
): Difference[] {
  if (wanted === undefined) return []
  if (existing !== undefined && isEqual(existing, wanted)) return []
  return [{ setting, existing: existing ?? '(none)', wanted }]
}

/** The refusal to change what is there. `what` is such as `The retention policy of`. */
export function refuseDrift(
  what: string,
  name: ObjectName,
  differences: readonly Difference[],
  hint: string,
): PlanError {
  const list = differences.map((one) => `${one.setting} is ${one.existing}, not ${one.wanted}`).join('; ')
  return new PlanError('DRIFT', `${what} ${formatName(name)} exists with other settings: ${list}.`, { hint })
}
