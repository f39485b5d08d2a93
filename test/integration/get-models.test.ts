import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { writeJson } from '../../core/contract/json.ts'
import { openDatabase } from '../../main/services/database/open.ts'
import { hubFarm, sha256 } from '../kit/hub-farm.ts'
import { installedComfy } from '../kit/installed-comfy.ts'
import { tempDir } from '../kit/temp-dir.ts'

const bytes = 'abc'.repeat(1000)

test('what a workflow lacks is fetched by one command, whole and once; what nobody knows is said and makes it fail', async () => {
  const farm = await hubFarm({
    huggingface: { 'makers/dreams': { files: [{ path: 'vae/dream.safetensors', content: bytes }] } },
  })
  const dataDir = tempDir()
  // no other hub or list is asked: the test needs no network
  const kindOf = (hub: 'huggingface' | 'modelscope' | 'civitai') => {
    const official = farm.base(hub)
    return { official, standsIn: [new URL(official).host], checks: [] }
  }
  const kinds = { huggingface: kindOf('huggingface'), modelscope: kindOf('modelscope'), civitai: kindOf('civitai') }
  const lists = { 'model-list': { url: `${farm.base('civitai')}/list.json`, licence: 'none' } }
  writeFileSync(path.join(dataDir, 'mirrors.json'), writeJson({ kinds, lists }))
  const { home } = await installedComfy({ dataDir })
  const workflow = path.join(dataDir, 'night.json')
  const node = (id: number, name: string, url?: string) => ({
    id,
    type: 'VAELoader',
    widgets_values: [name],
    properties: url ? { models: [{ name, url, directory: 'vae' }] } : {},
  })
  const link = `${farm.base('huggingface')}/makers/dreams/resolve/main/vae/dream.safetensors`
  writeFileSync(workflow, writeJson({ nodes: [node(1, 'dream.safetensors', link)], links: [] }))
  const run = (...args: string[]) => runCli(dataDir, 'models', 'get', '--workflow', workflow, ...args)

  const planned = await run('--dry-run')
  expect(planned.code).toBe(0)
  expect(planned.events).toMatchObject([
    { event: 'file', name: 'dream.safetensors', folder: 'vae', state: { is: 'ready' } },
    { event: 'silent', from: 'manager' },
    { event: 'plan', files: 1, totalBytes: bytes.length },
    { event: 'done', ok: true },
  ])
  // a run that was killed before it fetched anything: the next one goes on with what it had begun
  const database = openDatabase(path.join(dataDir, 'nightshift.db'))
  const to = path.join(home, 'base', 'models', 'vae', 'dream.safetensors')
  database
    .prepare(`INSERT INTO downloads (name, kind, path, sources, about, priority, place, created_at, state)
      VALUES ('dream.safetensors', 'model', ?, ?, '{}', 0, 1, 1, 'running')`)
    .run(to, writeJson([{ hub: 'url', url: link }]))
  database.close()
  const got = await run()
  expect(got.code).toBe(0)
  expect(got.events.find(({ event }) => event === 'download')).toMatchObject({ state: 'done', sha256: sha256(bytes) })
  expect(readFileSync(path.join(home, 'base', 'models', 'vae', 'dream.safetensors'), 'utf8')).toBe(bytes)

  writeFileSync(
    workflow,
    writeJson({ nodes: [node(1, 'dream.safetensors', link), node(2, 'nobody-knows.safetensors')], links: [] }),
  )
  const again = await run()
  expect(again.code).toBe(1)
  expect(again.events.filter(({ event }) => event === 'file').map(({ state }) => state)).toEqual([
    { is: 'present' },
    { is: 'unknown' },
  ])
})

function runCli(dataDir: string, ...args: string[]) {
  return new Promise<{ code: number | null; events: Record<string, unknown>[] }>((done) => {
    const child = spawn(process.execPath, ['main/cli.ts', '--data', dataDir, '--json', ...args])
    let out = ''
    child.stdout.on('data', (part) => {
      out += part
    })
    child.on('close', (code) =>
      done({
        code,
        events: out
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Record<string, unknown>),
      }),
    )
  })
}
