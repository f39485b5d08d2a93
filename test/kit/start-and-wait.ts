// Supervises a stubborn program, tells its processes, and waits to be killed.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { LineLog } from '../../core/engine/process/line-log.ts'
import { Supervisor } from '../../core/engine/process/supervisor.ts'
import { portsOfOthers } from './ports-of-others.ts'

const dir = process.argv[2]!
const starts = path.join(dir, 'starts')
const program = path.join(import.meta.dirname, 'fake-comfy.mjs')
const supervisor = new Supervisor({
  id: 'local',
  launch: (port) => ({
    command: process.execPath,
    args: [program, '--port', String(port), '--stubborn', '--starts', starts],
    cwd: dir,
    env: process.env,
  }),
  port: null,
  taken: () => portsOfOthers,
  stateDir: path.join(dir, 'state'),
  log: new LineLog(path.join(dir, 'engine.log'), { now: Date.now }),
  newId: randomUUID,
  now: Date.now,
})
await supervisor.start()
process.stdout.write(`${readFileSync(starts, 'utf8').trim().split('\n').join(' ')}\n`)
