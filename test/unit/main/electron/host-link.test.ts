import { EventEmitter } from 'node:events'
import { expect, test, vi } from 'vitest'
import type { BridgeFrame } from '../../../../core/contract/desktop.ts'
import type { Failure } from '../../../../core/contract/errors.ts'
import type { SocketClient } from '../../../../main/api/client.ts'
import { HostLink, type HostProcess } from '../../../../main/electron/host-link.ts'
import { eventually } from '../../../kit/eventually.ts'

type Listener = Parameters<SocketClient['subscribe']>[1]

class FakeHost extends EventEmitter implements HostProcess {
  readonly stderr = null
  readonly posted: unknown[] = []
  kill = vi.fn(() => true)
  postMessage(message: unknown) {
    this.posted.push(message)
  }
}

function start() {
  const hosts: FakeHost[] = []
  const subscribed: { since: number | null; listener: Listener }[] = []
  const close = vi.fn()
  const client = (socket: string) =>
    ({
      send: async () => ({ ok: true, value: socket }),
      subscribe(since: number | null, listener: Listener) {
        subscribed.push({ since, listener })
        return () => {}
      },
      close,
    }) as unknown as SocketClient
  const link = new HostLink({
    fork() {
      hosts.push(new FakeHost())
      return hosts.at(-1) as FakeHost
    },
    connectTo: client,
    firstPauseMs: 1,
  })
  link.start()
  return { link, hosts, subscribed, close }
}
const ready = (host: FakeHost | undefined, socket: string, since: number) =>
  host?.emit('message', { ready: true, socket, since })

test('calls made while the first host starts wait for it', async () => {
  const { link, hosts } = start()
  const reply = link.send('app.info', {})
  ready(hosts[0], 'one', 10)
  expect(await reply).toEqual({ ok: true, value: 'one' })
})

test('a host that dies is started again, and subscriptions go on where they were', async () => {
  const { link, hosts, subscribed, close } = start()
  const page: BridgeFrame[] = []
  const births: BridgeFrame[] = []
  link.subscribe(null, (frame) => page.push(frame))
  link.subscribe('birth', (frame) => births.push(frame))
  ready(hosts[0], 'one', 10)
  subscribed[0]?.listener({ seq: 12, name: 'batch.changed', payload: {} })
  hosts[0]?.emit('exit', 137)
  expect(close).toHaveBeenCalledOnce()
  expect(await link.send('app.info', {})).toMatchObject({ ok: false, failure: { code: 'app.disconnected' } })
  await eventually(() => hosts[1])
  ready(hosts[1], 'two', 500)
  expect(await link.send('app.info', {})).toEqual({ ok: true, value: 'two' })
  expect(subscribed.map(({ since }) => since)).toEqual([10, 10, 12, 500])
  expect(page.map(({ seq, name, payload }) => [seq, name, payload])).toEqual([
    [10, 'connection', 'connected'],
    [12, 'batch.changed', {}],
    [12, 'connection', 'disconnected'],
    [12, 'connection', 'connected'],
  ])
})

test('what happens while the way of a new subscription opens is not missed, nor what happens while the host is away', async () => {
  const { link, hosts, subscribed } = start()
  link.subscribe('birth', () => {})
  ready(hosts[0], 'one', 10)
  subscribed[0]?.listener({ seq: 17, name: 'batch.changed', payload: {} })
  link.subscribe(null, () => {})
  hosts[0]?.emit('exit', 1)
  await eventually(() => hosts[1])
  ready(hosts[1], 'two', 500)
  expect(subscribed.map(({ since }) => since)).toEqual([10, 17, 500, 17])
})

test('a host that says why it cannot start is not tried again', async () => {
  const { link, hosts } = start()
  const failures: Failure[] = []
  link.events.on('failed', (failure) => failures.push(failure))
  const failed = { code: 'app.data-in-use', message: 'in use', remedy: 'quit it', facts: {} }
  hosts[0]?.emit('message', { failed })
  hosts[0]?.emit('exit', 1)
  expect(failures).toEqual([failed])
  expect(await link.send('app.info', {})).toMatchObject({ ok: false, failure: { code: 'app.disconnected' } })
  expect(hosts.length).toBe(1)
  link.start()
  ready(hosts[1], 'two', 1)
  expect(await link.send('app.info', {})).toEqual({ ok: true, value: 'two' })
})

test('a host that dies again and again is given up, with what it last said', async () => {
  const { link, hosts } = start()
  const failed = vi.fn()
  link.events.on('failed', failed)
  for (let death = 0; death < 7; death += 1) {
    await eventually(() => hosts[death])
    hosts[death]?.emit('exit', 139)
  }
  expect(failed).toHaveBeenCalledOnce()
  expect(failed.mock.calls[0]?.[0]).toMatchObject({ code: 'app.internal' })
})

test('stopping asks the host to end, waits for it, and starts no other', async () => {
  const { link, hosts } = start()
  ready(hosts[0], 'one', 1)
  let stopped = false
  const stopping = link.stop().then(() => {
    stopped = true
  })
  expect(hosts[0]?.posted).toEqual([{ stop: true }])
  expect(stopped).toBe(false)
  hosts[0]?.emit('exit', 0)
  await stopping
  expect(hosts.length).toBe(1)
  expect(hosts[0]?.kill).not.toHaveBeenCalled()
})
