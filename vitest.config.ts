import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Each takes more than 10 s. One of them that began last would keep one of the workers waiting. */
const LONG = [
  'examples/example',
  'documentation',
  'apps/cli/load',
  'scripts/soak',
  'objects/policy-check',
  'embedded/directory',
  'embedded/scheduler-restart',
  'apps/cli/verbs',
  'apps/cli/shell',
  'testing',
  'apps/cli/serve',
  'apps/cli/terminal',
  'embedded/template',
  'embedded/cancel',
  'embedded/maintenance',
  'connection/copy',
  'argument',
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
    testTimeout: 30_000,
    hookTimeout: 60_000,
    sequence: { sequencer: LongFirst },
    // Two engines of 400 MB at once are what two cores and small CI machines carry.
    maxWorkers: 2,
    maxConcurrency: 2,
    // Files follow each other in one process, which compiles the engine once: half of the time of most of them.
    isolate: false,
    // A shared build machine may stand still for a moment, and some tests measure time.
    retry: process.env['CI'] ? 1 : 0,
  },
})
