// A thread for what would stall the host: headers of models read, whole models hashed. Its own entry in the build.
import { createHash } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { setPriority } from 'node:os'
import path from 'node:path'
import { parentPort } from 'node:worker_threads'
import type { ModelFormat, ModelKind } from '../../core/contract/model.ts'
import { tellKind, tensorTable } from '../../core/domain/model-kind.ts'
import { openFile } from '../../core/engine/metadata/source.ts'
import type { Fault } from '../../core/engine/models/header.ts'
import { parametersOf, precisionOf, READER, readHeader, trainedWords } from '../../core/engine/models/header.ts'
import type { PickleVerdict } from '../../core/engine/models/pickle.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'

/** What a file tells of itself. */
export interface ModelFacts {
  readonly format: ModelFormat
  /** null: it does not say. */
  readonly kind: ModelKind | null
  readonly base: string | null
  readonly precision: string | null
  readonly parameters: number | null
  readonly metadata: Record<string, string>
  readonly triggerWords: string[]
  readonly faults: Fault[]
  readonly pickle: PickleVerdict['is'] | null
  /** A picture is in its header. */
  readonly hasThumbnail: boolean
  /** Which `READER` told so: what an older one said of a file is asked anew. */
  readonly reader?: number
}

export type ModelTask =
  | { readonly is: 'read'; readonly path: string }
  | { readonly is: 'hash'; readonly path: string }
  /** The picture in its header, written to `to`. */
  | { readonly is: 'thumbnail'; readonly path: string; readonly to: string }
export type ModelOrder =
  | { readonly id: number; readonly task: ModelTask }
  | { readonly is: 'pause' | 'resume' }
  | { readonly is: 'stop'; readonly id: number }
export type ModelReply =
  | { readonly id: number; readonly ok: true; readonly value: ModelFacts | string | boolean }
  | { readonly id: number; readonly ok: false; readonly reason: string; readonly errno: string | undefined }
  | { readonly id: number; readonly bytes: number }

// Only of this thread, which Linux alone knows; elsewhere it would be the whole host.
if (process.platform === 'linux')
  try {
    setPriority(0, 15)
  } catch {
    // It is only kinder with it.
  }

const PIECE = 4 << 20
const SHORT = 500
const NOT_KEPT =
  /^(ss_tag_frequency|ss_bucket_info|ss_datasets|ss_dataset_dirs|modelspec\.thumbnail|modelspec\.hash_sha256|prompt|workflow)$/

let paused = Promise.withResolvers<void>()
paused.resolve()
const stopped = new Set<number>()

const say = (reply: ModelReply) => parentPort?.postMessage(reply)

parentPort?.on('message', async (order: ModelOrder) => {
  if ('is' in order) {
    if (order.is === 'stop') stopped.add(order.id)
    else if (order.is === 'pause') paused = Promise.withResolvers()
    else paused.resolve()
    return
  }
  const { id, task } = order
  try {
    const value =
      task.is === 'read' ? read(task.path) : task.is === 'hash' ? await hash(id, task.path) : await thumbnail(task)
    say({ id, ok: true, value })
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException
    say({ id, ok: false, reason: message, errno: code })
  }
  stopped.delete(id)
})

function read(file: string): ModelFacts {
  const source = openFile(file)
  try {
    const name = path.basename(file)
    const header = readHeader(source, name)
    const { format, metadata, faults, pickle } = header
    const told = tellKind(tensorTable(header.shapes), metadata, name)
    const kept = Object.entries(metadata).filter(([key]) => !NOT_KEPT.test(key))
    return {
      format,
      ...told,
      precision: precisionOf(header),
      parameters: parametersOf(header),
      metadata: Object.fromEntries(kept.slice(0, 120).map(([key, value]) => [key, value.slice(0, SHORT)])),
      triggerWords: trainedWords(metadata),
      faults,
      pickle: pickle?.is ?? null,
      reader: READER,
      hasThumbnail: /^data:image\//.test(metadata['modelspec.thumbnail'] ?? ''),
    }
  } finally {
    source.close()
  }
}

async function hash(id: number, file: string): Promise<string> {
  const sum = createHash('sha256')
  const handle = await open(file, 'r')
  try {
    const piece = Buffer.allocUnsafe(PIECE)
    for (let at = 0; ; ) {
      await paused.promise
      if (stopped.has(id)) throw new Error('stopped')
      const { bytesRead } = await handle.read(piece, 0, PIECE, at)
      if (bytesRead === 0) break
      sum.update(piece.subarray(0, bytesRead))
      at += bytesRead
      say({ id, bytes: at })
    }
  } finally {
    await handle.close()
  }
  return sum.digest('hex')
}

async function thumbnail({ path: file, to }: { path: string; to: string }): Promise<boolean> {
  const source = openFile(file)
  try {
    const { metadata } = readHeader(source, path.basename(file))
    const base64 = /^data:image\/[a-z+.-]+;base64,(.+)$/s.exec(metadata['modelspec.thumbnail'] ?? '')?.[1]
    if (base64 === undefined) return false
    await mkdir(path.dirname(to), { recursive: true })
    writeWholeSync(to, Buffer.from(base64, 'base64'))
    return true
  } finally {
    source.close()
  }
}
