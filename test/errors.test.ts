import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { BatchError, ConfigError, ConnectionError, QueryError, TimescaleError } from '../src/errors.ts'

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
const union = /export type ErrorCode =(.*?)\n\n/s.exec(read('../src/errors.ts'))?.[1] ?? ''
const codes = [...union.matchAll(/'([A-Z_]+)'/g)].map((match) => match[1])

test('docs/reference/error.md documents every code once, and no other', () => {
  const page = read('../docs/reference/error.md')
  const documented = [...page.matchAll(/^\| `([A-Z_]+)` \| \S/gm)].map((match) => match[1])
  expect(codes.length).toBeGreaterThan(30)
  expect(documented).toEqual(codes)
})

test('the page documents every class', () => {
  const classes = [...read('../src/errors.ts').matchAll(/^export class (\w+)/gm)].map((match) => match[1])
  const page = read('../docs/reference/error.md')
  expect(classes.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
})

test('errors carry their class, code, hint and cause', () => {
  const cause = new Error('socket')
  const error = new ConnectionError('CONNECTION_LOST', 'gone', { hint: 'again', cause, retryable: true })
  expect(error).toBeInstanceOf(TimescaleError)
  expect(error).toMatchObject({
    name: 'ConnectionError',
    code: 'CONNECTION_LOST',
    hint: 'again',
    retryable: true,
    cause,
  })
  expect(new ConnectionError('CONNECTION_LOST', 'gone').retryable).toBe(false)
  expect(new ConfigError('CONFIG_UNREADABLE', 'no', { source: 'f:3' }).source).toBe('f:3')
  expect(new BatchError('row 2', { row: 2, rowCount: 5 })).toMatchObject({ code: 'BATCH_FAILED', row: 2, rowCount: 5 })
})

test('what is not known is absent, not undefined', () => {
  const error = new QueryError('QUERY_FAILED', 'x', { sqlState: 'XX000' })
  expect(Object.keys(error).sort()).toEqual(['code', 'name', 'sqlState'])
  expect('cause' in error).toBe(false)
})
