import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import sharp from 'sharp'
import { BatchPlan, type BatchPlanInput } from '../../core/contract/batch.ts'
import type { FileReference, Prompt } from '../../core/contract/comfyui.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import { Artifacts } from '../../main/services/artifacts.ts'
import type { Database } from '../../main/services/database/open.ts'
import type { Made } from '../../main/services/dispatcher.ts'
import type { KeptBatch } from '../../main/services/queue.ts'
import { Thumbnails } from '../../main/services/thumbnails.ts'
import type { Output, Worker } from '../../main/services/workers/worker.ts'
import { turnableClock } from './turnable-clock.ts'

/** A PNG with these texts before its pixels, as ComfyUI writes them. */
export async function aPng(texts: Record<string, string> = {}, { width = 8, height = 6, shade = 100 } = {}) {
  const plain = await sharp({ create: { width, height, channels: 3, background: { r: shade, g: 10, b: 200 } } })
    .png()
    .toBuffer()
  const chunks = Object.entries(texts).map(([key, value]) => pngChunk('tEXt', `${key}\0${value}`))
  return Buffer.concat([plain.subarray(0, 33), ...chunks, plain.subarray(33)])
}
export function pngChunk(type: string, data: string) {
  const body = Buffer.from(type + data, 'latin1')
  const chunk = Buffer.alloc(body.length + 8)
  chunk.writeUInt32BE(body.length - 4, 0)
  body.copy(chunk, 4)
  chunk.writeUInt32BE(crc32(body), body.length + 4)
  return chunk
}
export const markOf = (attempt: string, job = 'j2048') => ({ nightshift: JSON.stringify({ job, attempt }) })

export const aPrompt = (seed: Json = 7): Prompt => ({
  '3': { class_type: 'KSampler', inputs: { seed, text: 'a fox' } },
  '9': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'fox' } },
})

/** A worker that only has files, by `type/subfolder/name`. */
export class FileWorker {
  readonly id = 'gpu'
  readonly kind: Worker['kind']
  readonly url = 'http://someone:secret@10.0.0.5:8188/comfy?token=hidden'
  readonly capacity = 2
  readonly health = {
    is: 'ready',
    comfyuiVersion: '0.33.0',
    devices: [],
    queueLength: 0,
    latencyMs: 1,
  } as const
  readonly files = new Map<string, Uint8Array>()
  fetched = 0
  /** Thrown after the first bytes of the next file. */
  fault: Error | null = null
  constructor(kind: Worker['kind'] = 'remote') {
    this.kind = kind
  }
  put(bytes: Uint8Array, filename: string, { node = '9', index = 0, type = 'output' as FileReference['type'] } = {}) {
    const file: FileReference = { filename, subfolder: '', type }
    this.files.set(JSON.stringify(file), bytes)
    return { is: 'file', node, index, key: 'images', file } as const satisfies Output
  }
  async *fetch(file: FileReference, signal?: AbortSignal) {
    const bytes = this.files.get(JSON.stringify(file))
    if (!bytes) throw new AppError('output.missing', { name: file.filename })
    this.fetched += 1
    for (let at = 0; at < bytes.length; at += 1000) {
      signal?.throwIfAborted()
      yield bytes.subarray(at, at + 1000)
      const fault = this.fault
      this.fault = null
      if (fault) throw fault
    }
  }
}

interface Wish {
  outDir: string
  outputs: readonly Output[]
  worker: FileWorker
  job?: string
  promptId?: string
  row?: number
  pattern?: string
  label?: string
  plan?: Partial<BatchPlanInput>
  overrides?: Record<string, Json>
  batchId?: string
  prompt?: Prompt
  chosenText?: Record<string, string>
  signal?: AbortSignal
}
export function aMade(wish: Wish): Made {
  const { outDir, outputs, worker, job = 'j2048', promptId = randomUUID(), row = 1, batchId = 'b1' } = wish
  const prompt = wish.prompt ?? aPrompt()
  const batch: KeptBatch = {
    id: batchId,
    workflowId: 'w1',
    name: 'night',
    plan: BatchPlan.parse({ workflowId: 'w1', ...wish.plan }),
    prompt,
    editor: null,
    parameters: [],
    workers: [],
    pattern: wish.pattern ?? '{row}',
    outDir,
    createdAt: 0,
  }
  return {
    job: {
      id: job,
      batchId,
      row,
      index: row - 1,
      overrides: wish.overrides ?? { '3.text': 'a fox' },
      label: wish.label ?? 'a fox',
      extra: {},
      createdAt: 0,
      batch,
    },
    attempt: { promptId, startedAt: 0 },
    record: { prompt, workflow: { nodes: [] }, seeds: { '3.seed': 7 }, chosenText: wish.chosenText ?? {} },
    worker: worker as unknown as Worker,
    ending: { is: 'saved', outputs, seconds: 2.5 },
    signal: wish.signal ?? new AbortController().signal,
  }
}

/** Not started; nothing of it needs a test around it, so a program that is killed may use it too. */
export function buildArtifacts(database: Database, cacheDir: string, point?: (name: string) => void) {
  const thumbnails = new Thumbnails({ cacheDir })
  let ids = 0
  const logged: string[] = []
  const artifacts = new Artifacts({
    database,
    thumbnails,
    clock: turnableClock(),
    newId: () => `a${process.pid}-${++ids}-${randomUUID().slice(0, 4)}`,
    version: '0.1.0',
    nameFacts: ({ job, record, worker }) => ({
      batch: job.batch.name,
      workflow: 'workflow',
      worker: worker.id,
      row: job.row,
      index: job.index + 1,
      seed: record.seeds['3.seed'] ?? null,
      name: job.label,
      columns: {},
      params: {},
    }),
    point,
    log: (event) => logged.push(event),
  })
  return { artifacts, thumbnails, logged }
}

/** Every file below a folder, with forward slashes, hidden ones too. */
export const filesIn = (dir: string) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort()
