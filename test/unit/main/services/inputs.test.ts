import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { Inputs } from '../../../../main/services/inputs.ts'
import { serve } from '../../../kit/serve.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

test('what was kept stays as it was, whatever becomes of the original', async () => {
  const dir = tempDir()
  const inputs = new Inputs(path.join(dir, 'data'))
  const original = path.join(dir, '猫.png')
  writeFileSync(original, 'first')
  const kept = await inputs.addPath(original)
  writeFileSync(original, 'second')
  expect(kept).toEqual({
    ref: `input:${sha256('first')}/猫.png`,
    name: '猫.png',
    sizeBytes: 5,
    sha256: sha256('first'),
  })
  expect(readFileSync(inputs.resolve(kept.ref).path, 'utf8')).toBe('first')
})

test('the same bytes under two names are two inputs, and nothing is left half written', async () => {
  const data = tempDir()
  const inputs = new Inputs(data)
  const one = await inputs.add('a.png', Buffer.from('same'))
  const two = await inputs.add(
    'b.png',
    (async function* () {
      yield Buffer.from('sa')
      yield Buffer.from('me')
    })(),
  )
  expect(await inputs.add('a.png', Buffer.from('same'))).toEqual(one)
  expect([one.sha256, two.sha256]).toEqual([sha256('same'), sha256('same')])
  expect(readdirSync(path.join(data, 'inputs', one.sha256)).sort()).toEqual(['a.png', 'b.png'])
  expect(readdirSync(path.join(data, 'inputs'))).toEqual([one.sha256])
})

test('a folder gives its pictures in the order people count, and nothing else', async () => {
  const dir = tempDir()
  for (const name of ['10.png', '2.png', '1.JPG', 'notes.txt', '.hidden.png']) writeFileSync(path.join(dir, name), name)
  mkdirSync(path.join(dir, 'folder.png'))
  const { files } = await new Inputs(tempDir()).addFolder(dir)
  expect(files.map(({ name }) => name)).toEqual(['1.JPG', '2.png', '10.png'])
})

test('a name from outside cannot lead elsewhere', async () => {
  const inputs = new Inputs(tempDir())
  const { ref } = await inputs.add('../../x\\..\\CON.png', Buffer.from('x'))
  expect(ref).toBe(`input:${sha256('x')}/_CON.png`)
  for (const forged of [
    'input:../../x',
    `input:${sha256('x')}/../x`,
    `input:${sha256('x')}/..`,
    `input:${sha256('y')}/_CON.png`,
    '/etc/passwd',
  ])
    expect(() => inputs.resolve(forged)).toThrow(expect.objectContaining({ code: 'input.missing' }))
})

test('only media are taken, and only from a door that may name paths', async () => {
  const dir = tempDir()
  const inputs = new Inputs(tempDir())
  const file = path.join(dir, 'a.png')
  writeFileSync(file, 'x')
  writeFileSync(path.join(dir, 'secret.txt'), 'x')
  await expect(inputs.addPath(path.join(dir, 'secret.txt'))).rejects.toMatchObject({ code: 'input.not-media' })
  await expect(inputs.addPath(path.join(dir, 'none.png'))).rejects.toMatchObject({ code: 'input.missing' })
  await expect(inputs.addFolder(path.join(dir, 'none'))).rejects.toMatchObject({ code: 'input.missing' })
  expect(inputs.check(file, true)).toBeUndefined()
  expect(inputs.check(file, false)).toBe('row.file-by-path')
  expect(inputs.check(path.join(dir, 'none.png'), true)).toBe('row.file-missing')
  const { ref } = await inputs.addPath(file)
  expect(inputs.check(ref, false)).toBeUndefined()
})

test('what a crash left half written goes at the next start', () => {
  const data = tempDir()
  mkdirSync(path.join(data, 'inputs'))
  writeFileSync(path.join(data, 'inputs', 'x.part'), 'half')
  new Inputs(data)
  expect(readdirSync(path.join(data, 'inputs'))).toEqual([])
})

const coloured = (background: string) =>
  sharp({ create: { width: 8, height: 8, channels: 3, background } })
    .webp()
    .toBuffer()

test('a picture of the web is fetched once, named by what it is, and there without the web later', async () => {
  let picture = await coloured('red')
  let asked = 0
  const { url: at, close } = await serve(({ url }, reply) => {
    asked++
    reply.end(url === '/page' ? '<html>' : picture)
  })
  const data = tempDir()
  const inputs = new Inputs(data, { mayReach: () => true })
  const address = `${at}/a/%E7%99%BE%E9%87%8C.png?v=1`
  const [one, two] = await Promise.all([inputs.addUrl(address), inputs.addUrl(address)])
  expect(one).toBe(two)
  expect(inputs.resolve(one)).toMatchObject({ name: '百里.webp' })
  expect(readFileSync(inputs.resolve(one).path)).toEqual(picture)
  expect(asked).toBe(1)
  picture = await coloured('blue')
  expect(await inputs.addUrl(address)).toBe(one)
  const anew = await inputs.addUrl(address, { anew: true })
  expect(readFileSync(inputs.resolve(anew).path)).toEqual(picture)
  await expect(inputs.addUrl(`${at}/page`)).rejects.toMatchObject({ code: 'input.not-media' })
  await close()
  expect(await new Inputs(data).addUrl(address)).toBe(anew)
  expect(await new Inputs(data).addUrl(address, { anew: true })).toBe(anew)
  await expect(new Inputs(data).addUrl(`${at}/other.png`)).rejects.toMatchObject({ code: 'input.unreachable' })
})
