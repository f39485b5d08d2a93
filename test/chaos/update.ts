// Kills a real update at random moments: after each, the engine's pointer must name a whole generation, the old or the new.
// npm run chaos:update -- DATA REF REF [TIMES] [WITHIN_SECONDS], for an engine that `engine install` made in DATA.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { generationDir, readJournal, readPointer } from '../../core/engine/install/generations.ts'
import { damageIn, readLock } from '../../core/engine/install/lock.ts'

const { positionals } = parseArgs({ allowPositionals: true })
const [data, one, two, times = '30', within = '40'] = positionals
if (!data || !one || !two) throw new Error('usage: DATA REF REF [TIMES] [WITHIN_SECONDS]')
const home = path.join(data, 'engines', 'local')
const cli = path.resolve(import.meta.dirname, '../../main/cli.ts')
const tell = (event: string, facts: object) => process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)

async function whole() {
  const pointer = readPointer(home)
  if (!pointer) throw new Error('there is no pointer')
  const dir = generationDir(home, pointer.current)
  const [journal, lock] = await Promise.all([readJournal(dir), readLock(dir)])
  if (!journal?.done.includes('trial') || !lock) throw new Error(`${pointer.current} is not whole`)
  const damages = await damageIn(dir, lock)
  if (damages.length > 0) throw new Error(`${pointer.current} is damaged: ${JSON.stringify(damages[0])}`)
  return { id: pointer.current, done: journal.done }
}

let before = await whole()
let switched = 0
for (let at = 0; at < Number(times); at++) {
  const ref = switched % 2 === 0 ? one : two
  const child = spawn(process.execPath, [cli, '--data', data, '--json', 'engine', 'update', '--ref', ref], {
    stdio: 'ignore',
  })
  const ended = once(child, 'close')
  const afterMs = Math.round(Math.random() * Number(within) * 1000)
  const finished = await Promise.race([ended.then(() => true), pause(afterMs, false)])
  child.kill('SIGKILL')
  const [code] = await ended
  const now = await whole()
  if (finished && code !== 0) throw new Error(`the update failed (${code})`)
  if (now.id !== before.id) switched++
  tell('kill', { at: at + 1, afterMs, finished, is: now.id === before.id ? 'old' : 'new' })
  before = now
}
tell('done', { ok: true, kills: Number(times), switched })
