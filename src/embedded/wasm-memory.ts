/**
 * Makes the engine's heap a SharedArrayBuffer, so that the main thread can raise the interrupt flags while the engine
 * computes. Every WASM module of the worker imports one memory; its declaration must say "shared", which is one flag
 * in the import section (WebAssembly core specification, 5.4.5 memory types; threads proposal: flag 0x03).
 */

import type { EngineModules } from './engine-message.ts'

/** The most memory the engine may grow to: 2 GiB in pages of 64 KiB, what the build was linked for. */
export const MAXIMUM_PAGES = 32768

const IMPORT_SECTION = 2
const KIND = { function: 0, table: 1, memory: 2, global: 3, tag: 4 }
const SHARED_WITH_MAXIMUM = 3

/** Reads an unsigned LEB128 number; gives the value and where the next byte is. */
function readUnsigned(bytes: Uint8Array, start: number): [value: number, next: number] {
  let value = 0
  let shift = 0
  for (let at = start; ; ) {
    const byte = bytes[at++] ?? 0
    value |= (byte & 127) << shift
    if ((byte & 128) === 0) return [value >>> 0, at]
    shift += 7
  }
}

function writeUnsigned(value: number): number[] {
  const out: number[] = []
  let rest = value
  do {
    out.push((rest & 127) | (rest > 127 ? 128 : 0))
    rest >>>= 7
  } while (rest > 0)
  return out
}

/** Skips the limits of a table or memory type that starts at `at`. */
function skipLimits(bytes: Uint8Array, at: number): number {
  const flags = bytes[at] ?? 0
  let next = readUnsigned(bytes, at + 1)[1]
  if (flags & 1) next = readUnsigned(bytes, next)[1]
  return next
}

/** Where the limits of the imported memory start, inside the import section's body, or undefined. */
function findMemoryImport(bytes: Uint8Array, body: number): number | undefined {
  let [count, at] = readUnsigned(bytes, body)
  for (; count > 0; count--) {
    for (let names = 0; names < 2; names++) {
      const [length, next] = readUnsigned(bytes, at)
      at = next + length
    }
    const kind = bytes[at++]
    if (kind === KIND.memory) return at
    if (kind === KIND.function) at = readUnsigned(bytes, at)[1]
    else if (kind === KIND.table) at = skipLimits(bytes, at + 1)
    else if (kind === KIND.global) at += 2
    else if (kind === KIND.tag) at = readUnsigned(bytes, at + 1)[1]
  }
  return undefined
}

/** A copy of a WASM binary whose imported memory is declared shared; binaries without one come back unchanged. */
export function shareMemory(bytes: Uint8Array): Uint8Array {
  for (let at = 8; at < bytes.length; ) {
    const section = bytes[at]
    const [size, body] = readUnsigned(bytes, at + 1)
    const end = body + size
    const limits = section === IMPORT_SECTION ? findMemoryImport(bytes, body) : undefined
    if (limits !== undefined) return withSharedLimits(bytes, { at, body, end, limits })
    at = end
  }
  return bytes
}

interface ImportSection {
  readonly at: number
  readonly body: number
  readonly end: number
  readonly limits: number
}

function withSharedLimits(bytes: Uint8Array, { at, body, end, limits }: ImportSection): Uint8Array {
  const hasMaximum = ((bytes[limits] ?? 0) & 1) === 1
  if (hasMaximum) {
    const copy = bytes.slice()
    copy[limits] = SHARED_WITH_MAXIMUM
    return copy
  }
  // A shared memory must have a maximum: put one in and write the section's new length.
  const afterMinimum = readUnsigned(bytes, limits + 1)[1]
  const maximum = writeUnsigned(MAXIMUM_PAGES)
  const length = writeUnsigned(end - body + maximum.length)
  const out = new Uint8Array(at + 1 + length.length + (end - body) + maximum.length + (bytes.length - end))
  let to = 0
  for (const part of [
    bytes.subarray(0, at + 1),
    length,
    bytes.subarray(body, limits),
    [SHARED_WITH_MAXIMUM],
    bytes.subarray(limits + 1, afterMinimum),
    maximum,
    bytes.subarray(afterMinimum),
  ]) {
    out.set(part, to)
    to += part.length
  }
  return out
}

/** Gives every WASM module of this thread a shared memory; libraries that are compiled already are taken from there. */
export function useSharedMemory(libraries: EngineModules['libraries']): void {
  const { Module, compile, instantiate } = WebAssembly
  const ready = new Map(libraries.map(({ bytes, module }) => [bytes.length, module]))
  const shared = (bytes: BufferSource): Uint8Array<ArrayBuffer> =>
    // The binary comes from a file, so it never lies in shared memory.
    shareMemory(
      ArrayBuffer.isView(bytes)
        ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        : new Uint8Array(bytes),
    ) as Uint8Array<ArrayBuffer>
  WebAssembly.Module = new Proxy(Module, {
    construct: (Target, [bytes]: [BufferSource]) => ready.get(bytes.byteLength) ?? new Target(shared(bytes)),
  })
  WebAssembly.compile = (bytes: BufferSource) => compile(shared(bytes))
  Object.assign(WebAssembly, {
    instantiate: async (source: BufferSource | WebAssembly.Module, imports: WebAssembly.Imports) => {
      if (source instanceof Module) return instantiate(source, imports)
      const module = await compile(shared(source))
      return { module, instance: await instantiate(module, imports) }
    },
  })
}
