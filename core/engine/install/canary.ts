import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { AppError } from '../../contract/errors.ts'
import { readAddress } from '../comfy/address.ts'
import { ComfyClient } from '../comfy/client.ts'
import { collectOutputs } from '../comfy/outputs.ts'

const SIZE = 64
const WITHIN_MS = 120_000
const LOOK_EVERY_MS = 100
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

/** The smallest prompt that ends in a picture, which must come back. @throws AppError 'install.no-picture' */
export async function paintCanary(url: string, signal: AbortSignal): Promise<void> {
  const client = new ComfyClient(readAddress(url), { clientId: randomUUID() })
  const within = AbortSignal.any([signal, AbortSignal.timeout(WITHIN_MS)])
  try {
    const promptId = randomUUID()
    const prompt = {
      1: { class_type: 'EmptyImage', inputs: { width: SIZE, height: SIZE, batch_size: 1, color: 0x336699 } },
      2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'nightshift' } },
    }
    await client.submit({ promptId, prompt: prompt as never, pngInfo: {} }, within)
    let entry = await client.history(promptId, within)
    for (; !entry?.status?.completed; entry = await client.history(promptId, within)) {
      if (entry?.status?.status_str === 'error') throw new Error('the prompt failed')
      await pause(LOOK_EVERY_MS, undefined, { signal: within })
    }
    const [output] = collectOutputs(entry.outputs)
    if (output?.is !== 'file') throw new Error('there is no output')
    const chunks: Uint8Array[] = []
    for await (const chunk of client.view(output.file, within)) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    if (!PNG.every((byte, at) => bytes[at] === byte) || bytes.readUInt32BE(16) !== SIZE)
      throw new Error('it is no picture')
  } catch (cause) {
    signal.throwIfAborted()
    throw new AppError('install.no-picture', { reason: (cause as Error).message }, { cause })
  } finally {
    await client.close()
  }
}
