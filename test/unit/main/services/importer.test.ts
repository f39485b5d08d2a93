import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { expect, onTestFinished, test } from 'vitest'
import { Importer, type ImportResult } from '../../../../main/services/importer.ts'
import { everyContainer, safetensors, zip } from '../../../kit/containers.ts'
import { asBytes, imagePrompt, libraryKit } from '../../../kit/library-kit.ts'
import { png, textChunk } from '../../../kit/pictures.ts'
import { serve } from '../../../kit/serve.ts'

function importKit(more: { patienceMs?: number; workers?: { url: string }[] } = {}) {
  const kit = libraryKit()
  const { dataDir, library } = kit
  const fleet = { ...kit.fleet, view: () => [...kit.fleet.view(), ...(more.workers ?? [])] }
  const importer = new Importer({ dataDir, library, fleet, patienceMs: more.patienceMs })
  onTestFinished(() => importer.stop())
  return { ...kit, importer }
}
const local = { mayUsePaths: true }
const file = (name: string, bytes: Uint8Array) => ({ name, base64: Buffer.from(bytes).toString('base64') })
const told = (results: readonly ImportResult[]) =>
  results.map((result) => `${result.name}: ${result.ok ? result.workflow.name : result.failure.code}`)
const different = (at: number) => imagePrompt({ '9': { class_type: 'PreviewImage', inputs: { images: ['1', 0] }, at } })

test('many files are each told of on their own, in the order they came; one that fails stops no other', async () => {
  const { importer, library } = importKit()
  const results = await importer.importMany(
    [
      file('a.json', asBytes(different(1))),
      file('broken.json', Buffer.from('{"nodes":')),
      file('b.png', png([textChunk('prompt', JSON.stringify(different(2)))])),
      file('plain.png', png([])),
      file(
        'all.zip',
        zip([
          ['x/c.json', asBytes(different(3))],
          ['x/cut.png', png([]).subarray(0, 20)],
        ]),
      ),
      { path: '/nowhere/at/all.json' },
      file('again.json', asBytes(different(1))),
    ],
    local,
  )
  expect(told(results)).toEqual([
    'a.json: a',
    'broken.json: import.not-json',
    'b.png: b',
    'plain.png: import.no-workflow',
    'x/c.json: c',
    'x/cut.png: import.damaged',
    'all.json: input.missing',
    'again.json: a',
  ])
  expect(
    library
      .list({})
      .rows.map(({ name }) => name)
      .sort(),
  ).toEqual(['a', 'b', 'c'])
  expect(results[0]).toMatchObject({ workflow: { nodes: 3, runnable: true } })
  expect(results[3]).toMatchObject({ failure: { remedy: expect.stringContaining('output folder') } })
})

test('a file of every container becomes a workflow that can be opened and given back as it came', async () => {
  const { importer, library } = importKit()
  for (const [kind, { ext, container, make }] of Object.entries(everyContainer)) {
    const bytes = Buffer.from(make({ prompt: JSON.stringify(different(kind.length * 100 + ext.length)) }))
    const [result] = await importer.importMany([file(`${kind}.${ext}`, bytes)], local)
    if (!result?.ok) throw new Error(`${kind}: ${JSON.stringify(result)}`)
    const { inspection, prompt } = await library.get(result.workflow.id)
    expect(inspection.container).toBe(container)
    expect(Object.keys(prompt)).toEqual(['1', '2', '9'])
    if (kind !== 'zip' && kind !== 'gzip')
      expect((await library.export(result.workflow.id, 'original')).base64).toBe(bytes.toString('base64'))
  }
})

test('a list of several is several workflows; dropped again they are the same, with the names the person gave', async () => {
  const { importer, library } = importKit()
  const list = [
    { title: 'One', prompt: different(1) },
    { title: 'Two', prompt: different(2) },
  ]
  const drop = () => importer.importMany([file('list.json', asBytes(list))], local)
  const results = await drop()
  expect(told(results)).toEqual(['list.json: One', 'list.json: Two'])
  const [one, two] = results.map((result) => (result.ok ? result.workflow.id : ''))
  library.rename(two!, 'Second')
  library.remove(one!)
  expect(told(await drop())).toEqual(['list.json: One', 'list.json: Second'])
  expect(library.list({}).total).toBe(2)
})

test('a form without a workflow goes to the one that came with it', async () => {
  const { importer, library } = importKit()
  const form = { title: 'Size', prompt: {}, params: [{ title: 'Width', type: 'number', id: '1', key: 'width' }] }
  const results = await importer.importMany(
    [file('form.json', asBytes([form])), file('plain.json', asBytes(imagePrompt()))],
    local,
  )
  expect(results.map(({ ok }) => ok)).toEqual([true, true])
  const [{ id } = { id: '' }] = library.list({}).rows
  expect(library.list({}).total).toBe(1)
  expect((await library.load(id)).panels.map(({ title }) => title)).toEqual(['Size'])
})

