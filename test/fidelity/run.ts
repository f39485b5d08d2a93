/**
 * Is our prompt what today's editor would export?  npm run fidelity -- --comfyui URL --templates DIR…
 * Opens the editor that URL serves, gives it every workflow under DIR, and compares its API export with our conversion.
 *   --only NAME     just the workflows whose name holds NAME
 *   --exports DIR   keeps the editor's exports there, and takes those it finds: a run can go on where another ended
 *   --classes       also compares a new node of every class the server has
 *   --json FILE     writes every result; --docs FILE writes the table
 *   --timeout S     how long one workflow may take in the editor (60)
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs, styleText } from 'node:util'
import type { ObjectInfo, Prompt } from '../../core/contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { convertWorkflow } from '../../core/domain/workflow/convert.ts'
import { differencesBetween, madeAnew, titlesThatDiffer, without } from './compare.ts'
import { declareMissing, nodesOf } from './declare.ts'
import { Editor, type EditorExport } from './editor.ts'
import { featuresOf } from './features.ts'
import { type Collection, type Result, report, summary } from './report.ts'

const { values } = parseArgs({
  options: {
    comfyui: { type: 'string' },
    templates: { type: 'string', multiple: true },
    only: { type: 'string' },
    classes: { type: 'boolean', default: false },
    exports: { type: 'string' },
    json: { type: 'string' },
    docs: { type: 'string' },
    timeout: { type: 'string', default: '60' },
  },
})
if (!values.comfyui || !values.templates?.length) throw new Error('--comfyui URL and --templates DIR are needed')
const url = values.comfyui.replace(/\/$/, '')
const timeoutMs = Number(values.timeout) * 1000

interface Found {
  name: string
  workflow: JsonObject
  sha256: string
}
const collections = values.templates.map((dir) => ({ title: path.basename(dir), ...workflowsIn(dir) }))
const all = collections.flatMap(({ found }) => found)
const asJson = async (route: string) => parseJson(await (await fetch(url + route)).text())
const stats = (await asJson('/system_stats')) as { system: JsonObject }
const served = (await asJson('/object_info')) as unknown as ObjectInfo

const editor = new Editor(url)
try {
  const own = await editor.ownTypes()
  const declared = declareMissing(
    all.map(({ workflow }) => workflow),
    (type) => own.has(type) || Object.hasOwn(served, type),
  )
  await editor.declare(declared)
  const definitions = { ...served, ...declared }
  if (values.classes) collections.push({ title: 'every class', found: await everyClass(), others: [] })

  const done: Collection[] = []
  for (const { title, found, others } of collections) {
    const results: Result[] = []
    const asked = found.filter(({ name }) => !values.only || name.includes(values.only))
    for (const [index, one] of asked.entries()) {
      const result = await judge(one, definitions)
      results.push(result)
      console.log(`${String(index + 1).padStart(4)}/${asked.length}  ${coloured(result.is)}  ${one.name}`)
      const { differences, titles, refused } = result
      const lines = [
        ...differences,
        ...titles.map((line) => `title ${line}`),
        ...refused.map((line) => `refused: ${line}`),
      ]
      for (const line of lines.slice(0, 12)) console.log(`        ${line}`)
      if (result.error) console.log(`        ${result.error.split('\n')[0]}`)
    }
    done.push({ name: title, results, others })
  }
  const facts = { stats: stats.system, declared: Object.keys(declared).sort() }
  if (values.json) writeFileSync(values.json, writeJson({ ...facts, collections: done }, 1))
  if (values.docs) writeFileSync(values.docs, report(done, facts))
  console.log(`\n${summary(done)}`)
  process.exitCode = done.every(({ results }) => results.every(({ is }) => is !== 'differing')) ? 0 : 1
} finally {
  await editor.close()
}

function workflowsIn(dir: string): { found: Found[]; others: string[] } {
  const found: Found[] = []
  const others: string[] = []
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
  for (const file of files) {
    const name = path.relative(dir, file).replace(/\.json$/, '')
    const text = readFileSync(file, 'utf8')
    const workflow = editorIn(text)
    if (!workflow) others.push(name)
    else found.push({ name, workflow, sha256: createHash('sha256').update(text).digest('hex') })
  }
  return { found, others }
}

/** Workflows of new nodes, some classes in each. */
async function everyClass(): Promise<Found[]> {
  const types = Object.keys(served).sort()
  const found: Found[] = []
  for (let at = 0; at < types.length; at += 12) {
    const some = types.slice(at, at + 12)
    const workflow = (await editor.newNodes(some)) as JsonObject
    const name = `${some[0]} … ${some.at(-1)}`
    // The editor gives each graph an id of its own.
    const sha256 = createHash('sha256').update(writeJson(workflow.nodes)).digest('hex')
    found.push({ name, workflow, sha256 })
  }
  await editor.reopen()
  return found
}

