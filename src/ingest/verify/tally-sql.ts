import { type Sql, sql } from '../../sql/template.ts'
import type { EncodedColumn } from '../encode/encoder.ts'
import { largestSummed, tallyKind } from './tally.ts'

/** The figures of one column: n, least, most, sum, size. */
export function figuresSql(column: EncodedColumn, at: number): Sql[] {
  const own = sql.column(column.name)
  const named = (letter: string, expression: Sql): Sql => sql`(${expression})::text as ${sql.column(`${letter}${at}`)}`
  const count = named('n', sql`count(${own})`)
  switch (tallyKind(column)) {
    case 'number':
      return [count, named('l', sql`min(${own})`), named('m', sql`max(${own})`), named('s', sql`sum(${own})`)]
    case 'float':
      return [
        count,
        named('l', sql`min(${own})::float8`),
        named('m', sql`max(${own})::float8`),
        named('s', floatSum(own, sql`${own}::float8`)),
        named('z', floatSum(own, sql`abs(${own}::float8)`)),
      ]
    case 'boolean':
      return [count, named('s', sql`nullif(count(*) filter (where ${own}), case when count(${own}) = 0 then 0 end)`)]
    case 'text': {
      const text = sql`(${own}::text collate "C")`
      return [
        count,
        named('l', sql`min${text}`),
        named('m', sql`max${text}`),
        named('s', sql`sum(octet_length${text})`),
      ]
    }
    case 'bytes':
      return [count, named('s', sql`sum(octet_length(${own}))`)]
    case 'count':
      return [count]
    default: {
      const micros = (value: Sql): Sql => sql`extract(epoch from ${value})::numeric * 1000000`
      return [
        count,
        named('l', micros(sql`min(${own})`)),
        named('m', micros(sql`max(${own})`)),
        named(
          's',
          sql`case when count(${own}) > 0 then coalesce(sum(${micros(own)}) filter (where isfinite(${own})), 0) end`,
        ),
      ]
    }
  }
}

/** The server fails with 22003 where a sum of finite numbers goes beyond all of them. */
function floatSum(own: Sql, value: Sql): Sql {
  const huge = sql`abs(${own}::float8) between ${largestSummed}::float8 and ${Number.MAX_VALUE}::float8`
  return sql`case when count(${own}) > 0 then coalesce(sum(${value}) filter (where not (${huge})), 0) end`
}
