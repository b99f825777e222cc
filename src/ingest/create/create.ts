import { type Capabilities, can } from '../../catalog/capabilities.ts'
import { UsageError } from '../../errors.ts'
import { enableCompressionSql } from '../../objects/compression.ts'
import { createHypertableSql } from '../../objects/hypertable.ts'
import { formatSpan, type Span } from '../../objects/span.ts'
import type { ObjectName } from '../../sql/identifier.ts'
import { invalidOption } from '../../sql/option.ts'
import { type Sql, sql } from '../../sql/template.ts'
import { columnPairs } from '../encode/layout.ts'
import type { LoadOptions } from '../load-option.ts'
import { unreadableColumn } from '../source/parquet.ts'
import { chooseChunkInterval, chooseSegmentBy, type PlannedColumn, type TimeRate, timeRate } from './create-choice.ts'
import type { CreateOptions } from './create-option.ts'
import { inferType } from './infer.ts'
import type { Sample, SampleColumn } from './sample.ts'

/** A table that is to be created. */
export interface TablePlan {
  readonly statements: readonly Sql[]
  readonly columns: readonly PlannedColumn[]
  /** Why time column, chunk interval and compression are as they are, one sentence each. */
  readonly reasons: readonly string[]
}

/**
 * The table for a sample.
 * @throws UsageError INVALID_VALUE where no type or time column is certain; INVALID_OPTION
 */
export function planTable(
  capabilities: Capabilities,
  name: ObjectName,
  sample: Sample,
  options: LoadOptions,
  create: CreateOptions,
): TablePlan {
  if (sample.columns.length === 0) throw new UsageError('INVALID_VALUE', 'The source has no rows to make a table of')
  const loaded = loadedColumns(sample, options)
  const typed = typeColumns(loaded, options, create)
  if (create.timeColumn === false) {
    const reasons = ['No hypertable: timeColumn is false.']
    return { statements: [createSql(name, typed)], columns: typed, reasons }
  }
  const time = chooseTime(typed, loaded, options, create)
  const columns = typed.map((column) => (column.name === time.column.name ? time.column : column))
  const statements = [createSql(name, columns)]
  if (!can(capabilities, 'hypertable')) {
    const reason = 'No hypertable: the extension timescaledb is not created in this database.'
    return { statements, columns, reasons: [reason] }
  }
  const rate = timeRate(loaded.find((one) => one.name === time.column.name)?.values ?? [], sample, options)
  const interval = chunkInterval(time.column, rate, create)
  statements.push(
    ...createHypertableSql(capabilities, name, { timeColumn: time.column.name, chunkTimeInterval: interval.span }),
  )
  const compression = planCompression(capabilities, name, { columns, loaded, time: time.column.name, rate }, create)
  return {
    statements: [...statements, ...compression.statements],
    columns,
    reasons: [time.reason, interval.reason, ...compression.reasons],
  }
}

function createSql(name: ObjectName, columns: readonly PlannedColumn[]): Sql {
  const list = columns.map(
    ({ name: own, type, notNull }) => sql`${sql.column(own)} ${sql.raw(type)}${sql.raw(notNull ? ' not null' : '')}`,
  )
  return sql`create table ${sql.name(name)} (${sql.join(list)})`
}

/** The columns of the table, named as there, constants among them. */
function loadedColumns(sample: Sample, options: LoadOptions): SampleColumn[] {
  const given = sample.columns.map(({ name }) => name)
  const columns = columnPairs(given, options.columns).flatMap(({ source, column }) => {
    const found = sample.columns.find(({ name }) => name === source)
    return found === undefined ? [] : [{ ...found, name: column }]
  })
  const constants = Object.entries(options.constants ?? {}).map(([name, value]) => ({
    name,
    values: [value],
    written: false,
    sqlType: undefined,
  }))
  return [...columns, ...constants]
}

function typeColumns(
  columns: readonly SampleColumn[],
  options: LoadOptions,
  { columns: types = {} }: CreateOptions,
): PlannedColumn[] {
  const given = new Map(Object.entries(types))
  const unknown = [...given.keys()].find((name) => !columns.some((column) => column.name === name))
  if (unknown !== undefined) {
    throw new UsageError(
      'INVALID_OPTION',
      `create.columns has a column ${JSON.stringify(unknown)}, which is not loaded`,
      {
        hint: `Loaded are ${columns.map(({ name }) => name).join(', ')}.`,
      },
    )
  }
  return columns.map(({ name, values, written, sqlType, problem }) => {
    if (problem !== undefined) throw unreadableColumn(name, problem)
    const wanted = given.get(name)
    if (wanted !== undefined) return { name, type: wanted.trim(), notNull: false, reason: 'as asked for' }
    if (sqlType !== undefined) return { name, type: sqlType, notNull: false, reason: 'the type of the source' }
    const { type, reason } = inferType(values, written, options)
    if (type !== undefined) return { name, type, notNull: false, reason }
    throw new UsageError('INVALID_VALUE', `No type takes all values of the column ${JSON.stringify(name)}: ${reason}`, {
      hint: 'Say its type in create.columns.',
    })
  })
}

interface ChosenTime {
  readonly column: PlannedColumn
  readonly reason: string
}

