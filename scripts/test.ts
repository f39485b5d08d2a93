// npm test: a browser, the checks, the bundles, then every test.
import { spawnSync } from 'node:child_process'
import { findBrowser } from './find-browser.ts'

const run = (command: string, args: string[], env: NodeJS.ProcessEnv = process.env) => {
  const { status } = spawnSync(command, args, { stdio: 'inherit', env, shell: process.platform === 'win32' })
  if (status !== 0) process.exit(status ?? 1)
}

const browser = await findBrowser()
if (!browser) {
  console.error(
    'The tests need a browser. Install Chrome, Chromium or Edge, or run "npx playwright install chromium", ' +
      'or set NIGHTSHIFT_CHROMIUM to the path of one, and run npm test again.',
  )
  process.exit(1)
}
console.log(`browser: ${browser}`)
run('npm', ['run', '-s', 'check'])
run(process.execPath, ['scripts/build.ts'])
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(2)], {
  ...process.env,
  NIGHTSHIFT_CHROMIUM: browser,
})
