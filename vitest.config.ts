import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: {
    alias: {
      'tsdbkit/testing': new URL('./src/testing.ts', import.meta.url).pathname,
      tsdbkit: new URL('./src/index.ts', import.meta.url).pathname,
    },
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/setup/build.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two engines of 400 MB at once are what two cores and small CI machines carry.
    maxWorkers: 2,
    maxConcurrency: 2,
    // Files follow each other in one process, which compiles the engine once: half of the time of most of them.
    isolate: false,
    // A shared build machine may stand still for a moment, and some tests measure time.
    retry: process.env['CI'] ? 1 : 0,
  },
})
