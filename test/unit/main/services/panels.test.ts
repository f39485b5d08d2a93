import { readFileSync } from 'node:fs'
import path from 'node:path'
import Sqlite from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { type Json, parseJson, writeJson } from '../../../../core/contract/json.ts'
import type { Panel } from '../../../../core/contract/panel.ts'
import { migrate } from '../../../../main/services/database/migrate.ts'
import { migrations } from '../../../../main/services/database/migrations/index.ts'
import { Importer, type ImportResult } from '../../../../main/services/importer.ts'
import { readPanelsFile } from '../../../../main/services/read-import.ts'
import { asBytes, imagePrompt, libraryKit } from '../../../kit/library-kit.ts'

const fixtures = path.resolve(import.meta.dirname, '../../../fixtures/couple-photo')
const couple = readFileSync(path.join(fixtures, 'prompt.json'))
const forms = readFileSync(path.join(fixtures, 'panels.json'))

function importKit() {
  const kit = libraryKit()
  const { dataDir, library, fleet } = kit
  const importer = new Importer({ dataDir, library, fleet })
  onTestFinished(() => importer.stop())
  const drop = (...files: [name: string, bytes: Uint8Array][]) =>
    importer.importMany(
      files.map(([name, bytes]) => ({ name, base64: Buffer.from(bytes).toString('base64') })),
      { mayUsePaths: true },
    )
  return { ...kit, drop }
}
const told = (results: readonly ImportResult[]) =>
  results.map((result) => (result.ok ? [result.workflow.name, result.forms ?? []] : [result.name, result.failure.code]))

const width: Panel = { title: 'Wide', params: [{ type: 'number', id: '1', key: 'width', title: 'How wide' }] }
const formFile = (...panels: Panel[]) => asBytes(panels.map((panel) => ({ ...panel, prompt: {} })))

test('the couple photo’s forms dropped with its prompt, in either order, belong to it', async () => {
  for (const order of [0, 1]) {
    const { drop, library } = importKit()
    const files: [string, Uint8Array][] = [
      ['prompt.json', couple],
      ['panels.json', forms],
    ]
    const results = await drop(...(order === 0 ? files : files.toReversed()))
    expect(told(results)).toEqual([
      ['prompt', []],
      ['prompt', ['破次元壁合照', '背景替换']],
    ])
    const { rows } = library.list({})
    expect(rows).toMatchObject([{ name: 'prompt', panelCount: 2 }])
    const { panels, panelProblems } = await library.get(rows[0]!.id)
    expect(panels.map(({ title }) => title)).toEqual(['破次元壁合照', '背景替换'])
    expect(panelProblems).toEqual([])
  }
})

test('forms dropped later find the one workflow they fit, and what was there before comes back by undoing it', async () => {
  const { drop, library } = importKit()
  const [first] = await drop(['a.json', asBytes(imagePrompt())], ['couple.json', couple])
  const id = first!.ok ? first!.workflow.id : ''
  const old: Panel = { title: 'Wide', params: [] }
  library.setPanels(id, [old, { title: 'Other', params: [] }])
  expect(told(await drop(['form.json', formFile(width)]))).toEqual([['a', ['Wide']]])
  const titles = async () => (await library.get(id)).panels.map(({ title, params }) => `${title} ${params.length}`)
  expect(await titles()).toEqual(['Wide 1', 'Other 0'])
  expect(library.undoPanels(id)).toEqual({ changed: 1 })
  expect(await titles()).toEqual(['Wide 0', 'Other 0'])
  library.undoPanels(id)
  expect(await titles()).toEqual(['Wide 1', 'Other 0'])
})

test('forms that fit nothing or several are refused with what is missing or meant, and nothing changes', async () => {
  const { drop, library } = importKit()
  const alone = await drop(['panels.json', forms])
  expect(alone).toMatchObject([
    {
      ok: false,
      failure: {
        code: 'panel.no-workflow',
        facts: { title: '破次元壁合照', missing: '10.image, 24.text, 11.image, 12.image' },
        remedy: expect.stringContaining('together'),
      },
    },
  ])
  const other = imagePrompt({ '9': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } } })
  await drop(['a.json', asBytes(imagePrompt())], ['b.json', asBytes(other)])
  expect(await drop(['form.json', formFile(width)])).toMatchObject([
    { ok: false, failure: { code: 'panel.several-workflows', facts: { names: expect.stringMatching(/a|b/) } } },
  ])
  const almost = { title: 'More', params: [...width.params, { type: 'number', id: '1', key: 'depth' }] }
  expect(await drop(['form.json', formFile(almost)])).toMatchObject([
    { ok: false, failure: { code: 'panel.no-workflow', facts: { missing: '1.depth' } } },
  ])
  expect(library.list({}).rows.map(({ panelCount }) => panelCount)).toEqual([0, 0])
  // beside the workflow it is meant for, the form is not taken for the other’s
  expect(told(await drop(['form.json', formFile(width)], ['b.json', asBytes(other)]))).toEqual([
    ['b', []],
    ['b', ['Wide']],
  ])
})

