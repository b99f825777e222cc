import { checkKeys, invalidOption } from '../sql/option.ts'
import { type Statement, sql } from '../sql/template.ts'

/** What a role for reading may read. */
export interface ReaderRoleOptions {
  /** The database's name. */
  readonly database: string
  /** Default `['public']`. */
  readonly schemas?: readonly string[]
}

/**
 * The statements that make a role which owns nothing, may read the tables of some schemas, and may let the server look
 * at a statement before it runs. It has no password yet. To be run by the owner of the tables, in that database.
 * @throws UsageError INVALID_OPTION, INVALID_IDENTIFIER
 */
export function readerRoleSql(role: string, options: ReaderRoleOptions): Statement[] {
  checkKeys(options, ['database', 'schemas'], 'readerRoleSql')
  const { database, schemas = ['public'] } = options
  if (!Array.isArray(schemas) || schemas.length === 0) throw invalidOption('readerRoleSql needs at least one schema.')
  const name = sql.column(role)
  const list = sql.join(schemas.map((schema) => sql.column(schema)))
  return [
    sql`create role ${name} login nosuperuser nocreatedb nocreaterole`,
    sql`grant connect, temporary on database ${sql.column(database)} to ${name}`,
    sql`grant usage on schema ${list} to ${name}`,
    sql`grant select on all tables in schema ${list} to ${name}`,
    sql`alter default privileges in schema ${list} grant select on tables to ${name}`,
    sql`alter role ${name} set default_transaction_read_only = on`,
    sql`alter role ${name} set statement_timeout = '60s'`,
  ]
}
