// A thread for what would stall the host: pictures made small, large files hashed. Its own entry in the build.
import { parentPort } from 'node:worker_threads'
import sharp from 'sharp'
import type { Compared } from '../../core/contract/publish.ts'
import { hashFile } from '../../core/engine/hash-file.ts'
import { compareFiles } from '../../core/engine/proof.ts'

export type MediaTask =
  | { readonly is: 'thumbnail'; readonly path: string; readonly size: number }
  | { readonly is: 'hash'; readonly path: string }
  | { readonly is: 'compare'; readonly path: string; readonly other: string; readonly difference: string }
export type MediaReply =
  | { readonly id: number; readonly ok: true; readonly value: Uint8Array | string | Compared }
  | { readonly id: number; readonly ok: false; readonly reason: string; readonly errno: string | undefined }

sharp.cache(false) // an open handle would keep Windows from moving or deleting the picture
sharp.concurrency(1)

parentPort?.on('message', async ({ id, task }: { id: number; task: MediaTask }) => {
  let reply: MediaReply
  try {
    reply = { id, ok: true, value: await carryOut(task) }
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException
    reply = { id, ok: false, reason: message, errno: code }
  }
  parentPort?.postMessage(reply)
})

function carryOut(task: MediaTask) {
  if (task.is === 'hash') return hashFile(task.path)
  if (task.is === 'thumbnail') return thumbnail(task.path, task.size)
  return compareFiles(task.path, task.other, { difference: task.difference })
}

/** WebP, at most `size` each way, never enlarged; the first frame of a moving picture. */
async function thumbnail(path: string, size: number): Promise<Uint8Array> {
  const { data } = await sharp(path)
    .rotate()
    .resize(size, size, { fit: 'inside', withoutEnlargement: true })
    .webp({ quality: 80, effort: 2 })
    .toBuffer({ resolveWithObject: true })
  return data
}
