/**
 * To be loaded before `pg`, which looks at `navigator` for where it runs. Node 20 has none: `pg` then makes a `Response`, and
 * Node loads its whole HTTP client for it, which a short program notices.
 */
export const isLent: boolean = !('navigator' in globalThis)

if (isLent) {
  const value = { userAgent: `Node.js/${process.versions.node.replace(/\..*/s, '')}` }
  Object.defineProperty(globalThis, 'navigator', { value, configurable: true })
}
