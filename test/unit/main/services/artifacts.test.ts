import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { execa } from 'execa'
import sharp from 'sharp'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Sidecar } from '../../../../core/contract/artifact.ts'
import type { Prompt } from '../../../../core/contract/comfyui.ts'
import { AppError } from '../../../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../../../core/contract/json.ts'
import type { Output } from '../../../../main/services/workers/worker.ts'
import { aMade, aPng, aPrompt, buildArtifacts, FileWorker, filesIn, markOf } from '../../../kit/artifact-kit.ts'
import { testDatabase } from '../../../kit/queue-kit.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'fine',
    (cause) => (cause as AppError).code,
  )

async function startArtifacts({
  database = testDatabase(),
  point = undefined as ((name: string) => void) | undefined,
} = {}) {
  const dir = tempDir()
  const outDir = path.join(dir, 'out')
  const kit = buildArtifacts(database, path.join(dir, 'cache'), point)
  await kit.thumbnails.start()
  await kit.artifacts.start()
  onTestFinished(() => kit.thumbnails.stop())
  const worker = new FileWorker()
  const rows = () => database.prepare('SELECT name, state FROM artifacts ORDER BY seq').all()
  return { ...kit, database, dir, outDir, worker, rows }
}

describe('keeping', () => {
  test('an output becomes a file, a row and a sidecar that can make it again', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const bytes = await aPng(markOf('p1'))
    const made = aMade({
      outDir,
      worker,
      outputs: [worker.put(bytes, 'p1_00001_.png')],
      promptId: 'p1',
      row: 3,
      pattern: '{batch}/{row:04}-{name}-{seed}-{counter:03}',
      plan: { sets: { '3.steps': 20 } },
      overrides: { '3.seed': 18446744073709551615n },
      prompt: aPrompt(18446744073709551615n),
      chosenText: { '3.text': 'a red fox' },
    })
    const [artifact, ...more] = await artifacts.keep(made)
    expect(more).toEqual([])
    expect(artifact).toEqual({
      id: expect.any(String),
      jobId: 'j2048',
      batchId: 'b1',
      node: '9',
      index: 0,
      name: 'night/0003-a fox-7-001.png',
      sha256: sha256(bytes),
      sizeBytes: bytes.length,
      mediaType: 'image/png',
      kind: 'image',
      width: 8,
      height: 6,
      rehearsal: false,
      createdAt: expect.any(Number),
    })
    expect(filesIn(outDir)).toEqual(['night/0003-a fox-7-001.png', 'night/0003-a fox-7-001.png.json'])
    expect(readFileSync(path.join(outDir, artifact!.name))).toEqual(bytes)
    const text = readFileSync(path.join(outDir, `${artifact!.name}.json`), 'utf8')
    const sidecar = Sidecar.parse(parseJson(text))
    expect(sidecar).toEqual({
      nightshift: '0.1.0',
      artifact: {
        id: artifact!.id,
        node: '9',
        index: 0,
        name: artifact!.name,
        sha256: artifact!.sha256,
        mediaType: 'image/png',
      },
      jobId: 'j2048',
      batchId: 'b1',
      row: 3,
      promptId: 'p1',
      prompt: aPrompt(18446744073709551615n),
      workflow: { nodes: [] },
      overrides: { '3.steps': 20, '3.seed': 18446744073709551615n },
      seeds: { '3.seed': 7 },
      chosenText: { '3.text': 'a red fox' },
      worker: { id: 'gpu', kind: 'remote', url: 'http://10.0.0.5:8188/comfy', comfyuiVersion: '0.33.0' },
      seconds: 2.5,
      stripped: false,
      createdAt: artifact!.createdAt,
    })
    rmSync(path.join(outDir, `${artifact!.name}.json`))
    expect(artifacts.get(artifact!.id)).toEqual({ artifact, sidecar }) // also without the file
    expect(artifacts.rerunFacts(artifact!.id)).toEqual({
      jobId: 'j2048',
      batchId: 'b1',
      sets: { '3.steps': 20, '3.seed': 7, '3.text': 'a red fox' },
      seeds: ['3.seed'],
    })
  })

  test('the same attempt again, or a later attempt of the job, adds nothing and fetches nothing', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const output = worker.put(await aPng(), 'a.png')
    const made = aMade({ outDir, worker, outputs: [output], promptId: 'p1' })
    const [once, twice] = await Promise.all([artifacts.keep(made), artifacts.keep(made)])
    expect(twice).toEqual(once)
    expect(await artifacts.keep(made)).toEqual(once)
    expect(await artifacts.keep(aMade({ outDir, worker, outputs: [output], promptId: 'p2' }))).toEqual(once)
    expect(worker.fetched).toBe(1)
    expect(filesIn(outDir)).toEqual(['1.png', '1.png.json'])
    expect(artifacts.finished('j2048', 'p1')).toEqual(once)
    expect(artifacts.finished('j2049', 'p9')).toBeNull()
  })

  test('a kept file that the person moved or changed since is neither fetched nor made again', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const outputs = [
      worker.put(await aPng(), 'a.png'),
      worker.put(await aPng({}, { shade: 3 }), 'b.png', { index: 1 }),
      worker.put(await aPng({}, { shade: 4 }), 'c.png', { index: 2 }),
    ]
    const made = aMade({ outDir, worker, outputs, promptId: 'p1', pattern: '{output}' })
    const kept = await artifacts.keep(made)
    await fs.rename(path.join(outDir, '1.png'), path.join(outDir, 'best.png'))
    writeFileSync(path.join(outDir, '2.png'), 'edited')
    rmSync(path.join(outDir, '3.png.json'))
    expect(await artifacts.keep(made)).toEqual(kept)
    expect(worker.fetched).toBe(3)
    expect(filesIn(outDir)).toEqual(['1.png.json', '2.png', '2.png.json', '3.png', 'best.png'])
    expect(readFileSync(path.join(outDir, '2.png'), 'utf8')).toBe('edited')
  })

  test('an attempt of which one output is missing has that one added, and is not finished before', async () => {
    const { artifacts, outDir, worker, rows } = await startArtifacts()
    const first = worker.put(await aPng(), 'a.png')
    const second = worker.put(await aPng({}, { shade: 3 }), 'b.png', { index: 1 })
    worker.files.delete(JSON.stringify(second.file))
    const made = aMade({ outDir, worker, outputs: [first, second], promptId: 'p1' })
    expect(await codeOf(artifacts.keep(made))).toBe('output.missing')
    expect(rows()).toEqual([])
    expect(filesIn(outDir)).toEqual([])
    worker.put(await aPng({}, { shade: 3 }), 'b.png')
    expect(await artifacts.keep(made)).toHaveLength(2)
    expect(filesIn(outDir)).toEqual(['1 (2).png', '1 (2).png.json', '1.png', '1.png.json'])
  })

  test.each([
    ['a file of that name', ['1.png']],
    ['a file that differs only in case', ['1.PNG']],
    ['a file where the sidecar would go', ['1.png.json']],
  ])('%s stays as it is, and the output gets the next name', async (_what, taken) => {
    const { artifacts, outDir, worker } = await startArtifacts()
    mkdirSync(outDir)
    for (const name of taken) writeFileSync(path.join(outDir, name), 'mine')
    const isCaseBlind = existsSync(path.join(outDir, taken[0]!.toLowerCase()))
    const [artifact] = await artifacts.keep(aMade({ outDir, worker, outputs: [worker.put(await aPng(), 'a.png')] }))
    if (isCaseBlind) expect(artifact!.name).toBe('1 (2).png')
    for (const name of taken) expect(readFileSync(path.join(outDir, name), 'utf8')).toBe('mine')
    expect(filesIn(outDir)).toEqual([...taken, artifact!.name, `${artifact!.name}.json`].sort())
  })
  test('names that a file system may take for one are told apart by number', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const keep = async (job: string, pattern: string) => {
      const outputs = [worker.put(await aPng(), `${job}.png`)]
      const [artifact] = await artifacts.keep(aMade({ outDir, worker, outputs, job, pattern }))
      return artifact!.name
    }
    const names = [
      await keep('j1', 'Fox'),
      await keep('j2', 'fox'),
      await keep('j3', 'FOX'),
      await keep('j4', 'fo\u0078'),
    ]
    expect(names).toEqual(['Fox.png', 'fox (2).png', 'FOX (3).png', 'fox (4).png'])
  })
  test('a file that takes the name while its owner is on the way there is left alone', async () => {
    let outDir = ''
    const point = (name: string) => {
      if (name === 'artifact-planned') writeFileSync(path.join(outDir, '1.png'), 'mine')
    }
    const kit = await startArtifacts({ point })
    outDir = kit.outDir
    const outputs = [kit.worker.put(await aPng(), 'a.png')]
    const [artifact] = await kit.artifacts.keep(aMade({ outDir, worker: kit.worker, outputs }))
    expect(artifact!.name).toBe('1 (2).png')
    expect(readFileSync(path.join(outDir, '1.png'), 'utf8')).toBe('mine')
    expect(kit.artifacts.locate({ ids: [artifact!.id, 'unknown'] })).toEqual([
      { id: artifact!.id, path: path.join(outDir, '1 (2).png') },
    ])
  })
  test('a file in the way of a folder stays, and the folder gets the next name', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    mkdirSync(outDir)
    writeFileSync(path.join(outDir, 'night'), 'mine')
    const outputs = [worker.put(await aPng(), 'a.png')]
    const [artifact] = await artifacts.keep(aMade({ outDir, worker, outputs, pattern: '{batch}/{row}' }))
    expect(artifact!.name).toBe('night (2)/1.png')
    expect(readFileSync(path.join(outDir, 'night'), 'utf8')).toBe('mine')
  })
  test.each(['../../x', '/etc/x', 'C:\\x', 'a/../../../x', '{name}'])(
    'pattern %s stays in the folder',
    async (pattern) => {
      const { artifacts, outDir, worker, dir } = await startArtifacts()
      const outputs = [worker.put(await aPng(), 'a.png')]
      await artifacts.keep(aMade({ outDir, worker, outputs, pattern, label: '../../../evil/CON' }))
      expect(filesIn(dir).filter((file) => !file.startsWith('cache/'))).toHaveLength(2)
      expect(filesIn(outDir)).toHaveLength(2)
    },
  )

  test('every kind of output is kept as what it is, whatever it is called', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const webp = await sharp({ create: { width: 5, height: 4, channels: 3, background: 'red' } })
      .webp()
      .toBuffer()
    const outputs = [
      worker.put(webp, 'a.png', { index: 0 }),
      worker.put(Buffer.from('\0\0\0\x18ftypisom0000', 'latin1'), 'b.mp4', { index: 1 }),
      worker.put(Buffer.from('fLaC\0\0', 'latin1'), 'c.flac', { index: 2 }),
      worker.put(Buffer.from('glTF\x02\0\0\0', 'latin1'), 'd.glb', { index: 3 }),
      worker.put(Buffer.from('1\n00:01 --> 00:02\nhi'), 'e.srt', { index: 4 }),
      worker.put(Buffer.from('\x01\x02\x03\x04'), 'f.latent', { index: 5 }),
      { is: 'text', node: '12', index: 0, text: '一只狐狸' } as const,
    ]
    const kept = await artifacts.keep(aMade({ outDir, worker, outputs, pattern: '{node}-{output}' }))
    expect(kept.map(({ name, mediaType, kind, width }) => [name, mediaType, kind, width])).toEqual([
      ['9-1.webp', 'image/webp', 'image', 5],
      ['9-2.mp4', 'video/mp4', 'video', null],
      ['9-3.flac', 'audio/flac', 'audio', null],
      ['9-4.glb', 'model/gltf-binary', '3d', null],
      ['9-5.srt', 'text/plain', 'text', null],
      ['9-6.latent', 'application/octet-stream', 'other', null],
      ['12-1.txt', 'text/plain', 'text', null],
    ])
    expect(readFileSync(path.join(outDir, '12-1.txt'), 'utf8')).toBe('一只狐狸')
  })
  test('a file named by two nodes is kept once; no output at all is a failure', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const saved = worker.put(await aPng(), 'a.png')
    const keep = (outputs: readonly Output[]) => artifacts.keep(aMade({ outDir, worker, outputs }))
    expect(await codeOf(keep([]))).toBe('prompt.no-files')
    expect((await keep([saved, { ...saved, node: '12' }])).map(({ node }) => node)).toEqual(['9'])
  })
})

