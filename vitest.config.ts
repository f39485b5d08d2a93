import { availableParallelism } from 'node:os'
import path from 'node:path'
import { defineConfig } from 'vitest/config'

// what tests start by the dozen is Node on our sources: it need not compile them each time
const NODE_COMPILE_CACHE = path.join(import.meta.dirname, 'node_modules', '.cache', 'compiled')

// Limits end what hangs; a slow machine at its busiest stays far below them.
const project = (name: string, testTimeout: number, fileParallelism = true) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    env: { NODE_COMPILE_CACHE },
    testTimeout,
    hookTimeout: testTimeout,
    fileParallelism,
    expect: { poll: { timeout: 60_000 } },
  },
})

export default defineConfig({
  test: {
    // Of two cores, too, both have work to do: most tests wait for what they started. Of many, not all: each file may
    // have a browser and servers of its own, and all of them share one disk and one memory.
    maxWorkers: Math.min(8, Math.max(2, availableParallelism() - 1)),
    projects: [
      project('unit', 120_000),
      project('integration', 180_000),
      project('e2e', 300_000),
      project('electron', 300_000, false),
      project('pack', 600_000, false),
    ],
  },
})
