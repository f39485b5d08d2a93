import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { InstallChoices } from '../../core/contract/engine.ts'
import { isJsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { writeLock } from '../../core/engine/install/lock.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import { readZip } from '../../core/engine/metadata/zip.ts'
import { openSecrets } from '../../main/services/secrets.ts'
import { comfyFolder } from '../kit/comfy-folder.ts'
import { eventually } from '../kit/eventually.ts'
import { installedComfy } from '../kit/installed-comfy.ts'
import { startApp } from '../kit/start-app.ts'
import { tempDir } from '../kit/temp-dir.ts'

/** Ten kinds of secrets, each with what must not be found of it. */
const PLANTED: [string, string][] = [
  ['Authorization: Bearer abcdef.0123456789', 'abcdef.0123456789'],
  ['Cookie: session=c00kie-crumbs; theme=dark', 'c00kie-crumbs'],
  ['HF_TOKEN=hf_plantedplantedplanted', 'hf_plantedplantedplanted'],
  ['{"api_key":"sk-planted-0123456789abcdef"}', 'sk-planted-0123456789abcdef'],
  ['--token s3cr3t-on-argv', 's3cr3t-on-argv'],
  ['http://proxyuser:proxy-pass-w0rd@proxy.example:3128/', 'proxy-pass-w0rd'],
  ['https://cdn.example/model?X-Amz-Signature=signed-planted&Expires=1', 'signed-planted'],
  ['mail to planted.person@mail.example.org', 'planted.person@mail.example.org'],
  [`${homedir()}/planted`, `${homedir()}/planted`],
  ['/home/plantedname/ComfyUI', 'plantedname'],
  ['the value kept-in-the-store-42 itself', 'kept-in-the-store-42'],
]
const ALL = PLANTED.map(([text]) => text).join('\n')

test('a bundle of diagnostics holds what is needed and none of ten secrets planted in every source', async () => {
  const planted = { from: ALL, to: ALL, reason: ALL }
  const finding = { level: 'note' as const, code: 'x', message: ALL, facts: { reason: ALL }, link: null }
  const { dataDir, name, home, current, generations } = await installedComfy({
    journal: {
      choices: InstallChoices.parse({
        cpu: true,
        source: ALL,
        index: ALL,
        findLinks: ALL,
        proxy: ALL,
        torch: ALL.slice(0, 190),
      }),
      switched: [planted],
      findings: [finding],
    },
  })
  await writeLock(current)
  openSecrets(dataDir).set('worker', 'kept-in-the-store-42')
  const logs = path.join(dataDir, 'logs')
  mkdirSync(logs, { recursive: true })
  for (const file of [
    `engine-${name}.log`,
    `engine-${name}.log.1`,
    `install-${name}-${generations[1]}.log`,
    'nightshift.log',
  ])
    writeFileSync(path.join(logs, file), `begins\n${ALL}\nends\n`)
  writeFileSync(path.join(current, 'trial.log'), ALL)
  const failure = { code: 'install.step-failed', message: ALL, remedy: ALL, facts: { reason: ALL } }
  const view = { name, purpose: 'update', is: 'failed', steps: [], findings: [finding], switched: [planted], failure }
  writeFileSync(
    path.join(home, 'installs.json'),
    writeJson([{ ...view, log: ALL, generation: generations[1], startedAt: 1 }]),
  )
  const { client } = await startApp({ dataDir })
  await eventually(async () => (await client.call('engine.list', {})).rows[0])
  await client.call('engine.set', { name, settings: { flags: ['--note', ALL], autoStart: false } })

  const bundle = await client.call('engine.diagnostics', { name })
  expect(bundle).toMatchObject({
    mediaType: 'application/zip',
    name: expect.stringMatching(/^nightshift-local-[\d-]+\.zip$/),
  })
  const entries = new Map(
    readZip('bundle.zip', bytesSource(Buffer.from(bundle.base64, 'base64'))).map((entry) => {
      const source = entry.open()
      return [entry.name, Buffer.from(source.read(0, source.sizeBytes)).toString('utf8')]
    }),
  )
  expect([...entries.keys()]).toEqual(
    expect.arrayContaining([
      'versions.json',
      'machine.json',
      'engine.json',
      'findings.json',
      'installs.json',
      'generations.json',
      `generations/${generations[1]}/journal.json`,
      `generations/${generations[1]}/packages.txt`,
      `generations/${generations[1]}/trial.log`,
      `logs/install-${name}-${generations[1]}.log`,
      `logs/engine-${name}.log`,
      'logs/nightshift.log',
    ]),
  )
  expect(entries.get(`generations/${generations[1]}/packages.txt`)).toBe('tinydep==1.5.0')
  expect(entries.get(`logs/engine-${name}.log`)).toContain('ends')
  const found = PLANTED.flatMap(([, secret]) =>
    [...entries].flatMap(([entry, text]) => (text.includes(secret) ? [`${entry}: ${secret}`] : [])),
  )
  expect(found).toEqual([])
})

test('credentials in addresses of an installation go to the secrets, not to what is written down, and it can be gone on with', async () => {
  const dataDir = tempDir()
  const { client } = await startApp({ dataDir })
  const python = path.join(dataDir, 'python') // it never says what it is: the installation waits there
  writeFileSync(python, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 })
  const choices = InstallChoices.parse({
    source: path.join(dataDir, 'nothing'),
    python,
    cpu: true,
    index: 'https://me:index-w0rd@index.example/simple',
    proxy: 'http://me:proxy-w0rd@127.0.0.1:9',
    mirrors: 'none',
  })
  const { generation } = await client.call('engine.install', { name: 'local', choices })
  const logged = async () => (await client.call('engine.installLog', { name: 'local', generation })).rows.length
  const ended = async () => {
    await eventually(async () => (await logged()) > 0)
    await client.call('engine.cancelInstall', { name: 'local' })
    return (await client.call('engine.installs', { name: 'local' })).rows[0]!
  }
  const view = await ended()
  expect(view).toMatchObject({ is: 'cancelled', purpose: 'install' })
  const files = readdirSync(dataDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const leaks = files.flatMap((entry) => {
    const file = path.join(entry.parentPath, entry.name)
    return /index-w0rd|proxy-w0rd/.test(readFileSync(file, 'latin1')) ? [file] : []
  })
  expect(leaks).toEqual([])
  const journal = readFileSync(path.join(dataDir, 'engines/local/generations', view.generation, 'journal.json'), 'utf8')
  expect(JSON.parse(journal)).toMatchObject({
    choices: { index: 'https://index.example/simple', proxy: 'http://127.0.0.1:9' },
  })
  const secrets = openSecrets(dataDir).values()
  expect(secrets).toEqual(expect.arrayContaining(['me:index-w0rd', 'me:proxy-w0rd']))

  const again = await client.call('engine.resumeInstall', { name: 'local' })
  expect(again.generation).toBe(view.generation)
  expect((await ended()).generation).toBe(view.generation)
})

test('the doctor: a damaged package, a folder that cannot be written to and what it does about each; an adopted ComfyUI too', async () => {
  const { dataDir, name, home, current } = await installedComfy()
  await writeLock(current)
  const { client } = await startApp({ dataDir })
  await eventually(async () => (await client.call('engine.list', {})).rows[0])
  const codes = async (of: string) =>
    (await client.call('engine.doctor', { name: of })).findings
      .filter(({ level }) => level === 'bad' || level === 'good')
      .map(({ code, mend }) => [code, mend])
  expect(await codes(name)).toEqual([['doctor.healthy', undefined]])

  writeFileSync(path.join(current, 'venv/lib/python3.12/site-packages/tinydep/__init__.py'), '')
  expect(await codes(name)).toEqual([['doctor.package-damaged', 'repair']])
  rmSync(path.join(current, 'venv'), { recursive: true })
  expect(await codes(name)).toEqual(
    expect.arrayContaining([
      ['doctor.program-missing', 'repair'],
      ['doctor.package-missing', 'repair'],
    ]),
  )
  // a file in the place of a folder cannot be written into, whoever asks
  rmSync(path.join(home, 'base', 'output'), { recursive: true })
  writeFileSync(path.join(home, 'base', 'output'), '')
  chmodSync(path.join(home, 'base', 'output'), 0o400)
  expect(await codes(name)).toContainEqual(['doctor.denied', 'permissions'])

  const { dir, python } = comfyFolder()
  writeFileSync(path.join(dir, 'requirements.txt'), 'torch\n')
  await client.call('engine.adopt', { dir, python, name: 'theirs', settings: { autoStart: false } })
  // Node is no Python: it tells nothing of packages
  expect(await codes('theirs')).toEqual([['doctor.torch-broken', undefined]])
  expect(readdirSync(dir).filter((file) => file.startsWith('.'))).toEqual([])
})

test('the doctor: when what runs cannot be read any more, mending goes back to the newest that can', async () => {
  const { dataDir, name, home, current } = await installedComfy()
  await writeLock(current)
  const { client } = await startApp({ dataDir })
  await eventually(async () => (await client.call('engine.list', {})).rows[0])
  const doctor = async (mend: boolean) => {
    const { findings } = await client.call('engine.doctor', { name, mend })
    return findings.filter(({ level }) => level === 'bad' || level === 'good').map(({ code, facts }) => [code, facts])
  }
  const generation = path.basename(current)
  writeFileSync(path.join(home, 'current'), 'half a poi')
  expect(await doctor(false)).toEqual([['doctor.lost', { dir: home, generation }]])
  expect(await doctor(true)).toMatchObject([['doctor.healthy', {}]])
  expect(JSON.parse(readFileSync(path.join(home, 'current'), 'utf8'))).toEqual({ current: generation, previous: null })
  const all = path.join(home, 'generations')
  for (const id of readdirSync(all)) writeFileSync(path.join(all, id, 'journal.json'), '{')
  expect(await doctor(true)).toEqual([['doctor.lost-all', { dir: home }]])
})

test('models of another ComfyUI are looked at, used where they lie, and let go of again', async () => {
  const { dataDir, name } = await installedComfy()
  const other = path.join(tempDir(), 'ComfyUI_windows_portable', 'ComfyUI')
  mkdirSync(path.join(other, 'models', 'checkpoints'), { recursive: true })
  mkdirSync(path.join(other, 'models', 'clip'), { recursive: true })
  mkdirSync(path.join(other, 'shared loras'), { recursive: true })
  writeFileSync(path.join(other, 'models', 'checkpoints', 'a.safetensors'), Buffer.alloc(1000))
  writeFileSync(path.join(other, 'models', 'clip', 't5.safetensors'), Buffer.alloc(500))
  writeFileSync(path.join(other, 'shared loras', 'l.safetensors'), Buffer.alloc(30))
  writeFileSync(
    path.join(other, 'extra_model_paths.yaml'),
    'a111:\n  base_path: .\n  loras: shared loras\n  custom_nodes: custom_nodes\n',
  )
  const { client } = await startApp({ dataDir })
  await eventually(async () => (await client.call('engine.list', {})).rows[0])
  expect(await client.call('engine.lookAtModels', { dir: other })).toEqual({
    dir: other,
    folders: [
      { folder: 'checkpoints', files: 1, sizeBytes: 1000 },
      { folder: 'text_encoders', files: 1, sizeBytes: 500 },
      { folder: 'loras', files: 1, sizeBytes: 30 },
    ],
  })
  await client.call('engine.set', { name, settings: { autoStart: false } })
  await client.call('engine.shareModels', { name, dir: other, use: true })
  await client.call('engine.start', { name })
  const list = readFileSync(path.join(dataDir, 'engines', name, 'run', 'models.yaml'), 'utf8')
  expect(list).toContain(`"checkpoints": ${JSON.stringify(path.join(other, 'models', 'checkpoints'))}`)
  expect(list).toContain(`"loras": ${JSON.stringify(path.join(other, 'shared loras'))}`)
  expect(list).not.toContain('custom_nodes')
  const after = await client.call('engine.shareModels', { name, dir: other, use: false })
  expect(after.settings.modelsOf).toEqual([])
  await expect(client.call('engine.lookAtModels', { dir: tempDir() })).rejects.toMatchObject({
    failure: { code: 'engine.no-models' },
  })
})

test('on the command line: models of another are used and let go of, and diagnostics are written to a file', async () => {
  const { dataDir, current } = await installedComfy()
  await writeLock(current)
  const other = comfyFolder()
  mkdirSync(path.join(other.dir, 'models', 'loras'), { recursive: true })
  writeFileSync(path.join(other.dir, 'models', 'loras', 'a.safetensors'), Buffer.alloc(10))
  const cli = path.resolve(import.meta.dirname, '../../main/cli.ts')
  const run = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      cli,
      '--data',
      dataDir,
      '--json',
      'engine',
      ...args,
    ])
    return stdout.split('\n').filter(Boolean).map(parseJson).filter(isJsonObject)
  }
  const shared = await run('share', other.dir)
  expect(shared).toContainEqual({ event: 'folder', folder: 'loras', files: 1, sizeBytes: 10 })
  expect(shared).toContainEqual({ event: 'shared', name: 'local', modelsOf: [other.dir] })
  expect(await run('share', other.dir, '--undo')).toContainEqual({ event: 'shared', name: 'local', modelsOf: [] })
  const file = path.join(dataDir, 'bundle.zip')
  expect(await run('doctor', '--bundle', file)).toContainEqual({ event: 'bundle', file })
  expect(readZip('bundle.zip', bytesSource(readFileSync(file))).map(({ name }) => name)).toContain('findings.json')
})

test('a version that git would take for an option is refused', async () => {
  const { dataDir, name } = await installedComfy()
  const { client } = await startApp({ dataDir })
  for (const ref of ['--upload-pack=touch /x', '-x', 'a b', 'v1:other'])
    await expect(client.call('engine.update', { name, ref })).rejects.toMatchObject({
      failure: { code: 'app.bad-request' },
    })
})
