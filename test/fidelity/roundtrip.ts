/**
 * Does a job's picture open again in the real editor as what made it?  npm run roundtrip -- --comfyui URL [--templates DIR…]
 * Runs workflows on that ComfyUI through the command line, drops each delivered picture on the editor it serves, and
 * compares what the editor then exports with the picture's record, and where its nodes lie with the original. With
 * --templates also every workflow there: each of its parameters is given another value, and the picture is made here.
 *   --only NAME   just the workflows whose name holds NAME      --prompts   as if only the prompt had been dropped
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { chromium } from 'playwright'
import type { ObjectInfo, Prompt } from '../../core/contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import type { Parameter } from '../../core/contract/workflow.ts'
import { withOverrides } from '../../core/domain/batch/materialise.ts'
import { convertWorkflow } from '../../core/domain/workflow/convert.ts'
import { withValues } from '../../core/domain/workflow/embed.ts'
import { layOutPrompt } from '../../core/domain/workflow/lay-out.ts'
import { findParameters } from '../../core/domain/workflow/parameters.ts'
import { readWorkflow } from '../../core/domain/workflow/read.ts'
import { connectInProcess } from '../../main/api/client.ts'
import { openHost } from '../../main/open-host.ts'
import { findBrowser } from '../../scripts/find-browser.ts'
import { eventually } from '../kit/eventually.ts'
import { png, textChunk } from '../kit/pictures.ts'
import { differencesBetween } from './compare.ts'
import { declareMissing } from './declare.ts'
import { Editor } from './editor.ts'
import { exportInPage, openFile } from './reopen.ts'
import { runs } from './runs.ts'

const { values } = parseArgs({
  options: {
    comfyui: { type: 'string' },
    templates: { type: 'string', multiple: true, default: [] },
    only: { type: 'string', default: '' },
    prompts: { type: 'boolean', default: false },
  },
})
if (!values.comfyui) throw new Error('--comfyui URL is needed')
const url = values.comfyui.replace(/\/$/, '')

/** The editor draws a layout of its other renderer, which has larger nodes, that much closer together. */
const CLOSER = 1 / 1.2

interface Picture {
  name: string
  bytes: Uint8Array
  /** What made it. */
  prompt: Prompt
  /** As it was dropped; null: it had no layout. */
  workflow: JsonObject | null
}

const templates = values.templates.flatMap((dir) =>
  readdirSync(dir)
    .filter((file) => file.endsWith('.json') && file.includes(values.only))
    .flatMap((file) => {
      const json = parseJson(readFileSync(path.join(dir, file), 'utf8'))
      const workflow = isJsonObject(json) && isJsonObject(json.workflow) ? json.workflow : json
      return isJsonObject(workflow) && Array.isArray(workflow.nodes) ? [{ name: file, workflow }] : []
    }),
)
const served = parseJson(await (await fetch(`${url}/object_info`)).text()) as unknown as ObjectInfo
const editor = new Editor(url)
const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-roundtrip-'))
try {
  const own = await editor.ownTypes()
  const known = (type: string) => own.has(type) || Object.hasOwn(served, type)
  const declared = declareMissing(
    templates.map(({ workflow }) => workflow),
    known,
  )
  await editor.declare(declared)
  const definitions = { ...served, ...declared }

  const results = { equal: 0, differing: 0 }
  async function check({ name, bytes, prompt, workflow }: Picture) {
    const opened = await openFile(editor, {
      name,
      mediaType: 'image/png',
      bytes,
    })
    const faults =
      'error' in opened
        ? [opened.error]
        : [
            ...differencesBetween(parseJson(opened.prompt) as unknown as Prompt, prompt),
            ...(workflow ? movedNodes(workflow, opened.places) : []),
          ]
    results[faults.length === 0 ? 'equal' : 'differing']++
    console.log(`${faults.length === 0 ? 'equal    ' : 'DIFFERING'} ${name}`)
    for (const fault of faults.slice(0, 8)) console.log(`    ${fault}`)
  }
  const running = runs(definitions).filter(({ name }) => name.includes(values.only))
  for (const run of running) for (const picture of await madeByServer(run)) await check(picture)
  if (running.length > 0) await checkOpening(results)
  for (const { name, workflow } of templates) await check(madeHere(name, workflow, definitions))
  console.log(`${results.equal} equal, ${results.differing} differing`)
  process.exitCode = results.differing === 0 ? 0 : 1
} finally {
  await editor.close()
  rmSync(dir, { recursive: true, force: true })
}

/** Runs on the ComfyUI, through the command line; each picture with the record beside it. */
async function madeByServer({ name, file, args }: ReturnType<typeof runs>[number]): Promise<Picture[]> {
  const out = path.join(dir, name)
  mkdirSync(out)
  const source = path.join(dir, `${name}.json`)
  writeFileSync(source, writeJson(file))
  const cli = [path.resolve(import.meta.dirname, '../../main/cli.ts'), '--data', path.join(dir, 'data'), '--json']
  await promisify(execFile)(process.execPath, [...cli, 'run', source, '--worker', url, '--out', out, ...args])
  const made = readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((one) => one.endsWith('.png'))
  if (made.length === 0) throw new Error(`${name} made no picture`)
  return made.sort().map((picture) => {
    const record = parseJson(readFileSync(path.join(out, `${picture}.json`), 'utf8')) as JsonObject
    const bytes = readFileSync(path.join(out, picture))
    return {
      name: `${name}/${picture}`,
      bytes,
      prompt: record.prompt as unknown as Prompt,
      workflow: isJsonObject(file) && Array.isArray(file.nodes) ? file : null,
    }
  })
}