test('a workflow of the editor is fitted by its nodes too', async () => {
  const { drop, library } = importKit()
  const sample = await library.sample('en')
  const { inspection } = await library.get(sample.id)
  const { node, input } = inspection.parameters.find(({ role }) => role === 'steps')!
  const patience: Panel = { title: 'Patience', params: [{ type: 'number', id: node, key: input }] }
  await drop(['a.json', asBytes(imagePrompt())])
  expect(told(await drop(['form.json', formFile(patience)]))).toEqual([['Sample', ['Patience']]])
  const astray: Panel = { title: 'Astray', params: [{ type: 'number', id: '999', key: input }] }
  expect(await drop(['form.json', formFile(astray)])).toMatchObject([
    { ok: false, failure: { facts: { missing: `999.${input}` } } },
  ])
})

test('exported forms import again as the same forms with the same prompt', async () => {
  const { drop, library } = importKit()
  const [kept] = await drop(['prompt.json', couple], ['panels.json', forms])
  const id = kept!.ok ? kept!.workflow.id : ''
  const file = await library.export(id, 'panel')
  expect(file).toMatchObject({ name: 'prompt.panels.json', mediaType: 'application/json' })
  const bytes = Buffer.from(file.base64, 'base64')
  const written = parseJson(bytes.toString()) as { title: string; params: Json; prompt: Json }[]
  const original = parseJson(forms.toString()) as { title: string; params: Json }[]
  const both = ({ title, params }: { title: string; params: Json }) => writeJson([title, params])
  expect(written.map(both)).toEqual(original.map(both))
  const again = await drop([file.name, bytes])
  expect(told(again)).toEqual([
    ['破次元壁合照', []],
    ['背景替换', []],
  ])
  for (const [at, result] of again.entries()) {
    const workflow = await library.get(result.ok ? result.workflow.id : '')
    expect(workflow.prompt).toEqual(parseJson(couple.toString()))
    expect(both(workflow.panels[0] as unknown as { title: string; params: Json })).toBe(both(original[at]!))
  }
})

test('a form is read from a list, from one alone, or from its fields; anything else is refused', () => {
  const titles = (value: unknown) => readPanelsFile('My form.json', asBytes(value)).panels.map(({ title }) => title)
  expect(titles(parseJson(forms.toString()))).toEqual(['破次元壁合照', '背景替换'])
  expect(titles(width)).toEqual(['Wide'])
  expect(titles(width.params)).toEqual(['My form'])
  expect(() => titles(imagePrompt())).toThrow(expect.objectContaining({ code: 'panel.unreadable' }))
})

test('only addresses that a workflow or a form of it names are fetched for their pictures', async () => {
  const { drop, library } = importKit()
  const [kept] = await drop(['prompt.json', couple], ['panels.json', forms])
  const id = kept!.ok ? kept!.workflow.id : ''
  const { panels, prompt } = await library.get(id)
  const [choice] = panels[0]!.params[1]!.options as string[]
  const standing = prompt['13']!.inputs.image as string
  expect(await library.knownAddress(id, choice!)).toBe(choice)
  expect(await library.knownAddress(id, standing)).toBe(standing)
  await expect(library.knownAddress(id, 'https://example.com/x.png')).rejects.toMatchObject({ code: 'app.not-found' })
})

test('workflows kept before there were forms have none, and can be given some', () => {
  const database = new Sqlite(':memory:')
  migrate(database, migrations.slice(0, 1))
  database
    .prepare(
      `INSERT INTO workflows (id, name, format, container, source_sha256, source_ext, read, imported_at)
       VALUES ('w', 'Old', 'api', 'json', 'x', '.json', '{}', 1)`,
    )
    .run()
  migrate(database, migrations.slice(0, 2))
  const row = () => database.prepare('SELECT name, panels, panels_before FROM workflows').get()
  expect(row()).toEqual({ name: 'Old', panels: '[]', panels_before: null })
  expect(() => database.prepare(`UPDATE workflows SET panels = 'no'`).run()).toThrow('CHECK')
  database.close()
})