test('of a file beyond 64 MiB the texts are kept, not the file', async () => {
  const { importer, library, dataDir } = importKit()
  const model = path.join(dataDir, 'model.safetensors')
  writeFileSync(model, safetensors({ prompt: JSON.stringify(imagePrompt()) }))
  truncateSync(model, 2 * 1024 ** 3)
  const [result] = await importer.importMany([{ path: model }], local)
  if (!result?.ok) throw new Error(JSON.stringify(result))
  const [kept] = readdirSync(path.join(dataDir, 'workflows'))
  const text = readFileSync(path.join(dataDir, 'workflows', kept!), 'utf8')
  expect(JSON.parse(JSON.parse(text).prompt)).toEqual(imagePrompt())
  expect((await importer.importMany([file(kept!, Buffer.from(text))], local))[0]).toMatchObject({
    workflow: { id: result.workflow.id },
  })
  expect((await library.get(result.workflow.id)).inspection.container).toBe('safetensors')
})

test('a folder is every file in it, hidden ones left out', async () => {
  const { importer, dataDir } = importKit()
  const dir = path.join(dataDir, 'dropped')
  mkdirSync(path.join(dir, 'deep'), { recursive: true })
  mkdirSync(path.join(dir, '.git'))
  writeFileSync(path.join(dir, '10.json'), asBytes(different(10)))
  writeFileSync(path.join(dir, '2.json'), asBytes(different(2)))
  writeFileSync(path.join(dir, 'deep', '1.json'), asBytes(different(1)))
  writeFileSync(path.join(dir, '.git', 'x.json'), asBytes(different(4)))
  expect(told(await importer.importMany([{ path: dir }], local))).toEqual(['2.json: 2', '10.json: 10', '1.json: 1'])
})

test('an upload is read as it comes, large or small, and leaves nothing behind', async () => {
  const { importer, dataDir } = importKit()
  await importer.start()
  for (const sizeBytes of [1000, Number.POSITIVE_INFINITY]) {
    const body = Readable.from([asBytes(imagePrompt())])
    expect(told(await importer.importStream('up.json', body, { sizeBytes }))).toEqual(['up.json: up'])
  }
  expect(readdirSync(path.join(dataDir, 'uploads'))).toEqual([])
})

test('a browser may name no file, and addresses of this machine only where a worker is', async () => {
  const picture = png([textChunk('prompt', JSON.stringify(imagePrompt()))])
  const { url: origin } = await serve(({ url = '' }, reply) => void reply.end(url.includes('preview') ? '' : picture))
  const url = `${origin}/view?filename=ComfyUI_0001_.png&type=output&preview=webp;90`
  const browser = { mayUsePaths: false }

  const strict = importKit()
  expect(told(await strict.importer.importMany([{ url }, { path: '/etc/passwd' }], browser))).toEqual([
    'ComfyUI_0001_.png: input.unreachable',
    'passwd: app.refused',
  ])
  expect(told(await strict.importer.importMany([{ url }], local))).toEqual(['ComfyUI_0001_.png: ComfyUI_0001_'])
  const { importer } = importKit({ workers: [{ url: origin }] })
  expect(told(await importer.importMany([{ url }], browser))).toEqual(['ComfyUI_0001_.png: ComfyUI_0001_'])
  const inline = `data:image/png;base64,${Buffer.from(picture).toString('base64')}`
  expect(told(await importer.importMany([{ url: inline }, { url: 'file:///etc/passwd' }], browser))).toEqual([
    'picture: ComfyUI_0001_', // the same bytes
    'passwd: input.unreachable',
  ])
})

test('a file is looked at in the thread too, by the definitions that are given', async () => {
  const { importer, known } = importKit()
  const prompt = imagePrompt({ '3': { class_type: 'MyNode', inputs: { image: ['1', 0] } } })
  const look = (definitions: typeof known.definitions) =>
    importer.look('inspect', 'a.json', asBytes(prompt), { definitions, from: 'file' })
  expect((await look(known.definitions)).problems).toMatchObject([{ kind: 'missing-node' }])
  const image = known.definitions.PreviewImage!
  const mine = { ...image, name: 'MyNode', input: { required: { image: ['IMAGE'] as never } } }
  expect((await look({ ...known.definitions, MyNode: mine })).problems).toEqual([])
  const known2 = { definitions: known.definitions, from: 'bundled' }
  expect((await importer.look('convert', 'a.json', asBytes(prompt), known2)).losses).toHaveLength(1)
  await expect(importer.look('convert', 'a.json', asBytes([]), known2)).rejects.toMatchObject({
    failure: { code: 'import.unknown-format' },
  })
})

test('a file that takes too long is given up alone; those after it are read', async () => {
  const { importer } = importKit({ patienceMs: 1 })
  const slow = { name: 'slow.json', base64: Buffer.from(`{"x":${'[1],'.repeat(2_000_000)}0}`).toString('base64') }
  const results = await importer.importMany([slow], local)
  expect(results).toMatchObject([{ ok: false, failure: { code: 'import.damaged' } }])
})

test('while files are read the host answers at once', async () => {
  const { importer } = importKit()
  const big = asBytes({
    ...imagePrompt(),
    ...Object.fromEntries(
      Array.from({ length: 4000 }, (_, at) => [`n${at}`, { class_type: 'Note', inputs: { text: 'x'.repeat(200) } }]),
    ),
  })
  await importer.importMany([file('warm.json', asBytes(imagePrompt()))], local)
  const before = process.threadCpuUsage()
  const [result] = await importer.importMany([file('big.json', big)], local)
  const { user, system } = process.threadCpuUsage(before)
  expect(result).toMatchObject({ ok: true, workflow: { nodes: 4002 } })
  expect((user + system) / 1000).toBeLessThan(100) // of this thread: most of it makes the request
})
