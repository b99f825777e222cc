import { describe, expect, test } from 'vitest'
import { complete } from '../../../../src/apps/cli/shell/completion.ts'
import type { Names } from '../../../../src/apps/cli/shell/names.ts'

const names: Names = {
  relations: [
    { schema: 'public', name: 'sensor_data', columns: ['time', 'sensor_id', 'Odd "name"'], visible: true },
    { schema: 'public', name: 'Sensor', columns: ['place'], visible: true },
    { schema: 'Plant 1.a', name: 'trades', columns: ['price'], visible: false },
    { schema: 'timescaledb_information', name: 'hypertables', columns: ['owner'], visible: false },
  ],
  functions: ['avg', 'time_bucket', 'selects'],
}

describe('completion', () => {
  test.each([
    ['sel', ['select', 'selects('], 'sel'],
    ['SEL', ['SELECT', 'selects('], 'SEL'],
    ['select * from sen', ['sensor_data', '"Sensor"'], 'sen'],
    ['select * from "Sen', ['"Sensor"'], '"Sen'],
    ['select * from ', ['sensor_data', '"Sensor"', '"Plant 1.a".trades', 'public.', '"Plant 1.a".'], ''],
    ['select * from timescaledb', ['timescaledb_information.hypertables', 'timescaledb_information.'], 'timescaledb'],
    ['select * from "Plant 1.a".', ['"Plant 1.a".trades'], '"Plant 1.a".'],
    ['select * from public.s', ['public.sensor_data', 'public."Sensor"'], 'public.s'],
    ['select ti', ['timestamptz', 'time_bucket('], 'ti'],
    ['update sensor_data set se', ['sensor_id', 'select', 'set', 'sensor_data', '"Sensor"', 'selects('], 'se'],
    ['select * from sensor_data d where d.', ['d.time', 'd.sensor_id', 'd."Odd ""name"""'], 'd.'],
    ['select * from sensor_data as "D x"\nwhere "D x".ti', ['"D x".time'], '"D x".ti'],
    ['select * from "Plant 1.a".trades t where t.p', ['t.price'], 't.p'],
    ['select * from sensor_data order by ', ['time', 'sensor_id', '"Odd ""name"""'], ''],
    ['\\d', ['\\d', '\\dt', '\\dv', '\\dm', '\\df', '\\dn', '\\dh', '\\dc', '\\da', '\\dj'], '\\d'],
    ['\\d sen', ['sensor_data', '"Sensor"'], 'sen'],
    ["select 'from sen", [], ''],
    ['select nothing_like_', [], 'nothing_like_'],
  ])('%j', (text, hits, replaced) => {
    expect(complete(text, names)).toEqual([hits, replaced])
  })

  test('knows nothing without names but the language', () => {
    expect(complete('select * from ', { relations: [], functions: [] })).toEqual([[], ''])
    expect(complete('savep', { relations: [], functions: [] })).toEqual([['savepoint'], 'savep'])
  })
})