describe('what arrives wrong', () => {
  test('a file cut short or empty is refused, and nothing of it stays', async () => {
    const { artifacts, outDir, worker, rows } = await startArtifacts()
    const noise = await sharp({
      create: {
        width: 64,
        height: 64,
        channels: 3,
        background: 'red',
        noise: { type: 'gaussian', mean: 120, sigma: 60 },
      },
    })
      .raw()
      .toBuffer()
    const picture = () => sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
    const [png, webp] = [await picture().png().toBuffer(), await picture().webp({ lossless: true }).toBuffer()]
    for (const [name, bytes] of [
      ['cut.png', png.subarray(0, png.length - 400)],
      ['head.png', png.subarray(0, 20)],
      ['cut.webp', webp.subarray(0, webp.length - 400)],
      ['head.jpg', Buffer.from([0xff, 0xd8, 0xff, 0xe0])],
      ['empty.mp4', Buffer.alloc(0)],
    ] as const) {
      const made = aMade({ outDir, worker, outputs: [worker.put(bytes, name)] })
      expect([name, await codeOf(artifacts.keep(made))]).toEqual([name, 'output.damaged'])
    }
    expect(rows()).toEqual([])
    expect(filesIn(outDir)).toEqual([])
  })
  test('a picture marked by another prompt is refused; by another attempt at the same prompt, it is right', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const keep = async (job: string, texts: Record<string, string>) => {
      const outputs = [worker.put(await aPng(texts), `${job}.png`)]
      return codeOf(artifacts.keep(aMade({ outDir, worker, outputs, job, promptId: job, pattern: job })))
    }
    const renamed = aPrompt()
    renamed['9']!.inputs.filename_prefix = 'other-attempt'
    expect(await keep('p1', markOf('p1'))).toBe('fine')
    expect(await keep('p2', {})).toBe('fine') // metadata is switched off there
    expect(await keep('p3', { nightshift: 'not json' })).toBe('fine')
    expect(await keep('p4', markOf('other'))).toBe('output.foreign')
    expect(await keep('p5', { ...markOf('other'), prompt: writeJson(aPrompt(8)) })).toBe('output.foreign')
    expect(await keep('p6', { ...markOf('other'), prompt: writeJson(renamed) })).toBe('fine')
  })
  test.each([
    ['ENOSPC', 'disk.full'],
    ['EROFS', 'disk.denied'],
    ['EACCES', 'disk.denied'],
  ])('%s on the way is told as %s, and asking again keeps it', async (code, told) => {
    const { artifacts, outDir, worker, rows } = await startArtifacts()
    const made = aMade({ outDir, worker, outputs: [worker.put(await aPng(), 'a.png')] })
    const failing = (step: 'mkdir' | 'link' | 'rename') =>
      vi.spyOn(fs, step).mockRejectedValue(Object.assign(new Error(step), { code }))

    const mkdir = failing('mkdir')
    expect(await codeOf(artifacts.keep(made))).toBe(told)
    expect(rows()).toEqual([])
    mkdir.mockRestore()

    const placing = [failing('link'), failing('rename')] // no links, and the name is reserved but not filled
    expect(await codeOf(artifacts.keep(made))).toBe(told)
    expect(rows()).toEqual([{ name: '1.png', state: 'planned' }])
    for (const step of placing) step.mockRestore()

    await artifacts.keep(made)
    expect(rows()).toEqual([{ name: '1.png', state: 'kept' }])
    expect(filesIn(outDir)).toEqual(['1.png', '1.png.json'])
  })
  test('a fault in mid-download leaves nothing behind', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const made = aMade({ outDir, worker, outputs: [worker.put(await aPng(), 'a.png')] })
    worker.fault = Object.assign(new Error('no space'), { code: 'ENOSPC' })
    expect(await codeOf(artifacts.keep(made))).toBe('disk.full')
    worker.fault = new AppError('worker.unreachable', { url: 'u', reason: 'gone' })
    expect(await codeOf(artifacts.keep(made))).toBe('worker.unreachable')
    expect(filesIn(outDir)).toEqual([])
    expect(await artifacts.keep(made)).toHaveLength(1)
  })
  test('aborting stops a download and leaves nothing', async () => {
    const { artifacts, outDir, worker, rows } = await startArtifacts()
    const aborter = new AbortController()
    const output = worker.put(await aPng({ prompt: 'x'.repeat(20_000) }), 'a.png')
    const fetch = worker.fetch.bind(worker)
    worker.fetch = async function* (file, signal) {
      for await (const chunk of fetch(file, signal)) {
        yield chunk
        aborter.abort()
      }
    }
    const keeping = artifacts.keep(aMade({ outDir, worker, outputs: [output], signal: aborter.signal }))
    await expect(keeping).rejects.toThrow(/abort/)
    expect(rows()).toEqual([])
    expect(filesIn(outDir)).toEqual([])
  })
})

