import { describe, expect, test } from 'vitest'
import { callFunction, callProcedure, functionExpression } from '../../src/sql/call.ts'
import { sql } from '../../src/sql/template.ts'

describe('calls', () => {
  test('named arguments that are undefined are left out', () => {
    const call = callFunction('add_retention_policy', [sql`${'t'}::regclass`], {
      drop_after: sql`${'7 days'}::interval`,
      initial_start: undefined,
      if_not_exists: sql.literal(true),
    })
    expect(call.statement).toEqual({
      text: 'select * from add_retention_policy($1::regclass, drop_after => $2::interval, if_not_exists => TRUE)',
      values: ['t', '7 days'],
    })
  })

  test('a procedure is called', () => {
    expect(callProcedure('run_job', [sql`${1000}`]).statement).toEqual({ text: 'call run_job($1)', values: [1000] })
    expect(callProcedure('_timescaledb_functions.x', []).text).toBe('call _timescaledb_functions.x()')
  })

  test('reserved argument names are quoted', () => {
    expect(functionExpression('time_bucket', [sql`1`], { offset: sql`2`, origin: sql`3` }).text).toBe(
      'time_bucket(1, "offset" => 2, origin => 3)',
    )
  })

  test.each(['', 'f()', 'a.b.c', 'F', 'f; drop table t', 'pg_sleep(1)--'])('refuses the name %j', (name) => {
    expect(() => callFunction(name, [])).toThrow(expect.objectContaining({ code: 'INVALID_IDENTIFIER' }))
    expect(() => callFunction('f', [], { [name]: sql`1` })).toThrow(
      expect.objectContaining({ code: 'INVALID_IDENTIFIER' }),
    )
  })
})
