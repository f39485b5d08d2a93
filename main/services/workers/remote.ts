import type { WorkerHealth } from '../../../core/contract/worker.ts'
import type { ComfyAddress } from '../../../core/engine/comfy/address.ts'
import { ComfyClient } from '../../../core/engine/comfy/client.ts'
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

/** To the same host; with a header only where it is as safe: another port may be another person's program. */
function mayMove({ url, header }: ComfyAddress, to: string): boolean {
  const [from, there] = [new URL(url), new URL(to)]
  if (from.hostname !== there.hostname) return false
  return header === null || from.origin === there.origin || there.protocol === 'https:'
}

/** What to call a worker nobody named: its host and port. */
export function nameFor({ url }: ComfyAddress): string {
  const { host, pathname } = new URL(url)
  return (host + pathname.replace(/\/$/, '')).slice(0, 60)
}
