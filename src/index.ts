/** tsdbkit: TimescaleDB from TypeScript, on an embedded engine or a server. */
export type { Capabilities, Edition, ExtensionVersion, Feature } from './catalog/capabilities.ts'
export { can } from './catalog/capabilities.ts'
export type { ChunkFilter, ChunkInfo, ChunkReference } from './catalog/chunk.ts'
export type { CompressionSettings, OrderByColumn } from './catalog/compression.ts'
export type { AggregateFilter, ContinuousAggregate } from './catalog/continuous-aggregate.ts'
export type { Dimension, HashDimension, RangeDimension } from './catalog/dimension.ts'
export { timeTypeOf } from './catalog/dimension.ts'
export type { CompressionEffect, HypertableStats, HypertableSummary } from './catalog/hypertable.ts'
export type { Job, JobFilter, JobKind, Policy, PolicyKind } from './catalog/job.ts'
export type { JobErrorFilter, JobFailure, JobHistory, JobHistoryFilter, JobRun } from './catalog/job-history.ts'
export { Client } from './client.ts'
export type { SettingDescription } from './config/describe-settings.ts'
export type { ConnectOptions } from './config/settings.ts'
export { unreadableFile } from './config/unreadable-file.ts'
export type { BatchRows } from './connection/batch-query.ts'
export type { CopyInResult, CopySource } from './connection/copy-in.ts'
export { copyLine } from './connection/copy-in.ts'
export type { BatchResult } from './connection/execute-many.ts'
export type { PgPool } from './connection/pool.ts'
export type {
  ColumnQueryOptions,
  ColumnStreamOptions,
  CopyOptions,
  Notice,
  QueryOptions,
  QueryResult,
  ResultColumn,
  Row,
  Session,
  TransactionOptions,
} from './connection/session.ts'
export { Connection, connect, Database, sharedConnection } from './database.ts'
export type { ClockOptions, ClockReport, ClockRun, VirtualClock } from './embedded/clock.ts'
export type { MaintenanceJob } from './embedded/maintenance.ts'
export type { ServedDatabase } from './embedded/serve.ts'
export type { ServeOptions } from './embedded/serve-option.ts'
export * from './errors.ts'
export type {
  ExportFormat,
  ExportOptions,
  ExportProgress,
  ExportReport,
  ExportStage,
  ExportTarget,
} from './export/export-option.ts'
export type { ConflictOptions, OnConflict } from './ingest/conflict.ts'
export type { CopyFromTableOptions, CopySourceRows } from './ingest/copy-from-table.ts'
export type { PlannedColumn } from './ingest/create/create-choice.ts'
export type { CreateOptions } from './ingest/create/create-option.ts'
export type { LoadPlan } from './ingest/create/plan-load.ts'
export type { InputRow } from './ingest/encode/encoder.ts'
export type { ValueOptions } from './ingest/encode/value.ts'
export { type GenerateOptions, generateReadings, type Reading } from './ingest/generate-readings.ts'
export type { InsertOptions, InsertResult, InsertRow } from './ingest/insert.ts'
export type {
  BatchDecision,
  FailedBatch,
  LoadOptions,
  LoadProgress,
  LoadReport,
  LoadSeconds,
  SkippedBatch,
} from './ingest/load-option.ts'
export type { ColumnInput, ColumnsInput } from './ingest/source/column-source.ts'
export type { LoadSource } from './ingest/source/input.ts'
export type { RowsInput } from './ingest/source/row-source.ts'
export type { VerifyReport } from './ingest/verify/verify.ts'
export type { Writer, WriterMetrics } from './ingest/writer/writer.ts'
export type { WriterOptions } from './ingest/writer/writer-option.ts'
export type { CompressChunkResult, DecompressChunkResult } from './objects/chunk.ts'
export { compressChunkSql, decompressChunkSql } from './objects/chunk.ts'
export type { ChunkProgress, ChunkRangeOptions } from './objects/chunk-range.ts'
export type { CompressionOptions, EnableCompressionResult } from './objects/compression.ts'
export { enableCompressionSql } from './objects/compression.ts'
export type { CompressionPolicyOptions, CompressionPolicyResult } from './objects/compression-policy.ts'
export { addCompressionPolicySql, removeCompressionPolicySql } from './objects/compression-policy.ts'
export type { ContinuousAggregateOptions, ContinuousAggregateResult } from './objects/continuous-aggregate.ts'
export { createContinuousAggregateSql, dropContinuousAggregateSql } from './objects/continuous-aggregate.ts'
export type { DropChunksOptions } from './objects/drop-chunks.ts'
export { dropChunksSql } from './objects/drop-chunks.ts'
export type { HypertableOptions, HypertableResult } from './objects/hypertable.ts'
export { createHypertableSql, dropHypertableSql, setChunkTimeIntervalSql } from './objects/hypertable.ts'
export type { AddJobOptions, AddJobResult, AlterJobOptions, JobConfig } from './objects/job.ts'
export { alterJobSql, deleteJobSql } from './objects/job.ts'
export type { Metric, MetricSample } from './objects/job-metric.ts'
export { prometheusText } from './objects/job-metric.ts'
export type { JobProblem, JobProblemKind } from './objects/job-problem.ts'
export type { JobProgress, RunJobOptions, RunJobResult } from './objects/job-run.ts'
export { runJobSql } from './objects/job-run.ts'
export type { JobEvent, JobWatch, WatchOptions } from './objects/job-watch.ts'
export type { KeptHistory } from './objects/kept-history.ts'
export type { PolicyResult, RemoveOptions, RemoveResult, ScheduleOptions } from './objects/policy.ts'
export type { PolicyFinding, PolicyRule } from './objects/policy-finding.ts'
export type { PolicyPreview, PolicyReference, PreviewChunk, PreviewOptions } from './objects/policy-preview.ts'
export type { RefreshOptions, RefreshProgress, RefreshResult } from './objects/refresh.ts'
export { refreshContinuousAggregateSql } from './objects/refresh.ts'
export type { RefreshPolicyOptions, RefreshPolicyResult } from './objects/refresh-policy.ts'
export { addContinuousAggregatePolicySql, removeContinuousAggregatePolicySql } from './objects/refresh-policy.ts'
export type { RefreshPreview, TimeRange } from './objects/refresh-preview.ts'
export type { ReorderPolicyOptions, ReorderPolicyResult } from './objects/reorder.ts'
export { addReorderPolicySql, removeReorderPolicySql } from './objects/reorder.ts'
export type { RetentionPolicyOptions, RetentionPolicyResult } from './objects/retention.ts'
export { addRetentionPolicySql, removeRetentionPolicySql } from './objects/retention.ts'
export type { ExplainOptions, PlanNode, PlanRelation, QueryPlan } from './query/explain.ts'
export type { FillGapsOptions, FillGapsRow, FillMethod, GapfillColumn } from './query/gapfill.ts'
export { fillGapsSql } from './query/gapfill.ts'
export type { TimeBucketOptions, TimeBucketRow } from './query/time-bucket.ts'
export { timeBucketSql } from './query/time-bucket.ts'
export type { ArrowOptions, ArrowTable, IpcOptions } from './results/arrow.ts'
export { type ChartOptions, chart } from './results/chart.ts'
export type { Column } from './results/column.ts'
export type { ArrowQueryOptions, DataFrameOptions } from './results/column-query.ts'
export type { ColumnSet } from './results/column-set.ts'
export type { IntervalValue } from './results/column-value.ts'
export type { ColumnTable } from './results/dataframe.ts'
export type { FrameOptions } from './results/frame-column.ts'
export { type PrintOptions, print } from './results/print.ts'
export type { FrameLike, Printable } from './results/printable.ts'
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
export type { TimeInput, TimeType } from './sql/time-expression.ts'
export type { Where, WhereComparison } from './sql/where.ts'
export type { JsonSchema, TaskMetadata, TaskMethod } from './task/metadata.ts'
export type { ReadOnlyLimits } from './task/read-only.ts'
export { type ReaderRoleOptions, readerRoleSql } from './task/reader-role.ts'
export {
  runTask,
  type Task,
  type TaskAnswer,
  type TaskFailure,
  type TaskOptions,
  type TaskSuccess,
  taskMetadata,
  taskSql,
} from './task/run-task.ts'
export { parseTasks, type ScriptTask } from './task/script.ts'
export type { ColumnBatch, ColumnOptions, ColumnType, ColumnValues } from './wire/column.ts'
