/**
 * Does the rehearsal answer as a real ComfyUI does?  npm run conformance -- URL…
 * Without an address it is compared with what was recorded from ComfyUI 0.33.0; `--record` renews that recording from URL.
 * `--validation` compares our own verdicts on some thousand broken prompts (`--count`, `--seed`) with those of the servers,
 * which need conformance_pack.py; with `--record` a small sample is kept.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isDeepStrictEqual, parseArgs, styleText } from 'node:util'
import { type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { play, type Scene, scenes } from './scenes.ts'
import { type Case, compareVerdicts, type Outcome, RealValidation, sampleOf, typesIn } from './validation.ts'

const RECORDING = new URL('../fixtures/comfyui-0.33.0/conformance.json', import.meta.url)
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    record: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    validation: { type: 'boolean', default: false },
    count: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
  },
})

if (values.validation) {
  let failed = 0
  for (const url of positionals) failed += await validateAgainst(url)
  process.exit(failed > 0 || positionals.length === 0 ? 1 : 0)
}

if (values.record) {
  const [url] = positionals
  if (!url) throw new Error('--record needs the address of a ComfyUI')
  writeFileSync(RECORDING, `${writeJson(await play(url), 1)}\n`)
  process.exit(0)
}

const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-conformance-'))
const rehearsal = new RehearsalServer({ dir, stepMs: 0 })
let different = 0
try {
  await rehearsal.start()
  const ours = await play(rehearsal.url)
  if (positionals.length === 0) {
    const recorded = parseJson(readFileSync(RECORDING, 'utf8')) as Record<string, Json>
    compare('the recording of ComfyUI 0.33.0', scenes, ours, recorded)
  }
  for (const url of positionals) {
    const stats = parseJson(await (await fetch(new URL('/system_stats', url))).text()) as { system: JsonObject }
    const version = String(stats.system.comfyui_version)
    const asked = scenes.filter(({ since = '0' }) => !isOlder(version, since))
    compare(`${url} (ComfyUI ${version})`, asked, ours, await play(url, asked))
  }
} finally {
  await rehearsal.stop()
  rmSync(dir, { recursive: true, force: true })
}
process.exit(different > 0 ? 1 : 0)

function compare(name: string, asked: readonly Scene[], ours: Record<string, Json>, theirs: Record<string, Json>) {
  console.log(styleText('bold', `rehearsal and ${name}`))
  for (const { name: scene } of asked) {
    const same = isDeepStrictEqual(ours[scene], theirs[scene])
    if (!same) different++
    console.log(`  ${same ? styleText('green', 'same     ') : styleText('red', 'different')}  ${scene}`)
    if (!same || values.verbose)
      console.log(`    rehearsal ${writeJson(ours[scene])}\n    real      ${writeJson(theirs[scene])}`)
  }
  const skipped = scenes.length - asked.length
  console.log(
    `  ${asked.length} scenes${skipped > 0 ? `, ${skipped} newer than this server` : ''}; different so far: ${different}`,
  )
}

async function validateAgainst(url: string): Promise<number> {
  const real = await RealValidation.open(url)
  const { definitions, options } = real
  const outcomes: Record<Outcome, number> = { same: 0, different: 0, 'beyond-stack': 0 }
  const types: Record<string, number> = {}
  const cases: Case[] = []
  try {
    for await (const one of real.ask(Number(values.count), Number(values.seed))) {
      const { outcome, ours, theirs } = compareVerdicts(one, definitions, options)
      outcomes[outcome]++
      for (const type of typesIn(one.reply)) types[type] = (types[type] ?? 0) + 1
      if (outcome === 'same') cases.push(one)
      if (outcome === 'different')
        console.log(
          `seed ${one.seed} (${one.broken.join(', ')})\n  ours ${writeJson(ours)}\n  real ${writeJson(theirs)}`,
        )
    }
  } finally {
    await real.close()
  }
  console.log(writeJson({ url, comfyui: options.version ?? null, outcomes, types }))
  if (values.record) {
    const file = new URL(`../fixtures/comfyui-${options.version}/validation.json`, import.meta.url)
    const { definitions: known, cases: kept } = sampleOf(cases, definitions, 80)
    const lines = (entries: string[]) => `[\n${entries.join(',\n')}\n]`
    const listed = Object.entries(known).map(([name, definition]) => `${writeJson(name)}:${writeJson(definition)}`)
    writeFileSync(
      file,
      `{"definitions":{\n${listed.join(',\n')}\n},"cases":${lines(kept.map((one) => writeJson(one)))}}\n`,
    )
    console.log(`${kept.length} cases kept in ${file.pathname}`)
  }
  return outcomes.different
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number))
  for (let part = 0; part < 3; part++) {
    const difference = (a![part] ?? 0) - (b![part] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}
