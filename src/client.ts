import { EventEmitter } from 'node:events'
import { type Capabilities, forgetCapabilities, readCapabilities } from './catalog/capabilities.ts'
import { type ChunkFilter, type ChunkInfo, type ChunkReference, getChunkInfo } from './catalog/chunk.ts'
import { type CompressionSettings, getCompressionSettings } from './catalog/compression.ts'
import {
  type AggregateFilter,
  type ContinuousAggregate,
  findContinuousAggregates,
  getContinuousAggregate,
} from './catalog/continuous-aggregate.ts'
import {
  getHypertableStats,
  type HypertableStats,
  type HypertableSummary,
  listHypertables,
} from './catalog/hypertable.ts'
import { getJob, type Job, type JobFilter, listJobs } from './catalog/job.ts'
import {
  type JobErrorFilter,
  type JobHistory,
  type JobHistoryFilter,
  type JobRun,
  jobErrors,
  jobHistory,
} from './catalog/job-history.ts'
import { readingFile } from './config/unreadable-file.ts'
import type { BatchRows } from './connection/batch-query.ts'
import type { CopyInResult, CopySource } from './connection/copy-in.ts'
import type { BatchResult } from './connection/execute-many.ts'
import type {
  ColumnQueryOptions,
  ColumnStreamOptions,
  CopyOptions,
  QueryOptions,
  QueryResult,
  Row,
  Session,
  TransactionOptions,
} from './connection/session.ts'
import type { ExportOptions, ExportReport, ExportTarget } from './export/export-option.ts'
import type { CopyFromTableOptions, CopySourceRows } from './ingest/copy-from-table.ts'
import type { LoadPlan } from './ingest/create/plan-load.ts'
import { type InsertOptions, type InsertResult, type InsertRow, insert } from './ingest/insert.ts'
import { executeMany } from './ingest/insert-many.ts'
import type { LoadOptions, LoadReport } from './ingest/load-option.ts'
import type { LoadSource } from './ingest/source/input.ts'
import type { Writer } from './ingest/writer/writer.ts'
import type { WriterOptions } from './ingest/writer/writer-option.ts'
import * as chunk from './objects/chunk.ts'
import * as chunkRange from './objects/chunk-range.ts'
import * as compression from './objects/compression.ts'
import * as compressionPolicy from './objects/compression-policy.ts'
import * as aggregate from './objects/continuous-aggregate.ts'
import { type DropChunksOptions, dropChunks } from './objects/drop-chunks.ts'
import * as hypertable from './objects/hypertable.ts'
import * as job from './objects/job.ts'
import { jobMetrics, type Metric } from './objects/job-metric.ts'
import { type JobProblem, listJobProblems } from './objects/job-problem.ts'
import { type RunJobOptions, type RunJobResult, runJob } from './objects/job-run.ts'
import type { RemoveOptions, RemoveResult } from './objects/policy.ts'
import { checkPolicies } from './objects/policy-check.ts'
import type { PolicyFinding } from './objects/policy-finding.ts'
import {
  type PolicyPreview,
  type PolicyReference,
  type PreviewOptions,
  previewPolicy,
} from './objects/policy-preview.ts'
import * as refresh from './objects/refresh.ts'
import * as refreshPolicy from './objects/refresh-policy.ts'
import * as reorder from './objects/reorder.ts'
import * as retention from './objects/retention.ts'
import type { Span } from './objects/span.ts'
import { type ExplainOptions, explain, type QueryPlan } from './query/explain.ts'
import {
  type FillGapsOptions,
  type FillGapsRow,
  fillGaps,
  fillGapsColumns,
  type GapfillColumns,
} from './query/gapfill.ts'
import { type TimeBucketOptions, type TimeBucketRow, timeBucketColumns, timeBucketQuery } from './query/time-bucket.ts'
import type { BucketInterval } from './query/time-column.ts'
import type { ArrowTable } from './results/arrow.ts'
import {
  type ArrowQueryOptions,
  type DataFrameOptions,
  queryToArrow,
  queryToColumns,
  queryToDataFrame,
} from './results/column-query.ts'
import type { ColumnSet } from './results/column-set.ts'
import type { ColumnTable } from './results/dataframe.ts'
import { streamColumns, streamRows } from './results/stream.ts'
import type { Aggregations } from './sql/aggregate.ts'
import type { ObjectName } from './sql/identifier.ts'
import { invalidOption } from './sql/option.ts'
import { type Statement, sql } from './sql/template.ts'

