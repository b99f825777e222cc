import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'

test('importing the library leaves no global behind, and does not load the HTTP client of Node', () => {
  const library = new URL('../../dist/index.js', import.meta.url).href
  const script = `const before = Object.getOwnPropertyNames(globalThis)
    await import(${JSON.stringify(library)})
    const left = Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name))
    console.log(JSON.stringify({ left, loaded: process.moduleLoadList.filter((name) => /undici|http2/.test(name)) }))`
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  expect(JSON.parse(output)).toEqual({ left: [], loaded: [] })
})
