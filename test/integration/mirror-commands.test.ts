import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { isJsonObject, type JsonObject, parseJson } from '../../core/contract/json.ts'
import { runCli } from '../../main/cli/main.ts'
import { givesFile, hostOf, hubWith } from '../kit/network-kit.ts'
import { tempDir } from '../kit/temp-dir.ts'

test('mirrors are listed, tested and chosen from the command line; a token comes from a file', async () => {
  const right = 'hf_the_right_token'
  const hub = await hubWith(
    (request, response) => {
      if (request.url !== '/whoami') return givesFile({ afterMs: 60 })(request, response)
      response.writeHead(request.headers.authorization === `Bearer ${right}` ? 200 : 401).end('{"name":"ann"}')
    },
    () => givesFile(),
    () => (_, response) => void response.end('something else'),
  )
  const [near, lies] = hub.mirrors.map(hostOf) as [string, string]
  const dir = tempDir()
  const data = path.join(dir, 'data')
  // in this process: each of its own would take longer than all of them together
  const run = async (...args: string[]) => {
    let text = ''
    const heard = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += String(chunk)
      return true
    })
    const code = await runCli(['--data', data, '--json', ...args], { LANG: 'en_US.UTF-8' }).finally(() =>
      heard.mockRestore(),
    )
    const lines = text.split('\n').filter((line) => line !== '')
    return { code, events: lines.map((line) => parseJson(line)).filter(isJsonObject), text }
  }
  const placesIn = (events: JsonObject[]) =>
    Object.fromEntries(
      events
        .filter(({ event, kind }) => event === 'place' && kind === 'huggingface')
        .map(({ id, measured }) => [String(id), isJsonObject(measured) ? (measured.fault ?? 'good') : null]),
    )
  // the first one makes the folder
  expect((await run('mirrors', 'list', 'git')).code).toBe(0)
  writeFileSync(path.join(data, 'mirrors.json'), JSON.stringify(hub.kind()))

  const tested = await run('mirrors', 'test', 'huggingface')
  expect(placesIn(tested.events)).toEqual({ [hostOf(hub.url)]: 'good', [near]: 'good', [lies]: 'wrong' })
  expect(tested.events.slice(-2)).toEqual([
    { event: 'chosen', kind: 'huggingface', id: expect.any(String) },
    { event: 'done', ok: true },
  ])
  const bad = await run('mirrors', 'test', 'huggingface', '--id', lies)
  expect(Object.keys(placesIn(bad.events))).toEqual([lies])

  const used = await run('mirrors', 'use', 'huggingface', near)
  expect(used.events[0]).toMatchObject({ event: 'kind', choice: near, used: [near, hostOf(hub.url)] })
  expect((await run('mirrors', 'use', 'huggingface', 'nobody.invalid')).events[0]).toMatchObject({
    code: 'mirror.unknown',
  })

  writeFileSync(path.join(dir, 'token.txt'), `${right}\n`)
  const kept = await run('mirrors', 'token', 'huggingface', '--token-file', path.join(dir, 'token.txt'))
  expect(kept.events[0]).toMatchObject({
    event: 'network',
    tokens: [{ host: 'huggingface', isSet: true, account: 'ann' }, {}, {}, {}],
  })
  expect(kept.text).not.toContain(right)
  expect(readFileSync(path.join(data, 'secrets')).includes(right)).toBe(false)
  expect((await run('mirrors', 'proxy', 'ftp://x.invalid')).events[0]).toMatchObject({ code: 'network.bad-proxy' })
})
