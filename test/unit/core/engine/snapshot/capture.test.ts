import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { compareManifests } from '../../../../../core/domain/snapshot/compare.ts'
import { capture, type EnvironmentHere } from '../../../../../core/engine/snapshot/capture.ts'
import { withChangedFiles } from '../../../../../core/engine/snapshot/changed-files.ts'
import { checkoutOf } from '../../../../../core/engine/snapshot/environment.ts'
import { seal } from '../../../../../core/engine/snapshot/manifest.ts'
import { restoreEnvironment } from '../../../../../core/engine/snapshot/restore-environment.ts'
import { secretsIn } from '../../../../../core/engine/snapshot/secrets.ts'
import { ObjectStore } from '../../../../../core/engine/snapshot/store.ts'
import { hasGit } from '../../../../kit/has-git.ts'
import { facts, put, python, smallComfy } from '../../../../kit/small-comfy.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const command = (dir: string) => ({ env: process.env, log: path.join(dir, 'commands.log') })

test.each([
  ['hf_' + 'aB3dE5gH7jK9mN1pQ3sT5vW7xY9zA1cD', 'Hugging Face token'],
  ['token = "ghp_' + 'aB3dE5gH7jK9mN1pQ3sT5vW7xY9zA1cD"', 'GitHub token'],
  ['OPENAI = sk-proj-' + 'aB3dE5gH7jK9mN1pQ3sT', 'API key'],
  ['AKIA' + 'ABCDEFGHIJ123456', 'AWS key'],
  ['https://someone:hunter2hunter@example.org/x.git', 'token in an address'],
  ['https://aB3dE5gH7jK9mN1pQ3sT@git.example.org/x.git', 'token in an address'],
  ['redis://cache:hunter2hunter@10.0.0.1:6379', 'token in an address'],
  ['{"api_key": "0f8b2c6d4e1a9b7c5d3f"}', 'secret by its name'],
  ['{"Some.Node.openaiApiKey": "0f8b2c6d4e1a9b7c5d3f"}', 'secret by its name'],
  ['{"civitaiKey": "0f8b2c6d4e1a9b7c5d3f0f8b2c6d4e1a"}', 'secret by its name'],
  ['CIVITAI_TOKEN = "0f8b2c6d4e1a9b7c5d3f"', 'secret by its name'],
  ['civitai_api_key: 0f8b2c6d4e1a9b7c5d3f', 'secret by its name'],
  ['aws_secret_access_key = aB3dE5gH7jK9mN1pQ3sT/vW7xY9z+1cD', 'secret by its name'],
  ['password = "Xk3jd93jdk39dk39dk"', 'secret by its name'],
  ['SLACK = "' + 'xoxb-123456789012-abcdefGHIJKL"', 'Slack token'],
  ['glpat-' + 'aB3dE5gH7jK9mN1pQ3sT', 'GitLab token'],
  ['Authorization: Bearer 0f8b2c6d4e1a9b7c5d3f0f8b', 'bearer token'],
  ['-----BEGIN OPENSSH PRIVATE KEY-----', 'private key'],
])('%s is found, and only its beginning is shown', (text, kind) => {
  const [found] = secretsIn(`first line\n${text}\n`)
  expect(found).toMatchObject({ kind, line: 2 })
  expect(found!.shown.length).toBeLessThan(9)
})

test.each([
  'api_key = "your-api-key-goes-here"',
  'password: "xxxxxxxxxxxxxxxxxxxx"',
  'sk-learn',
  'self.password = get_password()',
  'sep_token = "<|endoftext|>"',
  'state_key = "decoder.layers.2.layers.1.weight"',
  'token = tokenizer_of_the_first_model',
  'Authorization: Bearer {token_of_something_else}',
  'https://username:password@host.example/path',
  'git clone git@github.com:someone/thing.git',
])('%s is no secret', (text) => {
  expect(secretsIn(text)).toEqual([])
})

test.skipIf(!hasGit)(
  'what differs from a commit is told by its own name, Chinese too, and an address loses its token',
  async () => {
    const dir = tempDir()
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], { cwd: dir, stdio: 'pipe' })
    git('init', '-q')
    writeFileSync(path.join(dir, '节点.py'), 'a = 1\n')
    git('add', '-A')
    git('commit', '-qm', 'one')
    git('remote', 'add', 'origin', 'https://me:secret-token@example.org/pack.git')
    writeFileSync(path.join(dir, '节点.py'), 'a = 2\n')
    writeFileSync(path.join(dir, '说明 新.txt'), '')
    expect(await checkoutOf(dir, command(tempDir()))).toMatchObject({
      remote: 'https://example.org/pack.git',
      commit: expect.stringMatching(/^[0-9a-f]{40}$/),
      changed: ['节点.py'],
      untracked: ['说明 新.txt'],
    })
  },
)

