import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SpillLog } from '../../src/ingest/writer/spill-log.ts'
import type { WriterBatch } from '../../src/ingest/writer/writer-batch.ts'

let directory: string
let reported: Error[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsdb spill-'))
  reported = []
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const open = (importId = 'mine', target = '"Test 1.a".t', maxBytes = 1e9): Promise<SpillLog> =>
  SpillLog.open({ directory, importId, target, maxBytes, onError: (error) => reported.push(error) })

function batch(number: number, size = 40, lane: WriterBatch['lane'] = 'live'): WriterBatch {
  const columns = [{ name: 'i"d', baseName: 'integer', typeName: 'integer', asText: false }]
  const blocks = [Buffer.alloc(size, number), Buffer.from(`rows of ${number}`)]
  return {
    importId: 'mine',
    number,
    lane,
    columns,
    rows: 3,
    blocks,
    sources: Buffer.from(`{"n":${number}}`),
    since: 1000 + number,
  }
}

const content = ({ blocks, ...rest }: WriterBatch): unknown => ({ ...rest, bytes: Buffer.concat([...blocks]) })

/** All that is in it, taken out. */
async function drain(log: SpillLog): Promise<unknown[]> {
  const batches: unknown[] = []
  for (let next = await log.next(); next !== undefined; next = await log.next()) {
    batches.push(content(next))
    await log.remove(next)
  }
  return batches
}

const spillFile = (): string => join(directory, readdirSync(directory).find((name) => name.endsWith('.spill')) ?? '')

async function fill(count: number): Promise<unknown[]> {
  const log = await open()
  const batches = Array.from({ length: count }, (_, at) => batch(at + 1))
  expect(await log.append(batches)).toEqual({ taken: count })
  expect(log).toMatchObject({ rows: count * 3, since: 1001 })
  await log.close()
  return batches.map(content)
}

test('what was appended comes out in its order, also for the next one, once', async () => {
  const batches = await fill(5)
  const log = await open('other')
  expect(log.rows).toBe(15)
  expect(content((await log.next())!)).toEqual(batches[0])
  await log.remove((await log.next())!)
  await log.append([batch(6)])
  expect(await drain(log)).toEqual([...batches.slice(1), content(batch(6))])
  await log.close()
  expect(readdirSync(directory)).toEqual(['lock'])
})

test('a file that is full is followed by another, and removed when it is done', async () => {
  const log = await open()
  for (let number = 1; number <= 3; number++) await log.append([batch(number, 9_000_000)])
  expect(readdirSync(directory).filter((name) => name.endsWith('.spill'))).toHaveLength(2)
  expect(await log.remove((await log.next())!)).toBeUndefined()
  expect(log.holds('mine', 1)).toBe(true)
  expect(await log.remove((await log.next())!)).toMatchObject({
    importId: 'mine',
    windows: [{ number: 1 }, { number: 2 }],
  })
  expect(log.holds('mine', 1)).toBe(false)
  expect(log).toMatchObject({ rows: 3, since: 1003 })
  await log.close()
})

test('a file cut anywhere gives the batches that are whole, and nothing else', async () => {
  const batches = await fill(3)
  const path = spillFile()
  const whole = readFileSync(path)
  copyFileSync(path, join(directory, 'copy'))
  const found: number[] = []
  // Every byte of the last batch, some of the others.
  for (let size = whole.length - 1; size >= 0; size -= size > whole.length - 40 ? 1 : 6) {
    for (const name of readdirSync(directory)) if (name.includes('.spill')) rmSync(join(directory, name))
    copyFileSync(join(directory, 'copy'), path)
    truncateSync(path, size)
    const log = await open('other')
    const there = await drain(log)
    expect(there).toEqual(batches.slice(0, there.length))
    found.push(there.length)
    await log.close()
  }
  expect(reported).toEqual([])
  expect([...new Set(found)]).toEqual([2, 1, 0])
})

test('a byte that is flipped anywhere is found and reported; the other batches are kept', async () => {
  const batches = await fill(3)
  const path = spillFile()
  const whole = readFileSync(path)
  for (let at = 0; at < whole.length; at += at % 150 < 30 ? 1 : 6) {
    for (const name of readdirSync(directory)) if (name.includes('.spill')) rmSync(join(directory, name))
    const bytes = Buffer.from(whole)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    writeFileSync(path, bytes)
    reported = []
    const log = await open('other')
    const there = await drain(log)
    expect(there.length, `byte ${at}`).toBeGreaterThanOrEqual(2)
    for (const one of there) expect(batches).toContainEqual(one)
    expect(reported).toMatchObject([{ code: 'SPILL_DAMAGED' }])
    expect(readFileSync(`${path}.damaged`).equals(bytes)).toBe(true)
    await log.close()
  }
})

test('a byte that is flipped after the start is found too', async () => {
  const log = await open()
  await log.append([batch(1), batch(2), batch(3)])
  const path = spillFile()
  const bytes = readFileSync(path)
  const at = bytes.indexOf('rows of 2')
  bytes[at] = 0
  writeFileSync(path, bytes)
  expect(await drain(log)).toEqual([content(batch(1)), content(batch(3))])
  expect(reported).toMatchObject([{ code: 'SPILL_DAMAGED', message: expect.stringContaining('3 rows') }])
  await log.close()
})

test('zeros that a power failure leaves at the end are cut off', async () => {
  const batches = await fill(2)
  const path = spillFile()
  writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(5000)]))
  const log = await open('other')
  expect(await drain(log)).toEqual(batches)
  expect(reported).toEqual([])
  await log.close()
})

