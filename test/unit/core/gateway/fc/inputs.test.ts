import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import sharp from 'sharp'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import type { Prompt } from '../../../../../core/contract/comfyui.ts'
import { chooseSeeds, type InputRules, placeInputs } from '../../../../../core/gateway/fc/inputs.ts'

let png: Buffer
beforeAll(async () => {
  png = await sharp({ create: { width: 40, height: 30, channels: 3, background: '#3a6' } })
    .png()
    .toBuffer()
})
const named = () => `${createHash('sha256').update(png).digest('hex')}.png`

/** What becomes of the input `image` of a node of this class, and what was put on the server. */
async function placed(image: unknown, rules: InputRules = {}, class_type = 'LoadImage') {
  const put: { name: string; bytes: Uint8Array }[] = []
  const client = {
    async upload(file: { name: string; bytes?: Uint8Array }) {
      put.push({ name: file.name, bytes: file.bytes! })
      return { filename: file.name, subfolder: '', type: 'input' as const }
    },
  }
  const prompt = { 1: { class_type, inputs: { image } }, 2: { class_type, inputs: { image } } } as unknown as Prompt
  const done = await placeInputs(client as never, prompt, AbortSignal.timeout(10_000), rules)
  return { image: done[1]!.inputs.image, put }
}

/** A web server on this machine that gives `answer`. */
async function serve(answer: { status?: number; headers?: Record<string, string>; body: Uint8Array | string }) {
  const server = createServer((_, reply) => {
    reply.writeHead(answer.status ?? 200, answer.headers)
    reply.end(answer.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/图.png`
}
const mayReach = () => true

test.each([
  ['padded', () => png.toString('base64')],
  ['without padding', () => png.toString('base64').replace(/=+$/, '')],
  ['URL-safe', () => png.toString('base64url')],
  ['in lines', () => png.toString('base64').replace(/.{60}/g, '$&\n')],
  ['as a data: address', () => `data:image/png;base64,${png.toString('base64')}`],
])('base64 %s is stored once, called by its sha256', async (_, value) => {
  const { image, put } = await placed(value())
  expect(image).toBe(named())
  expect(put).toHaveLength(1)
  expect(Buffer.from(put[0]!.bytes).equals(png)).toBe(true)
})

test.each(['photo.png', 'sub/照片 1.jpg [output]', 'a'.repeat(64), `${'x'.repeat(120)}.webp`])(
  'the name %j is left as it is',
  async (name) => {
    expect(await placed(name)).toEqual({ image: name, put: [] })
  },
)

test('links, numbers and inputs of other nodes are left as they are', async () => {
  expect((await placed(['4', 0])).image).toEqual(['4', 0])
  expect((await placed(7)).image).toBe(7)
  const text = png.toString('base64')
  expect((await placed(text, {}, 'CLIPTextEncode')).image).toBe(text)
  expect((await placed(text, {}, 'constructor')).image).toBe(text)
})

test('a mask is taken like a picture', async () => {
  expect((await placed(png.toString('base64'), {}, 'LoadImageMask')).image).toBe(named())
})

test('a picture of the web is fetched', async () => {
  expect((await placed(await serve({ body: png }), { mayReach })).image).toBe(named())
})

test.each([
  ['of this machine', async () => serve({ body: png }), {}],
  ['of a cloud’s own service', async () => 'http://169.254.169.254/latest/meta-data', {}],
  ['of this machine, written as a number', async () => 'http://2130706433/', {}],
  ['of this machine, as IPv6', async () => 'http://[::ffff:127.0.0.1]/', {}],
  ['that is no picture', async () => serve({ body: '<html>' }), { mayReach }],
  ['that is not there', async () => serve({ status: 404, body: '' }), { mayReach }],
  ['that is too large', async () => serve({ body: new Uint8Array(5_000) }), { mayReach, limitBytes: 4_000 }],
  [
    'that leads to this machine',
    async () => serve({ status: 302, headers: { location: 'file:///etc/passwd' }, body: '' }),
    { mayReach },
  ],
  ['that is a data: address of text', async () => 'data:text/html,<b>', {}],
  ['that is base64 of no picture', async () => Buffer.alloc(900, 'no picture').toString('base64'), {}],
])('an input %s is refused, by its node', async (_, value, rules) => {
  const refused = placed(await value(), { ...rules, sketchUnreachable: true })
  await expect(refused).rejects.toMatchObject({ code: 'agent.bad-input', facts: { node: '1', input: 'image' } })
})

test('where pictures are sketched, one that cannot be reached keeps its address', async () => {
  const url = 'http://127.0.0.1:1/a.png' // a port that is given to nobody
  expect((await placed(url, { sketchUnreachable: true, mayReach })).image).toBe(url)
  await expect(placed(url, { mayReach })).rejects.toMatchObject({ code: 'agent.bad-input' })
})

test('-1 becomes a seed, the same for both of a node’s; others stay', () => {
  const prompt: Prompt = {
    1: { class_type: 'A', inputs: { seed: -1, noise_seed: '-1', steps: -1 } },
    2: { class_type: 'A', inputs: { seed: 18446744073709551615n } },
    3: { class_type: 'A', inputs: { seed: ['1', 0] } },
  }
  const { prompt: chosen, seeds } = chooseSeeds(prompt)
  expect(Object.keys(seeds)).toEqual(['1'])
  expect(chosen[1]!.inputs).toEqual({ seed: seeds[1], noise_seed: seeds[1], steps: -1 })
  expect(Number.isSafeInteger(seeds[1]) && seeds[1]! >= 0).toBe(true)
  expect([chosen[2], chosen[3]]).toEqual([prompt[2], prompt[3]])
  expect(prompt[1]!.inputs.seed).toBe(-1)
  expect(chooseSeeds(prompt).seeds[1]).not.toBe(seeds[1])
})
