import { execFileSync } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/index.ts'
import { connectLent } from '../setup/database.ts'
import { shortLife } from '../setup/short-life.ts'

let db: Database

beforeAll(async () => {
  db = await connectLent({ lockWaitMs: 1500, poolSize: 4 })
  await db.executeQuery('create table log (i int)')
})
afterAll(() => db.close())

const count = async (): Promise<unknown> => (await db.sql`select count(*)::int as n from log`)[0]?.['n']

/** How long `run` took to be refused, and with what. */
async function refusal(run: () => Promise<unknown>): Promise<{ code: unknown; hint: unknown; ms: number }> {
  const start = performance.now()
  try {
    await run()
  } catch (error) {
    const { code, hint } = error as { code?: unknown; hint?: unknown }
    return { code, hint, ms: performance.now() - start }
  }
  throw new Error('was not refused')
}

describe('a second connection inside the open transaction', () => {
  test('is refused within 250 ms with the fix, and the transaction lives', async () => {
    const before = await count()
    await db.transaction(async (tx) => {
      await tx.sql`insert into log values (1)`
      for (const again of [1, 2]) {
        const { code, hint, ms } = await refusal(() => db.sql`select ${again}::int`)
        expect(code).toBe('CONNECTION_BUSY')
        expect(hint).toContain('use tx')
        expect(ms).toBeLessThan(400)
      }
      await tx.sql`insert into log values (2)`
    })
    expect(await count()).toBe(Number(before) + 2)
  })

  test('is refused for a transaction, a batch and a DataFrame too, and in code called from there', async () => {
    const deep = async (): Promise<unknown> => {
      await wait(5)
      return Promise.all([db.queryToDataFrame('select 1 as one')])
    }
    await db.transaction(async (tx) => {
      for (const run of [
        () => db.transaction(async (inner) => inner.sql`select 1`),
        () => db.executeMany('insert into log values ($1)', [[1], [2]]),
        deep,
      ]) {
        const { code } = await refusal(run)
        expect(code).toBe('CONNECTION_BUSY')
      }
      expect(await tx.sql`select 1 as alive`).toEqual([{ alive: 1 }])
    })
  })

  test('is refused after lockWaitMs when it comes from elsewhere', async () => {
    let leave = (): void => undefined
    const left = new Promise<void>((resolve) => {
      leave = resolve
    })
    const held = db.transaction(async (tx) => {
      await tx.sql`select 1`
      await left
    })
    await wait(50)
    const { code, hint, ms } = await refusal(() => db.sql`select 1`)
    leave()
    await held
    expect(code).toBe('CONNECTION_BUSY')
    expect(hint).toContain('lockWaitMs')
    expect(ms).toBeGreaterThan(1300)
    expect(ms).toBeLessThan(2500)
  })
})

describe('started inside a transaction and not refused', () => {
  test('a query nobody waits for', async () => {
    let late: Promise<unknown> | undefined
    await db.transaction(async (tx) => {
      late = db.sql`select 'later' as answer`
      for (let i = 0; i < 5; i++) {
        await wait(120)
        await tx.sql`select ${i}::int`
      }
    })
    expect(await late).toEqual([{ answer: 'later' }])
  })

  test('an event listener', async () => {
    const events = new EventEmitter()
    const answers: unknown[] = []
    await db.transaction(async (tx) => {
      events.on('row', (i: number) => answers.push(db.sql`select ${i}::int as i`))
      await tx.sql`select 1`
      events.emit('row', 1)
    })
    events.emit('row', 2)
    expect(await Promise.all(answers)).toEqual([[{ i: 1 }], [{ i: 2 }]])
  })

  test('a batch loader whose batch was opened by the transaction and serves others', async () => {
    const batch: { resolve: (n: unknown) => void; n: number }[] = []
    const load = (n: number): Promise<unknown> =>
      new Promise((resolve) => {
        if (batch.push({ resolve, n }) > 1) return
        setTimeout(async () => {
          const rows = await db.sql`select n::int from unnest(${batch.map((one) => one.n)}::int[]) n`
          for (const one of batch) one.resolve(rows.find((row) => row['n'] === one.n)?.['n'])
        }, 20)
      })
    let inside: Promise<unknown> | undefined
    let opened = (): void => undefined
    const outside = new Promise<void>((resolve) => {
      opened = resolve
    }).then(() => load(2))
    await db.transaction(async (tx) => {
      inside = load(1)
      opened()
      await wait(30)
      await tx.sql`select 1`
      await wait(60)
    })
    expect(await Promise.all([inside, outside])).toEqual([1, 2])
  })

  test('a timer that fires after the commit', async () => {
    let fired: Promise<unknown> | undefined
    await db.transaction(async (tx) => {
      await tx.sql`select 1`
      fired = wait(100).then(() => db.sql`select 'fired' as answer`)
    })
    // Another transaction is open by then: the timer's query only waits for it.
    await db.transaction(async (tx) => {
      for (let i = 0; i < 8; i++) {
        await wait(50)
        await tx.sql`select 1`
      }
    })
    expect(await fired).toEqual([{ answer: 'fired' }])
  })

  test('a query that waits while the transaction works', async () => {
    let late: Promise<unknown> | undefined
    await db.transaction(async (tx) => {
      late = db.sql`select 1 as one`
      await tx.sql`select pg_sleep(0.6)`
    })
    expect(await late).toEqual([{ one: 1 }])
  })
})

test('the refusal comes also where nothing else keeps the process alive', () => {
  const program = `import { connect } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
    const db = await connect('embedded:')
    await db.transaction(async (tx) => { await tx.sql\`select 1\`; await db.sql\`select 1\` }).catch((error) => console.log(error.code))
    await db.close()`
  const run = (text: string): string =>
    execFileSync(process.execPath, [...shortLife, '--input-type=module', '-e', text], {
      encoding: 'utf8',
      timeout: 20_000,
    })
  expect(run(program)).toBe('CONNECTION_BUSY\n')
})

test('many connections and transactions at once take turns, none is lost', async () => {
  const before = Number(await count())
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      i % 3 === 0
        ? db.transaction(async (tx) => {
            await tx.sql`insert into log values (${i})`
            await tx.sql`insert into log values (${-i})`
            return i
          })
        : db.sql`select ${i}::int as i`.then((rows) => rows[0]?.['i']),
    ),
  )
  expect(answers).toEqual(Array.from({ length: 200 }, (_, i) => i))
  expect(await count()).toBe(before + 134)
})

test('an AbortSignal ends one of two running statements', async () => {
  const controller = new AbortController()
  const slow = db.executeQuery('select pg_sleep(30)', [], { signal: controller.signal })
  const other = db.sql`select 1 as one`
  setTimeout(() => controller.abort(), 100)
  await expect(slow).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
  expect(await other).toEqual([{ one: 1 }])
  await expect(db.executeQuery('select pg_sleep(30)', [], { timeoutMs: 100 })).rejects.toMatchObject({
    code: 'STATEMENT_TIMEOUT',
  })
})