test('a limit of bytes: what fits is taken, and it goes on when there is room', async () => {
  const log = await open('mine', 't', 2500)
  const { taken, error } = await log.append(Array.from({ length: 30 }, (_, at) => batch(at + 1)))
  expect(error).toMatchObject({ code: 'DISK_FULL' })
  expect(taken).toBeGreaterThan(3)
  expect(log.rows).toBe(taken * 3)
  expect(await drain(log)).toHaveLength(taken)
  expect(await log.append([batch(31)])).toEqual({ taken: 1 })
  await log.close()
})

test('a full disk: what fills it can be read and removed, and there is room again', async (context) => {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', directory], { stdio: 'ignore' })
  } catch {
    return context.skip('needs the right to mount a small file system')
  }
  const mounted = directory
  try {
    const written = Array.from({ length: 200 }, (_, at) => batch(at + 1, 1000))
    const log = await open()
    const { taken, error } = await log.append(written)
    expect(error).toMatchObject({ code: 'DISK_FULL' })
    fillUp(join(directory, 'others'))
    expect(await drain(log)).toEqual(written.slice(0, taken).map(content))
    // Also for a writer that is opened when nothing fits any more.
    const more = await log.append(written)
    expect(more.taken).toBeGreaterThan(1)
    await log.close()
    fillUp(join(directory, 'more'))
    const again = await open('other')
    expect(await drain(again)).toEqual(written.slice(0, more.taken).map(content))
    expect(await again.append([batch(201)])).toEqual({ taken: 1 })
    await again.close()
    fillUp(join(directory, 'most'))
    directory = join(mounted, 'new')
    await expect(open()).rejects.toMatchObject({ code: 'DISK_FULL' })
  } finally {
    execFileSync('umount', [mounted])
    directory = mounted
  }
})

function fillUp(path: string): void {
  try {
    for (;;) appendFileSync(path, Buffer.alloc(4096))
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  }
}

test('another table, and a directory that is in use', async () => {
  await fill(1)
  await expect(open('mine', '"Test 1.a".other')).rejects.toMatchObject({ code: 'DRIFT' })
  const log = await open()
  await expect(open()).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
  await log.close()
  expect(existsSync(spillFile())).toBe(true)
})

test('a lane comes out on its own, and a file stays until both are out', async () => {
  const log = await open()
  const batches = [batch(1), batch(2, 40, 'late'), batch(3), batch(4, 40, 'late')]
  await log.append(batches)
  const [one, late, three, last] = batches.map(content)
  for (const expected of [one, three]) {
    const next = (await log.next('live'))!
    expect(content(next)).toEqual(expected)
    expect(await log.remove(next)).toBeUndefined()
  }
  expect(await log.next('live')).toBeUndefined()
  expect([log.rowsOf('live'), log.rowsOf('late'), log.since]).toEqual([0, 6, 1002])
  await log.close()
  // What is in the table is found there by the ledger, as after a kill.
  const again = await open('other')
  expect(await drain(again)).toEqual([one, late, three, last])
  await again.close()
})
