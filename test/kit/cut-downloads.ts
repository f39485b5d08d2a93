import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import type { FileWanted } from '../../core/engine/download/download.ts'

export type Told = { is: string; doneBytes?: number; fetchedBytes?: number; reason?: string }
const program = path.resolve(import.meta.dirname, 'fetch-child.ts')
const children = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** A download in a process of its own; `told` hears how it goes. Gives the last it said; null: it was killed. */
export function fetchApart(wanted: FileWanted, told: (news: Told) => void = () => {}) {
  const child = fork(program, [JSON.stringify({ wanted, stallMs: 2_000 })], { stdio: 'inherit', execArgv: [] })
  children.add(child)
  let last: Told | null = null
  child.on('message', (news: Told) => {
    last = news
    told(news)
  })
  const ended = once(child, 'exit').then(([, signal]) => {
    children.delete(child)
    return signal ? null : last
  })
  return { ended, kill: () => child.kill('SIGKILL') }
}

export interface Cut {
  /** Kills at a random moment within so many milliseconds after the first byte, or as soon as the hash is waited for. */
  readonly withinMs: number
  readonly random: () => number
}
export interface Cuts {
  cuts: number
  atTheEnd: number
  flips: number
  /** Of them, those of bytes that had not been read since they came: that is seen in the end, and all of it comes again. */
  unread: number
  powerCuts: number
  violations: string[]
}

/**
 * Fetches a file, cut again and again, until it is there: never may anything else be seen under its name. After some cuts
 * a byte of what is kept is another one, after others what was not synced is gone, as after a power cut. Gives what the
 * last, which nothing cut, had to fetch.
 */
export async function fetchWithCuts(
  wanted: FileWanted,
  truth: Buffer,
  most: number,
  { withinMs, random }: Cut,
  so: Cuts,
) {
  for (let cuts = 0; ; cuts++) {
    const atTheEnd = random() < 0.1
    let timer: NodeJS.Timeout | undefined
    const running = fetchApart(wanted, ({ is, doneBytes = 0, reason }) => {
      if (is === 'failed') so.violations.push(`it failed: ${reason}`)
      if (cuts >= most) return
      if (atTheEnd && is === 'verifying') {
        so.atTheEnd += 1
        timer = setTimeout(() => running.kill(), random() * 20)
      } else if (!atTheEnd && is === 'fetching' && doneBytes > 0 && !timer) {
        timer = setTimeout(() => running.kill(), random() * withinMs)
      }
    })
    const last = await running.ended
    clearTimeout(timer)
    const visible = existsSync(wanted.to) ? readFileSync(wanted.to) : null
    if (visible && !visible.equals(truth)) so.violations.push('a wrong file was seen under the final name')
    if (last !== null) {
      if (!visible) so.violations.push(`it ended (${last.is}) without the file`)
      const left = readdirSync(path.dirname(wanted.to)).filter((name) => name.includes('.part'))
      if (left.length > 0) so.violations.push(`${left.join(', ')} is left`)
      return last.fetchedBytes ?? Number.NaN
    }
    so.cuts += 1
    if (visible) continue
    const part = `${wanted.to}.part`
    if (!existsSync(`${part}.json`)) continue
    if (random() < 0.1) {
      so.flips += 1
      const at = Math.floor(random() * truth.length)
      if (!wasRead(part, at)) so.unread += 1
      change(part, at, Buffer.from([readFileSync(part)[at]! ^ 0xff]))
    } else if (random() < 0.25) {
      so.powerCuts += 1
      losePower(part)
    }
  }
}

type Line =
  | ['wrote', from: number, to: number]
  | ['read', firstBlock: number, checks: number[]]
  | ['synced', count: number]
const journalOf = (part: string) => readFileSync(`${part}.json`, 'utf8').split('\n')
const parse = (lines: readonly string[]) =>
  lines.slice(1, -1).flatMap((line) => {
    try {
      return [JSON.parse(line) as Line]
    } catch {
      return []
    }
  })

function wasRead(part: string, at: number): boolean {
  const lines = journalOf(part)
  const block = Math.floor(at / (JSON.parse(lines[0]!) as { blockBytes: number }).blockBytes)
  return parse(lines).some((line) => line[0] === 'read' && (line[2][block - line[1]] ?? 0) !== 0)
}

/** As if the machine had lost power: what was never synced is zeros, and it was started again. */
function losePower(part: string) {
  const lines = journalOf(part)
  const parsed = parse(lines)
  const synced = Math.max(0, ...parsed.flatMap((line) => (line[0] === 'synced' ? [line[1]] : [])))
  const wrote = parsed.flatMap((line) => (line[0] === 'wrote' ? [line] : []))
  for (const [, from, to] of wrote.slice(synced)) change(part, from, Buffer.alloc(to - from))
  lines[0] = lines[0]!.replace(/"boot":"[^"]*"/, '"boot":"another"')
  writeFileSync(`${part}.json`, lines.join('\n'))
}

function change(file: string, at: number, bytes: Buffer) {
  const handle = openSync(file, 'r+')
  writeSync(handle, bytes, 0, bytes.length, at)
  closeSync(handle)
}
