import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import type { FileReference, Prompt } from '../../core/contract/comfyui.ts'
import type { Json } from '../../core/contract/json.ts'
import type { JobStep, Output, Worker } from '../../main/services/workers/worker.ts'
import { tempDir } from '../kit/temp-dir.ts'

/**
 * What the dispatcher relies on, whatever kind of worker it is. `open` gives a worker that is ready and closes it after
 * the test; `uploads`: what it calls a picture it was given.
 */
export function workerPromises(
  name: string,
  open: () => Promise<Worker>,
  { uploads = /^nightshift\/[0-9a-f]{32}\.png$/ }: { uploads?: RegExp } = {},
) {
  describe(`${name} keeps a worker's promises`, () => {
    test('a picture is made, told of in order, and fetched whole with the texts it was given', async () => {
      const worker = await open()
      const attempt = anAttempt(aPicture({ width: 48, height: 32 }))
      const steps = await all(worker.run(attempt, soon()))
      expect(steps.map(({ is }) => is).filter((is, index, list) => is !== list[index - 1])).toEqual([
        'submitted',
        'started',
        'progress',
        'saved',
      ])
      const [file] = filesOf(steps)
      const bytes = await fetched(worker, file!)
      expect(await sharp(bytes).metadata()).toMatchObject({ format: 'png', width: 48, height: 32 })
      expect(bytes.includes(Buffer.from(`"attempt": "${attempt.promptId}"`))).toBe(true)
    })

    test('node definitions are there, with ranges that keep every digit', async () => {
      const { EmptyImage, KSampler } = await (await open()).definitions()
      expect(EmptyImage?.output).toEqual(['IMAGE'])
      expect(KSampler?.input.required?.seed?.[1]?.max).toBe(18446744073709551615n)
    })

    test('a number beyond 2^53 arrives with every digit', async () => {
      const prompt: Prompt = {
        1: { class_type: 'PrimitiveInt', inputs: { value: 9007199254740993n } },
        2: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } },
      }
      expect(outputsOf(await all((await open()).run(anAttempt(prompt), soon())))).toEqual([
        { is: 'text', node: '2', index: 0, text: '9007199254740993' },
      ])
    })

    test('a prompt with a wrong value is refused, saying which', async () => {
      const prompt = aPicture()
      delete prompt['1']!.inputs.width
      expect(refusal(await all((await open()).run(anAttempt(prompt), soon())))).toEqual([
        {
          is: 'failed',
          retryable: false,
          failure: expect.objectContaining({
            code: 'prompt.rejected',
            facts: expect.objectContaining({ reason: 'EmptyImage 1: Required input is missing: width' }),
          }),
        },
      ])
    })

    test('a node class it lacks is named', async () => {
      const prompt = { ...aPicture(), 9: { class_type: 'NoSuchNode', inputs: {} } }
      expect(refusal(await all((await open()).run(anAttempt(prompt), soon())))).toEqual([
        {
          is: 'failed',
          retryable: false,
          failure: expect.objectContaining({
            code: 'prompt.missing-node',
            facts: { classType: 'NoSuchNode', node: '9' },
          }),
        },
      ])
    })

    test('a prompt of which one output would be dropped fails, and does not run', async () => {
      const worker = await open()
      const attempt = anAttempt({
        ...slowPicture(),
        8: { class_type: 'LoadImage', inputs: { image: 'not-there.png' } },
        9: { class_type: 'SaveImage', inputs: { images: ['8', 0], filename_prefix: 'dropped' } },
      })
      expect(refusal(await all(worker.run(attempt, soon())))).toEqual([
        {
          is: 'failed',
          retryable: false,
          failure: expect.objectContaining({
            code: 'prompt.outputs-dropped',
            message: expect.stringContaining('Invalid image file: not-there.png'),
          }),
        },
      ])
      expect(['interrupted', 'lost', 'failed']).toContain((await worker.recover(attempt.promptId)).is)
    })

    test('an identical prompt that writes nothing new ends with the file that is there', async () => {
      const worker = await open()
      const prompt = aPicture()
      const [first] = filesOf(await all(worker.run(anAttempt(prompt), soon())))
      const [second] = filesOf(await all(worker.run(anAttempt(prompt), soon())))
      expect(second).toMatchObject({ filename: first!.filename, subfolder: first!.subfolder, type: first!.type })
      expect((await fetched(worker, second!)).length).toBeGreaterThan(0)
    })

    test('two prompts at once both end, each with its own file', async () => {
      const worker = await open()
      const both = await Promise.all([0, 1].map(() => all(worker.run(anAttempt(aPicture()), soon()))))
      const [a, b] = both.map((steps) => filesOf(steps)[0]!.filename)
      expect(a).not.toBe(b)
      expect(both.map((steps) => steps.at(-1)!.is)).toEqual(['saved', 'saved'])
    })

    test('a prompt let go of runs on; it is found again and followed to its end', async () => {
      const worker = await open()
      const attempt = anAttempt(slowPicture())
      const letGo = new AbortController()
      const steps = worker.run(attempt, letGo.signal)[Symbol.asyncIterator]()
      expect((await steps.next()).value).toEqual({ is: 'submitted' })
      letGo.abort()
      await expect(steps.next()).rejects.toThrow()
      expect(['queued', 'running', 'saved']).toContain((await worker.recover(attempt.promptId)).is)
      const followed = await all(worker.follow(attempt.promptId, soon()))
      expect(followed.at(-1)!.is).toBe('saved')
      expect(await worker.recover(attempt.promptId)).toEqual(followed.at(-1))
    })

    test('cancelling ends a prompt that runs and one that waits; the server has neither afterwards', async () => {
      const worker = await open()
      const attempts = [anAttempt(slowPicture(150)), anAttempt(slowPicture(150))]
      const runs = attempts.map((attempt) => all(worker.run(attempt, soon())))
      const submitted = async () => {
        const seen = await Promise.all(attempts.map(({ promptId }) => worker.recover(promptId)))
        return seen.every(({ is }) => is === 'queued' || is === 'running')
      }
      await expect.poll(submitted, { interval: 10 }).toBe(true)
      await worker.cancel(attempts[1]!.promptId)
      await worker.cancel(attempts[0]!.promptId)
      const endings = (await Promise.all(runs)).map((steps) => steps.at(-1)!.is)
      for (const ending of endings) expect(['interrupted', 'lost']).toContain(ending)
      for (const { promptId } of attempts)
        expect(['interrupted', 'lost']).toContain((await worker.recover(promptId)).is)
    })

    test('what it never heard of is lost, and cancelling it does nothing', async () => {
      const worker = await open()
      const stranger = randomUUID()
      await worker.cancel(stranger)
      expect(await worker.recover(stranger)).toEqual({ is: 'lost' })
    })

    test('an input file is uploaded under a name of its own, once, and can be used', async () => {
      const worker = await open()
      const file = path.join(tempDir(), '猫 cat.PNG')
      const colour = { r: 10, g: 200, b: Math.floor(Math.random() * 256) }
      const create = { width: 20, height: 10, channels: 3 as const, background: colour }
      writeFileSync(file, await sharp({ create }).png().toBuffer())
      const value = await worker.upload({ path: file, name: '猫 cat.PNG' })
      expect(value).toMatch(uploads)
      expect(await worker.upload({ path: file, name: 'other name.png' })).toBe(value)
      const prompt: Prompt = {
        1: { class_type: 'LoadImage', inputs: { image: value } },
        2: { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
        3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: `promise/${randomUUID()}` } },
      }
      const [saved] = filesOf(await all(worker.run(anAttempt(prompt), soon())))
      expect(saved!.subfolder).toBe('promise')
      const { data, info } = await sharp(await fetched(worker, saved!))
        .raw()
        .toBuffer({ resolveWithObject: true })
      expect([info.width, info.height]).toEqual([20, 10])
      const wanted = [245, 55, 255 - colour.b] // ComfyUI reckons with fractions and rounds down
      for (const [at, value] of wanted.entries()) expect(Math.abs(data[at]! - value)).toBeLessThanOrEqual(1)
    })

    test('it says which input files it has, by the names prompts give them', async () => {
      const worker = await open()
      const file = path.join(tempDir(), 'there.png')
      await sharp({ create: { width: 8, height: 8, channels: 3, background: '#123456' } }).toFile(file)
      const value = await worker.upload({ path: file, name: 'there.png' })
      const [saved] = filesOf(await all(worker.run(anAttempt(aPicture()), soon())))
      const names = [
        value,
        `${value} [input]`,
        `${saved!.filename} [output]`,
        saved!.filename,
        'no/such.png',
        '../x.png',
      ]
      expect(await Promise.all(names.map((name) => worker.hasInput(name)))).toEqual([
        true,
        true,
        true,
        false,
        false,
        false,
      ])
    })

    test('a file it does not have is said to be missing', async () => {
      const worker = await open()
      const file: FileReference = { filename: `${randomUUID()}.png`, subfolder: '', type: 'output' }
      await expect(fetched(worker, file)).rejects.toMatchObject({ code: 'output.missing' })
    })
  })
}

