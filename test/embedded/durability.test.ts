import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { shortLife } from '../setup/short-life.ts'

/** Prints each sync after it was really made, with its file; loaded into the program and into its worker. */
const TRACER = `
const fs = require('node:fs')
const threads = require('node:worker_threads')
if (threads.isMainThread) {
  threads.Worker = class extends threads.Worker {
    constructor(file, options) {
      super(file, { ...options, execArgv: ['--require', __filename] })
    }
  }
  require('node:module').syncBuiltinESMExports()
}
for (const name of ['fsyncSync', 'fdatasyncSync']) {
  const sync = fs[name]
  fs[name] = (file) => {
    sync(file)
    fs.writeSync(1, 'sync ' + fs.readlinkSync('/proc/self/fd/' + file) + '\\n')
  }
}
`

const PROGRAM = `
import { writeSync } from 'node:fs'
import { connect } from ${JSON.stringify(fileURLToPath(new URL('../../dist/index.js', import.meta.url)))}
const [, , directory, durability] = process.argv
const db = await connect('embedded:' + directory, { durability, jobs: false, onProgress: () => undefined })
await db.executeQuery('create table t (i int)')
for (let i = 0; i < 5; i++) {
  writeSync(1, 'insert\\n')
  await db.executeQuery('insert into t values ($1)', [i])
  writeSync(1, 'committed\\n')
}
await db.executeQuery('checkpoint')
writeSync(1, 'checkpointed\\n')
await db.close()
`

let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'tsdb-durability-'))
  writeFileSync(join(scratch, 'tracer.cjs'), TRACER)
  writeFileSync(join(scratch, 'program.mjs'), PROGRAM)
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** The lines a program prints that commits five times; `sync FILE` stands where a file was synced. */
function trace(durability: 'fsync' | 'process'): string[] {
  const given = [
    ...shortLife,
    '--require',
    join(scratch, 'tracer.cjs'),
    join(scratch, 'program.mjs'),
    join(scratch, durability),
  ]
  const output = execFileSync(process.execPath, [...given, durability], { encoding: 'utf8', timeout: 30_000 })
  return output.trimEnd().split('\n')
}

const synced = (lines: readonly string[]): string[] =>
  lines.filter((line) => line.startsWith('sync ') && line.includes('/pgdata/'))

describe.skipIf(process.platform !== 'linux')('durability', () => {
  test("'fsync': the WAL is on the disk before each commit is acknowledged, the data at a checkpoint", () => {
    const lines = trace('fsync')
    const starts = lines.flatMap((line, index) => (line === 'insert' ? [index] : []))
    expect(starts).toHaveLength(5)
    for (const start of starts) {
      const during = lines.slice(start + 1, lines.indexOf('committed', start))
      expect(during).toEqual([expect.stringMatching(/^sync .*\/pgdata\/pg_wal\/[0-9A-F]{24}$/)])
    }
    const checkpoint = synced(lines.slice(lines.lastIndexOf('committed'), lines.indexOf('checkpointed')))
    expect(checkpoint.some((line) => /\/pgdata\/base\/\d+\/\d+$/.test(line))).toBe(true)
    expect(checkpoint.some((line) => line.endsWith('/pgdata/global/pg_control'))).toBe(true)
  })

  test("'process': no file of the database is ever synced", () => {
    const lines = trace('process')
    expect(lines.filter((line) => line === 'committed')).toHaveLength(5)
    expect(synced(lines)).toEqual([])
  })
})
