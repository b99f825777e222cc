import os from 'node:os'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Each takes more than 10 s. One of them that began last would keep one of the workers waiting. */
const LONG = [
  'examples/example',
  'objects/policy-check',
  'documentation',
  'scripts/soak',
  'apps/cli/load',
  'embedded/directory',
  'embedded/clock',
  'embedded/scheduler-restart',
  'objects/policy-preview',
  'embedded/template',
  'apps/cli/verbs',
  'embedded/scheduler',
  'task/read-only',
  'ingest/writer',
  'apps/cli/shell',
  'ingest/parquet',
  'embedded/cancel',
  'ingest/ledger',
  'testing',
  'apps/cli/terminal',
  'connection/result-stream',
  'ingest/compressed-load',
  'embedded/stream',
  'connection/copy',
  'apps/cli/serve',
  'embedded/maintenance',
  'connection/execute-many',
  'connection/column-query',
  'ingest/malformed',
  'apps/cli/task',
  'objects/job-watch',
]

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONG.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`))
      return at < 0 ? LONG.length : at
    }
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}

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
    // So long that a machine which does other things too fails none of them.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongFirst },
    // A test that waits leaves its core to the third; a worker comes to 1.5 GB.
    maxWorkers: os.totalmem() > 7e9 ? 3 : 2,
    maxConcurrency: 2,
    // Files follow each other in one process, which compiles the engine once: half of the time of most of them.
    isolate: false,
    // A shared build machine may stand still for a moment, and some tests measure time.
    retry: process.env['CI'] ? 1 : 0,
  },
})
