import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { anAgent, asking, aWorkflow, KEY, raw } from '../kit/agent-kit.ts'
import { eventually } from '../kit/eventually.ts'
import { tempDir } from '../kit/temp-dir.ts'

const couple = readFileSync(new URL('../fixtures/couple-photo/prompt.json', import.meta.url), 'utf8')
const background = { 'x-fc-invocation-type': 'Async' }

describe('a task', () => {
  test('couple-photo, posted as it is, is answered in the recorded shape, with the picture', async () => {
    const { ask } = await anAgent({ worker: 'rehearsal', stepMs: 0 })
    const reply = await ask('/api/run', { body: couple, headers: { 'task-id': 'couple-1' } })
    expect(reply.status).toBe(200)
    const map = reply.json()
    expect(Object.keys(map).toSorted()).toEqual(['', ...Object.keys(JSON.parse(couple))].toSorted())
    for (const entry of Object.values<Record<string, unknown>>(map)) {
      for (const field of ['max', 'value', 'start', 'last_updated']) expect(entry[field]).toSatisfy(Number.isInteger)
      expect(entry.images === null || Array.isArray(entry.images)).toBe(true)
    }
    expect(map[3]).toMatchObject({ max: 17, value: 17 })
    expect(map['']).toMatchObject({ max: 1, state: 'succeeded', task_id: 'couple-1' })
    expect(map[9].images).toEqual([{ filename: 'ComfyUI_00001_.png', subfolder: '', type: 'output' }])
    const meta = await sharp(Buffer.from(map[9].results[0], 'base64')).metadata()
    expect([meta.width, meta.height]).toEqual([1024, 784])
    const stored = (await ask('/api/status?id=couple-1')).json()
    expect(stored[9]).toEqual({ ...map[9], results: undefined })
  })

  test('sent in the background it is answered at once, then told under its id, with its files', async () => {
    const { agent, ask, comfyui } = await anAgent({}, ['hold'])
    const id = randomUUID()
    const reply = await ask('/api/run', { body: aWorkflow(1), headers: { ...background, 'task-id': id } })
    expect([reply.status, reply.json()]).toEqual([202, { taskId: id }])
    expect(reply.headers.get('location')).toBe(`/api/status?id=${id}`)
    expect(reply.headers.get('x-fc-request-id')).toMatch(/^[\w-]{36}$/)
    await comfyui.held()
    await eventually(async () => (await ask(`/api/status?id=${id}`)).json()[''].state === 'running')
    comfyui.release()
    const map = await eventually(async () => {
      const seen = (await ask(`/api/status?id=${id}`)).json()
      return seen[''].state === 'succeeded' && seen
    })
    expect(map['']).toMatchObject({ prompt_id: id }) // a UUID is what ComfyUI knows it by
    const file = await fetch(agent.url + map[9].urls[0], { headers: { 'x-api-key': KEY } })
    expect(file.headers.get('content-type')).toBe('image/png')
    expect(
      Buffer.from(await file.arrayBuffer())
        .subarray(1, 4)
        .toString(),
    ).toBe('PNG')
    const whole = (await ask(`/api/result?id=${id}`)).json()
    expect(whole[9].results).toHaveLength(1)
  })

  test('sent many times under one id it runs once; another workflow under it is refused', async () => {
    const { ask, comfyui } = await anAgent()
    const send = (seed: number) => ask('/api/run', { body: aWorkflow(seed), headers: { 'task-id': 'same' } })
    const replies = await Promise.all([send(1), send(1), send(1)])
    expect((await send(1)).status).toBe(200)
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(new Set(replies.map(({ json }) => json()[9].images[0].filename)).size).toBe(1)
    expect(comfyui.submissions).toBe(1)
    expect([(await send(2)).status, (await send(2)).json().code]).toEqual([409, 'agent.task-differs'])
  })

  test('without an id it is given one, which the answer names; any seed it asked for is told', async () => {
    const { ask } = await anAgent()
    const reply = await ask('/api/run', { body: aWorkflow(-1) })
    const map = reply.json()
    expect(reply.headers.get('task-id')).toBe(map[''].task_id)
    expect(JSON.parse(reply.headers.get('x-comfy-seeds')!)).toEqual(map[''].seeds)
    expect(map[''].seeds[3]).toBeGreaterThanOrEqual(0)
  })

  test('base64 without padding only where the caller wants it', async () => {
    const { ask } = await anAgent()
    const body = aWorkflow(5)
    const padded = (await ask('/api/run', { body, headers: { 'task-id': 'x' } })).json()[9].results[0]
    const bare = (await ask('/api/run?legacyBase64=1', { body, headers: { 'task-id': 'x' } })).json()[9].results[0]
    expect(padded.length % 4).toBe(0)
    expect(bare).toBe(padded.replace(/=+$/, ''))
  })

  test('a picture sent along is loaded', async () => {
    const { ask } = await anAgent()
    const picture = await sharp({ create: { width: 48, height: 32, channels: 3, background: '#c33' } })
      .png()
      .toBuffer()
    const body = {
      1: { class_type: 'LoadImage', inputs: { image: `data:image/png;base64,${picture.toString('base64')}` } },
      2: { class_type: 'SaveImage', inputs: { filename_prefix: '图 片', images: ['1', 0] } },
    }
    const map = (await ask('/api/run', { body })).json()
    const meta = await sharp(Buffer.from(map[2].results[0], 'base64')).metadata()
    expect([meta.width, meta.height]).toEqual([48, 32])
    expect(map[2].images[0].filename).toBe('图 片_00001_.png')
  })
})