const POINTS = ['downloaded', 'artifact-planned', 'artifact-placed', 'before-artifact-commit', 'after-artifact-commit']
describe.each(['links', 'no-links'])('killed on a disk with %s', (links) => {
  test.each(POINTS)('at %s, keeping again gives each output once and overwrites nothing', async (point) => {
    const dir = tempDir()
    const outDir = path.join(dir, 'out')
    const file = path.join(dir, 'nightshift.db')
    mkdirSync(path.join(outDir, 'night'), { recursive: true })
    writeFileSync(path.join(outDir, 'night', '1.png'), 'mine')
    const kill = () =>
      execa(
        process.execPath,
        [path.join(import.meta.dirname, '../../../kit/keep-and-die.ts'), file, outDir, point, 'p1', links],
        {
          reject: false,
        },
      )
    const { signal, stderr } = await kill()
    expect(stderr).not.toMatch(/Error/)
    expect(signal).toBe('SIGKILL')

    const database = testDatabase(file)
    const { artifacts } = buildArtifacts(database, path.join(dir, 'cache'))
    await artifacts.start()
    const worker = new FileWorker()
    const outputs = [
      worker.put(await aPng(markOf('p1'), { shade: 1 }), 'p1_00001_.png'),
      worker.put(await aPng(markOf('p1'), { shade: 2 }), 'p1_00002_.png', { index: 1 }),
    ]
    // what was planned is finished from the disk alone; the server may have forgotten it
    if (point !== 'downloaded') expect(artifacts.finished('j2048', 'p1')).toHaveLength(2)
    await artifacts.keep(aMade({ outDir, outputs, worker, promptId: 'p1', pattern: '{batch}/{row}' }))
    expect(worker.fetched).toBe(point === 'downloaded' ? 2 : 0)
    const names = ['night/1 (2).png', 'night/1 (3).png']
    expect(filesIn(outDir)).toEqual([...names.flatMap((name) => [name, `${name}.json`]), 'night/1.png'].sort())
    expect(database.prepare('SELECT name, state FROM artifacts ORDER BY seq').all()).toEqual(
      names.map((name) => ({ name, state: 'kept' })),
    )
    expect(readFileSync(path.join(outDir, 'night', '1.png'), 'utf8')).toBe('mine')
    expect(artifacts.page({ search: 'fox' }).total).toBe(2)
  })
})

