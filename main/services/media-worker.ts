// A thread for what would stall the host: pictures made small, large files hashed. Its own entry in the build.
import { parentPort } from 'node:worker_threads'
import sharp from 'sharp'
import { hashFile } from '../../core/engine/hash-file.ts'

export type MediaTask =
  | { readonly is: 'thumbnail'; readonly path: string; readonly size: number }
  | { readonly is: 'hash'; readonly path: string }
export type MediaReply =
  | { readonly id: number; readonly ok: true; readonly value: Uint8Array | string }
  | { readonly id: number; readonly ok: false; readonly reason: string; readonly errno: string | undefined }

sharp.cache(false) // an open handle would keep Windows from moving or deleting the picture
sharp.concurrency(1)

parentPort?.on('message', async ({ id, task }: { id: number; task: MediaTask }) => {
  let reply: MediaReply
  try {
    reply = {
      id,
      ok: true,
      value: task.is === 'hash' ? await hashFile(task.path) : await thumbnail(task.path, task.size),
    }
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException
    reply = { id, ok: false, reason: message, errno: code }
  }
  parentPort?.postMessage(reply)
})

/** WebP, at most `size` each way, never enlarged; the first frame of a moving picture. */
async function thumbnail(path: string, size: number): Promise<Uint8Array> {
  const { data } = await sharp(path)
    .rotate()
    .resize(size, size, { fit: 'inside', withoutEnlargement: true })
    .webp({ quality: 80, effort: 2 })
    .toBuffer({ resolveWithObject: true })
  return data
}
