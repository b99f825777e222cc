import type { CompressionOptions } from '../../objects/compression.ts'
import type { Span } from '../../objects/span.ts'
import { checkKeys, invalidOption } from '../../sql/option.ts'

/** How the table of a load is made where it does not exist; what is left out is chosen by a sample of the source. */
export interface CreateOptions extends CompressionOptions {
  /** The column by which the hypertable is cut; false makes a table that is none. Default: the only one with times. */
  readonly timeColumn?: string | false
  /** The length of a chunk. Default: about ten million rows at the rate of the sample. */
  readonly chunkTimeInterval?: Span
  /** Types as SQL, by column of the table. */
  readonly columns?: Readonly<Record<string, string>>
  /** Whether compression is enabled. Default true, where the database has it. */
  readonly compress?: boolean
  /** How many rows of the source are looked at. Default 10,000; of a file at most 16 MiB. */
  readonly sampleRows?: number
}

const CREATE_KEYS = Object.keys({
  timeColumn: true,
  chunkTimeInterval: true,
  columns: true,
  compress: true,
  sampleRows: true,
  segmentBy: true,
  orderBy: true,
} satisfies Record<keyof CreateOptions, true>)

/** @throws UsageError INVALID_OPTION */
export function checkCreate(create: boolean | CreateOptions | undefined): CreateOptions | undefined {
  if (create === undefined || create === false) return undefined
  if (create === true) return {}
  checkKeys(create, CREATE_KEYS, 'create')
  const { sampleRows, columns } = create
  if (sampleRows !== undefined && !(Number.isInteger(sampleRows) && sampleRows > 0)) {
    throw invalidOption('Option sampleRows must be a whole number of at least 1.')
  }
  if (columns !== undefined && (typeof columns !== 'object' || columns === null)) {
    throw invalidOption('Option columns of create must be an object of types by column.')
  }
  for (const [name, type] of Object.entries(columns ?? {})) {
    if (typeof type !== 'string' || !typePattern.test(type)) {
      throw invalidOption(`The type of column ${JSON.stringify(name)} is not understood.`, "Write it as SQL: 'bigint'.")
    }
  }
  return create
}

/** Names, modifiers and brackets: nothing that would end the column's definition. */
const typePattern =
  /^\s*(?:"[^"]+"|[a-z_][\w ]*)(?:\.(?:"[^"]+"|[a-z_]\w*))?(?:\s*\(\s*-?\d+\s*(?:,\s*-?\d+\s*)?\))?[\w ]*(?:\[\d*\])*\s*$/i