describe('starting', () => {
  test('temporary files of ours go; another data folder’s, and the person’s, stay', async () => {
    const kit = await startArtifacts()
    const { artifacts, outDir, worker } = kit
    await artifacts.keep(aMade({ outDir, worker, outputs: [worker.put(await aPng(), 'a.png')] }))
    const mark = createHash('sha256').update(kit.database.name).digest('hex').slice(0, 8)
    const others = ['.nightshift-deadbeef-p2-0.part', 'mine.part']
    for (const name of [`.nightshift-${mark}-p2-0.part`, ...others]) writeFileSync(path.join(outDir, name), 'x')
    await artifacts.start()
    expect(filesIn(outDir)).toEqual([...others, '1.png', '1.png.json'].sort())
  })
  test('what was planned in a folder that is away waits for it; what lost its bytes is planned anew', async () => {
    const kit = await startArtifacts({
      point: (name) => {
        if (name === 'artifact-planned') throw new Error('as if killed')
      },
    })
    const { outDir, worker, database, rows } = kit
    const made = aMade({ outDir, worker, outputs: [worker.put(await aPng(), 'a.png')], promptId: 'p1' })
    await expect(kit.artifacts.keep(made)).rejects.toThrow('as if killed')
    const away = `${outDir}-away`
    await fs.rename(outDir, away)
    const again = () => buildArtifacts(database, path.join(kit.dir, 'cache')).artifacts
    await again().start()
    expect(rows()).toEqual([{ name: '1.png', state: 'planned' }])
    await fs.rename(away, outDir)
    for (const part of filesIn(outDir)) writeFileSync(path.join(outDir, part), 'damaged')
    await again().start()
    expect(rows()).toEqual([])
    expect(filesIn(outDir)).toEqual([])
    await again().keep(made)
    expect(rows()).toEqual([{ name: '1.png', state: 'kept' }])
  })
})

