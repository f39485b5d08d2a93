import { expect, test } from 'vitest'
import { bundledDefinitions } from '../../../../core/engine/definitions.ts'
import { asBytes, imagePrompt, libraryKit } from '../../../kit/library-kit.ts'

test('a dropped file is kept as it came, with what is in it', async () => {
  const { library } = libraryKit()
  const bytes = asBytes(imagePrompt())
  const summary = await library.import('plain picture.json', bytes)
  expect(summary).toMatchObject({
    name: 'plain picture',
    format: 'api',
    nodes: 2,
    problems: 0,
    runnable: true,
    batches: 0,
  })
  const { prompt, inspection, graph } = await library.get(summary.id)
  expect(prompt['1']?.inputs).toEqual(imagePrompt()['1'].inputs)
  expect(inspection.outputs).toMatchObject([{ node: '2', classType: 'SaveImage' }])
  expect(inspection.parameters.map(({ key }) => key)).toContain('1.width')
  expect(graph.nodes).toHaveLength(2)
  const original = await library.export(summary.id, 'original')
  expect(original).toEqual({
    name: 'plain picture.json',
    mediaType: 'application/json',
    base64: bytes.toString('base64'),
  })
})

test('the same bytes are the same workflow: put back, on top, arranged as before', async () => {
  const { library, clock } = libraryKit()
  const first = await library.import('a.json', asBytes(imagePrompt()))
  library.arrange(first.id, [{ key: '1.height', name: 'Tall', shown: true, pinned: true }])
  clock.turn(1000)
  const other = await library.import(
    'b.json',
    asBytes(imagePrompt({ '3': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } } })),
  )
  library.remove(first.id)
  expect(library.list({}).rows.map(({ id }) => id)).toEqual([other.id])
  clock.turn(1000)
  expect((await library.import('again.json', asBytes(imagePrompt()))).id).toBe(first.id)
  expect(library.list({}).rows.map(({ id }) => id)).toEqual([first.id, other.id])
  expect((await library.get(first.id)).inspection.parameters[0]).toMatchObject({
    key: '1.height',
    name: 'Tall',
    pinned: true,
  })
})

test('removed is out of the list until it is restored', async () => {
  const { library } = libraryKit()
  const { id } = await library.import('a.json', asBytes(imagePrompt()))
  expect(library.remove(id)).toEqual({ changed: 1 })
  expect(library.remove(id)).toEqual({ changed: 0 })
  expect(library.list({})).toEqual({ rows: [], total: 0 })
  expect(library.restore(id)).toEqual({ changed: 1 })
  expect(library.list({}).total).toBe(1)
  expect(() => library.summary('nobody')).toThrow(expect.objectContaining({ code: 'app.not-found' }))
})

test('the list finds names as they are written, signs and all', async () => {
  const { library } = libraryKit()
  for (const [at, name] of ['100% cat', 'a_b', 'axb'].entries())
    await library.import(
      `${name}.json`,
      asBytes(imagePrompt({ '9': { class_type: 'PreviewImage', inputs: { images: ['1', 0] }, at } })),
    )
  const found = (search: string) => library.list({ search }).rows.map(({ name }) => name)
  expect(found('a_b')).toEqual(['a_b'])
  expect(found('100%')).toEqual(['100% cat'])
  expect(found('CAT')).toEqual(['100% cat'])
})

test('when a worker tells of other nodes, the workflow is converted anew', async () => {
  const { library, known } = libraryKit()
  const { id } = await library.import(
    'a.json',
    asBytes(imagePrompt({ '3': { class_type: 'MyNode', inputs: { image: ['1', 0] } } })),
  )
  expect(library.summary(id)).toMatchObject({ problems: 1, runnable: true })
  const once = await library.load(id)
  expect((await library.load(id)).prompt).toBe(once.prompt)
  const definition = { ...bundledDefinitions().definitions.PreviewImage!, name: 'MyNode' }
  known.definitions = { ...known.definitions, MyNode: { ...definition, input: { required: { image: ['IMAGE'] } } } }
  expect((await library.get(id)).inspection.problems).toEqual([])
  expect(library.summary(id).problems).toBe(0)
})

test('what nothing comes out of cannot be queued', async () => {
  const { library } = libraryKit()
  const { '1': only } = imagePrompt()
  expect((await library.import('a.json', asBytes({ '1': only }))).runnable).toBe(false)
})

test.each(['en', 'zh-CN'])('the sample in %s runs as it is, with a form a person understands', async (language) => {
  const { library } = libraryKit()
  const { id, name } = await library.sample(language)
  const { inspection, graph } = await library.get(id)
  expect(library.summary(id).runnable).toBe(true)
  expect(name).toBe(language === 'en' ? 'Sample' : '示例')
  const roles = inspection.parameters.filter(({ shown }) => shown).map(({ role }) => role)
  expect(roles).toEqual(
    expect.arrayContaining(['prompt', 'negative', 'seed', 'width', 'height', 'steps', 'cfg', 'checkpoint']),
  )
  expect(inspection.parameters.find(({ role }) => role === 'seed')).toMatchObject({ control: 'randomize' })
  expect(inspection.parameters.find(({ role }) => role === 'prompt')).toMatchObject({ dynamicPrompts: true })
  expect(inspection.problems.filter(({ kind }) => kind !== 'missing-model')).toEqual([])
  expect(graph.laidOut).toBe(false)
})

test('a damaged file is refused and leaves nothing', async () => {
  const { library } = libraryKit()
  await expect(library.import('a.json', Buffer.from('{"nodes": ['))).rejects.toMatchObject({ code: 'import.not-json' })
  await expect(library.import('a.json', Buffer.alloc(0))).rejects.toMatchObject({ code: 'import.empty' })
  expect(library.list({}).total).toBe(0)
})
