/** tsdbkit: TimescaleDB from TypeScript, on an embedded engine or a server. */
export type { Capabilities, Edition, ExtensionVersion, Feature } from './catalog/capabilities.ts'
export { can } from './catalog/capabilities.ts'
export type { ChunkFilter, ChunkInfo, ChunkReference } from './catalog/chunk.ts'
export type { CompressionSettings, OrderByColumn } from './catalog/compression.ts'
export type { Dimension, HashDimension, RangeDimension } from './catalog/dimension.ts'
export type { CompressionEffect, HypertableStats } from './catalog/hypertable.ts'
export type { Policy, PolicyKind } from './catalog/job.ts'
export { Client, connect, Database, sharedConnection } from './client.ts'
export type { SettingDescription } from './config/describe-settings.ts'
export type { ConnectOptions } from './config/settings.ts'
export type { BatchRows } from './connection/batch-query.ts'
export type { BatchResult } from './connection/execute-many.ts'
export type { PgPool } from './connection/pool.ts'
export type {
  Notice,
  QueryOptions,
  QueryResult,
  ResultColumn,
  Row,
  Session,
  TransactionOptions,
} from './connection/session.ts'
export * from './errors.ts'
export type { ChunkProgress, ChunkRangeOptions, CompressChunkResult, DecompressChunkResult } from './objects/chunk.ts'
export type { CompressionPolicyOptions, CompressionPolicyResult } from './objects/compression.ts'
export type { ContinuousAggregateOptions, ContinuousAggregateResult } from './objects/continuous-aggregate.ts'
export type { HypertableOptions, HypertableResult } from './objects/hypertable.ts'
export type { PolicyResult, RemoveOptions, RemoveResult, ScheduleOptions } from './objects/policy.ts'
export type { RefreshOptions, RefreshResult } from './objects/refresh.ts'
export type { RefreshPolicyOptions, RefreshPolicyResult } from './objects/refresh-policy.ts'
export type { RetentionPolicyOptions, RetentionPolicyResult } from './objects/retention.ts'
export type { FillGapsOptions, FillGapsRow, FillMethod, GapfillColumn } from './query/gapfill.ts'
export type { TimeBucketOptions, TimeBucketRow } from './query/time-bucket.ts'
export type { ColumnTable } from './results/dataframe.ts'
export type { Aggregate, Aggregations } from './sql/aggregate.ts'
export {
  avg,
  count,
  countDistinct,
  first,
  histogram,
  last,
  max,
  median,
  min,
  percentile,
  stddev,
  sum,
} from './sql/aggregate.ts'
export type { ObjectName } from './sql/identifier.ts'
export type { IntervalInput } from './sql/interval.ts'
export type { Statement } from './sql/template.ts'
export { Sql, sql } from './sql/template.ts'
export type { TimeInput } from './sql/time-expression.ts'
export type { Where, WhereComparison } from './sql/where.ts'