describe('without metadata', () => {
  test('the delivered picture has the same pixels and no texts; the sidecar keeps them', async () => {
    const { artifacts, outDir, worker, logged } = await startArtifacts()
    const png = await aPng({ ...markOf('p1'), prompt: writeJson(aPrompt()), workflow: '{}' })
    const mp4 = Buffer.from('\0\0\0\x18ftypisom0000', 'latin1')
    const outputs = [worker.put(png, 'a.png'), worker.put(mp4, 'b.mp4', { index: 1 })]
    const made = aMade({ outDir, worker, outputs, promptId: 'p1', plan: { stripMetadata: true } })
    const [artifact, film] = await artifacts.keep(made)
    const delivered = readFileSync(path.join(outDir, artifact!.name))
    expect(artifact!.sha256).toBe(sha256(delivered))
    expect(artifact!.sizeBytes).toBe(delivered.length)
    expect((await sharp(delivered).metadata()).comments).toBeUndefined()
    expect(delivered.includes('KSampler')).toBe(false)
    expect(await sharp(delivered).raw().toBuffer()).toEqual(await sharp(png).raw().toBuffer())
    expect(artifacts.get(artifact!.id).sidecar).toMatchObject({ stripped: true, prompt: aPrompt() })
    expect(artifacts.get(film!.id).sidecar.stripped).toBe(false)
    expect(logged).toEqual(['artifact.metadata-stays'])
  })
})

