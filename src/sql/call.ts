import { UsageError } from '../errors.ts'
import { type Sql, sql } from './template.ts'

/** Arguments by name, in the order given. Undefined ones are left out, so the server's defaults hold. */
export type NamedArguments = Readonly<Record<string, Sql | undefined>>

/** Argument names that PostgreSQL reserves (appendix C of its manual) and that TimescaleDB's functions use or may use. */
const RESERVED = new Set(
  'all and any array as asc both case cast check collate column create default desc distinct do else end except false fetch for foreign from grant group having in into lateral leading limit not null offset on only or order primary references returning select some table then to trailing true union unique user using when where window with'.split(
    ' ',
  ),
)

/**
 * `select * from name(…, key => …)`: a function's result as rows, one column for a plain value.
 * @throws UsageError INVALID_IDENTIFIER for a name that is not a plain lower-case one.
 */
export function callFunction(name: string, positional: readonly Sql[], named: NamedArguments = {}): Sql {
  return sql`select * from ${functionExpression(name, positional, named)}`
}

/**
 * `call name(…, key => …)`: runs a procedure.
 * @throws UsageError INVALID_IDENTIFIER for a name that is not a plain lower-case one.
 */
export function callProcedure(name: string, positional: readonly Sql[], named: NamedArguments = {}): Sql {
  return sql`call ${functionExpression(name, positional, named)}`
}

/**
 * `name(…, key => …)`: a function call to use inside a larger statement.
 * @throws UsageError INVALID_IDENTIFIER for a name that is not a plain lower-case one.
 */
export function functionExpression(name: string, positional: readonly Sql[], named: NamedArguments = {}): Sql {
  const list = [...positional]
  for (const [key, value] of Object.entries(named)) {
    if (value !== undefined) list.push(sql`${sql.raw(argumentName(key))} => ${value}`)
  }
  return sql`${sql.raw(checkPlain(name, /^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/))}(${sql.join(list)})`
}

function argumentName(key: string): string {
  return RESERVED.has(key) ? `"${key}"` : checkPlain(key, /^[a-z_][a-z0-9_]*$/)
}

function checkPlain(name: string, pattern: RegExp): string {
  if (pattern.test(name)) return name
  throw new UsageError('INVALID_IDENTIFIER', `${JSON.stringify(name)} is not a plain function or argument name.`)
}