describe('what the original stumbled over', () => {
  test('a prompt that is over before ComfyUI answers, all of it cached, is answered', async () => {
    const { ask } = await anAgent({}, ['finish-before-reply', 'finish-before-reply'])
    expect((await ask('/api/run', { body: aWorkflow(1) })).status).toBe(200)
    const again = (await ask('/api/run', { body: aWorkflow(1) })).json()
    expect(again[3]).toMatchObject({ max: 1, value: 1, cached: true })
    expect(again[9].results).toHaveLength(1)
  })

  test('one that has to wait for another is answered with its own pictures', async () => {
    const { ask, comfyui } = await anAgent({}, ['hold'])
    const first = ask('/api/run', { body: aWorkflow(1, { prefix: 'first' }) })
    await comfyui.held()
    const second = ask('/api/run', { body: aWorkflow(2, { prefix: 'second' }) })
    await eventually(() => comfyui.submissions === 2)
    comfyui.release()
    expect((await first).json()[9].images[0].filename).toMatch(/^first_/)
    expect((await second).json()[9].images[0].filename).toMatch(/^second_/)
  })

  test.each(['deaf-socket', 'drop-socket'] as const)('where the socket fails (%s) the history tells', async (fault) => {
    const { ask } = await anAgent({}, [fault])
    const map = (await ask('/api/run', { body: aWorkflow(1) })).json()
    expect(map['']).toMatchObject({ state: 'succeeded' })
    expect(map[9].results).toHaveLength(1)
  })

  test('a node that fails is no success: told with its node; with the old statuses where they are wanted', async () => {
    const { ask } = await anAgent({}, ['error', 'error'])
    const reply = await ask('/api/run', { body: aWorkflow(1), headers: { 'task-id': 'bad' } })
    expect(reply.status).toBe(500)
    expect(reply.json()).toMatchObject({ message: 'CallComfyUIPromptError', code: 'prompt.failed' })
    const map = (await ask('/api/status?id=bad')).json()
    expect(map['']).toMatchObject({ state: 'failed', error: { type: 'prompt.failed' } })
    expect(Object.values<{ error?: object }>(map).filter(({ error }) => error)).toHaveLength(2)
    const old = await ask('/api/run?legacyStatus=1', { body: aWorkflow(2) })
    expect([old.status, old.json()[9].images]).toEqual([200, null])
  })

  test('a refusal is ComfyUI’s own, whole', async () => {
    const { ask } = await anAgent()
    const body = { ...aWorkflow(1), 8: { class_type: 'VAEDecode', inputs: { samples: ['3', 0] } } }
    const reply = await ask('/api/run', { body })
    expect(reply.status).toBe(422)
    expect(reply.json()).toMatchObject({
      message: 'CallComfyUIPromptError',
      error: { error: { type: 'prompt_outputs_failed_validation' }, node_errors: { 8: { class_type: 'VAEDecode' } } },
    })
  })

  test('cancelled while it runs, and while it waits', async () => {
    const { ask, comfyui } = await anAgent({ inFlight: 1 }, ['hold'])
    const send = (id: string) => ask('/api/run', { body: aWorkflow(1, { prefix: id }), headers: { 'task-id': id } })
    const runs = send('runs')
    await comfyui.held()
    const waits = send('waits')
    await eventually(async () => (await ask('/api/status?id=waits')).status === 200)
    expect((await ask('/api/cancel?id=waits', { method: 'POST' })).json()).toEqual({
      taskId: 'waits',
      state: 'cancelled',
    })
    expect((await ask('/api/cancel?id=runs', { method: 'POST' })).json()).toEqual({
      taskId: 'runs',
      state: 'cancelled',
    })
    expect([(await runs).status, (await waits).status]).toEqual([499, 499])
    expect(comfyui.submissions).toBe(1)
    expect((await ask('/api/cancel?id=nobody', { method: 'POST' })).status).toBe(404)
  })

  test('a caller who leaves in the middle of what it sends is no fault of the agent', async () => {
    const { agent, ask, logged } = await anAgent()
    const { hostname, port, host } = new URL(agent.url)
    const socket = connect(Number(port), hostname)
    socket.write(`POST /api/run HTTP/1.1\r\nHost: ${host}\r\nX-API-Key: ${KEY}\r\nContent-Length: 99\r\n\r\n{"3"`)
    await once(socket, 'connect')
    await ask('/api/tasks') // what was written before is read by then
    socket.destroy()
    await ask('/api/run', { body: aWorkflow(1) })
    expect(logged.map(({ event }) => event)).not.toContain('door.failed')
  })

  test('a caller who leaves does not end the task', async () => {
    const { ask, comfyui } = await anAgent({}, ['hold'])
    const left = new AbortController()
    const call = ask('/api/run', { body: aWorkflow(1), headers: { 'task-id': 'left' }, signal: left.signal })
    await comfyui.held()
    left.abort()
    await expect(call).rejects.toThrow()
    comfyui.release()
    await eventually(async () => (await ask('/api/status?id=left')).json()[''].state === 'succeeded')
  })

  test('ComfyUI gone is said so, and nothing of where it was', async () => {
    const { ask, comfyui } = await anAgent()
    const where = new RegExp(`\\b${new URL(comfyui.url).port}\\b`) // its digits may be in a time or an id
    comfyui.die()
    const reply = await ask('/queue')
    expect(reply.status).toBe(502)
    expect(reply.text).not.toMatch(where)
    expect((await ask('/readyz')).status).toBe(503)
    expect((await ask('/ping')).status).toBe(204)
    expect((await ask('/healthz')).status).toBe(200)
    const run = await ask('/api/run', { body: aWorkflow(1), headers: { 'task-id': 't' } })
    expect(run).toMatchObject({ status: 502 })
    expect(run.json().error).toMatchObject({ type: 'worker.unreachable', message: 'ComfyUI does not answer.' })
    for (const way of ['/api/status?id=t', '/api/result?id=t', '/api/tasks'])
      expect(`${run.text} ${(await ask(way)).text}`, way).not.toMatch(where)
  })
})

