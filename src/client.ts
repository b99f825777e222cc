import { type Capabilities, forgetCapabilities, readCapabilities } from './catalog/capabilities.ts'
import { type ChunkFilter, type ChunkInfo, type ChunkReference, getChunkInfo } from './catalog/chunk.ts'
import { getHypertableStats, type HypertableStats } from './catalog/hypertable.ts'
import { describeSettings, type SettingDescription } from './config/describe-settings.ts'
import { type ConnectOptions, resolveSettings, type Settings, sameSettings } from './config/settings.ts'
import type { BatchRows } from './connection/batch-query.ts'
import { type BatchResult, executeMany } from './connection/execute-many.ts'
import { type OpenDatabase, openDatabase } from './connection/open-database.ts'
import type { PgPool } from './connection/pool.ts'
import type { QueryOptions, QueryResult, Row, Session, TransactionOptions } from './connection/session.ts'
import { UsageError } from './errors.ts'
import * as chunk from './objects/chunk.ts'
import * as compression from './objects/compression.ts'
import * as aggregate from './objects/continuous-aggregate.ts'
import * as hypertable from './objects/hypertable.ts'
import type { RemoveOptions, RemoveResult } from './objects/policy.ts'
import * as refresh from './objects/refresh.ts'
import * as refreshPolicy from './objects/refresh-policy.ts'
import * as retention from './objects/retention.ts'
import type { Span } from './objects/span.ts'
import { type FillGapsOptions, type FillGapsRow, fillGaps, type GapfillColumns } from './query/gapfill.ts'
import { type TimeBucketOptions, type TimeBucketRow, timeBucketQuery } from './query/time-bucket.ts'
import type { BucketInterval } from './query/time-column.ts'
import type { ColumnTable } from './results/dataframe.ts'
import type { Aggregations } from './sql/aggregate.ts'
import type { ObjectName } from './sql/identifier.ts'
import { sql } from './sql/template.ts'

/** How results arrive where a call does not say. */
type ResultDefaults = Pick<QueryOptions, 'int8' | 'numeric'>

