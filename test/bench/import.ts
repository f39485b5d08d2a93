// How many workflows a second are converted, and imported; and how long two hundred files of every kind take through
// the door a browser uses. `--workflows DIR`: of the JSON there instead of the sample.
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import type { ImportResult } from '../../core/contract/app.ts'
import type { Envelope } from '../../core/contract/errors.ts'
import { isJsonObject, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import { openHost } from '../../main/open-host.ts'
import { inspectFile } from '../../main/services/read-import.ts'
import { everyContainer } from '../kit/containers.ts'
import { median, report, timed } from './measure.ts'

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '200' },
    runs: { type: 'string', default: '3' },
    workflows: { type: 'string' },
  },
})
const [files, runs] = [Number(values.files), Number(values.runs)]
const LIMIT_PER_SECOND = 100
const LIMIT_SECONDS = 5
/** A JPEG’s segment and a QuickTime text hold 64 KiB; escapes and UTF-16 take some of it. */
const LARGEST_SEGMENT = 20_000
const AT_ONCE = 4 // as the page sends them

const sample = path.resolve(import.meta.dirname, '../../resources/sample/en.json')
const paths = values.workflows
  ? readdirSync(values.workflows)
      .filter((name) => name.endsWith('.json'))
      .map((name) => path.join(values.workflows!, name))
  : [sample]
const workflows = paths.flatMap((file) => {
  const read = parseJson(readFileSync(file, 'utf8'))
  const value = isJsonObject(read) && isJsonObject(read.workflow) ? read.workflow : read
  return isJsonObject(value) && Array.isArray(value.nodes) ? [value] : []
})
/** No two alike, since the same bytes are the same workflow. */
const different = (): JsonObject[] =>
  Array.from({ length: files }, (_, at) => {
    const one = workflows[at % workflows.length]!
    return { ...one, extra: { ...(isJsonObject(one.extra) ? one.extra : {}), bench: `${randomUUID()} ${at}` } }
  })
const known = { ...bundledDefinitions(), from: 'bundled' }
const sizes = workflows.map((one) => writeJson(one).length)
const facts = {
  workflows: workflows.length,
  medianKiB: Math.round(median(sizes) / 1024),
  largestKiB: Math.round(Math.max(...sizes) / 1024),
  node: process.versions.node,
}
const oks: boolean[] = []

// convert
const perSecond: number[] = []
for (let run = 0; run < runs; run++) {
  const all = different().map((one) => Buffer.from(writeJson(one)))
  const ms = await timed(() => {
    for (const bytes of all) inspectFile('bench.json', bytesSource(bytes), known)
  })
  perSecond.push((files / ms) * 1000)
}
oks.push(
  report({
    bench: 'workflows read, converted and validated a second',
    n: files,
    ours: median(perSecond),
    peer: LIMIT_PER_SECOND,
    peerName: 'limit',
    unit: '1/s',
    less: false,
    goal: 1,
    facts,
  }),
)

// import, through the door a browser uses
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-bench-'))
const host = await openHost({
  door: 'headless',
  locale: 'en',
  dataDir: path.join(dir, 'data'),
  outputDir: path.join(dir, 'out'),
})
mkdirSync(path.join(dir, 'out'), { recursive: true })
const { url } = await host.serve({ host: '127.0.0.1', port: 0, rendererDir: null })
const [origin, token] = [new URL(url).origin, new URL(url).hash.replace('#t=', '')]
const headers = {
  origin,
  authorization: `Bearer ${decodeURIComponent(token)}`,
  'content-type': 'application/octet-stream',
}

/** Gives the names of what could not be imported. */
async function send(all: readonly { name: string; bytes: Uint8Array }[]): Promise<string[]> {
  let next = 0
  const failed: string[] = []
  const some = async () => {
    for (let at = next++; at < all.length; at = next++) {
      const { name, bytes } = all[at]!
      const asked = { method: 'POST', headers, body: new Uint8Array(bytes) }
      const response = await fetch(`${origin}/files/workflow?name=${encodeURIComponent(name)}`, asked)
      const reply = parseJson(await response.text()) as unknown as Envelope<{ results: ImportResult[] }>
      if (!reply.ok) throw new Error(reply.failure.message)
      if (!reply.value.results.every(({ ok }) => ok)) failed.push(name)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, some))
  return failed
}

async function measure(make: () => { name: string; bytes: Uint8Array }[]) {
  const seconds: number[] = []
  let longestStallMs = 0
  const before = process.cpuUsage()
  for (let run = 0; run < runs; run++) {
    const all = make()
    const stalls = monitorEventLoopDelay({ resolution: 5 })
    stalls.enable()
    let failed: string[] = []
    const ms = await timed(async () => {
      failed = await send(all)
    })
    stalls.disable()
    if (failed.length > 0) throw new Error(`not imported: ${failed.join(', ')}`)
    longestStallMs = Math.max(longestStallMs, Math.round(stalls.max / 1e6))
    seconds.push(ms / 1000)
  }
  const { user, system } = process.cpuUsage(before)
  return { seconds: median(seconds), longestStallMs, cpuSeconds: Number(((user + system) / 1e6 / runs).toFixed(2)) }
}

const json = await measure(() =>
  different().map((one, at) => ({ name: `${at}.json`, bytes: Buffer.from(writeJson(one)) })),
)
oks.push(
  report({
    bench: 'workflows imported a second',
    n: files,
    ours: files / json.seconds,
    peer: LIMIT_PER_SECOND,
    peerName: 'limit',
    unit: '1/s',
    less: false,
    goal: 1,
    facts: { ...facts, longestStallMs: json.longestStallMs, cpuSeconds: json.cpuSeconds },
  }),
)
const kinds = Object.entries(everyContainer)
const mixed = await measure(() =>
  different().map((one, at) => {
    const text = writeJson(one)
    const suited = text.length > LARGEST_SEGMENT ? kinds.filter(([kind]) => kind !== 'jpeg' && kind !== 'mov') : kinds
    const [kind, { ext, make }] = suited[at % suited.length]!
    return { name: `${kind}-${at}.${ext}`, bytes: make({ workflow: text }) }
  }),
)
oks.push(
  report({
    bench: 'files of every kind imported together',
    n: files,
    ours: mixed.seconds,
    peer: LIMIT_SECONDS,
    peerName: 'limit',
    unit: 's',
    less: true,
    goal: 1,
    facts: { ...facts, kinds: kinds.length, longestStallMs: mixed.longestStallMs, cpuSeconds: mixed.cpuSeconds },
  }),
)
await host.stop()
rmSync(dir, { recursive: true, force: true })
process.exitCode = oks.every(Boolean) ? 0 : 1