describe('finding', () => {
  async function gallery() {
    const kit = await startArtifacts()
    const { artifacts, outDir, worker } = kit
    const keep = async (wish: Partial<Parameters<typeof aMade>[0]>, bytes?: Uint8Array, name = 'a.png') => {
      const output = worker.put(bytes ?? (await aPng()), `${wish.job}-${name}`)
      const [artifact] = await artifacts.keep(
        aMade({ outDir, worker, outputs: [output], pattern: '{job}{row}-{name}', ...wish }),
      )
      return artifact!.id
    }
    const ids = {
      fox: await keep({ job: 'j1', row: 1, label: 'red_fox', overrides: { '3.text': 'A Foxglove, at dawn' } }),
      cat: await keep({ job: 'j2', row: 2, label: '猫', overrides: { '3.text': '窗边的黑猫，水彩' } }),
      text: await keep({ job: 'j3', row: 3, label: 'notes', overrides: {} }, Buffer.from('hello'), 'n.txt'),
      other: await keep({
        job: 'j4',
        row: 1,
        batchId: 'b2',
        label: '🦊 dawn',
        overrides: { '3.seed': 12345678901234567890n },
      }),
    }
    const found = (filter: Parameters<typeof artifacts.page>[0]) => {
      const { rows, total } = artifacts.page(filter)
      expect(total).toBe(rows.length)
      return rows.map(({ id }) => Object.entries(ids).find(([, each]) => each === id)![0])
    }
    return { ...kit, found, ids }
  }
  test('the newest first; by batch, job, row and kind', async () => {
    const { found, artifacts, ids } = await gallery()
    expect(found({})).toEqual(['other', 'text', 'cat', 'fox'])
    expect(found({ batchId: 'b1' })).toEqual(['text', 'cat', 'fox'])
    expect(found({ batchId: 'b1', row: 1 })).toEqual(['fox'])
    expect(found({ row: 1 })).toEqual(['other', 'fox'])
    expect(found({ jobId: 'j2' })).toEqual(['cat'])
    expect(found({ kind: 'text' })).toEqual(['text'])
    expect(artifacts.page({ offset: 1, limit: 2 })).toMatchObject({
      total: 4,
      rows: [{ id: ids.text }, { id: ids.cat }],
    })
    expect(artifacts.locate({ jobId: 'j2' }).map(({ id }) => id)).toEqual([ids.cat])
    expect(() => artifacts.get('nothing')).toThrow('was not found')
  })
  test('by words of names and values, in any language, begun or whole, all of them', async () => {
    const { found } = await gallery()
    expect(found({ search: 'red_fox' })).toEqual(['fox'])
    expect(found({ search: 'FOX' })).toEqual(['fox'])
    expect(found({ search: 'foxgl dawn' })).toEqual(['fox'])
    expect(found({ search: 'dawn' })).toEqual(['other', 'fox'])
    expect(found({ search: '黑猫' })).toEqual(['cat'])
    expect(found({ search: '水' })).toEqual(['cat'])
    expect(found({ search: '猫黑' })).toEqual([])
    expect(found({ search: '12345678901234567890' })).toEqual(['other'])
    expect(found({ search: '🦊' })).toEqual(['other'])
    expect(found({ search: '"fox* OR (NEAR' })).toEqual([])
    expect(found({ search: 'fox', batchId: 'b2' })).toEqual([])
  })
})

