import { readCapabilities } from '../catalog/capabilities.ts'
import type { QueryOptions, Session } from '../connection/session.ts'
import { checkKeys } from '../sql/option.ts'
import { type Statement, sql } from '../sql/template.ts'

/** How a statement is explained. */
export interface ExplainOptions extends Pick<QueryOptions, 'signal' | 'timeoutMs'> {
  /** Runs the statement and measures; what it writes is rolled back. Default false. */
  readonly analyze?: boolean | undefined
}

/** A table, with its schema. */
export interface PlanRelation {
  readonly schema: string
  readonly name: string
}

/** One step of a plan; it takes the rows of its children. */
export interface PlanNode {
  /** As the server names it, such as `Index Scan`; of a custom scan its provider, such as `ChunkAppend`. */
  readonly type: string
  readonly relation?: PlanRelation
  readonly index?: string
  /** What the planner expects, of one run of the step. */
  readonly estimatedRows: number
  readonly estimatedCost: number
  /** Measured: rows of all runs of the step together. */
  readonly rows?: number
  /** Measured: how often the step ran; 0 for one that never did. */
  readonly loops?: number
  /** Measured: milliseconds of all runs together, with those of the children. */
  readonly milliseconds?: number
  /** Everything the server says of the step, by its own names. */
  readonly details: Readonly<Record<string, unknown>>
  readonly children: readonly PlanNode[]
}

/** A plan, and what it means for a hypertable. */
export interface QueryPlan {
  readonly root: PlanNode
  /** The chunks that are read, or with `analyze` were read, each once. */
  readonly chunksScanned: readonly PlanRelation[]
  /**
   * Chunks of the same hypertables that are not read, or were not. Where no chunk of a hypertable is in the plan, only
   * those the server itself counts.
   */
  readonly chunksExcluded: number
  /** Measured: rows taken out of compressed batches, those filtered away included; undefined without `analyze`. */
  readonly rowsDecompressed: number | undefined
  readonly planningMs: number | undefined
  readonly executionMs: number | undefined
}

/** How a relation in a plan is known to be a chunk, and of how many its hypertable consists. */
export interface ChunkOwner extends PlanRelation {
  readonly hypertable: string
  readonly hypertableChunks: number
}

/**
 * How the server runs a statement: the plan as a tree, with chunks read and excluded.
 * @throws QueryError, ConnectionError, UsageError INVALID_OPTION
 */
export async function explain(
  session: Session,
  statement: Statement,
  options: ExplainOptions = {},
): Promise<QueryPlan> {
  checkKeys(options, ['analyze', 'signal', 'timeoutMs'], 'explain')
  const { analyze = false, ...queryOptions } = options
  const { timescaleVersion } = await readCapabilities(session)
  const run = async (on: Session): Promise<QueryPlan> => {
    const { rows } = await on.query(explainSql(statement, analyze), queryOptions)
    const json = rows[0]?.['QUERY PLAN']
    const owners = timescaleVersion === undefined ? [] : await findOwners(on, relationsOf(parseNode(rootOf(json))))
    return parsePlan(json, owners)
  }
  return analyze ? rolledBack(session, run) : run(session)
}

/** The EXPLAIN of a statement. */
export function explainSql({ text, values }: Statement, analyze: boolean): Statement {
  return { text: `explain (format json, verbose${analyze ? ', analyze' : ''}) ${text}`, values }
}

/** What EXPLAIN (FORMAT JSON, VERBOSE) gave, as a tree. `owners`: the relations in it that are chunks. */
export function parsePlan(json: unknown, owners: readonly ChunkOwner[]): QueryPlan {
  const top = asRecord(Array.isArray(json) ? json[0] : json)
  const root = parseNode(rootOf(json))
  const nodes = [...walk(root)]
  const scanned = new Map<string, ChunkOwner>()
  for (const { relation, loops } of nodes) {
    const owner = relation === undefined || loops === 0 ? undefined : owners.find((each) => isSame(each, relation))
    if (owner !== undefined) scanned.set(JSON.stringify([owner.schema, owner.name]), owner)
  }
  const totals = new Map(owners.map(({ hypertable, hypertableChunks }) => [hypertable, hypertableChunks]))
  const all = [...totals.values()].reduce((sum, count) => sum + count, 0)
  const counted = nodes.reduce((sum, { details }) => sum + excludedBy(details), 0)
  const analyzed = root.loops !== undefined
  return {
    root,
    chunksScanned: [...scanned.values()].map(({ schema, name }) => ({ schema, name })),
    chunksExcluded: owners.length > 0 ? all - scanned.size : counted,
    rowsDecompressed: analyzed ? nodes.reduce((sum, node) => sum + decompressedBy(node), 0) : undefined,
    planningMs: asNumber(top['Planning Time']),
    executionMs: asNumber(top['Execution Time']),
  }
}