const timeType = /^(?:timestamptz|timestamp|date)\b/
const integerType = /^(?:bigint|integer|smallint|int|int2|int4|int8)$/i
const timeName = /^(?:time|timestamp|ts|t|date|datetime|epoch)$|(?:^|_)(?:time|timestamp|ts|at)$/i
const firstName = /^(?:time|timestamp|ts|datetime)$/i

function chooseTime(
  columns: readonly PlannedColumn[],
  samples: readonly SampleColumn[],
  { timeUnit }: LoadOptions,
  { timeColumn, columns: types = {} }: CreateOptions,
): ChosenTime {
  const asTime = (column: PlannedColumn): PlannedColumn =>
    timeUnit !== undefined && types[column.name] === undefined && isNumber(column.type)
      ? { ...column, type: 'timestamptz', notNull: true, reason: `numbers in ${timeUnit}` }
      : { ...column, notNull: true }
  if (typeof timeColumn === 'string') {
    const chosen = columns.find(({ name }) => name === timeColumn)
    if (chosen?.type === 'text') throw noTimes(chosen)
    if (chosen !== undefined) return { column: asTime(chosen), reason: `Time column ${timeColumn}: as asked for.` }
    const names = columns.map(({ name }) => name).join(', ')
    throw new UsageError('INVALID_OPTION', `There is no column ${JSON.stringify(timeColumn)} for create.timeColumn`, {
      hint: `Loaded are ${names}.`,
    })
  }
  const hasNull = (name: string): boolean =>
    samples.find((one) => one.name === name)?.values.some((value) => value === null || value === undefined) === true
  const candidates = columns.filter(
    ({ name, type }) =>
      !hasNull(name) && (timeType.test(type) || (timeUnit !== undefined && isNumber(type) && timeName.test(name))),
  )
  const [only] = candidates
  if (only !== undefined && candidates.length === 1) {
    return { column: asTime(only), reason: `Time column ${only.name}: the only one with times in every row.` }
  }
  const named = candidates.filter(({ name }) => firstName.test(name))
  const [first] = named
  if (first !== undefined && named.length === 1) {
    const others = candidates.filter((one) => one !== first).map(({ name }) => name)
    return { column: asTime(first), reason: `Time column ${first.name}: by its name, before ${others.join(', ')}.` }
  }
  throw noTime(candidates, columns)
}

function noTimes({ name, reason }: PlannedColumn): UsageError {
  return new UsageError('INVALID_VALUE', `Column ${JSON.stringify(name)} has no times: ${reason}`, {
    hint: "Say how they are written in timeFormat, such as 'DD/MM/YYYY'.",
  })
}

function isNumber(type: string): boolean {
  return integerType.test(type) || type === 'double precision' || type === 'numeric'
}

function noTime(candidates: readonly PlannedColumn[], columns: readonly PlannedColumn[]): UsageError {
  const show = (list: readonly PlannedColumn[]): string => list.map(({ name, type }) => `${name} (${type})`).join(', ')
  if (candidates.length > 0) {
    return new UsageError('INVALID_VALUE', `Several columns could be the time column: ${show(candidates)}`, {
      hint: 'Choose one in create.timeColumn.',
    })
  }
  return new UsageError('INVALID_VALUE', `No column has times in every row: ${show(columns)}`, {
    hint: 'Name it in create.timeColumn, with timeUnit or timeFormat where its times are no ISO 8601 texts; false makes a plain table.',
  })
}

function chunkInterval(
  time: PlannedColumn,
  rate: TimeRate | undefined,
  { chunkTimeInterval }: CreateOptions,
): { readonly span: Span; readonly reason: string } {
  if (chunkTimeInterval !== undefined) {
    return { span: chunkTimeInterval, reason: `Chunks of ${formatSpan(chunkTimeInterval)}: as asked for.` }
  }
  if (integerType.test(time.type)) {
    throw invalidOption(
      `The time column ${JSON.stringify(time.name)} is a ${time.type}: how long a chunk is cannot be guessed.`,
      'Give create.chunkTimeInterval in its unit, or the option timeUnit to make times of its numbers.',
    )
  }
  return chooseChunkInterval(rate)
}

interface CompressionFacts {
  readonly columns: readonly PlannedColumn[]
  readonly loaded: readonly SampleColumn[]
  readonly time: string
  readonly rate: TimeRate | undefined
}

function planCompression(
  capabilities: Capabilities,
  name: ObjectName,
  { columns, loaded, time, rate }: CompressionFacts,
  { compress, segmentBy, orderBy }: CreateOptions,
): { readonly statements: readonly Sql[]; readonly reasons: readonly string[] } {
  if (compress === false) return { statements: [], reasons: ['No compression: as asked for.'] }
  if (compress === undefined && !can(capabilities, 'compression')) {
    return { statements: [], reasons: ['No compression: the Apache edition has none.'] }
  }
  const chosen =
    segmentBy === undefined
      ? chooseSegmentBy(columns, loaded, time, rate)
      : { columns: segmentBy, reason: 'Segments: as asked for.' }
  const order = orderBy ?? [{ column: time, direction: 'desc' as const }]
  const reason = orderBy === undefined ? `Ordered by ${time}, newest first.` : 'Order: as asked for.'
  const statement = enableCompressionSql(capabilities, name, { segmentBy: chosen.columns, orderBy: order })
  return { statements: [statement], reasons: [chosen.reason, reason] }
}