describe('serving', () => {
  test('a file is given whole, in ranges, or not at all when it is known', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const outputs = [{ is: 'text', node: '1', index: 0, text: '0123456789' } as const]
    const [artifact] = await artifacts.keep(aMade({ outDir, worker, outputs, pattern: "it's {name}", label: '猫' }))
    const get = async (asked?: { range?: string; ifNoneMatch?: string }) => {
      const { status, headers, stream } = await artifacts.serve(artifact!.id, asked)
      return { status, range: headers['content-range'], body: stream && (await buffer(stream)).toString(), headers }
    }
    const whole = await get()
    expect(whole).toMatchObject({ status: 200, body: '0123456789' })
    expect(whole.headers).toMatchObject({
      'content-length': '10',
      'content-type': 'text/plain; charset=utf-8',
      'content-disposition': "inline; filename*=UTF-8''it%27s%20%E7%8C%AB.txt",
      'x-content-type-options': 'nosniff',
    })
    expect(await get({ range: 'bytes=2-4' })).toMatchObject({ status: 206, range: 'bytes 2-4/10', body: '234' })
    expect(await get({ range: 'bytes=7-' })).toMatchObject({ status: 206, range: 'bytes 7-9/10', body: '789' })
    expect(await get({ range: 'bytes=-3' })).toMatchObject({ status: 206, range: 'bytes 7-9/10', body: '789' })
    expect(await get({ range: 'bytes=5-99' })).toMatchObject({ status: 206, range: 'bytes 5-9/10', body: '56789' })
    expect(await get({ range: 'bytes=10-' })).toMatchObject({ status: 416, range: 'bytes */10', body: null })
    expect(await get({ range: 'bytes=0-1,4-5' })).toMatchObject({ status: 200, body: '0123456789' })
    expect(await get({ ifNoneMatch: whole.headers.etag! })).toMatchObject({ status: 304, body: null })
    rmSync(path.join(outDir, artifact!.name))
    expect(await codeOf(artifacts.serve(artifact!.id))).toBe('artifact.gone')
  })
  test('a picture has a thumbnail, a text has none', async () => {
    const { artifacts, outDir, worker } = await startArtifacts()
    const outputs = [
      worker.put(await aPng({}, { width: 400, height: 200 }), 'a.png'),
      { is: 'text', node: '1', index: 0, text: 'hi' } as const,
    ]
    const [picture, text] = await artifacts.keep(aMade({ outDir, worker, outputs }))
    const small = await artifacts.thumbnail(picture!.id, 128)
    expect(await sharp(small!).metadata()).toMatchObject({ format: 'webp', width: 128, height: 64 })
    expect(await artifacts.thumbnail(text!.id, 128)).toBeNull()
  })
})