describe('the socket', () => {
  /** Sends one message; gives all that came, and how it closed. */
  async function converse(url: string, message: string, headers: Record<string, string> = { 'x-api-key': KEY }) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/run/ws`, { headers })
    const frames: { type: string; data: never }[] = []
    socket.on('message', (data) => frames.push(JSON.parse(String(data))))
    const closed = new Promise<[code: number]>((resolve) => socket.on('close', (code) => resolve([code])))
    await once(socket, 'open')
    socket.send(message)
    const [code] = await closed
    return { frames, code }
  }

  test('tells progress, then the result, closes in order; the task is kept', async () => {
    const { agent, ask } = await anAgent()
    const headers = { authorization: `Bearer ${KEY}`, 'task-id': 'by-socket' }
    const { frames, code } = await converse(agent.url, JSON.stringify(aWorkflow(3, { steps: 4 })), headers)
    expect(code).toBe(1000)
    expect(frames[0]!.type).toBe('progress')
    const last = frames.at(-1) as unknown as { type: string; data: Record<string, { results: string[] }> }
    expect(last.type).toBe('result')
    expect(last.data[9]!.results).toHaveLength(1)
    expect((await ask('/api/status?id=by-socket')).json()[''].state).toBe('succeeded')
  })

  test.each(['', '{', '[]', '{"1":{}}', 'null'])('the message %j is refused in words', async (message) => {
    const { agent } = await anAgent()
    const { frames, code } = await converse(agent.url, message)
    expect([frames.map(({ type }) => type), code]).toEqual([['error'], 1000])
  })

  test('without a key it does not open', async () => {
    const { agent } = await anAgent()
    await expect(converse(agent.url, '{}', {})).rejects.toThrow('401')
  })
})

describe('who may come', () => {
  test('no key, a wrong key, a foreign name or page: refused, and nothing of the key is logged', async () => {
    const { ask, logged } = await anAgent({ origins: ['https://page.example'] })
    expect((await ask('/api/status?id=x', { key: '' })).status).toBe(401)
    expect((await ask('/api/status?id=x', { key: 'sk_wrong-secret' })).status).toBe(401)
    const origin = (value: string) => ask('/api/status?id=x', { headers: { origin: value } })
    expect((await origin('https://evil.example')).status).toBe(403)
    expect((await origin('null')).status).toBe(403)
    const page = await origin('https://page.example')
    expect([page.status, page.headers.get('access-control-allow-origin')]).toEqual([404, 'https://page.example'])
    expect((await ask('/healthz', { key: '' })).status).toBe(200)
    expect(JSON.stringify(logged)).not.toContain('wrong-secret')
  })

  test('a name that is not its own is refused, one it was given is not', async () => {
    const { agent } = await anAgent({ names: ['gpu.example'] })
    expect(await raw(agent.url, `GET /queue HTTP/1.1\r\nHost: evil.test\r\nX-API-Key: ${KEY}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 403/,
    )
    expect(await raw(agent.url, `GET /queue HTTP/1.1\r\nHost: gpu.example\r\nX-API-Key: ${KEY}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 200/,
    )
  })

  test.each([
    ['GET', '/api/userdata'],
    ['POST', '/free'],
    ['GET', '/internal/logs'],
    ['GET', '/customnode/getlist'],
    ['POST', '/api/queue', { clear: true }],
    ['POST', '/interrupt', {}],
    ['GET', '/history/..%2f..%2finternal'],
    ['GET', '/'],
  ])('%s %s is not passed on to ComfyUI', async (method, way, body?: object) => {
    const { ask } = await anAgent()
    expect((await ask(way, { method, body })).status).toBe(403)
  })

  test('what callers need of ComfyUI is passed on', async () => {
    const { ask } = await anAgent()
    const id = randomUUID()
    await ask('/api/run', { body: aWorkflow(1), headers: { 'task-id': id } })
    expect((await ask(`/api/history/${id}`)).json()[id].outputs[9].images).toHaveLength(1)
    expect((await ask('/view?filename=p_00001_.png&type=output&subfolder=')).headers.get('content-type')).toBe(
      'image/png',
    )
    expect((await ask('/system_stats')).json().system.argv).toBeUndefined()
    expect((await ask('/object_info/KSampler')).json().KSampler.name).toBe('KSampler')
  })

  test('a body above the limit is refused, said or unsaid', async () => {
    const { agent } = await anAgent({ limitBytes: 1_000 })
    const head = `POST /api/run HTTP/1.1\r\nHost: ${new URL(agent.url).host}\r\nX-API-Key: ${KEY}\r\n`
    expect(await raw(agent.url, `${head}Content-Length: 900000000\r\n\r\n{`)).toMatch(/^HTTP\/1.1 413/)
    const unsaid = `${head}Transfer-Encoding: chunked\r\n\r\n7d0\r\n${'x'.repeat(2_000)}\r\n`
    expect(await raw(agent.url, unsaid)).toMatch(/^HTTP\/1.1 413/)
  })
})

test('of 1000 malformed requests none is the agent’s own fault, and it still works', async () => {
  const { agent, ask, comfyui } = await anAgent()
  const node = fc.record(
    { class_type: fc.option(fc.oneof(fc.string(), fc.integer())), inputs: fc.jsonValue() },
    { requiredKeys: [] },
  )
  const body = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    fc.dictionary(fc.string(), node).map((value) => JSON.stringify(value)),
    fc.nat(40).map((cut) => JSON.stringify(aWorkflow(1)).slice(0, -1 - cut)),
    fc.constant(`${'['.repeat(100_000)}${']'.repeat(100_000)}`),
    fc.constant('{"__proto__":{"class_type":"X","inputs":{}},"constructor":1}'),
  )
  const way = fc.oneof(
    fc.constantFrom(
      '/api/run',
      '/api/run?legacyBase64=1',
      '/api/status?id=../../etc/passwd',
      '/api/status',
      '/api/result?id=%00',
    ),
    fc.constantFrom(
      '/prompt',
      '/queue',
      '/interrupt',
      '/upload/image',
      '/view?filename=../../x',
      '/api/cancel?id=',
      '//',
      '/%',
    ),
    fc.webPath().map((given) => `/${given.replace(/^\/+/, '')}`),
  )
  const method = fc.constantFrom('POST', 'POST', 'POST', 'GET', 'PUT', 'DELETE', 'OPTIONS')
  const headers = fc.constantFrom<Record<string, string>>(
    {},
    { 'task-id': '../../x' },
    { 'task-id': '' },
    { 'x-fc-invocation-type': 'Async' },
    { 'content-type': 'multipart/form-data; boundary=x' },
    { range: 'bytes=9-1' },
  )
  const statuses = new Map<number, number>()
  const cases = fc.sample(fc.tuple(way, method, body, headers), { numRuns: 1_000, seed: 5 })
  const send = async ([path, verb, text, more]: (typeof cases)[number]) => {
    const payload = verb === 'GET' || verb === 'OPTIONS' ? undefined : text
    const reply = await ask(path, { method: verb, body: payload, headers: more })
    statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1)
    expect(reply.status, `${verb} ${path} ${text.slice(0, 100)}: ${reply.text.slice(0, 300)}`).not.toBe(500)
  }
  for (let at = 0; at < cases.length; at += 20) await Promise.all(cases.slice(at, at + 20).map(send))
  for (const bytes of ['GARBAGE\r\n\r\n', 'POST /api/run HTTP/1.1\r\nContent-Length: x\r\n\r\n', '\0\0\0'])
    expect(await raw(agent.url, bytes)).toMatch(/^HTTP\/1.1 4/)
  expect(statuses.get(400)).toBeGreaterThan(100)
  expect(comfyui.alive).toBe(true)
  expect((await ask('/api/run', { body: aWorkflow(1) })).status).toBe(200)
  const odd = JSON.stringify(aWorkflow(2)).replace('"VAEDecode"', '"__proto__"') // a class nobody knows, like any
  expect((await ask('/api/run', { body: odd })).status).toBe(200)
})

test('50 callers at once, some of whom leave or read slowly: every task is answered, each with its own picture', async () => {
  const { agent, ask, comfyui } = await anAgent()
  const send = async (at: number) => {
    const reply = await ask('/api/run', {
      body: aWorkflow(at, { prefix: `n${at}` }),
      headers: { 'task-id': `load-${at}` },
    })
    return reply.json()[9].images[0].filename as string
  }
  for (let at = 50; at < 60; at++) {
    const text = JSON.stringify(aWorkflow(at))
    const { hostname, port, host } = new URL(agent.url)
    const slow = connect(Number(port), hostname)
    slow.on('error', () => {})
    slow.write(
      `POST /api/run HTTP/1.1\r\nHost: ${host}\r\nX-API-Key: ${KEY}\r\nTask-Id: load-${at}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    )
    slow.pause()
    if (at % 2) slow.end()
    onTestFinished(() => void slow.destroy())
  }
  const names = await Promise.all(Array.from({ length: 50 }, (_, at) => send(at)))
  expect(names).toEqual(names.map((_, at) => `n${at}_00001_.png`))
  const states = await eventually(async () => {
    const all = await Promise.all(Array.from({ length: 60 }, (_, at) => ask(`/api/status?id=load-${at}`)))
    const seen = all.map(({ json }) => json()['']?.state)
    return seen.every((state) => state === 'succeeded') && seen
  })
  expect(states).toHaveLength(60)
  expect(comfyui.submissions).toBe(60)
})

