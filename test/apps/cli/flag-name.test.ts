import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { toFlags } from '../../../src/apps/cli/flag-name.ts'
import { makeProgram } from '../../../src/apps/cli/run.ts'

const program = await makeProgram()
function verbs(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(verbs)
}
const all = verbs(program)
function verb(...path: string[]): Command | undefined {
  return path.reduce<Command | undefined>((at, name) => at?.commands.find((one) => one.name() === name), program)
}

test.each([
  [['load'], 'Choose one in create.timeColumn.', 'Choose one in --time-column.'],
  [['load'], 'Say its type in create.columns.', 'Say its type in --type.'],
  [['load'], 'Rows have no names: give the option columns.', 'Rows have no names: give --columns.'],
  [['load'], "Give the option encoding: 'latin1' where it is that.", "Give --encoding 'latin1' where it is that."],
  [
    ['load'],
    'with timeUnit or timeFormat; false makes a plain table.',
    'with --time-unit or --time-format; --no-time-column makes a plain table.',
  ],
  [
    ['load'],
    'There is no column "timeColumn" for create.timeColumn',
    'There is no column "timeColumn" for --time-column',
  ],
  [['aggregate', 'create'], 'Give withData: false here.', 'Give --no-data here.'],
  [
    ['aggregate', 'refresh'],
    "Give startTime: '2026-01-01' or later, or allowLoss: true to lose them.",
    "Give --from '2026-01-01' or later, or --allow-loss to lose them.",
  ],
  [
    ['hypertable', 'create'],
    'Give ifNotExists: true to keep it as it is.',
    'Give --if-not-exists to keep it as it is.',
  ],
  [['hypertable', 'create'], 'Call removeCompressionPolicy first.', 'Call `tsdb policy remove compression` first.'],
  [['load'], `Write 'table', '"a.b"."c"' or { schema, name }.`, `Write 'table', '"a.b"."c"'.`],
  [['load'], "Option onBadRow must be 'stop', 'skip' or { file }.", "--on-bad-row must be 'stop', 'skip' or a file."],
  [
    ['bucket'],
    "Write a number and a unit, such as '5 minutes' or { minutes: 5 }.",
    "Write a number and a unit, such as '5 minutes'.",
  ],
  [
    ['bucket'],
    `Write '2024-01-31T12:00:00Z', a Date, { ago: '24 hours' } or "NOW()".`,
    `Write '2024-01-31T12:00:00Z', '24 hours ago' or "NOW()".`,
  ],
  [
    ['sql'],
    'One statement per call: give each a call of its own, within transaction() where they belong together.',
    'One statement per call; `tsdb shell` runs several.',
  ],
  [['sql'], 'Its columns are sensorId, startTime.', 'Its columns are sensorId, startTime.'],
])('tsdb %s: %s', (path, text, said) => {
  expect(toFlags(text, verb(...path))).toBe(said)
})

/** Texts for people in the library, with `${}` where a value is put in. */
function textsOf(file: string): string[] {
  const texts: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) texts.push(node.text)
    else if (ts.isTemplateExpression(node))
      texts.push(node.head.text + node.templateSpans.map(({ literal }) => `\${}${literal.text}`).join(''))
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest))
  return texts.filter(
    (text) => /^\S+ .*\S$/.test(text) && !/^\s*(with|select|and|create|do|update|insert) /i.test(text),
  )
}

/** What no verb says: of options that only programs give, of settings, and of names of the server. */
const NOT_OF_VERBS =
  /\b(createExtension|onBatchError|onProblem|onProgress|onError|openConnection|runJob|spillDirectory|includeTieredData|refreshNewestFirst|yieldAfter|poolSize|maxOverflow|lockWaitMs|toArray|toJSON|executeMany|executeQuery|copyFromTable|copyOut|copyIn|queryToColumns|streamColumns|sharedConnection|setChunkTimeInterval|watchJobs|alterJob|dropChunks|fillGaps|timeBucketQuery|isNull|treatNullAsMissing|countDistinct|exportTo|jsonb?)\b|\{ in: …|\{ in:/g

test('no hint of the library that a verb can show speaks of an option of the library', () => {
  const source = fileURLToPath(new URL('../../../src/', import.meta.url))
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /^(sql|config|catalog|objects|query|ingest|export|results|wire)\/.*\.ts$/.test(file),
  )
  const texts = new Set(files.flatMap((file) => textsOf(join(source, file))))
  const optionLike = /\b[a-z]+(?:[A-Z][a-z]+)+\b|\b[a-z]+: true\b|\{ ?[a-z]+[:, ]/
  const mentions = [...texts].filter((text) => optionLike.test(text.replace(/"[^"]*"/g, '')))
  expect(mentions.length).toBeGreaterThan(60)
  const left = mentions.filter((text) =>
    all.every((command) =>
      optionLike.test(
        toFlags(text, command)
          .replace(/"[^"]*"|--[\w-]+/g, '')
          .replace(NOT_OF_VERBS, ''),
      ),
    ),
  )
  expect(left).toEqual([])
})