test('what made ten thousand pictures takes little room, however long their prompt is', async () => {
  const dir = tempDir()
  const database = testDatabase(path.join(dir, 'nightshift.db'))
  const { artifacts, outDir, worker } = await startArtifacts({ database })
  const long: Prompt = {
    ...aPrompt(),
    '50': { class_type: 'Note', inputs: { text: Array.from({ length: 2000 }, (_, at) => Math.sin(at)).join() } },
  }
  const output = { is: 'text', node: '9', index: 0, text: 'x' } as const
  for (let at = 0; at < 20; at++) {
    const prompt = structuredClone(long)
    prompt['3']!.inputs.seed = 2n ** 60n + BigInt(at)
    await artifacts.keep(aMade({ outDir, worker, outputs: [output], job: `j${at}`, prompt, row: at + 1 }))
  }
  const sizes = database.prepare('SELECT length(body) FROM artifact_records').pluck().all() as number[]
  expect(sizes).toHaveLength(20)
  expect(Math.max(...sizes.slice(1))).toBeLessThan(300)
  const reopened = buildArtifacts(database, path.join(dir, 'cache')).artifacts
  const { rows } = reopened.page({ jobId: 'j19' })
  expect(reopened.get(rows[0]!.id).sidecar.prompt['3']!.inputs.seed).toBe(2n ** 60n + 19n)
  expect(statSync(database.name).size).toBeGreaterThan(0)
})

describe('an output on this machine', () => {
  async function onThisMachine(filename = 'p1_00001_.png', plan = {}) {
    const kit = await startArtifacts()
    const bytes = await aPng(markOf('p1'))
    const file = path.join(kit.dir, filename)
    writeFileSync(file, bytes)
    const worker = Object.assign(kit.worker, { pathOf: () => file })
    const made = aMade({ outDir: kit.outDir, worker, outputs: [worker.put(bytes, filename)], promptId: 'p1', plan })
    return {
      ...kit,
      made,
      file,
      bytes,
      kept: () => path.join(kit.outDir, filesIn(kit.outDir).find((name) => name.endsWith('.png'))!),
    }
  }
  const isSame = (one: string, other: string) => statSync(one).ino === statSync(other).ino

  test('is linked, hashed and verified as any other, and not asked for', async () => {
    const { artifacts, made, file, bytes, kept, worker } = await onThisMachine()
    const [artifact] = await artifacts.keep(made)
    expect(isSame(kept(), file)).toBe(true)
    expect(artifact).toMatchObject({ sha256: sha256(bytes), sizeBytes: bytes.length, width: 8, height: 6 })
    expect(worker.fetched).toBe(0)
  })

  test.each([
    ['another may write over it', 'result.png', {}],
    ['its metadata are removed', 'p1_00001_.png', { stripMetadata: true }],
  ])('is copied where %s, and stays as it is', async (_, filename, plan) => {
    const { artifacts, made, file, bytes, kept } = await onThisMachine(filename, plan)
    await artifacts.keep(made)
    expect(isSame(kept(), file)).toBe(false)
    expect(readFileSync(file)).toEqual(Buffer.from(bytes))
  })

  test.each(['link', 'open'] as const)(
    'is copied, and stays as it is, where the system refuses to %s it',
    async (call) => {
      const { artifacts, made, file, bytes, kept } = await onThisMachine()
      vi.spyOn(fs, call).mockRejectedValueOnce(Object.assign(new Error(call), { code: 'EXDEV' }))
      await artifacts.keep(made)
      expect(isSame(kept(), file)).toBe(false)
      expect([readFileSync(file), readFileSync(kept())]).toEqual([Buffer.from(bytes), Buffer.from(bytes)])
    },
  )
})
