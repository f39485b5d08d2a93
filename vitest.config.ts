import { defineConfig } from 'vitest/config'

const project = (name: string, testTimeout: number, fileParallelism = true) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: testTimeout,
    fileParallelism,
    expect: { poll: { timeout: 10_000 } },
  },
})

export default defineConfig({
  test: {
    projects: [
      project('unit', 20_000),
      project('integration', 60_000),
      project('e2e', 120_000, false),
      project('electron', 120_000, false),
      project('pack', 300_000, false),
    ],
  },
})