describe('two agents on one store', () => {
  test('either answers for the other’s task, and ends it', async () => {
    const store = path.join(tempDir(), 'tasks')
    const { agent, comfyui, start } = await anAgent({ store, leaseMs: 1_500 }, ['hold'])
    const other = await start()
    onTestFinished(() => other.stop(0))
    const [here, there] = [asking(agent), asking(other)]
    await here('/api/run', { body: aWorkflow(1), headers: { ...background, 'task-id': 'shared' } })
    await comfyui.held()
    await eventually(async () => (await there('/api/status?id=shared')).json()['']?.state === 'running')
    await there('/api/cancel?id=shared', { method: 'POST' })
    await eventually(async () => (await there('/api/status?id=shared')).json()[''].state === 'cancelled')
  })

  test('what one left when it stopped, the other does; each task once', async () => {
    const store = path.join(tempDir(), 'tasks')
    const { agent, comfyui, start } = await anAgent({ store, leaseMs: 1_000, inFlight: 1 }, ['hold'])
    const here = asking(agent)
    for (const id of ['a', 'b', 'c'])
      await here('/api/run', { body: aWorkflow(1, { prefix: id }), headers: { ...background, 'task-id': id } })
    await comfyui.held()
    const stopped = agent.stop(0)
    const other = await start()
    onTestFinished(() => other.stop(0))
    await stopped
    comfyui.release()
    const there = asking(other)
    for (const id of ['a', 'b', 'c']) {
      const map = await eventually(async () => {
        const seen = (await there(`/api/status?id=${id}`)).json()
        return seen[''].state === 'succeeded' && seen
      })
      expect(map[9].images[0].filename).toBe(`${id}_00001_.png`)
    }
    expect(comfyui.submissions).toBe(3)
  })
})

