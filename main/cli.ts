#!/usr/bin/env node
// Nothing that needs Node 24 may be loaded before this is sure: better-sqlite3 crashes an older one.
const major = Number(process.versions.node.split('.', 1)[0])
if (major < 24) {
  console.error(
    `Nightshift needs Node 24 or newer; this is ${process.versions.node}. In its folder "npm ci" brings the right one, ` +
      'and "npm run -s cli -- COMMAND" uses it.',
  )
  process.exit(4)
}
const { runCli } = await import('./cli/main.ts')
process.exitCode = await runCli(process.argv.slice(2))
