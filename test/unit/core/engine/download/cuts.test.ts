import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import path from 'node:path'
import { Agent } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import { Limits } from '../../../../../core/engine/download/limits.ts'
import { Source } from '../../../../../core/engine/download/source.ts'
import { Spans } from '../../../../../core/engine/download/spans.ts'
import { Transfer } from '../../../../../core/engine/download/transfer.ts'
import { type Cuts, fetchApart, fetchWithCuts } from '../../../../kit/cut-downloads.ts'
import { eventually } from '../../../../kit/eventually.ts'
import { type Behaviour, MirrorFarm } from '../../../../kit/mirror-farm.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const MIB = 1 << 20
const truth = randomBytes(6 * MIB + 77)
const sha256 = createHash('sha256').update(truth).digest('hex')

async function startFarm(behaviour: Partial<Behaviour>) {
  const farm = await new MirrorFarm().start()
  onTestFinished(() => farm.stop())
  const address = farm.put('/model.bin', { body: truth, ...behaviour })
  return { farm, sources: [{ id: 'one', address, connections: 2 }] }
}

test('killed, with a byte changed or power lost, a download goes on; nothing else is ever seen under its name', async () => {
  const large = randomBytes(24 * MIB + 77) // more than comes before it is killed
  const { farm, sources } = await startFarm({ body: large, bytesPerSecond: 2 * MIB })
  const wanted = {
    to: path.join(tempDir(), 'new', 'model.bin'),
    sources,
    sizeBytes: large.length,
    sha256: createHash('sha256').update(large).digest('hex'),
  }
  const so: Cuts = { cuts: 0, atTheEnd: 0, flips: 0, unread: 0, powerCuts: 0, violations: [] }
  const rolls = [0.5, 0.9, 0.05, 0.035, 0.5, 0.7, 0.5, 0.2] // after the first cut a byte changes, after the next power is lost
  const [fetchedAtLast] = await Promise.all([
    fetchWithCuts(wanted, large, 3, { withinMs: 600, random: () => rolls.shift() ?? 0.5 }, so),
    eventually(() => so.cuts === 3, 50_000).then(() => farm.put('/model.bin', { body: large })),
  ])
  expect(so).toMatchObject({ cuts: 3, flips: 1, powerCuts: 1, violations: [] })
  expect(fetchedAtLast).toBeLessThan((1 + so.unread) * large.length)
})

test('two programs that want one file fetch it once', async () => {
  const { farm, sources } = await startFarm({ bytesPerSecond: 10 * MIB })
  const wanted = { to: path.join(tempDir(), 'new', 'model.bin'), sources, sizeBytes: truth.length, sha256 }
  const both = await Promise.all([fetchApart(wanted).ended, fetchApart(wanted).ended])
  expect(both.map((each) => each?.is)).toEqual(['done', 'done'])
  expect(both.map((each) => each?.fetchedBytes)).toContain(0)
  expect(farm.sentBytes()).toBeLessThan(1.5 * truth.length)
  expect(readFileSync(wanted.to).equals(truth)).toBe(true)
})

test.each([true, false])(
  'on a disk that fills up it waits for room, or fails where that is asked for (%s)',
  async (waits) => {
    const { sources } = await startFarm({})
    const dir = path.join(tempDir(), 'new')
    mkdirSync(dir)
    const to = path.join(dir, 'model.bin')
    const handle = await open(`${to}.part`, 'w+')
    onTestFinished(() => handle.close())
    let [written, room] = [0, 3 * MIB]
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
    const small = new Proxy(handle, {
      get: (_, name) => {
        if (name !== 'writev') return Reflect.get(handle, name).bind(handle)
        return async (chunks: Buffer[], at: number) => {
          if (written >= room) throw full
          written += chunks.reduce((sum, { length }) => sum + length, 0)
          return handle.writev(chunks, at)
        }
      },
    }) as FileHandle
    const told = new Set<string>()
    const transfer: Transfer = new Transfer({
      wanted: { to, sources, sizeBytes: truth.length, sha256 },
      sources: sources.map((source, at) => new Source(source, at)),
      have: new Spans(),
      share: new Limits().join(() => {}),
      options: { dispatcher: new Agent(), waitForSpace: waits },
      signal: new AbortController().signal,
      keep: async () => ({ handle: small, wrote() {}, lost() {}, marked() {}, async sync() {} }),
      sampleOf: () => Promise.reject(),
      tell: () => {
        if (!transfer.full) return
        told.add(transfer.full.code)
        room = Number.POSITIVE_INFINITY
      },
    })
    if (waits) await transfer.run()
    else await expect(transfer.run()).rejects.toMatchObject({ code: 'download.no-space' })
    expect([...told]).toEqual(waits ? ['download.no-space'] : [])
    expect(transfer.full).toBe(null)
    expect(transfer.complete).toBe(waits)
    if (waits) expect(readFileSync(`${to}.part`).equals(truth)).toBe(true)
    expect(existsSync(to)).toBe(false)
  },
)
