import { randomUUID } from 'node:crypto'
import { connect, type Database, sql } from '../../src/index.ts'
import { connectLent, onServer, testTarget } from '../setup/database.ts'

/** A database in which names without a schema are those of this test alone. */
export class TaskDatabase implements AsyncDisposable {
  readonly db: Database
  readonly schema: string

  private constructor(db: Database, schema: string) {
    this.db = db
    this.schema = schema
  }

  static async open(): Promise<TaskDatabase> {
    const schema = `tsdb_task_${randomUUID().slice(0, 8)}`
    if (!onServer) return new TaskDatabase(await connectLent({ jobs: false }), 'public')
    const url = new URL(testTarget)
    url.searchParams.set('options', `-csearch_path=${schema},public`)
    const db = await connect(url.href, { createExtension: true })
    await db.sql`create schema ${sql.column(schema)}`
    return new TaskDatabase(db, schema)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (onServer) await this.db.sql`drop schema ${sql.column(this.schema)} cascade`
    await this.db.close()
  }
}
