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
    const sameHost = new URL(url).hostname === new URL(address.url).hostname
    return {
      health: readyHealth(stats, queueLength, latencyMs),
      address: sameHost ? { ...address, url } : address,
    }
  } finally {
    await client.close()
  }
}

/** What to call a worker nobody named: its host and port. */
export function nameFor({ url }: ComfyAddress): string {
  const { host, pathname } = new URL(url)
  return (host + pathname.replace(/\/$/, '')).slice(0, 60)
}
