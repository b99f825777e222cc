import type { Session } from '../connection/session.ts'
import { sql } from '../sql/template.ts'
import { readCapabilities } from './capabilities.ts'
import type { Relation, RelationName } from './relation.ts'

/** What a policy does. */
export type PolicyKind = 'retention' | 'compression' | 'refresh' | 'reorder'

/** A job that the server runs for one hypertable or continuous aggregate. */
export interface Policy {
  readonly jobId: number
  readonly kind: PolicyKind
  readonly scheduleInterval: string
  /** False while it is paused. */
  readonly scheduled: boolean
  readonly fixedSchedule: boolean
  readonly initialStart: Date | undefined
  readonly nextStart: Date | undefined
  readonly timezone: string | undefined
  /** The policy's own settings as the server keeps them, such as `drop_after`. */
  readonly config: Readonly<Record<string, unknown>>
}

interface PolicyRow {
  readonly jobId: number
  readonly procName: string
  readonly scheduleInterval: string
  readonly scheduled: boolean
  readonly fixedSchedule: boolean
  readonly initialStart: Date | null
  readonly nextStart: Date | null
  readonly timezone: string | null
  readonly config: Record<string, unknown> | null
}

const KINDS: Readonly<Record<string, PolicyKind>> = {
  policy_retention: 'retention',
  policy_compression: 'compression',
  policy_refresh_continuous_aggregate: 'refresh',
  policy_reorder: 'reorder',
}

/** The policies of a hypertable or continuous aggregate, oldest first. */
export async function listPolicies(session: Session, relation: Relation): Promise<Policy[]> {
  const { jobSchema } = await readCapabilities(session)
  // Servers differ in whether they show a policy of an aggregate under the view or under its materialization.
  const storage: RelationName = relation.storage ?? relation
  const { rows } = await session.query<PolicyRow>(sql`
    select j.job_id as "jobId", j.proc_name as "procName", j.schedule_interval::text as "scheduleInterval",
      j.scheduled, j.fixed_schedule as "fixedSchedule",
      case when isfinite(j.initial_start) then j.initial_start end as "initialStart",
      case when isfinite(j.next_start) then j.next_start end as "nextStart",
      b.timezone, j.config
    from timescaledb_information.jobs j
    left join ${sql.raw(jobSchema)}.bgw_job b on b.id = j.job_id
    where j.proc_schema in ('_timescaledb_functions', '_timescaledb_internal')
      and j.proc_name = any(${Object.keys(KINDS)}::text[])
      and ((j.hypertable_schema = ${relation.schema} and j.hypertable_name = ${relation.name})
        or (j.hypertable_schema = ${storage.schema} and j.hypertable_name = ${storage.name}))
    order by j.job_id`)
  return rows.map(toPolicy)
}

function toPolicy(row: PolicyRow): Policy {
  return {
    jobId: row.jobId,
    kind: KINDS[row.procName] ?? 'reorder',
    scheduleInterval: row.scheduleInterval,
    scheduled: row.scheduled,
    fixedSchedule: row.fixedSchedule,
    initialStart: row.initialStart ?? undefined,
    nextStart: row.nextStart ?? undefined,
    timezone: row.timezone ?? undefined,
    config: row.config ?? {},
  }
}