/** How results arrive where a call does not say. */
type ResultDefaults = Pick<QueryOptions, 'int8' | 'numeric'>

/**
 * Everything that can be done in a database, on whatever connection or transaction it is bound to. In one file, though
 * long: it is the list of it, and each method is one line. What is large and not for every program (loads, writers,
 * exports) is read from disk by the first call: half of what the library needs to start.
 */
export class Client {
  protected readonly session: Session
  readonly #defaults: ResultDefaults

  /** Made by `connect()` and `transaction()`. */
  constructor(session: Session, defaults: ResultDefaults) {
    this.session = session
    this.#defaults = defaults
  }

  /**
   * Runs one statement; `$1` and so on stand for the values of `params`, which are never part of the text.
   * @throws QueryError, ConnectionError
   * @example
   * const { rows } = await db.executeQuery('select now() - $1::interval as since', ['1 day'])
   */
  async executeQuery<R extends object = Row>(
    text: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<QueryResult<R>> {
    return this.session.query<R>(toStatement(text, params, 'executeQuery'), { ...this.#defaults, ...options })
  }

  /**
   * Runs the statement in the template and gives its rows. Every `${value}` is bound, never pasted; a fragment made
   * with `sql` is spliced in.
   * @throws QueryError, ConnectionError
   * @example
   * const rows = await db.sql`select 1 + ${2} as three`
   */
  async sql<R extends object = Row>(strings: TemplateStringsArray, ...values: readonly unknown[]): Promise<R[]> {
    return (await this.session.query<R>(sql(strings, ...values), this.#defaults)).rows
  }

  /**
   * Runs one statement once for each list of values, in one transaction, without waiting for answers; a plain
   * `insert … values ($1, …)` goes as one array per column. Nothing is kept when a row fails.
   * @throws BatchError BATCH_FAILED with the row's index
   */
  async executeMany(text: string, rows: BatchRows, options: QueryOptions = {}): Promise<BatchResult> {
    requireText(text, 'executeMany')
    if (!isRows(rows))
      throw invalidOption('executeMany needs rows: a list, an iterator or a stream of lists of values.')
    return executeMany(this.session, text, rows, options)
  }

  /**
   * Loads rows, columns or a file of any length into a table by COPY, in constant memory.
   * @throws BatchError BATCH_FAILED naming the row that does not fit or that the server refuses
   * @example
   * await db.sql`create table loaded (time timestamptz, v float8)`
   * const { rowsWritten } = await db.load('loaded', [{ time: new Date(), v: 1.5 }])
   */
  async load(name: ObjectName, source: LoadSource, options: LoadOptions = {}): Promise<LoadReport> {
    return heedingErrors(source, async () => {
      const { load } = await import('./ingest/load.ts')
      return readingFile(source, () => load(this.session, name, source, options))
    })
  }

  /**
   * The statements with which `load` with `create: true` would make the table, and why they are as they are; changes
   * nothing. The beginning of the source is read: of a stream or an iterator it is then used up.
   * @throws UsageError where no type or time column is certain
   */
  async planLoad(name: ObjectName, source: LoadSource, options: LoadOptions = {}): Promise<LoadPlan> {
    return heedingErrors(source, async () => {
      const { planLoad } = await import('./ingest/create/plan-load.ts')
      return readingFile(source, () => planLoad(this.session, name, source, options))
    })
  }

  /**
   * Copies a table, a view or a query (`` sql`select …` ``) of another database, which may be a plain PostgreSQL, into a
   * table of this one, while it comes, in constant memory.
   * @throws UsageError INVALID_OPTION, INVALID_VALUE; BatchError, QueryError, ConnectionError as `load()`
   */
  async copyFromTable(
    source: Client,
    from: CopySourceRows,
    target: ObjectName,
    options: CopyFromTableOptions = {},
  ): Promise<LoadReport> {
    if (!(source instanceof Client)) throw invalidOption('copyFromTable needs the database to copy from.')
    const { copyFromTable } = await import('./ingest/copy-from-table.ts')
    return copyFromTable(source.session, from, this.session, target, options)
  }

  /**
   * Inserts rows given as objects, all or nothing, and can give back what the server made of them: typed by the columns
   * that `returning` names, and by the row type where one is given.
   * @throws BatchError BATCH_FAILED naming the row with a value that does not fit, before anything is sent
   * @example
   * await db.sql`create table noted (id int generated always as identity, note text)`
   * const { rows } = await db.insert<{ id: number }>('noted', [{ note: 'first' }], { returning: ['id'] })
   */
  insert<const C extends string>(
    name: ObjectName,
    rows: readonly object[],
    options: InsertOptions<C> & { readonly returning: readonly C[] },
  ): Promise<InsertResult<{ [K in C]: unknown }>>
  insert<T extends object, const C extends keyof T & string>(
    name: ObjectName,
    rows: readonly InsertRow<T>[],
    options: InsertOptions<C> & { readonly returning: readonly C[] },
  ): Promise<InsertResult<Pick<T, C>>>
  insert<R extends object = Row>(
    name: ObjectName,
    rows: readonly object[],
    options?: InsertOptions<keyof R & string>,
  ): Promise<InsertResult<R>>
  insert(name: ObjectName, rows: readonly object[], options: InsertOptions = {}): Promise<InsertResult> {
    return insert(this.session, name, rows, { ...this.#defaults, ...options })
  }

  /**
   * Writes the result of a statement to a file (`.csv`, `.tsv`, `.ndjson`, each also `.gz`, or `.parquet`), to standard
   * output (`-`) or a stream, in constant memory. A file has its name only when it is whole.
   * @throws UsageError INVALID_VALUE for a file that exists, INVALID_OPTION; QueryError, ConnectionError
   */
  async exportTo(
    target: ExportTarget,
    text: string,
    params: readonly unknown[] = [],
    options: ExportOptions = {},
  ): Promise<ExportReport> {
    const statement = toStatement(text, params, 'exportTo')
    return heedingErrors(target, async () => {
      const { exportTo } = await import('./export/export.ts')
      return exportTo(this.session, target, statement, options)
    })
  }

  /**
   * Opens a writer for a service: it takes rows one by one, writes them together, and keeps them on disk while the database
   * is away.
   * @throws UsageError, QueryError NOT_FOUND, ConnectionError DIRECTORY_LOCKED
   * @example
   * await db.sql`create table measured (time timestamptz, v float8)`
   * await using writer = await db.writer('measured', { flushMs: 200 })
   * await writer.write({ time: new Date(), v: 1.5 })
   */
  async writer(name: ObjectName, options: WriterOptions = {}): Promise<Writer> {
    const { openWriter } = await import('./ingest/writer/writer.ts')
    return openWriter(this.session, name, options)
  }

  /**
   * Runs a COPY … FROM STDIN with the bytes of `source`, taken as fast as the server takes them.
   * @throws QueryError whose message names the line; what the source throws; ConnectionError
   */
  async copyIn(text: string, source: CopySource, options: CopyOptions = {}): Promise<CopyInResult> {
    requireText(text, 'copyIn')
    return heedingErrors(source, () => this.session.copyIn(text, source, options))
  }

  /**
   * Runs a COPY … TO STDOUT; gives its bytes in blocks cut anywhere. Leaving the loop cancels it on the server.
   * @throws QueryError, ConnectionError
   */
  copyOut(text: string, options: CopyOptions = {}): AsyncIterable<Buffer> {
    requireText(text, 'copyOut')
    return this.session.copyOut(text, options)
  }

  /**
   * Runs one statement and gives its columns: typed arrays in Arrow's layout, exact, without an object for each row.
   * @throws QueryError, ConnectionError, UsageError INVALID_VALUE for a numeric that does not fit its column
   * @example
   * const columns = await db.queryToColumns('select x, x * 0.5 as half from generate_series(1, 3) x')
   * const half = columns.column('half').toArray()
   */
  async queryToColumns<N extends string = string>(
    text: string,
    params: readonly unknown[] = [],
    options: ColumnQueryOptions = {},
  ): Promise<ColumnSet<N>> {
    return queryToColumns<N>(this.session, toStatement(text, params, 'queryToColumns'), options)
  }

  /**
   * Runs one statement and gives an Arquero table. Timestamps are Dates (`timestamps: 'micros'` for microseconds),
   * numeric and bigint columns are numbers (`int8: 'bigint'` for exact ones).
   * @throws QueryError, ConnectionError, UsageError INVALID_VALUE for two columns of one name, a bigint beyond ±2^53
   */
  async queryToDataFrame(
    text: string,
    params: readonly unknown[] = [],
    options: DataFrameOptions = {},
  ): Promise<ColumnTable> {
    const int8 = this.#defaults.int8 === 'bigint' ? 'bigint' : 'number'
    return queryToDataFrame(this.session, toStatement(text, params, 'queryToDataFrame'), { int8, ...options })
  }

  /**
   * Runs one statement and gives a flechette table, Arrow in JavaScript, over the same buffers as `queryToColumns`.
   * @throws QueryError, ConnectionError, UsageError INVALID_VALUE for infinite times without `infinity: 'null'`
   */
  async queryToArrow(
    text: string,
    params: readonly unknown[] = [],
    options: ArrowQueryOptions = {},
  ): Promise<ArrowTable> {
    return queryToArrow(this.session, toStatement(text, params, 'queryToArrow'), options)
  }

  /**
   * The rows of a statement while they come, one by one, in constant memory. Nothing is sent before the first is asked
   * for; leaving the loop cancels the statement on the server.
   * @throws UsageError INVALID_OPTION, INVALID_VALUE; while reading QueryError, ConnectionError
   * @example
   * for await (const row of db.stream('select i from generate_series(1, $1::int) i', [3])) console.log(row)
   */
  stream<R extends object = Row>(
    text: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): AsyncIterableIterator<R> {
    return streamRows<R>(this.session, toStatement(text, params, 'stream'), { ...this.#defaults, ...options })
  }

  /**
   * The columns of a statement while they come, in batches of `batchRows` rows; in all else as `stream()`.
   * @throws UsageError INVALID_OPTION, INVALID_VALUE; while reading QueryError, ConnectionError
   * @example
   * for await (const batch of db.streamColumns('select 0.5 * i as half from generate_series(1, 9) i', [], { batchRows: 5 }))
   *   console.log(batch.length, batch.column('half').toArray())
   */
  streamColumns<N extends string = string>(
    text: string,
    params: readonly unknown[] = [],
    options: ColumnStreamOptions = {},
  ): AsyncIterableIterator<ColumnSet<N>> {
    return streamColumns<N>(this.session, toStatement(text, params, 'streamColumns'), options)
  }

  /**
   * How the server runs a statement: its plan as a tree, the chunks it reads and excludes. With `analyze` it is run and
   * measured, and what it writes is rolled back.
   * @throws QueryError, ConnectionError
   * @example
   * const { root, chunksScanned } = await db.explain('select count(*) from pg_class where relname = $1', ['pg_class'])
   */
  async explain(text: string, params: readonly unknown[] = [], options: ExplainOptions = {}): Promise<QueryPlan> {
    return explain(this.session, toStatement(text, params, 'explain'), options)
  }

  /**
   * Runs `run` in a transaction: committed when it returns, rolled back when it throws. Inside another transaction
   * it is a savepoint. Use the client that is passed to it: the outer one is on another connection.
   */
  async transaction<T>(run: (client: Client) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    if (typeof run !== 'function') throw invalidOption('transaction needs a function that takes the client to use.')
    return this.session.transaction((session) => run(new Client(session, this.#defaults)), options)
  }

  /** What the database is and can: versions, edition, features. Asked anew on each call. */
  capabilities(): Promise<Capabilities> {
    forgetCapabilities(this.session)
    return readCapabilities(this.session)
  }

  /** Turns a table into a hypertable. */
  createHypertable(name: ObjectName, options: hypertable.HypertableOptions): Promise<hypertable.HypertableResult> {
    return hypertable.createHypertable(this.session, name, options)
  }

  /** Drops a hypertable with all its chunks. */
  dropHypertable(name: ObjectName, options: hypertable.DropHypertableOptions = {}): Promise<hypertable.DropResult> {
    return hypertable.dropHypertable(this.session, name, options)
  }

  /** Changes the time range of the chunks made from now on. */
  setChunkTimeInterval(name: ObjectName, interval: Span): Promise<void> {
    return hypertable.setChunkTimeInterval(this.session, name, interval)
  }

  /** All hypertables of the database. */
  listHypertables(): Promise<HypertableSummary[]> {
    return listHypertables(this.session)
  }

  /** Sizes, chunks, compression, dimensions, policies and aggregates of a hypertable. */
  getHypertableStats(name: ObjectName): Promise<HypertableStats> {
    return getHypertableStats(this.session, name)
  }

  /** The chunks of a hypertable, newest first. */
  getChunkInfo(name: ObjectName, filter: ChunkFilter = {}): Promise<ChunkInfo[]> {
    return getChunkInfo(this.session, name, filter)
  }

  /** Drops old chunks automatically. */
  addRetentionPolicy(
    name: ObjectName,
    options: retention.RetentionPolicyOptions,
  ): Promise<retention.RetentionPolicyResult> {
    return retention.addRetentionPolicy(this.session, name, options)
  }

  removeRetentionPolicy(name: ObjectName, options: RemoveOptions = {}): Promise<RemoveResult> {
    return retention.removeRetentionPolicy(this.session, name, options)
  }

  /** Enables compression with its settings; compresses nothing by itself. */
  enableCompression(
    name: ObjectName,
    options: compression.CompressionOptions = {},
  ): Promise<compression.EnableCompressionResult> {
    return compression.enableCompression(this.session, name, options)
  }

  /** How a hypertable or continuous aggregate is compressed. */
  getCompressionSettings(name: ObjectName): Promise<CompressionSettings> {
    return getCompressionSettings(this.session, name)
  }

  /** Compresses old chunks automatically; enables compression where it is not yet. */
  addCompressionPolicy(
    name: ObjectName,
    options: compressionPolicy.CompressionPolicyOptions,
  ): Promise<compressionPolicy.CompressionPolicyResult> {
    return compressionPolicy.addCompressionPolicy(this.session, name, options)
  }

  removeCompressionPolicy(name: ObjectName, options: RemoveOptions = {}): Promise<RemoveResult> {
    return compressionPolicy.removeCompressionPolicy(this.session, name, options)
  }

  compressChunk(name: ChunkReference, options: chunk.CompressChunkOptions = {}): Promise<chunk.CompressChunkResult> {
    return chunk.compressChunk(this.session, name, options)
  }

  decompressChunk(
    name: ChunkReference,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<chunk.DecompressChunkResult> {
    return chunk.decompressChunk(this.session, name, options)
  }

  /** Compresses all chunks in a range, one after the other; gives those it compressed. */
  compressChunks(
    name: ObjectName,
    options: chunkRange.ChunkRangeOptions = {},
  ): ReturnType<typeof chunkRange.compressChunks> {
    return chunkRange.compressChunks(this.session, name, options)
  }

  /** Decompresses all chunks in a range, one after the other; gives those it decompressed. */
  decompressChunks(
    name: ObjectName,
    options: chunkRange.ChunkRangeOptions = {},
  ): ReturnType<typeof chunkRange.decompressChunks> {
    return chunkRange.decompressChunks(this.session, name, options)
  }

  /** Drops the chunks within the bounds, with their rows; gives those it dropped. At least one bound is needed. */
  dropChunks(name: ObjectName, options: DropChunksOptions): ReturnType<typeof dropChunks> {
    return dropChunks(this.session, name, options)
  }

  /** Creates a view whose buckets are kept and refreshed. */
  createContinuousAggregate(
    name: ObjectName,
    options: aggregate.ContinuousAggregateOptions,
  ): Promise<aggregate.ContinuousAggregateResult> {
    return aggregate.createContinuousAggregate(this.session, name, options)
  }

  /** All continuous aggregates of the database, or those directly on one hypertable or aggregate. */
  listContinuousAggregates(options: AggregateFilter = {}): Promise<ContinuousAggregate[]> {
    return findContinuousAggregates(this.session, options)
  }

  /** One continuous aggregate: its source, buckets, settings and query. */
  getContinuousAggregate(name: ObjectName): Promise<ContinuousAggregate> {
    return getContinuousAggregate(this.session, name)
  }

  dropContinuousAggregate(
    name: ObjectName,
    options: aggregate.DropContinuousAggregateOptions = {},
  ): ReturnType<typeof aggregate.dropContinuousAggregate> {
    return aggregate.dropContinuousAggregate(this.session, name, options)
  }

  /** Brings the buckets of a window up to date. */
  refreshContinuousAggregate(name: ObjectName, options: refresh.RefreshOptions = {}): Promise<refresh.RefreshResult> {
    return refresh.refreshContinuousAggregate(this.session, name, options)
  }

  /** Refreshes a moving window automatically. */
  addContinuousAggregatePolicy(
    name: ObjectName,
    options: refreshPolicy.RefreshPolicyOptions,
  ): Promise<refreshPolicy.RefreshPolicyResult> {
    return refreshPolicy.addContinuousAggregatePolicy(this.session, name, options)
  }

  removeContinuousAggregatePolicy(name: ObjectName, options: RemoveOptions = {}): Promise<RemoveResult> {
    return refreshPolicy.removeContinuousAggregatePolicy(this.session, name, options)
  }

  /** Keeps older chunks in the order of an index. */
  addReorderPolicy(name: ObjectName, options: reorder.ReorderPolicyOptions): Promise<reorder.ReorderPolicyResult> {
    return reorder.addReorderPolicy(this.session, name, options)
  }

  removeReorderPolicy(name: ObjectName, options: RemoveOptions = {}): Promise<RemoveResult> {
    return reorder.removeReorderPolicy(this.session, name, options)
  }

  /** All jobs: policies, user-defined actions, the server's own, and the embedded engine's maintenance. */
  listJobs(filter: JobFilter = {}): ReturnType<typeof listJobs> {
    return listJobs(this.session, filter)
  }

  /** One job: its schedule, configuration and how its runs went. */
  getJob(jobId: number): Promise<Job> {
    return getJob(this.session, jobId)
  }

  /** Runs a job now and waits for its end; a job that fails is a result, not an error. */
  runJob(jobId: number, options: RunJobOptions = {}): Promise<RunJobResult> {
    return runJob(this.session, jobId, options)
  }

  /** Runs a procedure `(job_id int, config jsonb)` again and again. */
  addJob(procedure: ObjectName, options: job.AddJobOptions): Promise<job.AddJobResult> {
    return job.addJob(this.session, procedure, options)
  }

  /** Changes when and how a job runs. */
  alterJob(jobId: number, options: job.AlterJobOptions): Promise<Job> {
    return job.alterJob(this.session, jobId, options)
  }

  /** Lets a paused job run again. */
  enableJob(jobId: number): Promise<Job> {
    return job.enableJob(this.session, jobId)
  }

  /** Pauses a job. */
  disableJob(jobId: number): Promise<Job> {
    return job.disableJob(this.session, jobId)
  }

  deleteJob(jobId: number, options: RemoveOptions = {}): Promise<RemoveResult> {
    return job.deleteJob(this.session, jobId, options)
  }

  /** What the next run of a policy would do, and what history is gone afterwards. Changes nothing. */
  previewPolicy(policy: PolicyReference, options: PreviewOptions = {}): Promise<PolicyPreview> {
    return previewPolicy(this.session, policy, options)
  }

  /** What is wrong between the policies of a hypertable and its aggregates, or of all; each with what mends it. */
  checkPolicies(table?: ObjectName): Promise<PolicyFinding[]> {
    return checkPolicies(this.session, table)
  }

  /** What is wrong with the jobs now: failing, stuck, starved, or without progress. */
  listJobProblems(): Promise<JobProblem[]> {
    return listJobProblems(this.session)
  }

  /** What Prometheus can be told of jobs and hypertables; `prometheusText` makes it text. */
  jobMetrics(): Promise<Metric[]> {
    return jobMetrics(this.session)
  }

  /** The runs of jobs that the server has kept, and whether they are all. */
  jobHistory(filter: JobHistoryFilter = {}): Promise<JobHistory> {
    return jobHistory(this.session, filter)
  }

  /** The runs that failed or crashed. */
  jobErrors(filter: JobErrorFilter = {}): Promise<readonly JobRun[]> {
    return jobErrors(this.session, filter)
  }

  /** Aggregates over time buckets; the rows are typed by the aggregations. The window's end is exclusive. */
  timeBucketQuery<
    const A extends Aggregations,
    const G extends string = never,
    const B extends BucketInterval = BucketInterval,
  >(
    name: ObjectName,
    options: TimeBucketOptions<A, G, B>,
    queryOptions?: QueryOptions,
  ): Promise<TimeBucketRow<A, G, B>[]>
  timeBucketQuery<R extends object>(
    name: ObjectName,
    options: TimeBucketOptions,
    queryOptions?: QueryOptions,
  ): Promise<R[]>
  timeBucketQuery(name: ObjectName, options: TimeBucketOptions, queryOptions?: QueryOptions): Promise<Row[]> {
    return timeBucketQuery<Row>(this.session, name, options, queryOptions)
  }

  /** The same as {@link timeBucketQuery} as columns, from which `toDataFrame()` makes a DataFrame. */
  timeBucketColumns<
    const A extends Aggregations,
    const G extends string = never,
    const B extends BucketInterval = BucketInterval,
  >(
    name: ObjectName,
    options: TimeBucketOptions<A, G, B>,
    queryOptions?: ColumnQueryOptions,
  ): Promise<ColumnSet<keyof TimeBucketRow<A, G, B> & string>> {
    return timeBucketColumns(this.session, name, options, queryOptions)
  }

  /** Time buckets without gaps: each is filled by the method of its column. */
  fillGaps<
    const C extends GapfillColumns,
    const G extends string = never,
    const B extends BucketInterval = BucketInterval,
  >(name: ObjectName, options: FillGapsOptions<C, G, B>, queryOptions?: QueryOptions): Promise<FillGapsRow<C, G, B>[]>
  fillGaps<R extends object>(name: ObjectName, options: FillGapsOptions, queryOptions?: QueryOptions): Promise<R[]>
  fillGaps(name: ObjectName, options: FillGapsOptions, queryOptions?: QueryOptions): Promise<Row[]> {
    return fillGaps<Row>(this.session, name, options, queryOptions)
  }

  /** The same as {@link fillGaps} as columns, from which `toDataFrame()` makes a DataFrame. */
  fillGapsColumns<
    const C extends GapfillColumns,
    const G extends string = never,
    const B extends BucketInterval = BucketInterval,
  >(
    name: ObjectName,
    options: FillGapsOptions<C, G, B>,
    queryOptions?: ColumnQueryOptions,
  ): Promise<ColumnSet<keyof FillGapsRow<C, G, B> & string>> {
    return fillGapsColumns(this.session, name, options, queryOptions)
  }
}

/** For callers without a type checker. @throws UsageError INVALID_OPTION */
function toStatement(text: string, params: readonly unknown[], what: string): Statement {
  requireText(text, what)
  if (!Array.isArray(params)) throw invalidOption('The values of a statement must be a list, such as [1, 2].')
  return { text, values: params }
}

function requireText(text: unknown, what: string): void {
  if (typeof text === 'string') return
  throw invalidOption(`${what} needs a statement as text.`, "Write executeQuery('select …', [values]), or db.sql`…`.")
}

function isRows(rows: unknown): boolean {
  return typeof rows === 'object' && rows !== null && (Symbol.iterator in rows || Symbol.asyncIterator in rows)
}

/**
 * Runs what reads or writes a stream. One that fails before that listens to it would end the process; who reads it then is
 * told again. Events that are on their way at the end are waited for.
 */
async function heedingErrors<T>(stream: unknown, run: () => Promise<T>): Promise<T> {
  if (!(stream instanceof EventEmitter)) return run()
  const heed = (): void => undefined
  stream.on('error', heed)
  try {
    return await run()
  } finally {
    setImmediate(() => stream.off('error', heed))
  }
}
