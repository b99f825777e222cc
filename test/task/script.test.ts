import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseTasks, readerRoleSql, UsageError } from '../../src/index.ts'

const one = { action: 'get_chunk_info', table_name: 'a "b" {c} # d -- e // f (timescaledb) { }' }
const two = { action: 'execute_query', query: 'select $1', params: [{ nested: ['}', ']', '\\'] }] }

describe('parseTasks', () => {
  test.each([
    ['an object', JSON.stringify(one, null, 2), [[one, 1]]],
    [
      'an array',
      `\n[${JSON.stringify(one)},\n ${JSON.stringify(two)}]\n`,
      [
        [one, 2],
        [two, 3],
      ],
    ],
    [
      'JSON lines',
      `${JSON.stringify(one)}\n\n${JSON.stringify(two)}\r\n`,
      [
        [one, 1],
        [two, 3],
      ],
    ],
    [
      'a script',
      `# first\n10 (timescaledb) ${JSON.stringify(one, null, 1)}\n  20 ( timescaledb )\n${JSON.stringify(two)} -- done\n// {`,
      [
        [one, 2],
        [two, 6],
      ],
    ],
    [
      'blocks on one line',
      `(timescaledb)${JSON.stringify(one)}(timescaledb)${JSON.stringify(two)}`,
      [
        [one, 1],
        [two, 1],
      ],
    ],
  ])('reads %s', (_, text, expected) => {
    expect(parseTasks(text)).toEqual(expected.map(([task, line]) => ({ task, line })))
  })

  test.each([
    ['', 'There is no task.', undefined],
    ['# nothing\n', 'There is no task.', undefined],
    ['[]', 'There is no task.', undefined],
    ['{}', 'Line 1: a task is an object with an action.', /timescaledb/],
    ['[1]', 'Line 1: a task is an object with an action.', /timescaledb/],
    [
      '\n(timescaldb) {"action": "x"}',
      'Line 2: (timescaldb) is not a task of this program.',
      'Did you mean (timescaledb)?',
    ],
    ['(csv) {"action": "x"}', 'Line 1: (csv) is not a task of this program.', /timescaledb/],
    ['drop everything', 'Line 1: "drop everything" begins no task.', /begin with #/],
    ['(timescaledb) drop it', 'Line 1: "drop it" begins no task.', /begin with #/],
    ['{"action": "x"}\n{"action": "x", }', 'Line 2: this is not JSON.', /no comma/],
    ['{"action": "x"', 'Line 1: what begins here does not end.', undefined],
    ['[{"action": "x"}] {"action": "y"}', 'Line 1: after the array is more.', undefined],
  ])('refuses %j', (text, message, hint) => {
    try {
      expect(parseTasks(text)).toBe('refused')
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      expect(error.message).toBe(message)
      if (hint === undefined) expect(error.hint).toBeUndefined()
      else expect(error.hint).toMatch(hint)
    }
  })

  test('any tasks are the same in all four forms', () => {
    const task = fc.dictionary(fc.string(), fc.jsonValue()).map((fields) => ({ ...fields, action: 'x' }))
    fc.assert(
      fc.property(fc.array(task, { minLength: 1, maxLength: 4 }), fc.boolean(), (list, wide) => {
        const json = JSON.parse(JSON.stringify(list))
        const texts = list.map((item) => JSON.stringify(item, null, wide ? 2 : 0))
        const forms = [
          JSON.stringify(list, null, wide ? 2 : 0),
          texts.join('\n'),
          texts.map((text, index) => `${index} (timescaledb) ${text}\n# next {`).join('\n'),
        ]
        for (const form of forms) expect(parseTasks(form).map((item) => item.task)).toEqual(json)
      }),
      { numRuns: 200 },
    )
  })

  test('counts lines in no more time than it takes to read them', () => {
    const many = '(timescaledb) { "action": "x" }\n'.repeat(50_000)
    expect(parseTasks(many).at(-1)).toEqual({ task: { action: 'x' }, line: 50_000 })
    expect(parseTasks(`[\n${'{ "action": "x" },\n'.repeat(50_000)}{ "action": "y" }]`).at(-1)?.line).toBe(50_002)
  })

  test('ends on any text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('{', '}', '[', ']', '"', '\\', '(', ')', '#', '\n', '1', 'a') }),
        (text) => {
          try {
            parseTasks(text)
          } catch (error) {
            if (!(error instanceof UsageError)) throw error
          }
        },
      ),
      { numRuns: 500 },
    )
    expect(() => parseTasks(`(timescaledb) {"action": "${' '.repeat(200_000)}`)).toThrow(UsageError)
  })
})

test('readerRoleSql quotes', () => {
  const statements = readerRoleSql('a"b', { database: 'My db', schemas: ['public', 'Test 1.a'] })
  expect(statements.map(({ text }) => text)).toEqual([
    'create role "a""b" login nosuperuser nocreatedb nocreaterole',
    'grant connect, temporary on database "My db" to "a""b"',
    'grant usage on schema "public", "Test 1.a" to "a""b"',
    'grant select on all tables in schema "public", "Test 1.a" to "a""b"',
    'alter default privileges in schema "public", "Test 1.a" grant select on tables to "a""b"',
    'alter role "a""b" set default_transaction_read_only = on',
    `alter role "a""b" set statement_timeout = '60s'`,
  ])
  expect(() => readerRoleSql('a', { database: 'd', schemas: [] })).toThrow(UsageError)
})
