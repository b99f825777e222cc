import type { Capabilities } from '../catalog/capabilities.ts'
import { isIntegerTime } from '../catalog/dimension.ts'
import type { Job } from '../catalog/job.ts'
import type { RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import type { Sql, Statement } from '../sql/template.ts'
import { alterJobSql } from './job.ts'
import type { PolicyNode } from './policy-tree.ts'

/** What is wrong with policies; docs/reference/policy-check.md describes each. */
export type PolicyRule =
  | 'refresh-erases-history'
  | 'retention-before-refresh'
  | 'retention-without-refresh'
  | 'open-bucket-refreshed'
  | 'late-data-not-refreshed'
  | 'history-never-refreshed'
  | 'compression-in-refresh-window'
  | 'compression-of-late-data'
  | 'compression-after-retention'
  | 'unbounded-growth'

/** One thing that is wrong, or will go wrong. */
export interface PolicyFinding {
  readonly rule: PolicyRule
  /** `loss`: data will be gone that nothing else keeps. `wrong`: results are wrong or old. `waste`: of work or space. */
  readonly severity: 'loss' | 'wrong' | 'waste'
  /** What suffers from it. */
  readonly relation: RelationName
  /** The job that does it; undefined where a policy is missing. */
  readonly jobId: number | undefined
  /** Why it is a problem. */
  readonly reason: string
  /** What the data shows now. */
  readonly evidence: string
  /** The statement that mends it: `db.executeQuery(fix.text, fix.values)`. */
  readonly fix: Statement
}

/** What a rule looks at. */
export interface RuleContext {
  readonly session: Session
  readonly capabilities: Capabilities
  readonly node: PolicyNode
}

/** The statement that changes settings of a policy's configuration, and keeps the rest. */
export function alterConfigSql(
  capabilities: Capabilities,
  job: Job,
  changes: Readonly<Record<string, string | number>>,
): Sql {
  return alterJobSql(capabilities, job.jobId, { config: { ...job.config, ...changes } })
}

/** A length of time as people read it; a number for an integer time column. */
export function describeLength(columnType: string, length: bigint): string {
  if (isIntegerTime(columnType)) return String(length)
  const minutes = Number(length / 60_000_000n)
  if (minutes < 120) return `${minutes} minutes`
  if (minutes < 48 * 60) return `${Math.round(minutes / 60)} hours`
  return `${Math.round(minutes / 60 / 24)} days`
}

/** A time as people read it, by the minute; a number for an integer time column. */
export function describeTime(columnType: string, internal: bigint): string {
  if (isIntegerTime(columnType)) return String(internal)
  return `${new Date(Number(internal / 1000n)).toISOString().slice(0, 16)}Z`
}
