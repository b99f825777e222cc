/**
 * Node 20 has no `navigator`, so the driver makes a Response to find out that this is not a Cloudflare Worker, and Node loads
 * undici for it: 80 ms of the 480 that the library takes to load. While the driver is loaded it finds what later ones have.
 */
export const standIn = { userAgent: `Node.js/${process.versions.node.split('.', 1)[0]}` }

if (!('navigator' in globalThis)) {
  Object.defineProperty(globalThis, 'navigator', { value: standIn, configurable: true })
}
