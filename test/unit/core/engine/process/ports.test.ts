import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import {
  freePort,
  isFree,
  listenersOn,
  readLsof,
  readNetstat,
  readProcNet,
} from '../../../../../core/engine/process/ports.ts'

async function listening(host?: string) {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

test('a port is not free while something listens on it, be it on every address', async () => {
  const [here, everywhere] = [await listening('127.0.0.1'), await listening()]
  expect([await isFree(here), await isFree(everywhere)]).toEqual([false, false])
})

test('the first free port is one that is not left out and that nothing listens on', async () => {
  let here = 65_535
  while (here > 65_000) here = await listening('127.0.0.1') // that has some after it
  expect(await freePort(here, new Set([here + 1]))).toBeGreaterThan(here + 1)
})

test.runIf(process.platform === 'linux')('the system tells who listens', async () => {
  const port = await listening('127.0.0.1')
  expect(await listenersOn(port)).toEqual([process.pid])
})

test('who listens is read from the tables of each system', async () => {
  const linux = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1FFC 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1FFC 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 0000000000000000 100 0 0 10 0`
  expect(readProcNet(linux, 8188)).toEqual(['12345'])
  const german = `
  Proto  Lokale Adresse         Remoteadresse          Status           PID
  TCP    0.0.0.0:8188           0.0.0.0:0              ABHÖREN          4711
  TCP    [::]:8188              [::]:0                 ABHÖREN          4711
  TCP    127.0.0.1:8188         127.0.0.1:50111        HERGESTELLT      4711
  TCP    127.0.0.1:81880        0.0.0.0:0              ABHÖREN          99`
  expect(readNetstat(german, 8188)).toEqual([4711])
  expect(readLsof('p4711\nf12\np4712\n')).toEqual([4711, 4712])
  const asked: unknown[] = []
  await listenersOn(8188, 'darwin', async (...call) => String(asked.push(call)))
  await listenersOn(8188, 'win32', async (...call) => String(asked.push(call)))
  expect(asked).toEqual([
    ['lsof', ['-nP', '-iTCP:8188', '-sTCP:LISTEN', '-Fp']],
    ['netstat', ['-ano', '-p', 'TCP']],
  ])
  const fails = async () => Promise.reject(new Error('no such command'))
  expect(await listenersOn(8188, 'darwin', fails)).toBeNull()
})
