import { readAddress } from '../../../core/engine/comfy/address.ts'
import { type RehearsalOptions, RehearsalServer } from '../../../core/engine/rehearsal/server.ts'
import { ComfyWorker, type ComfyWorkerOptions } from './comfy-worker.ts'

export const REHEARSAL = 'rehearsal'
/** Sketches kept on the embedded server; what a job needs of them was fetched long before. */
const KEPT_FILES = 2_000

export interface RehearsalWorker {
  readonly worker: ComfyWorker
  readonly server: RehearsalServer
  close(): Promise<void>
}

/** The embedded server and the worker that speaks to it as to any other ComfyUI. */
export async function startRehearsal(
  options: Omit<ComfyWorkerOptions, 'id' | 'kind' | 'address'>,
  server: RehearsalOptions,
): Promise<RehearsalWorker> {
  const rehearsal = new RehearsalServer({ sketchUnknown: true, assumeModels: true, keepFiles: KEPT_FILES, ...server })
  await rehearsal.start()
  const worker = new ComfyWorker({ ...options, id: REHEARSAL, kind: 'rehearsal', address: readAddress(rehearsal.url) })
  return {
    worker,
    server: rehearsal,
    async close() {
      await worker.close()
      await rehearsal.stop()
    },
  }
}
