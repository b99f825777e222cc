import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../..', import.meta.url))
const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  rewriteRelativeImportExtensions: true,
}

/** TypeScript as Node runs it without a loader, which would be most of what a short program costs the processor. */
export function compile(text: string): string {
  return ts.transpileModule(text, { compilerOptions }).outputText
}

/** Makes a directory like a user's project: programs find the package by its name, built. */
export function makeProject(directory: string): void {
  if (existsSync(join(directory, 'package.json'))) return
  mkdirSync(join(directory, 'node_modules'))
  symlinkSync(root, join(directory, 'node_modules', 'tsdbkit'))
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
}

/**
 * Compiles programs of this repository into a directory, where what they import of `src/` is that of `dist/`; gives the path
 * of the first.
 */
export function compileInto(directory: string, ...sources: readonly URL[]): string {
  makeProject(directory)
  const paths = sources.map((source) => {
    const path = join(directory, basename(source.pathname).replace(/\.ts$/, '.js'))
    const dist = pathToFileURL(join(root, 'dist/')).href
    writeFileSync(path, compile(readFileSync(source, 'utf8')).replaceAll(/(['"])(?:\.\.\/)+src\//g, `$1${dist}`))
    return path
  })
  return paths[0] ?? ''
}
