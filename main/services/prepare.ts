import type { Values } from '../../core/contract/batch.ts'
import type { ObjectInfo, Prompt } from '../../core/contract/comfyui.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import { materialise } from '../../core/domain/batch/materialise.ts'
import { nameFacts } from '../../core/domain/batch/telling.ts'
import type { EditorWorkflow } from '../../core/domain/workflow/editor.ts'
import { withValues } from '../../core/domain/workflow/embed.ts'
import { layOutPrompt } from '../../core/domain/workflow/lay-out.ts'
import { fitFiles, paidNodes } from '../../core/domain/workflow/needs.ts'
import type { JobNames } from './artifacts.ts'
import type { Made, Prepare } from './dispatcher.ts'
import type { Inputs } from './inputs.ts'
import type { KeptBatch, QueuedJob } from './queue.ts'
import type { Worker } from './workers/worker.ts'

/** What of a job decides its prompt. `asTyped`: its texts are to be chosen from, not what was chosen. */
export type Making = Pick<QueuedJob, 'index' | 'overrides'> & {
  asTyped?: boolean
  batch: Pick<KeptBatch, 'prompt' | 'parameters' | 'editor' | 'createdAt'> & {
    plan: Pick<KeptBatch['plan'], 'chance' | 'textMagic'>
  }
}

/** Makes a job's prompt for one worker: its values and texts, its input files there. */
export function createMake({ inputs }: { inputs: Pick<Inputs, 'resolve'> }) {
  const uploaded = new WeakMap<Worker, Map<string, string>>()

  /** What each worker was given, until it goes away: a server that came back may have lost it. */
  const uploadsTo = (worker: Worker) => {
    const known = uploaded.get(worker)
    if (known) return known
    const names = new Map<string, string>()
    uploaded.set(worker, names)
    worker.onHealth(({ is }) => {
      if (is !== 'ready') names.clear()
    })
    return names
  }

  const upload = async (ref: string, worker: Worker, signal: AbortSignal) => {
    const names = uploadsTo(worker)
    const { path, name } = inputs.resolve(ref)
    const there = names.get(ref) ?? (await worker.upload({ path, name }, signal))
    names.set(ref, there)
    return there
  }

  /** A layout of ours for prompts that came without one, made once for all jobs of a batch. */
  const layouts = new WeakMap<Prompt, WeakMap<ObjectInfo, EditorWorkflow | null>>()
  const laidOut = (prompt: Prompt, definitions: ObjectInfo) => {
    const made = layouts.get(prompt) ?? new WeakMap<ObjectInfo, EditorWorkflow | null>()
    if (!made.has(definitions)) made.set(definitions, layOutPrompt(prompt, definitions))
    layouts.set(prompt, made)
    return made.get(definitions) ?? null
  }

  return async (job: Making, worker: Worker, signal: AbortSignal) => {
    const { batch } = job
    const { prompt, seeds, chosenText } = materialise(batch.prompt, job.overrides, batch.parameters, {
      chance: batch.plan.chance ?? 0,
      index: job.index,
      textMagic: batch.plan.textMagic,
      now: new Date(batch.createdAt),
    })
    const filled = await replaceInputs(prompt, (value) =>
      typeof value === 'string' && value.startsWith('input:') ? upload(value, worker, signal) : value,
    )
    const definitions = await worker.definitions(signal)
    const complete = fitFiles(filled, definitions)
    const editor = (batch.editor as EditorWorkflow | null) ?? laidOut(batch.prompt, definitions)
    const workflow = editor === null ? null : withValues(editor, definitions, complete, { asTyped: job.asTyped })
    return { record: { prompt: complete, workflow, seeds, chosenText }, definitions }
  }
}
export type Make = ReturnType<typeof createMake>

/** Makes one attempt at a job: its prompt, with its outputs marked as this attempt's. */
export function createPrepare(
  make: Make,
  models?: { unsafeIn(values: unknown): { id: string; name: string }[] },
): Prepare {
  return async (job, worker, { promptId }, signal) => {
    const { record, definitions } = await make(job, worker, signal)
    const { prompt, workflow } = record
    const paid = worker.kind === 'rehearsal' ? [] : paidNodes(prompt, definitions)
    if (paid.length > 0 && !job.batch.plan.allowPaid) throw new AppError('prompt.paid', { classTypes: paid.join(', ') })
    const unsafe = worker.kind === 'local' ? (models?.unsafeIn(prompt) ?? []) : []
    if (unsafe.length > 0) {
      const files = unsafe.map(({ name }) => name).join(', ')
      throw new AppError('model.unsafe', { files, ids: unsafe.map(({ id }) => id) })
    }
    return {
      attempt: {
        promptId,
        jobId: job.id,
        prompt: markOutputs(prompt, definitions, promptId),
        pngInfo: { ...(workflow !== null && { workflow }), nightshift: { job: job.id, attempt: promptId } },
        ...(paid.length > 0 && { paid: true }),
      },
      record,
    }
  }
}

/** Nodes with nothing to replace are shared. */
async function replaceInputs(prompt: Prompt, replace: (value: Json) => Json | Promise<Json>): Promise<Prompt> {
  const replaced: Prompt = {}
  for (const [id, node] of Object.entries(prompt)) {
    replaced[id] = node
    for (const [input, value] of Object.entries(node.inputs)) {
      const now = await replace(value)
      if (now !== value) replaced[id] = { ...node, inputs: { ...replaced[id]!.inputs, [input]: now } }
    }
  }
  return replaced
}

/**
 * Every node that saves does so under the attempt's own name: its files are found by it, and ComfyUI's cache, which would
 * answer with an older file, never has it. The name a person wanted is the one we give what we keep.
 */
export function markOutputs(prompt: Prompt, definitions: ObjectInfo, mark: string): Prompt {
  const marked: Prompt = {}
  for (const [id, node] of Object.entries(prompt)) {
    const definition = definitions[node.class_type]
    const saves = 'filename_prefix' in node.inputs && (definition?.output_node ?? true)
    marked[id] = saves ? { ...node, inputs: { ...node.inputs, filename_prefix: `nightshift/${mark}` } } : node
  }
  return marked
}

/** What the names of a job's outputs may tell. */
export function jobNames({ job, worker, record }: Made, workflow: string): JobNames {
  const { batch, row, index, overrides, extra } = job
  const { columns } = batch.plan
  const { parameters } = batch
  const { prompt } = record
  const inputs: Values = {}
  for (const { key, node, input, upload } of parameters) {
    const given = overrides[key] ?? batch.prompt[node]?.inputs[input]
    if (upload && typeof given === 'string' && given.startsWith('input:')) inputs[key] = given
  }
  const told = { batch: batch.name, workflow, row, index, overrides, extra, columns, parameters, prompt, inputs }
  return { ...nameFacts(told), worker: worker.id }
}
