import { request } from 'undici'
import { z } from 'zod'
import { AppError } from '../../../core/contract/errors.ts'
import { parseJson } from '../../../core/contract/json.ts'
import { SharedPlace, type WorkerHealth } from '../../../core/contract/worker.ts'
import type { ComfyAddress } from '../../../core/engine/comfy/address.ts'
import { ComfyClient } from '../../../core/engine/comfy/client.ts'
import { bytesWithin } from '../../../core/engine/download/follow.ts'
import { readyHealth } from './comfy-worker.ts'

/**
 * Asks who is at an address, once. `address` is where a redirect led, if it stayed with the same host.
 * @throws AppError 'worker.unreachable' | 'worker.unauthorised' | 'worker.not-comfyui'
 */
export async function testAddress(
  address: ComfyAddress,
  clientId: string,
): Promise<{ health: WorkerHealth; address: ComfyAddress }> {
  const client = new ComfyClient(address, { clientId, timeoutMs: 10_000 })
  try {
    const started = performance.now()
    const { stats, url } = await client.probe()
    const latencyMs = Math.round(performance.now() - started)
    const queueLength = await client.queueLength()
    return {
      health: readyHealth(stats, queueLength, latencyMs),
      address: mayMove(address, url) ? { ...address, url } : address,
    }
  } finally {
    await client.close()
  }
}

/** What another Nightshift says of itself at the root of what it shares; see core/gateway. */
const Shared = z.object({ nightshift: z.literal('shared'), places: z.array(SharedPlace.omit({ url: true })).max(100) })
const SHARED_LIMIT_BYTES = 256 * 1024

/**
 * What a Nightshift at this address shares; null: there is none.
 * @throws AppError 'worker.unauthorised' when it wants another key
 */
export async function sharedAt({ url, header }: ComfyAddress): Promise<SharedPlace[] | null> {
  const headers: Record<string, string> = { accept: 'application/json', ...(header && { [header.name]: header.value }) }
  try {
    const reply = await request(url, { headers, signal: AbortSignal.timeout(10_000), reset: true })
    if (reply.headers['x-nightshift'] !== 'shared') {
      await reply.body.dump()
      return null
    }
    if (reply.statusCode === 401) throw new AppError('worker.unauthorised', { url, status: 401 })
    const said = Shared.parse(parseJson((await bytesWithin(reply, SHARED_LIMIT_BYTES)).toString('utf8')))
    return said.places.map((place) => ({ ...place, url: new URL(`gpu/${encodeURIComponent(place.id)}/`, url).href }))
  } catch (cause) {
    if (cause instanceof AppError && cause.code === 'worker.unauthorised') throw cause
    return null
  }
}

/** To the same host; with a header only where it is as safe: another port may be another person's program. */
function mayMove({ url, header }: ComfyAddress, to: string): boolean {
  const [from, there] = [new URL(url), new URL(to)]
  if (from.hostname !== there.hostname) return false
  return header === null || from.origin === there.origin || there.protocol === 'https:'
}

/** What to call a worker nobody named: its host and port. */
export function nameFor({ url }: ComfyAddress): string {
  const { host, pathname, protocol, hostname } = new URL(url)
  const [, shared] = /^\/gpu\/([^/]+)\/$/.exec(pathname) ?? []
  if (shared !== undefined) return `${hostname}-${decodeURIComponent(shared)}`.replace(/[\s,]/g, '-').slice(0, 60)
  if (protocol === 'ssh:') return hostname.slice(0, 60)
  return (host + pathname.replace(/\/$/, '')).slice(0, 60)
}
