import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { realpath, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

/**
 * Only one program on this machine fetches to a name; the others wait. A socket, which ends with whoever holds it, however
 * that ends. `onWait`: another has it. Gives what lets go of it.
 */
export async function takeName(to: string, signal: AbortSignal, onWait: () => void): Promise<() => Promise<void>> {
  const dir = await realpath(path.dirname(to))
  const name = path.basename(to).normalize('NFC').toLowerCase() // some file systems hold both for one
  const hash = createHash('sha256').update(path.join(dir, name)).digest('hex').slice(0, 32)
  const address = addressOf(hash)
  for (;;) {
    signal.throwIfAborted()
    const server = await listen(address)
    if (server)
      return async () => {
        for (const socket of server.waiting) socket.destroy()
        await new Promise((closed) => server.close(closed))
      }
    const holder = connect(address)
    const stop = () => holder.destroy()
    signal.addEventListener('abort', stop)
    try {
      await once(holder, 'connect', { signal })
      onWait()
      await new Promise((gone) =>
        holder
          .once('close', gone)
          .once('error', () => {})
          .resume(),
      )
    } catch (cause) {
      // it let go in between; or died, and left a socket in a folder
      if (path.isAbsolute(address) && (cause as NodeJS.ErrnoException).code === 'ECONNREFUSED')
        await rm(address, { force: true })
    } finally {
      signal.removeEventListener('abort', stop)
      holder.destroy()
    }
  }
}

function addressOf(hash: string): string {
  if (process.platform === 'win32') return `\\\\.\\pipe\\nightshift-download-${hash}`
  if (process.platform === 'linux') return `\0nightshift-download-${hash}`
  return path.join(tmpdir(), `nightshift-${hash}.sock`)
}

async function listen(address: string): Promise<(Server & { waiting: Set<{ destroy(): void }> }) | null> {
  const waiting = new Set<{ destroy(): void }>()
  const server = createServer((socket) => {
    waiting.add(socket)
    socket.on('error', () => {}).on('close', () => waiting.delete(socket))
  })
  server.unref()
  try {
    server.listen(address)
    await once(server, 'listening')
    return Object.assign(server, { waiting })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EADDRINUSE') return null
    throw cause
  }
}
