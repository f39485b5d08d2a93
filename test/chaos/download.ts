// A file is fetched while the process that does so is killed at random moments, its disk fills, or another wants the same:
// npm run chaos:download -- [--cuts 100] [--mib 64] [--seed N]
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { type Cuts, fetchApart, fetchWithCuts } from '../kit/cut-downloads.ts'
import { MirrorFarm } from '../kit/mirror-farm.ts'

const MIB = 1 << 20
const { values } = parseArgs({
  options: { cuts: { type: 'string' }, mib: { type: 'string' }, seed: { type: 'string' } },
})
const wantedCuts = Number(values.cuts ?? 100)
const size = Number(values.mib ?? 64) * MIB + 4321
let seed = Number(values.seed ?? Date.now() % 1e6)
const random = () => {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
  return seed / 0x80000000
}
console.log(JSON.stringify({ chaos: 'download', seed, sizeMiB: size / MIB }))

const truth = randomBytes(size)
const sha256 = createHash('sha256').update(truth).digest('hex')
const farm = await new MirrorFarm().start()
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-chaos-'))
const rate = 6 * MIB
const CONNECTIONS = 4
const source = (id: string, address: string) => ({ id, address, connections: CONNECTIONS })
const one = source('one', farm.put('/one', { body: truth, bytesPerSecond: rate }))
const two = source('two', farm.put('/two', { body: truth, bytesPerSecond: rate / 2, cutAfter: 3 * MIB }))
const liar = source('liar', farm.put('/liar', { body: truth, bytesPerSecond: rate, flipAt: size - 5_000_000 }))
const violations: string[] = []
const done = (what: string, facts: object) => console.log(JSON.stringify({ what, ...facts }))

try {
  const all: Cuts = { cuts: 0, atTheEnd: 0, flips: 0, unread: 0, powerCuts: 0, violations }
  for (let round = 0; all.cuts < wantedCuts; round++) {
    const sources = [[one], [one, two], [two, liar, one]][round % 3]!
    const before = { sent: farm.sentBytes(), cuts: all.cuts, flips: all.flips, powerCuts: all.powerCuts }
    const to = path.join(dir, String(round), 'model.bin')
    const wanted = { to, sources, sizeBytes: size, sha256 }
    await fetchWithCuts(wanted, truth, wantedCuts - all.cuts, { withinMs: 900, random }, all)
    const cuts = all.cuts - before.cuts
    const again = farm.sentBytes() - before.sent - size
    const plain = sources.length < 3 && all.flips === before.flips && all.powerCuts === before.powerCuts
    const perCut = again / Math.max(1, cuts) / MIB
    done('round', {
      round,
      sources: sources.length,
      cuts,
      plain,
      sentAgainMiB: round1(again / MIB),
      perCutMiB: round1(perCut),
    })
    // a segment of each connection, and what a socket holds
    if (plain && perCut > sources.length * CONNECTIONS * 3)
      violations.push(`${perCut} MiB were fetched again for each cut`)
    rmSync(path.dirname(to), { recursive: true, force: true })
  }
  done('cuts', { ...all, violations: violations.length })
  await twoPrograms()
  await fullDisk()
} finally {
  await farm.stop()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
}
for (const each of violations) console.error(each)
console.log(JSON.stringify({ event: 'done', ok: violations.length === 0 }))
process.exitCode = violations.length === 0 ? 0 : 1

/** Two programs want one file: it is fetched once. */
async function twoPrograms() {
  const before = farm.sentBytes()
  const wanted = { to: path.join(dir, 'both', 'model.bin'), sources: [one], sizeBytes: size, sha256 }
  const [first, second] = await Promise.all([fetchApart(wanted).ended, fetchApart(wanted).ended])
  const sent = farm.sentBytes() - before
  const fetched = [first, second].map((each) => each?.fetchedBytes ?? -1).sort((a, b) => a - b)
  if (fetched[0] !== 0 || sent > 1.1 * size || !readFileSync(wanted.to).equals(truth))
    violations.push(`two programs fetched ${fetched.join(' and ')} bytes`)
  done('two programs', { fetched })
}

/** A volume of its own fills up under the download; it goes on as soon as there is room. */
async function fullDisk() {
  const image = path.join(dir, 'volume.img')
  const volume = path.join(dir, 'volume')
  mkdirSync(volume)
  try {
    execFileSync('truncate', ['-s', String(size * 2 + 32 * MIB), image])
    execFileSync('mkfs.ext4', ['-q', '-F', image])
    execFileSync('mount', ['-o', 'loop', image, volume], { stdio: 'pipe' })
  } catch (cause) {
    return done('full disk', {
      skipped: `no volume could be mounted: ${String((cause as Error).message).slice(0, 100)}`,
    })
  }
  try {
    const to = path.join(volume, 'model.bin')
    const ballast = path.join(volume, 'ballast')
    const seen = new Set<string>()
    const running = fetchApart({ to, sources: [one], sizeBytes: size, sha256 }, ({ is, doneBytes = 0 }) => {
      if (is === 'fetching' && doneBytes > 2 * MIB && !seen.has('filled')) {
        seen.add('filled')
        fill(ballast, volume)
      }
      if (is === 'full' && !seen.has('full')) {
        seen.add('full')
        const { bavail, bsize } = statfsSync(volume)
        done('full', { freeMiB: round1((bavail * bsize) / MIB), doneMiB: round1(doneBytes / MIB) })
        if (existsSync(to)) violations.push('a file was seen under its name while the disk was full')
        setTimeout(() => rmSync(ballast), 700)
      }
    })
    const last = await running.ended
    const right = existsSync(to) && readFileSync(to).equals(truth)
    if (!seen.has('full') || last?.is !== 'done' || !right)
      violations.push(`on a full disk it ended as ${last?.is}; ${[...seen].join(', ')}`)
    done('full disk', { seen: [...seen], right })
  } finally {
    execFileSync('umount', ['-l', volume])
  }
}

function fill(ballast: string, volume: string) {
  const block = Buffer.alloc(MIB)
  for (let bytes = MIB; bytes >= 4096; bytes /= 2) {
    for (;;) {
      try {
        writeFileSync(ballast, block.subarray(0, bytes), { flag: 'a', flush: true })
      } catch {
        break
      }
    }
  }
  statfsSync(volume)
}

function round1(value: number) {
  return Math.round(value * 10) / 10
}
