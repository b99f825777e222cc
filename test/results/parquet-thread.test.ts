import { tableFromArrays, tableToIPC, utf8 } from '@uwdata/flechette'
import { expect, test } from 'vitest'
import { ParquetCrash, ParquetThread } from '../../src/results/parquet-thread.ts'

const ipc = (): Uint8Array =>
  tableToIPC(tableFromArrays({ id: Int32Array.of(1, 2, 3), note: ['a', 'b', 'c'] }, { types: { note: utf8() } }), {
    format: 'stream',
  }) ?? new Uint8Array(0)

test('rows that the library panics on end its thread, not the process', { timeout: 60_000 }, async () => {
  let crashes = 0
  for (let at = 8; at < ipc().length; at += 97) {
    const thread = new ParquetThread()
    await thread.ask({ kind: 'create', rowGroupRows: 2 })
    const damaged = ipc()
    damaged[at] = (damaged[at] ?? 0) ^ 0x7f
    const answer = await thread
      .ask({ kind: 'batch', ipc: damaged }, [damaged.buffer])
      .then(() => thread.ask({ kind: 'end' }))
      .catch((error: unknown) => error)
    if (answer instanceof ParquetCrash) {
      crashes++
      await expect(thread.ask({ kind: 'end' })).rejects.toBeInstanceOf(ParquetCrash)
    } else if (!(answer instanceof Error)) expect(answer).toMatchObject({ groups: [] })
    await thread.close()
  }
  expect(crashes).toBeGreaterThan(0)
})

test('a buffer that is given away is not copied', async () => {
  const thread = new ParquetThread()
  await thread.ask({ kind: 'create', rowGroupRows: 2 })
  const rows = ipc()
  const answering = thread.ask({ kind: 'batch', ipc: rows }, [rows.buffer])
  expect(rows.length).toBe(0)
  await answering
  const { blocks } = await thread.ask({ kind: 'end' })
  expect(Buffer.concat(blocks).subarray(-4).toString()).toBe('PAR1')
  await thread.close()
})
