import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { expect, test } from 'vitest'

const repo = path.resolve(import.meta.dirname, '../../../..')
const endless = `
  const { Terminal } = await import('./main/cli/terminal.ts')
  const { speechIn } = await import('./main/cli/words.ts')
  const terminal = new Terminal(true, speechIn('en', {}))
  process.stdin.resume().on('end', () => {
    terminal.event('late', {})
    setImmediate(() => { terminal.event('later', {}); setImmediate(() => process.exit(7)) })
  })
  terminal.event('early', {})`

test('a reader that goes away ends nothing: what was going on comes to its own end', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', endless], { cwd: repo })
  let err = ''
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  await once(child.stdout, 'data')
  child.stdout.destroy()
  await once(child.stdout, 'close')
  child.stdin.end()
  const [code] = await once(child, 'close')
  expect({ code, err }).toEqual({ code: 7, err: '' })
})
