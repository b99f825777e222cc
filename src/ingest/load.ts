import { readTable } from '../catalog/column.ts'
import { type LoadTarget, readLoadTarget } from '../catalog/load-target.ts'
import { readParallel } from '../catalog/parallel.ts'
import { backgroundOf } from '../connection/background.ts'
import { cancelledError } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { invalidOption } from '../sql/option.ts'
import { createTarget } from './create/plan-load.ts'
import { earlierFingerprint } from './ledger.ts'
import { repeated } from './load-failure.ts'
import { loadBytes } from './load-file.ts'
import { type LoadOptions, type LoadReport, type LoadSettings, loadSettings } from './load-option.ts'
import { loadColumns, loadParquet, loadRows } from './load-rows.ts'
import { LoadRun } from './load-run.ts'
import { fingerprint } from './source/byte-source.ts'
import { type Input, type LoadSource, openInput, settingsOf } from './source/input.ts'
import type { SourceMark } from './source/source-mark.ts'

/** What rows are known again by when an import goes on. */
interface KnownRows {
  readonly fingerprint: string
  /** Of the rows that were read so far. */
  markOfRows(): SourceMark
}

/**
 * Loads a source of any length into a table, in constant memory. Each batch is one transaction; inside of a transaction
 * all of them belong to it. When it fails, the batches before stay, and the error says how many rows that are.
 *
 * @param known - of rows: what they are known again by when an import goes on
 * @throws BatchError BATCH_FAILED naming the row that does not fit or that the server refuses
 * @throws QueryError, ConnectionError; UsageError for columns that do not exist; what the source throws
 */
export async function load(
  session: Session,
  name: ObjectName,
  source: LoadSource,
  options: LoadOptions = {},
  known?: KnownRows,
): Promise<LoadReport> {
  const given = await settingsFor(session, options)
  if (given.signal?.aborted) throw cancelledError(given.signal)
  const again = <T>(run: () => Promise<T>): Promise<T> => repeated(session, given, run)
  const { importId } = given
  const earlier = importId === undefined ? undefined : await again(() => earlierFingerprint(session, importId))
  const opened = await openInput(source, given, earlier)
  const settings = settingsOf(opened, given)
  const { created, input } = await createTarget(session, name, opened, settings)
  const table = await again(() => readTable(session, name)).catch((error: unknown) => {
    throw missingTable(error)
  })
  const target = withoutOwner(await again(() => readLoadTarget(session, table)), settings)
  if (settings.directCompress === 'on' && target.notDirect !== undefined) {
    throw invalidOption(`directCompress 'on' is not possible: ${target.notDirect}.`)
  }
  const size = batchSize(session, options, settings, target)
  const run = new LoadRun(session, table, target, { ...settings, ...size })
  run.created = created
  await again(() => run.compression.check())
  return drive(run, input, known)
}

/** The same error, saying that a load can make the table. */
function missingTable(error: unknown): unknown {
  if (!(error instanceof QueryError && error.code === 'NOT_FOUND')) return error
  const hint =
    'With create: true it is made. Names are taken exactly as written, and without a schema the search path decides.'
  return new QueryError(error.code, error.message, { ...error, hint, cause: error })
}

/**
 * Rows that are not compressed as they come in go in smaller batches where nothing speaks for large ones: reading and
 * encoding the next is done while the server writes one, and it takes less memory. On an engine in this process the work
 * around a batch takes so long that larger ones are faster.
 */
function batchSize(
  session: Session,
  { batchRows }: LoadOptions,
  { directCompress, importId }: LoadSettings,
  { notDirect }: LoadTarget,
): { readonly batchRows?: number } {
  const plain = directCompress === 'off' || notDirect !== undefined
  if (batchRows !== undefined || importId !== undefined || !plain) return {}
  return backgroundOf(session) === undefined ? { batchRows: plainBatchRows } : {}
}

const plainBatchRows = 20_000

/** Chunks that nobody could put in order at the end are not left unordered. */
function withoutOwner(target: LoadTarget, { recompress }: LoadSettings): LoadTarget {
  if (target.owned || recompress === 'never') return target
  const notOwned = 'the role does not own the table, and could not put its chunks in order'
  return { ...target, notDirect: target.notDirect ?? notOwned }
}

async function settingsFor(session: Session, options: LoadOptions): Promise<LoadSettings> {
  const settings = loadSettings(options, session.inTransaction)
  // Where rows must go in one by one, it is 1.
  if (options.parallel !== undefined || settings.parallel === 1) return settings
  return { ...settings, parallel: await repeated(session, settings, () => readParallel(session)) }
}

async function drive(run: LoadRun, input: Input, known: KnownRows | undefined): Promise<LoadReport> {
  switch (input.kind) {
    case 'parquet': {
      const { importId } = run.settings
      const own = importId === undefined ? undefined : await fingerprint(input.path)
      await run.openLedger('row', { fingerprint: own, path: input.path, format: 'parquet' })
      return loadParquet(run, input.path)
    }
    case 'bytes':
      return loadBytes(run, input.bytes)
    case 'rows':
      await run.openLedger('row', known)
      return loadRows(run, input.rows)
    case 'columns':
      await run.openLedger('row')
      return loadColumns(run, input.columns)
  }
}
