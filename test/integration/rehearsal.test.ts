import { randomUUID } from 'node:crypto'
import sharp from 'sharp'
import { expect, onTestFinished, test } from 'vitest'
import type { Prompt } from '../../core/contract/comfyui.ts'
import type { Json } from '../../core/contract/json.ts'
import { readAddress } from '../../core/engine/comfy/address.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { ComfyWorker } from '../../main/services/workers/comfy-worker.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { all, anAttempt, fetched, filesOf, outputsOf, soon } from './worker-promises.ts'

/** As the app embeds it: any model is assumed, custom nodes are sketched through. */
async function embedded() {
  const server = new RehearsalServer({ dir: tempDir(), stepMs: 0, sketchUnknown: true, assumeModels: true })
  await server.start()
  const address = readAddress(server.url)
  const worker = new ComfyWorker({ id: 'rehearsal', kind: 'rehearsal', address, newId: randomUUID, now: Date.now })
  onTestFinished(async () => {
    await worker.close()
    await server.stop()
  })
  worker.start()
  return {
    steps: (prompt: Prompt) => all(worker.run(anAttempt(prompt), soon())),
    pictures: async (prompt: Prompt) => {
      const files = filesOf(await all(worker.run(anAttempt(prompt), soon())))
      return Promise.all(files.map(async (file) => ({ file, bytes: await fetched(worker, file) })))
    },
  }
}

function fromText(seed: Json, text = 'a fox', { width = 96, height = 64, batch_size = 1, steps = 3 } = {}): Prompt {
  return {
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'never-seen.safetensors' } },
    2: { class_type: 'CLIPTextEncode', inputs: { text, clip: ['1', 1] } },
    3: { class_type: 'CLIPTextEncode', inputs: { text: 'blurry', clip: ['1', 1] } },
    4: { class_type: 'EmptyLatentImage', inputs: { width, height, batch_size } },
    5: {
      class_type: 'KSampler',
      inputs: {
        model: ['1', 0],
        positive: ['2', 0],
        negative: ['3', 0],
        latent_image: ['4', 0],
        seed,
        steps,
        cfg: 7,
        sampler_name: 'euler',
        scheduler: 'normal',
        denoise: 1,
      },
    },
    6: { class_type: 'VAEDecode', inputs: { samples: ['5', 0], vae: ['1', 2] } },
    7: { class_type: 'SaveImage', inputs: { images: ['6', 0], filename_prefix: randomUUID() } },
  }
}
const pixels = (bytes: Buffer) => sharp(bytes).raw().toBuffer()

test('a sketch has the size and number asked for, and is drawn step by step with previews', async () => {
  const { steps, pictures } = await embedded()
  const told = await steps(fromText(1, 'a fox', { steps: 5 }))
  const sampling = told.filter((step) => step.is === 'progress' && step.node === '5' && step.max === 5)
  expect(sampling.map((step) => (step.is === 'progress' ? step.value : 0))).toEqual([1, 2, 3, 4, 5])
  const preview = told.findLast((step) => step.is === 'preview')
  expect(preview?.is === 'preview' && (await sharp(preview.bytes).metadata()).format).toBe('jpeg')
  const made = await pictures(fromText(1, 'a fox', { batch_size: 3 }))
  const sizes = await Promise.all(made.map(async ({ bytes }) => sharp(bytes).metadata()))
  expect(sizes.map(({ width, height }) => [width, height])).toEqual([
    [96, 64],
    [96, 64],
    [96, 64],
  ])
})

test('the same seed and words draw the same sketch; another digit or word another one', async () => {
  const { pictures } = await embedded()
  const draw = async (seed: Json, text?: string) => pixels((await pictures(fromText(seed, text)))[0]!.bytes)
  const first = await draw(18446744073709551615n)
  expect(await draw(18446744073709551615n)).toEqual(first)
  expect(await draw(18446744073709551614n)).not.toEqual(first)
  expect(await draw(18446744073709551615n, 'a cat')).not.toEqual(first)
})

test('words in Chinese, an emoji, a very long prompt and a tiny picture are drawn without a fault', async () => {
  const { pictures } = await embedded()
  for (const text of ['雪地里的红狐狸', '🦊 <b>&"', 'word '.repeat(5_000), ''])
    expect((await pictures(fromText(1, text, { width: 128, height: 128, steps: 1 }))).length).toBe(1)
  expect((await pictures(fromText(1, 'tiny', { width: 16, height: 16, steps: 1 }))).length).toBe(1)
})

test('custom nodes nobody knows pass pictures on', async () => {
  const { pictures } = await embedded()
  const prompt = fromText(3)
  prompt['8'] = { class_type: 'Somebody’s Upscaler', inputs: { picture: ['6', 0], model: ['1', 0], by: 2 } }
  prompt['7']!.inputs.images = ['8', 0]
  const [made] = await pictures(prompt)
  expect(await sharp(made!.bytes).metadata()).toMatchObject({ format: 'png', width: 96, height: 64 })
})