describe('as a program', () => {
  const entry = path.resolve(import.meta.dirname, '../../main/cli.ts')

  test('it says where it listens, keeps a key nobody else may read, ends what runs when it is told to stop', async () => {
    const comfyui = new RehearsalServer({ dir: tempDir(), stepMs: 0, assumeModels: true })
    await comfyui.start()
    onTestFinished(() => comfyui.stop())
    comfyui.onNext('hold')
    const given = ['--port', '0', '--store', tempDir(), '--worker', comfyui.url]
    const child = spawn(process.execPath, [entry, '--json', 'agent', ...given], { stdio: ['ignore', 'pipe', 'ignore'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    let said = ''
    child.stdout.on('data', (chunk) => {
      said += chunk
    })
    const closed = once(child, 'close')
    const { url, keyFile } = JSON.parse(
      (await eventually(() => said.split('\n')[1] !== undefined && said.split('\n')))[0]!,
    )
    const key = readFileSync(keyFile, 'utf8').trim()
    const reply = fetch(`${url}/api/run`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'task-id': 'last' },
      body: JSON.stringify(aWorkflow(1)),
    })
    await comfyui.held()
    child.kill('SIGTERM')
    await eventually(async () => (await fetch(`${url}/readyz`).catch(() => null))?.status !== 200)
    comfyui.release()
    expect((await reply).status).toBe(200)
    await closed
    expect([child.exitCode, said.trim().split('\n').at(-1)]).toEqual([0, '{"event":"done","ok":true}'])
  })

  test.each([
    [['--port', 'x'], 2],
    [['--worker', 'ftp://x'], 2],
    [['--api-key-file', '/nowhere/key'], 2],
  ])('%j is refused with %i', async (args, exit) => {
    const child = spawn(process.execPath, [entry, '--json', 'agent', '--port', '0', '--store', tempDir(), ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const out = (await child.stdout.toArray()).join('')
    if (child.exitCode === null) await once(child, 'exit')
    expect(JSON.parse(out.trim().split('\n').at(-1)!)).toMatchObject({ event: 'error' })
    expect(child.exitCode).toBe(exit)
  })
})
