import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatInterval, parseInterval } from '../../src/sql/interval.ts'
import { sql } from '../../src/sql/template.ts'
import { timeSql } from '../../src/sql/time-expression.ts'
import { formatTimestamp } from '../../src/sql/timestamp.ts'
import { openTestDatabase } from '../setup/database.ts'

/** Our reading of texts, names and literals beside the server's own. */
describe('the server reads what we write as we do', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(() => database.close())

  const ask = async (texts: readonly string[], type: string): Promise<unknown[]> => {
    const { rows } = await database.db.query<{ read: string }>(
      sql`select x::${sql.raw(type)}::text as read from unnest(${texts}::text[]) with ordinality u(x, i) order by i`,
    )
    return rows.map((row) => row.read)
  }

  test('intervals: the texts people write', async () => {
    const units =
      'mil mils millennia century c cent decade decs y yr yrs year years mon mons month months w week weeks d day days h hr hrs hour hours m min mins minute minutes s sec secs second seconds ms msec msecs millisecond milliseconds us usec usecs microsecond microseconds'
    const word = fc.tuple(
      fc.constantFrom('', '-', '+'),
      fc.oneof(
        fc.nat(999).map(String),
        fc.tuple(fc.nat(99), fc.nat(99_999)).map((pair) => pair.join('.')),
      ),
      fc.constantFrom(...units.split(' ')),
    )
    const clock = fc.tuple(fc.constantFrom('', ' 01:02', ' -3:04:05', ' 26:00:00.1234567'), fc.constantFrom('', ' ago'))
    const texts = fc
      .sample(fc.tuple(fc.array(word, { minLength: 1, maxLength: 3 }), clock), { numRuns: 1500, seed: 1 })
      .map(
        ([words, rest]) => `${words.map(([sign, value, unit]) => `${sign}${value} ${unit}`).join(' ')}${rest.join('')}`,
      )
      .filter(readable)
    // Some are refused by both for naming a unit twice; this finds out that most are not.
    expect(texts.length).toBeGreaterThan(500)
    expect(texts.map((text) => formatInterval(text))).toEqual(await ask(texts, 'interval'))
  })

  test('intervals: all that we print, under every IntervalStyle', async () => {
    const span = fc.record({
      months: fc.integer({ min: -1000, max: 1000 }),
      days: fc.integer({ min: -1000, max: 1000 }),
      microseconds: fc.bigInt(-(10n ** 13n), 10n ** 13n),
    })
    const texts = fc.sample(span, { numRuns: 500, seed: 1 }).map((interval) => formatInterval(interval))
    for (const style of ['postgres', 'sql_standard', 'iso_8601', 'postgres_verbose']) {
      await database.db.transaction(async (session) => {
        await session.query(sql`select set_config('intervalstyle', ${style}, true)`)
        const { rows } = await session.query<{ months: number; days: number; microseconds: string }>(
          sql`select (extract(year from x) * 12 + extract(month from x))::int as months, extract(day from x)::int as days,
              ((extract(hour from x) * 3600 + extract(minute from x) * 60) * 1000000 + extract(microseconds from x))::text as microseconds
            from (select u::interval as x, i from unnest(${texts}::text[]) with ordinality t(u, i)) t order by i`,
        )
        const read = rows.map((row) => ({ ...row, microseconds: BigInt(row.microseconds.replace(/\.0*$/, '')) }))
        expect(read, style).toEqual(texts.map((text) => parseInterval(text)))
      })
    }
  })

  test('times: every year the server has, before Christ and after 9999', async () => {
    // Not up to the very end: from year 294247 on, the server's extract(epoch) is not exact any more.
    const instants = fc.sample(fc.bigInt(-210_866_803_200_000_000n, 9_200_000_000_000_000_000n), {
      numRuns: 500,
      seed: 1,
    })
    const texts = instants.map((instant) => formatTimestamp(instant, { zone: true }))
    const { rows } = await database.db.query<{ microseconds: string }>(
      sql`select trim_scale(extract(epoch from x::timestamptz) * 1000000)::text as microseconds
        from unnest(${texts}::text[]) with ordinality t(x, i) order by i`,
    )
    expect(rows.map((row) => BigInt(row.microseconds))).toEqual(instants)
  })

  test('times mean the same under every TimeZone of the session', async () => {
    await database.db.transaction(async (session) => {
      await session.query(sql`select set_config('timezone', 'America/New_York', true)`)
      const { rows } = await session.query(
        sql`select ${timeSql('2024-07-01', 'timestamptz')} as a, ${timeSql('2024-07-01T01:00+02:00', 'timestamp')} as b,
          ${timeSql('2024-07-01', 'date')} as c, ${timeSql({ ago: '0 days' }, 'timestamp')} = now() at time zone 'UTC' as d`,
      )
      expect(rows).toEqual([
        {
          a: new Date('2024-07-01T00:00Z'),
          b: new Date('2024-06-30T23:00Z'),
          c: new Date('2024-07-01T00:00Z'),
          d: true,
        },
      ])
    })
  })

  test('no literal or name means anything but itself, with standard_conforming_strings on and off', async () => {
    const text = fc
      .oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^['"\\;E$ -]{0,20}$/))
      .filter((value) => !/[\0\p{Surrogate}]/u.test(value))
    const values = fc.sample(text, { numRuns: 300, seed: 1 })
    const names = values.filter((value) => value !== '' && Buffer.byteLength(value) <= 63)
    for (const setting of ['on', 'off']) {
      await database.db.transaction(async (session) => {
        await session.query(sql`select set_config('standard_conforming_strings', ${setting}, true)`)
        const literals = sql.join(values.map((value) => sql`${sql.literal(value)}::text`))
        const { rows } = await session.query(sql`select array[${literals}] as list`)
        expect(rows).toEqual([{ list: values }])
        for (const name of names.slice(0, 50)) {
          const { columns } = await session.query(sql`select 1 as ${sql.column(name)}`)
          expect(columns[0]?.name).toBe(name)
        }
      })
    }
  })
})

function readable(text: string): boolean {
  try {
    return formatInterval(text) !== ''
  } catch {
    return false
  }
}
