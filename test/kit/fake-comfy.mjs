// A program that starts, answers and fails as ComfyUI does, without what it is for. Its flags say how; see engine-kit.ts.
import { spawn } from 'node:child_process'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'

const argv = process.argv.slice(2)
const has = (flag) => argv.includes(flag)
const given = (flag) => (has(flag) ? argv[argv.indexOf(flag) + 1] : undefined)
const port = Number(given('--port'))
const say = (line) => process.stderr.write(`${line}\n`)
let hung = false
let prompts = 0
let unwell = has('--unwell') ? 3 : 0

if (given('--starts')) appendFileSync(given('--starts'), `${process.pid}\n`)
if (has('--stubborn')) {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {})
  const code = `for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {}); setInterval(() => {}, 1000)`
  for (const detached of [false, true]) {
    const child = spawn(process.execPath, ['-e', code], { detached, stdio: 'inherit' })
    if (given('--starts')) appendFileSync(given('--starts'), `${child.pid}\n`)
    child.unref()
  }
} else
  process.on('SIGINT', () => {
    say('Stopped server')
    process.exit(0)
  })

say('Total VRAM 24564 MB, total RAM 65301 MB')
say('pytorch version: 2.13.0+cu130')
say('Device: cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync')
if (given('--dies-of')) {
  say(readFileSync(given('--dies-of'), 'utf8'))
  process.exit(1)
}
if (has('--silent')) setInterval(() => {}, 1000)
else {
  say('ComfyUI version: 0.33.0')
  say('Import times for custom nodes:')
  say('   0.3 seconds (IMPORT FAILED): /c/custom_nodes/pack')
  // fails until the file is there, then once fewer each time
  const fuse = given('--fails-times')
  if (fuse) {
    const left = Number(readFileSync(fuse, 'utf8'))
    writeFileSync(fuse, String(left - 1))
    if (left > 0) process.kill(process.pid, 'SIGSEGV')
  }
  say('Starting server\n')
  const server = createServer((request, response) => {
    if (request.url === '/prompt' && given('--asked')) appendFileSync(given('--asked'), '.')
    if (hung) return
    const reply = (body) => response.end(JSON.stringify(body))
    if (unwell-- > 0) return response.writeHead(503).end('not yet')
    if (request.url === '/system_stats') {
      const system = { comfyui_version: '0.33.0', argv: process.argv.slice(1), pid: process.pid }
      return reply({ system, devices: [] })
    }
    if (request.url === '/prompt' && ++prompts) return reply({ exec_info: { queue_remaining: has('--busy') ? 1 : 0 } })
    if (request.url === '/hang') {
      const timer = setInterval(() => {
        if (prompts === 0) return // it was never asked yet how it is
        clearInterval(timer)
        hung = true
        reply({})
      }, 10)
      return
    }
    if (request.url === '/reboot') {
      writeFileSync(`${process.env.__COMFY_CLI_SESSION__}.reboot`, '')
      process.exit(0)
    }
    if (request.url === '/flood') {
      const chunk = `${'x'.repeat(99)}\n`.repeat(1000)
      let left = 1000 // × 100 KB
      const pour = () => {
        while (left-- > 0) if (!process.stderr.write(chunk)) return process.stderr.once('drain', pour)
        say('the flood is over')
      }
      pour()
    }
    reply({})
  })
  server.on('error', (cause) => {
    if (cause.code !== 'EADDRINUSE') throw cause
    say(`Port ${port} is already in use on address 127.0.0.1. Please close the other application`)
    process.exit(1)
  })
  server.listen(port, '127.0.0.1', () => say(`To see the GUI go to: http://127.0.0.1:${port}`))
}
