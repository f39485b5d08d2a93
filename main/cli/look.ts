import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { readObjectInfo } from '../../core/contract/comfyui.ts'
import { AppError, fill } from '../../core/contract/errors.ts'
import { isJsonObject, type Json, parseJsonWithFloats, writeJson } from '../../core/contract/json.ts'
import type { Inspection, Problem } from '../../core/contract/workflow.ts'
import type { WorkerFiles } from '../../core/domain/workflow/needs.ts'
import { readAddress } from '../../core/engine/comfy/address.ts'
import { ComfyClient } from '../../core/engine/comfy/client.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import { connect } from '../api/client.ts'
import { systemClock } from '../services/clock.ts'
import { ownerOf } from '../services/data-folder.ts'
import type { Definitions } from '../services/library.ts'
import { readAllMirrors } from '../services/mirrors.ts'
import { completeNeeds } from '../services/needs.ts'
import { NodePacks } from '../services/node-packs.ts'
import { convertFile, inspectFile } from '../services/read-import.ts'
import { resourcesDir } from '../services/resources.ts'
import { ServerFiles } from '../services/server-files.ts'
import {
  type Command,
  type Context,
  EXIT,
  onlyArgument,
  parseOptions,
  readInput,
  readWorkflowInput,
} from './context.ts'
import { reachApp } from './reach.ts'
import { sayBytes } from './terminal.ts'

const WHOSE = { worker: { type: 'string' }, 'object-info': { type: 'string' } } as const
type Whose = { worker?: string; 'object-info'?: string }

/** `inspect`: what a workflow file holds and needs. */
export const inspect: Command = async (context, args) => {
  const { terminal } = context
  const { values, positionals } = parseOptions(args, WHOSE)
  const file = await readWorkflowInput(context, onlyArgument(context, positionals, 'FILE'))
  const found = await look(context, values, file, 'workflow.inspect', inspectHere(context, values.worker))
  const inspection = { ...found, container: file.container ?? found.container }
  if (terminal.json) terminal.document(inspection)
  else terminal.say('{text}', { text: describe(context, inspection) })
  return EXIT.ok
}

/** `convert`: the prompt a workflow file stands for; refused when something of it would be lost. */
export const convert: Command = async (context, args) => {
  const { terminal, cwd } = context
  const { convert: said } = terminal.speech.words
  const { values, positionals } = parseOptions(args, {
    ...WHOSE,
    'allow-loss': { type: 'boolean', default: false },
    output: { type: 'string', short: 'o' },
  })
  const file = await readWorkflowInput(context, onlyArgument(context, positionals, 'FILE'))
  const { prompt, losses } = await look(context, values, file, 'workflow.convert', (name, bytes, known) =>
    convertFile(name, bytesSource(bytes), known),
  )
  const refused = losses.length > 0 && !values['allow-loss']
  if (terminal.json) terminal.document({ prompt, losses })
  if (losses.length > 0)
    terminal.note([said.losses, ...losses.map((loss) => `  ${sayProblem(context, loss)}`)].join('\n'))
  if (refused) return EXIT.refused
  if (values.output !== undefined) {
    const target = path.resolve(cwd, values.output)
    save(target, `${writeJson(prompt, 2)}\n`)
    terminal.note(said.written, { file: target })
  } else if (!terminal.json) terminal.document(prompt)
  return EXIT.ok
}

type File = { name: string; bytes: Buffer }