function rootOf(json: unknown): Record<string, unknown> {
  return asRecord(asRecord(Array.isArray(json) ? json[0] : json)['Plan'])
}

function parseNode(source: Record<string, unknown>): PlanNode {
  const { Plans: plans, ...details } = source
  const relation = asText(details['Relation Name'])
  const index = asText(details['Index Name'])
  const loops = asNumber(details['Actual Loops'])
  const rows = asNumber(details['Actual Rows'])
  const milliseconds = asNumber(details['Actual Total Time'])
  return {
    type: asText(details['Custom Plan Provider']) ?? asText(details['Node Type']) ?? '',
    ...(relation !== undefined && { relation: { schema: asText(details['Schema']) ?? '', name: relation } }),
    ...(index !== undefined && { index }),
    estimatedRows: asNumber(details['Plan Rows']) ?? 0,
    estimatedCost: asNumber(details['Total Cost']) ?? 0,
    ...(loops !== undefined && { loops }),
    ...(loops !== undefined && rows !== undefined && { rows: rows * loops }),
    ...(loops !== undefined && milliseconds !== undefined && { milliseconds: milliseconds * loops }),
    details,
    children: Array.isArray(plans) ? plans.map((plan) => parseNode(asRecord(plan))) : [],
  }
}

function* walk(node: PlanNode): Generator<PlanNode> {
  yield node
  for (const child of node.children) yield* walk(child)
}

function relationsOf(root: PlanNode): PlanRelation[] {
  return [...walk(root)].flatMap(({ relation }) => (relation === undefined ? [] : [relation]))
}

/** What ChunkAppend and Append say of the parts they left out; the planner's own exclusion leaves no trace in a plan. */
function excludedBy(details: Readonly<Record<string, unknown>>): number {
  const counts = ['Chunks excluded during startup', 'Chunks excluded during runtime', 'Subplans Removed']
  return counts.reduce((sum, name) => sum + (asNumber(details[name]) ?? 0), 0)
}

/** DecompressChunk is what ColumnarScan was called before TimescaleDB 2.22; ModifyHypertable counts by itself. */
function decompressedBy({ type, rows = 0, loops = 0, details }: PlanNode): number {
  const written = asNumber(details['Tuples decompressed']) ?? 0
  if (type !== 'ColumnarScan' && type !== 'DecompressChunk') return written
  return written + rows + (asNumber(details['Rows Removed by Filter']) ?? 0) * loops
}

async function findOwners(session: Session, relations: readonly PlanRelation[]): Promise<ChunkOwner[]> {
  if (relations.length === 0) return []
  const { rows } = await session.query<{ schema: string; name: string; hypertable: string; count: number }>(sql`
    with chunk as (
      select chunk_schema, chunk_name, format('%I.%I', hypertable_schema, hypertable_name) as hypertable,
        count(*) over (partition by hypertable_schema, hypertable_name) as count
      from timescaledb_information.chunks
    )
    select chunk_schema as schema, chunk_name as name, hypertable, count::int
    from chunk
    where (chunk_schema, chunk_name) in (
      select * from unnest(${relations.map(({ schema }) => schema)}::text[], ${relations.map(({ name }) => name)}::text[])
    )`)
  return rows.map(({ schema, name, hypertable, count }) => ({ schema, name, hypertable, hypertableChunks: count }))
}

/** Runs `run` in a transaction, or savepoint, of which nothing stays. */
async function rolledBack<T>(session: Session, run: (on: Session) => Promise<T>): Promise<T> {
  let result: { readonly value: T } | undefined
  const enough = new Error('enough')
  try {
    await session.transaction(async (tx) => {
      result = { value: await run(tx) }
      throw enough
    })
  } catch (error) {
    if (error === enough && result !== undefined) return result.value
    throw error
  }
  throw enough
}

function isSame(one: PlanRelation, other: PlanRelation): boolean {
  return one.schema === other.schema && one.name === other.name
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {}
}

function asNumber(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
