import { readCapabilities } from '../../catalog/capabilities.ts'
import { readTable, type TableDescription } from '../../catalog/column.ts'
import { isMadeMeanwhile } from '../../connection/server-error.ts'
import type { Session } from '../../connection/session.ts'
import { QueryError } from '../../errors.ts'
import type { ObjectName } from '../../sql/identifier.ts'
import { invalidOption } from '../../sql/option.ts'
import type { Statement } from '../../sql/template.ts'
import { repeated } from '../load-failure.ts'
import { type LoadOptions, type LoadSettings, loadSettings } from '../load-option.ts'
import { type Input, type LoadSource, openInput, settingsOf } from '../source/input.ts'
import { planTable, type TablePlan } from './create.ts'
import type { PlannedColumn } from './create-choice.ts'
import { type CreateOptions, checkCreate } from './create-option.ts'
import { takeSample } from './sample.ts'

/** What a load would do before it loads. */
export interface LoadPlan {
  /** False where the table exists, and is loaded into as it is. */
  readonly create: boolean
  /** What makes the table, to be run in this order in one transaction; none where it exists. */
  readonly statements: readonly Statement[]
  readonly columns: readonly PlannedColumn[]
  /** Why they are as they are, one sentence each. */
  readonly reasons: readonly string[]
}

/**
 * The statements with which `load` with `create` would make the table. Changes nothing. The beginning of the source is
 * read: of a stream or an iterator it is then used up.
 *
 * @throws UsageError where no type or time column is certain; what the source throws
 */
export async function planLoad(
  session: Session,
  name: ObjectName,
  source: LoadSource,
  options: LoadOptions = {},
): Promise<LoadPlan> {
  const settings = loadSettings(options, session.inTransaction)
  const input = await openInput(source, settings)
  const existing = await findTable(session, name)
  if (existing !== undefined) return existingPlan(existing)
  const create = checkCreate(settings.create ?? true) ?? {}
  const { plan, input: rest } = await planFrom(session, name, input, settingsOf(input, settings), create)
  if (rest.kind === 'bytes') await rest.bytes.bytes[Symbol.asyncIterator]().return?.()
  const statements = plan.statements.map(({ statement }) => statement)
  return { create: true, statements, columns: plan.columns, reasons: plan.reasons }
}

function existingPlan({ columns }: TableDescription): LoadPlan {
  return {
    create: false,
    statements: [],
    columns: columns.map(({ name, typeName, notNull }) => ({
      name,
      type: typeName,
      notNull,
      reason: 'it is there',
    })),
    reasons: ['The table exists: it is used as it is.'],
  }
}

/**
 * Makes the table of a load where it does not exist.
 * @returns whether it did, and the source with all of its rows
 */
export async function createTarget(
  session: Session,
  name: ObjectName,
  input: Input,
  settings: LoadSettings,
): Promise<{ readonly created: boolean; readonly input: Input }> {
  const create = checkCreate(settings.create)
  if (create === undefined) return { created: false, input }
  const existing = await repeated(session, settings, () => findTable(session, name))
  if (existing !== undefined) return { created: false, input }
  if (settings.onConflict !== undefined && settings.onConflict !== 'error') {
    throw invalidOption('A table that create makes has no unique index, which onConflict needs.', 'Create it first.')
  }
  const planned = await planFrom(session, name, input, settings, create)
  const make = (): Promise<void> =>
    session.transaction(async (tx) => {
      for (const statement of planned.plan.statements) await tx.query(statement)
    })
  try {
    await repeated(session, settings, make)
    return { created: true, input: planned.input }
  } catch (error) {
    // Another load has made it meanwhile, of the same source or one like it; or this one, whose COMMIT had no answer.
    if (!isMadeMeanwhile(error)) throw unknownType(error)
    return { created: false, input: planned.input }
  }
}

/** The same error, with what to do about a type that only the source has, such as an enum. */
function unknownType(error: unknown): unknown {
  if (!(error instanceof QueryError && error.code === 'NOT_FOUND')) return error
  const hint =
    'Is it the schema of the table? A type that only the source has is made first, or another one is named in create.columns.'
  return new QueryError(error.code, error.message, { ...error, hint, cause: error })
}

const standardSample = 10_000

async function planFrom(
  session: Session,
  name: ObjectName,
  input: Input,
  settings: LoadSettings,
  create: CreateOptions,
): Promise<{ readonly plan: TablePlan; readonly input: Input }> {
  const capabilities = await repeated(session, settings, () => readCapabilities(session))
  const sample = await takeSample(input, settings, create.sampleRows ?? standardSample)
  return { plan: planTable(capabilities, name, sample, settings, create), input: sample.input }
}

async function findTable(session: Session, name: ObjectName): Promise<TableDescription | undefined> {
  try {
    return await readTable(session, name)
  } catch (error) {
    if (error instanceof QueryError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}