/** By the definitions asked for; else as the running app knows them best; else by those that came with Nightshift. */
async function look<T>(
  context: Context,
  { worker, 'object-info': objectInfo }: Whose,
  { name, bytes }: File,
  procedure: 'workflow.inspect' | 'workflow.convert',
  here: (name: string, bytes: Uint8Array, definitions: Definitions) => T | Promise<T>,
): Promise<T> {
  if (objectInfo !== undefined) return here(name, bytes, await readDefinitions(context, objectInfo))
  if (worker !== undefined && /^https?:\/\//i.test(worker)) return here(name, bytes, await askDefinitions(worker))
  const asked = { name, base64: bytes.toString('base64'), worker }
  if (worker !== undefined) {
    const app = await reachApp(context, { work: false })
    try {
      return (await app.client.call(procedure, asked)) as T
    } finally {
      await app.close()
    }
  }
  const owner = await ownerOf(context.dataDir)
  if (owner) {
    const client = connect(owner.socket)
    try {
      return (await client.call(procedure, asked)) as T
    } catch (cause) {
      if (!(cause instanceof AppError && cause.code === 'app.disconnected')) throw cause // it was about to end
    } finally {
      client.close()
    }
  }
  return here(name, bytes, { ...bundledDefinitions(), from: 'bundled' })
}

/** Without the app: what the network and the one server asked can say is added here. */
function inspectHere(context: Context, worker: string | undefined) {
  const { dataDir } = context
  const mirrors = () => readAllMirrors(dataDir, resourcesDir)
  const nodePacks = new NodePacks({ dataDir, mirrors, clock: systemClock })
  return async (name: string, bytes: Uint8Array, known: Definitions): Promise<Inspection> => {
    const { prompt, ...inspection } = inspectFile(name, bytesSource(bytes), known)
    const isServer = worker !== undefined && known.from === worker
    const filesOf = (folders: readonly string[]) => (isServer ? filesAt(worker, known, folders) : Promise.resolve([]))
    const judged = isServer ? await withInputsAt(worker, inspection) : inspection
    return completeNeeds(judged, prompt, { fleet: { filesOf }, nodePacks }).finally(() => nodePacks.close())
  }
}

async function withInputsAt<T extends Inspection>(url: string, inspection: T): Promise<T> {
  const client = new ComfyClient(readAddress(url), { clientId: randomUUID() })
  const server = { id: url, health: { is: 'ready' as const }, hasInput: client.hasInput.bind(client) }
  try {
    return await new ServerFiles({ fleet: { get: () => server }, clock: systemClock }).judge(inspection)
  } finally {
    await client.close()
  }
}

async function filesAt(url: string, { definitions }: Definitions, folders: readonly string[]): Promise<WorkerFiles[]> {
  const client = new ComfyClient(readAddress(url), { clientId: randomUUID() })
  try {
    const lists = await Promise.all(folders.map((folder) => client.modelFiles(folder).catch(() => null)))
    const files = folders.flatMap((folder, at) => (lists[at] ? [[folder, lists[at]] as const] : []))
    return [{ worker: url, definitions, files: new Map(files) }]
  } finally {
    await client.close()
  }
}

async function readDefinitions(context: Context, file: string): Promise<Definitions> {
  const { name, bytes } = await readInput(context, file, 'app.too-large')
  let definitions: Json
  try {
    definitions = parseJsonWithFloats(bytes.toString('utf8'))
  } catch (cause) {
    throw new AppError('import.not-json', { name, reason: (cause as Error).message }, { cause })
  }
  if (!isJsonObject(definitions)) throw new AppError('import.unknown-format', { name })
  return { definitions: readObjectInfo(definitions), from: name }
}

async function askDefinitions(url: string): Promise<Definitions> {
  const client = new ComfyClient(readAddress(url), { clientId: randomUUID() })
  try {
    const { stats } = await client.probe()
    return { definitions: await client.objectInfo(), from: url, version: stats.system.comfyui_version }
  } finally {
    await client.close()
  }
}

function save(file: string, text: string) {
  try {
    writeWholeSync(file, text)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new AppError(code === 'ENOSPC' ? 'disk.full' : 'disk.denied', { dir: path.dirname(file) }, { cause })
  }
}

function sayProblem({ terminal }: Context, { code, message, facts, node, classType }: Problem): string {
  const where = node === null ? '' : `${node}${classType ? ` ${classType}` : ''}: `
  return where + terminal.speech.problem({ code, message, facts })
}

function describe(context: Context, inspection: Inspection): string {
  const { inspect: said } = context.terminal.speech.words
  const { format, container, nodes, definitions, parameters, models, customNodes, paid, outputs, problems, family } =
    inspection
  const { vram, nodeLists } = inspection
  const section = (title: string, lines: string[]) =>
    lines.length > 0 ? ['', title, ...lines.map((line) => `  ${line}`)] : []
  const presence = (present: boolean | null) => (present === null ? said.unknown : present ? said.present : said.absent)
  const from = definitions.version ? `${definitions.from} (ComfyUI ${definitions.version})` : definitions.from
  return [
    said.format
      .replace('{format}', format)
      .replace('{container}', container)
      .replace('{nodes}', String(nodes))
      .replace('{from}', from),
    ...(family ? [fill(said.family, { name: family.name, by: family.by })] : []),
    ...section(
      said.parameters,
      parameters
        .filter(({ shown }) => shown)
        .map(
          (each) => `${context.terminal.speech.parameter(each)}  (${each.key}, ${each.type}) = ${short(each.default)}`,
        ),
    ),
    ...section(
      said.models,
      models.flatMap(({ file, folder, present, workers, sizeBytes, sources }) => [
        `${folder}/${file}: ${presence(present)}${sizeBytes === null ? '' : `, ${sayBytes(sizeBytes)}`}`,
        ...workers.map(({ worker, present: there, as }) => `  ${worker}: ${presence(there)}${as ? ` (${as})` : ''}`),
        ...sources.map(({ url }) => `  ${url}`),
      ]),
    ),
    ...(vram && models.length > 0
      ? ['', vram.aboutBytes === null ? said.vramUnknown : fill(said.vram, { size: sayBytes(vram.aboutBytes) })]
      : []),
    ...section(
      said.customNodes,
      customNodes.flatMap(({ classType, packs }) => [
        classType,
        ...packs.map(({ id, title, url, why, version }) =>
          [
            '  -',
            id,
            ...(version ? [version] : []),
            ...(title === id ? [] : [title]),
            ...(url === null ? [] : [url]),
            `(${said.why[why]})`,
          ].join(' '),
        ),
      ]),
    ),
    ...(nodeLists?.because ? [`  ${context.terminal.speech.failure(nodeLists.because).message}`] : []),
    ...section(said.paid, paid),
    ...section(
      said.outputs,
      outputs.map(({ node, title }) => `${node} ${title}`),
    ),
    ...section(
      said.problems,
      problems.map((problem) => sayProblem(context, problem)),
    ),
  ].join('\n')
}

function short(value: unknown): string {
  const text = typeof value === 'string' ? value.replace(/\s+/g, ' ') : writeJson(value)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}
