import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StatementReader } from '../../../../src/apps/cli/shell/statement.ts'

/** The statements of a script, and where it stops. */
function read(script: string): { readonly texts: string[]; readonly place: string } {
  const reader = new StatementReader()
  const texts = script.split('\n').flatMap((line) => reader.add(line).map(({ text }) => text))
  return { texts, place: reader.place }
}

describe('a script is cut into statements', () => {
  test.each([
    ['select 1; select 2;', ['select 1', 'select 2']],
    [';; select 1 ;;', ['select 1']],
    ["select 'a;''b' || E'\\';' || e'\\\\'; x;", ["select 'a;''b' || E'\\';' || e'\\\\'", 'x']],
    ["select U&'d\\0061t;' ; x;", ["select U&'d\\0061t;'", 'x']],
    ["select name';' ; x;", ["select name';'", 'x']],
    ['select "a;""b", "E"; x;', ['select "a;""b", "E"', 'x']],
    ['select $$;$$, $a$;$$;$b$;$a$; x;', ['select $$;$$, $a$;$$;$b$;$a$', 'x']],
    ['select a$b$; x$b$;', ['select a$b$', 'x$b$']],
    ['select $1; execute p;', ['select $1', 'execute p']],
    ['select 1 -- ; no\n, 2; x;', ['select 1 -- ; no\n, 2', 'x']],
    ['select /* ; /* ; */ ; */ 1; x;', ['select /* ; /* ; */ ; */ 1', 'x']],
    ['-- nothing\n/* at all; */ ; select 1;', ['select 1']],
    [
      'create rule r as on insert to t do (select 1; select 2); x;',
      ['create rule r as on insert to t do (select 1; select 2)', 'x'],
    ],
    [
      'create function f() returns int begin\natomic select case when a then 1 end; select 2; end; x;',
      ['create function f() returns int begin\natomic select case when a then 1 end; select 2; end', 'x'],
    ],
    ['begin; select 1; end;', ['begin', 'select 1', 'end']],
    ['select $ü$;$ü$ as "ä;"; x;', ['select $ü$;$ü$ as "ä;"', 'x']],
  ])('%j', (script, texts) => {
    expect(read(script)).toEqual({
      texts: texts.map((text) => text.replace(/^[\s;]*(?:--.*\n)?(?:\/\*.*?\*\/ ;)?/, '').trim() && text),
      place: 'start',
    })
  })

  test.each([
    ["select 'a;\n", "'"],
    ['select "a;', '"'],
    ['do $x$ ; $$ ;', '$'],
    ['select (1;', '('],
    ['select /* ; /* */ ;', '/*'],
    ['select 1', 'statement'],
    ['-- nothing', 'start'],
    ['  ', 'start'],
  ])('%j stops inside of something', (script, place) => {
    expect(read(script)).toEqual({ texts: [], place })
  })

  test('a backslash outside of quotes begins a command, and what stands before it waits', () => {
    const reader = new StatementReader()
    expect(reader.add("select 1; select '\\d' \\chart x,y ; z")).toEqual([
      { kind: 'statement', text: 'select 1', line: 1 },
      { kind: 'command', text: 'chart x,y ; z' },
    ])
    expect(reader.take()).toMatchObject([{ text: "select '\\d'" }])
    expect(reader.take()).toEqual([])
  })

  test('says in which line a statement begins', () => {
    const reader = new StatementReader()
    const found = ['', '-- a', 'select', '1; select 2;'].flatMap((line) => reader.add(line))
    expect(found.map((one) => (one.kind === 'statement' ? one.line : 0))).toEqual([3, 4])
  })

  const part = fc.oneof(
    fc.constantFrom('select', ' 1 ', 'E', 'e', 'begin ', 'case', '$1', 'a$b', ',', '*', '\n', '-', '/', 'ü', '::text'),
    fc.stringMatching(/^[^'\\]*$/).map((text) => `'${text}'`),
    fc.stringMatching(/^[^"]*$/).map((text) => ` "${text}"`),
    fc.stringMatching(/^[^$]*$/).map((text) => ` $q$${text}$q$`),
    fc.stringMatching(/^[^\n\r]*$/).map((text) => ` --${text}\n`),
    fc.stringMatching(/^[^*/]*$/).map((text) => `/*${text}*/`),
    fc.stringMatching(/^[ ;a-z1-9]*$/).map((text) => `(${text})`),
  )
  // Two parts side by side must not make a third: `-` and `-` a comment, E and '…' an escape, quotes one quote.
  const statement = fc.array(part, { minLength: 1 }).map((parts) => `select ${parts.join(' ')}`)

  test('whatever stands in quotes, comments and parentheses', () => {
    fc.assert(
      fc.property(fc.array(statement, { maxLength: 4 }), (statements) => {
        const { texts, place } = read(statements.map((text) => `${text}\n;`).join('\n'))
        expect(texts).toEqual(statements.map((text) => text.trim()))
        expect(place).toBe('start')
      }),
    )
  })
})