/** An agent takes a task in before its ComfyUI has seen it. */
const refusal = (steps: readonly JobStep[]) => steps.filter(({ is }) => is !== 'submitted')

export const soon = () => AbortSignal.timeout(120_000)

export function anAttempt(prompt: Prompt) {
  const promptId = randomUUID()
  const pngInfo: Record<string, Json> = { nightshift: { job: 'j1', attempt: promptId } }
  return { promptId, jobId: 'j1', prompt, pngInfo }
}

/** A prompt of its own: nothing the server has cached answers it. */
export function aPicture({ width = 32, height = 32 } = {}): Prompt {
  const color = Math.floor(Math.random() * 0xffffff)
  return {
    1: { class_type: 'EmptyImage', inputs: { width, height, batch_size: 1, color } },
    2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: `promise-${randomUUID()}` } },
  }
}

/** Image nodes enough to be caught at work, and to be interrupted between them. */
export function slowPicture(nodes = 12): Prompt {
  const prompt = aPicture({ width: 1800, height: 1800 })
  for (let index = 0; index < nodes; index++) {
    const from = index === 0 ? '1' : `s${index - 1}`
    const size = 1800 - 10 * (index + 1)
    prompt[`s${index}`] = {
      class_type: 'ImageScale',
      inputs: { image: [from, 0], upscale_method: 'lanczos', width: size, height: size, crop: 'disabled' },
    }
  }
  prompt['2']!.inputs.images = [`s${nodes - 1}`, 0]
  return prompt
}

export async function all(steps: AsyncIterable<JobStep>): Promise<JobStep[]> {
  const seen: JobStep[] = []
  for await (const step of steps) seen.push(step)
  return seen
}

export function outputsOf(steps: readonly JobStep[]): readonly Output[] {
  const ending = steps.at(-1)
  if (ending?.is !== 'saved') throw new Error(`ended as ${JSON.stringify(ending)}`)
  return ending.outputs
}
export const filesOf = (steps: readonly JobStep[]): FileReference[] =>
  outputsOf(steps).flatMap((output) => (output.is === 'file' ? [output.file] : []))

export async function fetched(worker: Worker, file: FileReference): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of worker.fetch(file)) chunks.push(chunk)
  return Buffer.concat(chunks)
}