/** “Open in ComfyUI” of every picture made here, through our own port, in a browser that was never there. */
async function checkOpening(results: { equal: number; differing: number }) {
  const host = await openHost({ dataDir: path.join(dir, 'data'), door: 'headless', locale: 'en' })
  const { call, close } = connectInProcess(host.served)
  const browser = await chromium.launch({ executablePath: await findBrowser(), args: ['--no-sandbox'] })
  try {
    await eventually(async () =>
      (await call('worker.list', {})).rows.some(({ kind, health }) => kind === 'remote' && health.is === 'ready'),
    )
    for (const { id, name } of (await call('artifact.page', {})).rows) {
      const { port, path: at } = await call('editor.open', { artifactId: id })
      const page = await browser.newPage()
      await page.goto(`http://127.0.0.1:${port}${at}`)
      await page.waitForFunction(() => document.documentElement.dataset.nightshift === 'opened', null, {
        timeout: 60_000,
      })
      const exported = await eventually(() => page.evaluate(exportInPage))
      const { sidecar } = await call('artifact.get', { id })
      const faults = differencesBetween(parseJson(exported) as unknown as Prompt, sidecar.prompt)
      results[faults.length === 0 ? 'equal' : 'differing']++
      console.log(`${faults.length === 0 ? 'equal    ' : 'DIFFERING'} opened: ${name}`)
      for (const fault of faults.slice(0, 8)) console.log(`    ${fault}`)
      await page.close()
    }
  } finally {
    await browser.close()
    close()
    await host.stop()
  }
}

/** As a server would write it into a picture, had it run with every parameter turned. */
function madeHere(name: string, workflow: JsonObject, definitions: ObjectInfo): Picture {
  const { prompt: base } = convertWorkflow(readWorkflow(name, { json: writeJson(workflow) }), definitions)
  const parameters = findParameters(base, definitions, workflow)
  const bound = new Set(parameters.flatMap(({ also = [] }) => also))
  const turned = Object.fromEntries(
    parameters.flatMap((parameter) => {
      if (bound.has(parameter.key) || bringsInputs(parameter, definitions)) return []
      const value = otherValue(parameter)
      return value === undefined ? [] : [[parameter.key, value]]
    }),
  )
  const prompt = withOverrides(base, turned, parameters)
  const embedded = values.prompts ? layOutPrompt(base, definitions) : workflow
  const texts = {
    prompt: prompt as unknown as Json,
    ...(embedded && { workflow: withValues(embedded, definitions, prompt) }),
  }
  const chunks = Object.entries(texts).map(([key, value]) => textChunk(key, ascii(writeJson(value))))
  return {
    name,
    bytes: png(chunks),
    prompt,
    workflow: values.prompts ? null : workflow,
  }
}

/** ComfyUI writes Python's JSON, which holds nothing beyond ASCII. */
function ascii(text: string) {
  return text.replace(/[^\x20-\x7e]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A choice of which brings inputs of its own: turning it alone would be another graph. */
function bringsInputs({ classType, input }: Parameter, definitions: ObjectInfo): boolean {
  const declared = Object.values(definitions[classType]?.input ?? {}).flatMap((group) => Object.entries(group ?? {}))
  const spec = declared.find(([name]) => name === input.split('.')[0])?.[1]
  return Array.isArray(spec) && (spec[0] === 'COMFY_DYNAMICCOMBO_V3' || input.includes('.'))
}

function otherValue({ type, default: value, options, min, max, step }: Parameter): Json | undefined {
  // a dynamic combo brings other inputs with each choice
  if (options)
    return type === 'COMBO' ? options.find((option) => typeof option === 'string' && option !== value) : undefined
  switch (type) {
    case 'INT':
    case 'FLOAT': {
      const number = Number(value)
      const by = Math.max(1, Number(step ?? 1)) // the editor rounds to the widget's step
      if (max === undefined || number + by <= Number(max)) return number + by
      return min === undefined || number - by >= Number(min) ? number - by : undefined
    }
    case 'STRING':
      return `${value} {turned|x} \\|`
    case 'BOOLEAN':
      return value !== true
    default:
      return undefined
  }
}

function movedNodes({ nodes, extra }: JsonObject, places: Record<string, [number, number]>): string[] {
  const was = new Map(
    (nodes as JsonObject[]).map(({ id, pos }) => [
      String(id),
      (Array.isArray(pos) ? pos : Object.values((pos ?? {}) as JsonObject)).slice(0, 2).map(Number),
    ]),
  )
  const scale = isJsonObject(extra) && extra.workflowRendererVersion === 'Vue' ? CLOSER : 1
  const [first] = [...was].filter(([id]) => places[id])
  return [...was].flatMap(([id, before]) => {
    const is = places[id]
    if (!is) return [`${id}: the node is gone`]
    const from = first![1]
    const origin = scale === 1 ? from : places[first![0]]!
    const moved = before.some((place, at) => Math.abs((place - from[at]!) * scale + origin[at]! - is[at]!) > 2)
    return moved ? [`${id}: lies at ${is}, not ${before.map(Math.round)}`] : []
  })
}