/** The editor's graph in a file; null: an index, a list of options. */
function editorIn(text: string): JsonObject | null {
  let value: Json
  try {
    value = parseJson(text)
  } catch {
    return null
  }
  const holder = isJsonObject(value) && isJsonObject(value.workflow) ? value.workflow : value
  return isJsonObject(holder) && Array.isArray(holder.nodes) ? holder : null
}

/** Our prompt; a workflow that is refused altogether has none, and says why. */
function convert(workflow: JsonObject, definitions: ObjectInfo) {
  try {
    const { prompt, problems } = convertWorkflow({ format: 'editor-0.4', editor: workflow, prompt: null }, definitions)
    return { prompt, refused: problems.filter(({ kind }) => kind === 'loss').map(({ message }) => message) }
  } catch (cause) {
    return { prompt: {}, refused: [cause instanceof Error ? cause.message : String(cause)] }
  }
}

async function judge(one: Found, definitions: ObjectInfo): Promise<Result> {
  const { name, workflow } = one
  const { prompt, refused } = convert(workflow, definitions)
  const about = { name, features: featuresOf(workflow, definitions), nodes: Object.keys(prompt).length, refused }
  const compare = (exported: EditorExport): Result => {
    const nothing = { ...about, titles: [], differences: [] }
    if ('error' in exported) return { ...nothing, is: 'not exportable', error: exported.error }
    const editors = readPrompt(exported)
    const differences = differencesBetween(editors, prompt)
    const titles = titlesThatDiffer(editors, prompt)
    return { ...about, is: differences.length === 0 ? 'equal' : 'differing', differences, titles }
  }
  const kept = await exportOf(one, definitions, 'kept')
  const first = compare(kept)
  if (first.is === 'equal') return first
  // What another workflow left in the page must not count: asked again, alone.
  const exported = kept.fresh ? kept : await exportOf(one, definitions, 'fresh')
  const result = compare(exported)
  if (result.is !== 'differing' || 'error' in exported) return result
  const again = await exportOf(one, definitions, 'again')
  if ('error' in again) return result
  const anew = madeAnew(readPrompt(exported), readPrompt(again))
  const rest = differencesBetween(without(readPrompt(exported), anew), without(prompt, anew))
  if (rest.length > 0) return result
  return { ...result, is: 'not exportable', error: `another value at each export: ${[...anew].join(', ')}` }
}

function readPrompt({ prompt }: { prompt: string }): Prompt {
  return parseJson(prompt) as unknown as Prompt
}

type Kept = EditorExport & { fresh?: boolean }
type Which = 'kept' | 'fresh' | 'again'

async function exportOf({ name, workflow, sha256 }: Found, definitions: ObjectInfo, which: Which): Promise<Kept> {
  const { comfyui_version, required_frontend_version } = stats.system
  const used = nodesOf(workflow).map(({ type }) => [type, definitions[String(type)] ?? null])
  const about = writeJson([comfyui_version, required_frontend_version, used, sha256])
  const key = createHash('sha256').update(about).digest('hex').slice(0, 32)
  const file = values.exports ? path.join(values.exports, `${key}${which === 'again' ? '-again' : ''}.json`) : null
  if (file && which !== 'fresh') {
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as Kept
    } catch {}
  }
  const fresh = which !== 'kept'
  if (fresh) await editor.reopen()
  const made: Kept = { ...(await editor.export(path.basename(name), workflow, timeoutMs)), fresh }
  if (file) {
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, JSON.stringify(made))
  }
  return made
}

function coloured(is: Result['is']) {
  const colour = { equal: 'green', differing: 'red', 'not exportable': 'yellow' } as const
  return styleText(colour[is], is.padEnd(14))
}