function comfy(): EnvironmentHere {
  const here = smallComfy(tempDir())
  const { dir, nodesDir, base } = here
  put(path.join(dir, 'output', 'picture.png'), 'private')
  put(path.join(nodesDir, '风格', '.env'), 'TOKEN=private')
  put(path.join(nodesDir, '风格', 'weights.safetensors'), Buffer.alloc(11 << 20, 7))
  put(path.join(nodesDir, 'off.disabled', '__init__.py'), '')
  put(path.join(base, 'user', 'default', 'comfy.settings.json'), '{"Comfy.Locale": "zh"}')
  put(path.join(base, 'user', 'default', 'workflows', 'mine.json'), '{}')
  return here
}

test.skipIf(!python)(
  'an environment is taken without what is private, and runs elsewhere as it did here',
  { timeout: 60_000 },
  async () => {
    const here = comfy()
    const store = await ObjectStore.open(tempDir())
    const options = { threads: 2, command: command(tempDir()) }
    const { manifest, secrets, left } = await capture(store, here, facts, options)
    expect(secrets).toEqual([])
    expect(left).toEqual([{ path: 'nodes/风格/.env', what: 'files of this name hold secrets' }])
    expect(manifest).toMatchObject({
      comfyui: { version: '0.33.0' },
      packages: [{ name: 'tiny', version: '1.2', url: null }],
      nodes: [{ folder: '风格' }],
      models: [{ folder: 'custom_nodes', name: '风格/weights.safetensors', size: 11 << 20 }],
      nodeClasses: ['A', 'B'],
    })

    const full = tempDir()
    writeFileSync(path.join(full, 'mine'), '')
    const into = (dir: string) =>
      restoreEnvironment(store, seal(manifest, null), dir, { ...options, python: here.python })
    await expect(into(full)).rejects.toMatchObject({ code: 'snapshot.not-empty' })
    await expect(into(path.join(full, 'mine', 'below'))).rejects.toMatchObject({ code: 'disk.denied' })
    const to = path.join(tempDir(), 'restored')
    put(path.join(`${to}.part`, 'mine'), '')
    mkdirSync(to)
    const made = await into(to)
    expect(existsSync(path.join(`${to}.part`, 'mine'))).toBe(true)
    const said = execFileSync(made.python, ['-c', 'import tiny; print(tiny.answer)']).toString().trim()
    expect(said).toBe('42')
    const under = readdirSync(to, { recursive: true }).map(String)
    expect(under.filter((name) => /picture\.png|\.env$|weights|off\.disabled|mine\.json/.test(name))).toEqual([])
    expect(readFileSync(path.join(made.base, 'custom_nodes', '风格', '__init__.py'), 'utf8')).toContain('NODE_CLASS')
    expect(existsSync(path.join(made.base, 'user', 'default', 'comfy.settings.json'))).toBe(true)

    writeFileSync(path.join(here.nodesDir, '风格', '__init__.py'), 'NODE_CLASS_MAPPINGS = {"C": 1}\n')
    const later = await capture(store, here, { ...facts, nodeClasses: ['A'] }, options)
    const changes = compareManifests(manifest, later.manifest)
    expect(changes).toEqual([
      { what: 'file', is: 'changed', name: 'custom_nodes', before: expect.any(String), after: expect.any(String) },
      { what: 'class', is: 'removed', name: 'B', before: 'B', after: null },
    ])
    expect(withChangedFiles(changes, manifest, later.manifest, store)).toEqual([
      { what: 'class', is: 'removed', name: 'B', before: 'B', after: null },
      { what: 'file', is: 'changed', name: 'custom_nodes/风格/__init__.py', before: null, after: null },
    ])
  },
)

test.skipIf(!python)(
  'a snapshot of another system is refused before anything is written',
  { timeout: 60_000 },
  async () => {
    const here = comfy()
    const store = await ObjectStore.open(tempDir())
    const options = { threads: 1, command: command(tempDir()) }
    const { manifest } = await capture(store, here, facts, options)
    const foreign = seal({ ...manifest, platform: { ...manifest.platform, os: 'solaris' } }, null)
    const to = path.join(tempDir(), 'restored')
    await expect(restoreEnvironment(store, foreign, to, { ...options, python: here.python })).rejects.toMatchObject({
      code: 'snapshot.other-platform',
    })
    expect(existsSync(to)).toBe(false)
  },
)

test.skipIf(!python)('a key among the custom nodes is found before it travels', { timeout: 60_000 }, async () => {
  const here = comfy()
  writeFileSync(
    path.join(here.nodesDir, '风格', 'config.json'),
    `{"token": "hf_${'aB3dE5gH7jK9mN1pQ3sT5vW7xY9zA1cD'}"}`,
  )
  const store = await ObjectStore.open(tempDir())
  const { secrets } = await capture(store, here, facts, { threads: 1, command: command(tempDir()) })
  expect(secrets).toMatchObject([{ path: 'nodes/风格/config.json', kind: 'Hugging Face token', line: 1 }])
})