/** Everything that can be done in a database, on whatever connection or transaction it is bound to. */
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
  executeQuery<R extends object = Row>(
    text: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<QueryResult<R>> {
    return this.session.query<R>({ text, values: params }, { ...this.#defaults, ...options })
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
   * Runs one statement once for each list of values: one transaction, parsed once, sent without waiting for answers.
   * Nothing is kept when a row fails.
   * @throws BatchError BATCH_FAILED with the row's index
   */
  executeMany(text: string, rows: BatchRows, options: QueryOptions = {}): Promise<BatchResult> {
    return executeMany(this.session, text, rows, options)
  }

  /**
   * Runs one statement and gives an Arquero table. Timestamps are Dates, numeric and bigint columns are numbers
   * (`int8: 'bigint'` for exact ones).
   * @throws QueryError, ConnectionError, UsageError INVALID_VALUE for two columns of one name
   */
  async queryToDataFrame(
    text: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<ColumnTable> {
    const int8 = (options.int8 ?? this.#defaults.int8) === 'bigint' ? 'bigint' : 'number'
    // Loaded when the first table is made: a fifth of a second that other programs need not spend.
    const [{ toDataFrame }, result] = await Promise.all([
      import('./results/dataframe.ts'),
      this.executeQuery(text, params, { ...options, int8, numeric: 'number' }),
    ])
    return toDataFrame(result, { int8 })
  }

  /**
   * Runs `run` in a transaction: committed when it returns, rolled back when it throws. Inside another transaction
   * it is a savepoint. Use the client that is passed to it: the outer one is on another connection.
   */
  transaction<T>(run: (client: Client) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    return this.session.transaction((session) => run(new Client(session, this.#defaults)), options)
  }

  /** What the database is and can: versions, edition, features. Read once. */
  capabilities(): Promise<Capabilities> {
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

  /** Compresses old chunks automatically; enables compression where it is not yet. */
  addCompressionPolicy(
    name: ObjectName,
    options: compression.CompressionPolicyOptions,
  ): Promise<compression.CompressionPolicyResult> {
    return compression.addCompressionPolicy(this.session, name, options)
  }

  removeCompressionPolicy(name: ObjectName, options: RemoveOptions = {}): Promise<RemoveResult> {
    return compression.removeCompressionPolicy(this.session, name, options)
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
  compressChunks(name: ObjectName, options: chunk.ChunkRangeOptions = {}): ReturnType<typeof chunk.compressChunks> {
    return chunk.compressChunks(this.session, name, options)
  }

  /** Decompresses all chunks in a range, one after the other; gives those it decompressed. */
  decompressChunks(name: ObjectName, options: chunk.ChunkRangeOptions = {}): ReturnType<typeof chunk.decompressChunks> {
    return chunk.decompressChunks(this.session, name, options)
  }

  /** Creates a view whose buckets are kept and refreshed. */
  createContinuousAggregate(
    name: ObjectName,
    options: aggregate.ContinuousAggregateOptions,
  ): Promise<aggregate.ContinuousAggregateResult> {
    return aggregate.createContinuousAggregate(this.session, name, options)
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
}

/** An open database. `await using db = await connect()` closes it at the end of the block. */
export class Database extends Client implements AsyncDisposable {
  readonly #opened: OpenDatabase
  readonly #settings: Settings

  /** Made by `connect()`. */
  constructor(opened: OpenDatabase, settings: Settings) {
    super(opened.session, { int8: settings.int8, numeric: settings.numeric })
    this.#opened = opened
    this.#settings = settings
  }

  /** A real `pg.Pool` on the same database, for ORMs and other libraries. */
  get pool(): PgPool {
    return this.#opened.pool
  }

  /** Makes one trip to the database; gives the milliseconds it took. @throws ConnectionError */
  ping(): Promise<number> {
    return this.#opened.session.ping()
  }

  /** Every setting with its value and where it came from; the password is masked. */
  describeSettings(): readonly SettingDescription[] {
    return describeSettings(this.#settings)
  }

  /** Lets running statements end, then closes all connections and the embedded engine. May be called again. */
  close(): Promise<void> {
    return this.#opened.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Opens a database: what the argument names, else `TSDB_URL`, the `PG*` variables, a configuration file, else the
 * embedded engine in `./.tsdb`.
 *
 * @param target - `postgres://…`, `embedded:DIR`, `embedded:` (temporary), or an object
 * @throws ConfigError, UsageError, ConnectionError, UnsupportedError EXTENSION_MISSING, PACKAGE_MISSING
 * @example
 * await using db = await connect('embedded:')
 * const { rows } = await db.executeQuery('select 1 as one')
 */
export function connect(target?: string | ConnectOptions, options?: ConnectOptions): Promise<Database> {
  const settings = resolveSettings(target, options, process.env, process.cwd())
  const given = typeof target === 'object' ? { ...target, ...options } : options
  return open(settings, given?.onProgress ?? writeProgress)
}

let shared: { readonly settings: Settings; readonly database: Promise<Database> } | undefined

/**
 * The one connection of this process: the same options give the same object until it is closed.
 * @throws UsageError SHARED_CONNECTION_CONFLICT for other options while it is open
 */
export function sharedConnection(target?: string | ConnectOptions, options?: ConnectOptions): Promise<Database> {
  const settings = resolveSettings(target, options, process.env, process.cwd())
  if (shared !== undefined) {
    if (sameSettings(shared.settings, settings)) return shared.database
    throw new UsageError('SHARED_CONNECTION_CONFLICT', 'The shared connection is open with other settings.', {
      hint: 'Close it first, or use connect() for a connection of its own.',
    })
  }
  const forget = (): void => {
    if (shared?.database === database) shared = undefined
  }
  const database = open(settings, options?.onProgress ?? writeProgress, forget)
  shared = { settings, database }
  database.catch(forget)
  return database
}

async function open(
  settings: Settings,
  onProgress: (line: string) => void,
  onClose: () => void = () => undefined,
): Promise<Database> {
  const opened = await openDatabase(settings, onProgress)
  const close = async (): Promise<void> => {
    onClose()
    await opened.close()
  }
  if (settings.createExtension) {
    try {
      await opened.session.query(sql`create extension if not exists timescaledb`)
      forgetCapabilities(opened.session)
    } catch (error) {
      await close()
      throw error
    }
  }
  return new Database({ ...opened, close }, settings)
}

/** The first start ever takes some seconds; a terminal that stands still would look broken. */
function writeProgress(line: string): void {
  process.stderr.write(`${line}\n`)
}
