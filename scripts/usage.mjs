// `--help` of a script prints what stands at its head.
import { readFileSync } from 'node:fs'
import './node-24.mjs'

if (process.argv.includes('--help')) {
  const [head] = /^(?:\/\/.*\n)+|^\/\*\*[\s\S]*?\*\//.exec(readFileSync(process.argv[1], 'utf8')) ?? ['']
  console.log(head.replace(/^(?:\/\/|\/\*\*| ?\*\/| \*) ?/gm, '').trim())
  process.exit()
}
