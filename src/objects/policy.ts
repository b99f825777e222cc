import { type Capabilities, type Feature, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { listDimensions } from '../catalog/dimension.ts'
import { listPolicies, type Policy, type PolicyKind } from '../catalog/job.ts'
import { getTimeRelation, notHypertable, type Relation, type RelationName } from '../catalog/relation.ts'
import { requireTimeZone } from '../catalog/time-zone.ts'
import type { Session } from '../connection/session.ts'
import { TimescaleError } from '../errors.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import type { IntervalInput } from '../sql/interval.ts'
import { type Sql, sql } from '../sql/template.ts'
import { parseTime, type TimeInput, timeSql } from '../sql/time-expression.ts'
import { compareSetting, type Difference, refuseDrift } from './difference.ts'
import { withHints } from './hint.ts'
import { formatSpan, isSameSpan, optionalInterval, requireSpanKind, type Span } from './span.ts'

/** When a policy runs. What is left out is the server's choice. */
export interface ScheduleOptions {
  readonly scheduleInterval?: IntervalInput
  /** The first run; later ones keep to its multiples. */
  readonly initialStart?: TimeInput
  /** The time zone in which the schedule keeps its hour, such as `'Europe/Berlin'`. */
  readonly timezone?: string
  /**
   * Something that exists already is no error: the result then says `created: false` and, in `differences`, every
   * setting that is not as asked for. Without it a policy that exists with other settings is refused.
   */
  readonly ifNotExists?: boolean
}

/** The names of the options in {@link ScheduleOptions}. */
export const SCHEDULE_KEYS: Readonly<Record<keyof ScheduleOptions, true>> = {
  scheduleInterval: true,
  initialStart: true,
  timezone: true,
  ifNotExists: true,
}

/** What adding a policy did. */
export interface PolicyResult {
  /** False where one was there already. It was left as it is. */
  readonly created: boolean
  /** The job that runs the policy. */
  readonly jobId: number
  /** Empty unless a policy was there with other settings. */
  readonly differences: readonly Difference[]
  /** As it is now. */
  readonly scheduleInterval: string
}

/** What removing a policy did. */
export interface RemoveResult {
  /** False where there was none. */
  readonly removed: boolean
}

/** How a policy is removed. */
export interface RemoveOptions {
  /** No error where there is none. */
  readonly ifExists?: boolean
}

/** The names of the options in {@link RemoveOptions}. */
export const REMOVE_KEYS: readonly string[] = Object.keys({ ifExists: true } satisfies Record<
  keyof RemoveOptions,
  true
>)

/** What the server refuses with these SQLSTATEs, and our option for it. */
export const POLICY_HINTS: Readonly<Record<string, string>> = {
  '42710': 'Give ifNotExists: true to keep the one that exists.',
  '42704': 'Give ifExists: true where there may be none.',
}

/** A name as an argument of type regclass. */
export function regclass(name: ObjectName): Sql {
  return sql`${sql.literal(formatName(name))}::regclass`
}

/** A function's or procedure's name as an argument of type regproc. */
export function regproc(name: ObjectName): Sql {
  return sql`${sql.literal(formatName(name))}::regproc`
}

/** True as SQL, or undefined, which leaves the argument out. */
export function optionalFlag(flag: boolean | undefined): Sql | undefined {
  return flag === undefined ? undefined : sql.literal(flag)
}

/** The named arguments that all policies share. */
export function scheduleArguments(options: ScheduleOptions): Record<string, Sql | undefined> {
  return {
    if_not_exists: optionalFlag(options.ifNotExists),
    schedule_interval: optionalInterval(options.scheduleInterval),
    initial_start: options.initialStart === undefined ? undefined : timeSql(options.initialStart, 'timestamptz'),
    timezone: options.timezone === undefined ? undefined : sql.literal(options.timezone),
  }
}

const FEATURES: Readonly<Record<PolicyKind, Feature>> = {
  retention: 'retention',
  compression: 'compression',
  refresh: 'continuous-aggregate',
  reorder: 'reorder',
}

/** What a policy needs to know before it is added or removed. */
export interface PolicyContext {
  readonly kind: PolicyKind
  readonly capabilities: Capabilities
  readonly relation: Relation & { readonly storage: RelationName }
  readonly existing: readonly Policy[]
}

/**
 * The relation, and its policies of one kind; `schedule` is that of a new one.
 * @throws UnsupportedError where the feature is missing; QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND
 * @throws UsageError INVALID_OPTION for a time zone that the server does not know
 */
export async function readPolicyContext(
  session: Session,
  name: ObjectName,
  kind: PolicyKind,
  schedule: ScheduleOptions = {},
): Promise<PolicyContext> {
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, FEATURES[kind])
  await requireTimeZone(session, schedule.timezone)
  const relation = await getTimeRelation(session, name)
  if (kind === 'refresh' && relation.kind !== 'continuous-aggregate') {
    throw notHypertable(relation, 'a continuous aggregate')
  }
  const policies = await listPolicies(session, relation)
  return { kind, capabilities, relation, existing: policies.filter((policy) => policy.kind === kind) }
}