test('films, sound and shapes become the smallest honest file of a kind that can be made here', async () => {
  const { pictures } = await embedded()
  const prompt = fromText(4, 'film')
  prompt['4'] = { class_type: 'EmptyHunyuanLatentVideo', inputs: { width: 96, height: 64, length: 9, batch_size: 1 } }
  prompt['8'] = { class_type: 'CreateVideo', inputs: { images: ['6', 0], fps: 8 } }
  prompt['7'] = {
    class_type: 'SaveVideo',
    inputs: { video: ['8', 0], filename_prefix: 'video/x', format: 'auto', codec: 'auto' },
  }
  const [film] = await pictures(prompt)
  expect(film!.file).toMatchObject({ subfolder: 'video' })
  expect(await sharp(film!.bytes, { animated: true }).metadata()).toMatchObject({ format: 'webp', pages: 9 })
  const [sound] = await pictures({
    1: { class_type: 'EmptyLatentAudio', inputs: { seconds: 1, batch_size: 1 } },
    2: { class_type: 'VAELoader', inputs: { vae_name: 'any.safetensors' } },
    3: { class_type: 'VAEDecodeAudio', inputs: { samples: ['1', 0], vae: ['2', 0] } },
    4: { class_type: 'SaveAudio', inputs: { audio: ['3', 0], filename_prefix: 'sound' } },
  })
  expect(sound!.bytes.subarray(0, 4).toString('latin1')).toBe('RIFF')
})

test.each<[string, Record<string, Json>, [number, number]]>([
  ['ImageScale', { upscale_method: 'bicubic', width: 50, height: 0, crop: 'disabled' }, [50, 25]],
  ['ImageScaleBy', { upscale_method: 'area', scale_by: 0.5 }, [40, 20]],
  ['ImageScaleToMaxDimension', { upscale_method: 'lanczos', largest_size: 160 }, [160, 80]],
  ['ImageCrop', { x: 60, y: 10, width: 512, height: 5 }, [20, 5]],
  ['ImagePadForOutpaint', { left: 8, top: 0, right: 16, bottom: 8, feathering: 0 }, [104, 48]],
  ['ImageRotate', { rotation: '90 degrees' }, [40, 80]],
])('%s gives a picture of the right size', async (class_type, inputs, [width, height]) => {
  const { pictures } = await embedded()
  const [made] = await pictures({
    1: { class_type: 'EmptyImage', inputs: { width: 80, height: 40, batch_size: 1, color: 0xff8000 } },
    2: { class_type, inputs: { image: ['1', 0], ...inputs } },
    3: { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'x' } },
  })
  expect(await sharp(made!.bytes).metadata()).toMatchObject({ width, height })
})

test('pictures joined into a batch are all saved, at the size of the first', async () => {
  const { pictures } = await embedded()
  const empty = (width: number) => ({
    class_type: 'EmptyImage',
    inputs: { width, height: 20, batch_size: 1, color: 1 },
  })
  const made = await pictures({
    1: empty(30),
    2: empty(60),
    3: { class_type: 'BatchImagesNode', inputs: { 'images.image0': ['1', 0], 'images.image1': ['2', 0] } },
    4: { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'x' } },
  })
  const sizes = await Promise.all(made.map(({ bytes }) => sharp(bytes).metadata()))
  expect(sizes.map(({ width }) => width)).toEqual([30, 30])
})

test('a workflow that only previews gives its previews', async () => {
  const { steps } = await embedded()
  const prompt = fromText(9)
  prompt['7'] = { class_type: 'PreviewImage', inputs: { images: ['6', 0] } }
  expect(outputsOf(await steps(prompt))).toMatchObject([{ is: 'file', node: '7', file: { type: 'temp' } }])
})

test('a batch has all its pictures; one too large for this machine fails as a GPU would, and the next prompt runs', async () => {
  const { pictures, steps } = await embedded()
  expect((await pictures(fromText(1, 'many', { width: 16, height: 16, batch_size: 30 }))).length).toBe(30)
  const huge = fromText(1, 'huge', { width: 4096, height: 4096, batch_size: 64 })
  expect((await steps(huge)).at(-1)).toMatchObject({ is: 'failed', failure: { code: 'prompt.out-of-memory' } })
  expect((await steps(fromText(2))).at(-1)!.is).toBe('saved')
})

test('a picture that is an address of the web is sketched where models are, and missing elsewhere', async () => {
  const prompt: Prompt = {
    1: { class_type: 'LoadImage', inputs: { image: 'https://example.com/a.png' } },
    2: { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: randomUUID() } },
  }
  const { pictures } = await embedded()
  const [made] = await pictures(prompt)
  expect(await sharp(made!.bytes).metadata()).toMatchObject({ width: 512, height: 512 })
  const strict = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await strict.start()
  onTestFinished(() => strict.stop())
  const reply = await fetch(`${strict.url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }) })
  expect([reply.status, JSON.stringify(await reply.json())]).toEqual([
    400,
    expect.stringContaining('Invalid image file'),
  ])
})