/**
 * Refuses a number or an interval where the relation's time column needs the other.
 * @throws UsageError INVALID_OPTION
 */
export async function requirePolicySpan(
  session: Session,
  context: PolicyContext,
  option: string,
  span: Span | null | undefined,
): Promise<void> {
  if (span === undefined || span === null) return
  const [time] = await listDimensions(session, context.relation.storage)
  requireSpanKind(option, span, time?.columnType)
}

/** How the schedule of a policy differs from what the call asks for. */
export function compareSchedule(existing: Policy, options: ScheduleOptions): Difference[] {
  const wanted = options.scheduleInterval === undefined ? undefined : formatSpan(options.scheduleInterval)
  return [
    ...compareSetting('scheduleInterval', existing.scheduleInterval, wanted, isSameSpan),
    ...compareSetting('initialStart', existing.initialStart?.toISOString(), fixedTime(options.initialStart)),
    ...compareSetting('timezone', existing.timezone, options.timezone),
  ]
}

/** A time as a Date prints it; undefined where it depends on the server's clock, and means another one in each call. */
function fixedTime(input: TimeInput | undefined): string | undefined {
  const time = input === undefined ? undefined : parseTime(input)
  if (time?.kind !== 'instant' || typeof time.microseconds !== 'bigint') return undefined
  return new Date(Number(time.microseconds / 1000n)).toISOString()
}

/** How one span in a policy's configuration differs from what the call asks for. */
export function compareConfigSpan(
  policy: Policy,
  key: string,
  setting: string,
  wanted: Span | undefined,
): Difference[] {
  return compareSetting(
    setting,
    configText(policy, key),
    wanted === undefined ? undefined : formatSpan(wanted),
    isSameSpan,
  )
}

/** A value of a policy's configuration as text; undefined where it has none. */
export function configText(policy: Policy, key: string): string | undefined {
  const value = policy.config[key]
  return value === undefined || value === null ? undefined : String(value)
}

/**
 * Whether a policy that exists is kept as it is: where `ifNotExists` is given. `removal` is our function that removes it.
 * @throws PlanError DRIFT where it is not given, and the policy has other settings.
 */
export function keepsExisting(
  context: PolicyContext,
  differences: readonly Difference[],
  ifNotExists: boolean | undefined,
  removal: string,
): boolean {
  if (ifNotExists === true || differences.length === 0) return ifNotExists === true
  throw refuseDrift(`The ${context.kind} policy of`, context.relation, differences, `Call ${removal} first.`)
}

/**
 * Runs the statement that adds a policy; gives the policy: the only new one. `hints` go with what the server refuses, by
 * SQLSTATE.
 * @throws TimescaleError QUERY_FAILED where the server said nothing, yet added none.
 */
export async function createPolicy(
  session: Session,
  context: PolicyContext,
  statement: Sql,
  hints: Readonly<Record<string, string>> = {},
): Promise<Policy> {
  const { kind, relation } = context
  await withHints({ ...POLICY_HINTS, ...hints }, () => session.query(statement))
  const known = new Set(context.existing.map((policy) => policy.jobId))
  const policies = await listPolicies(session, relation)
  const added = policies.find((policy) => policy.kind === kind && !known.has(policy.jobId))
  if (added !== undefined) return added
  throw new TimescaleError('QUERY_FAILED', `The server added no ${kind} policy to ${formatName(relation)}.`)
}

/** What adding a policy of any kind gives. */
export function toPolicyResult(policy: Policy, created: boolean, differences: readonly Difference[]): PolicyResult {
  return { created, jobId: policy.jobId, differences, scheduleInterval: policy.scheduleInterval }
}

/**
 * Removes a policy by the statement that `toSql` makes.
 * @throws QueryError NOT_FOUND where there is none and `ifExists` is not given.
 */
export async function removePolicy(
  session: Session,
  name: ObjectName,
  kind: PolicyKind,
  options: RemoveOptions,
  toSql: (capabilities: Capabilities, name: ObjectName, options: RemoveOptions) => Sql,
): Promise<RemoveResult> {
  const { capabilities, relation, existing } = await readPolicyContext(session, name, kind)
  if (existing.length === 0 && options.ifExists === true) return { removed: false }
  await withHints(POLICY_HINTS, () => session.query(toSql(capabilities, relation, options)))
  return { removed: true }
}
