import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { accessToken, dataDirOf, ownerOf, takeDataFolder } from '../../../../main/services/data-folder.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const lockOf = (dir: string) => path.join(dir, 'nightshift.lock')
const writeLock = (dir: string, owner: object) => writeFileSync(lockOf(dir), JSON.stringify(owner))
const now = () => Date.now() - process.uptime() * 1000

/** Another process that lives until the test ends, and when it began. */
async function neighbour() {
  const before = Date.now()
  const child = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)'])
  const startedAt = (before + Date.now()) / 2
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return { pid: child.pid!, startedAt, child }
}

test('a folder that is not there yet is made, private, and its lock says who has it and where to speak', async () => {
  const dir = path.join(tempDir(), 'deep', 'data')
  const folder = await takeDataFolder(dir)
  const lock = JSON.parse(readFileSync(lockOf(dir), 'utf8'))
  expect(lock).toEqual({ pid: process.pid, startedAt: expect.any(Number), socket: folder.socket })
  if (process.platform !== 'win32') expect(statSync(dir).mode & 0o777).toBe(0o700)
  await folder.release()
  expect(readdirSync(dir)).toEqual([])
})

test('a folder someone living has is refused, and says who', async () => {
  const dir = tempDir()
  const folder = await takeDataFolder(dir)
  await expect(takeDataFolder(dir)).rejects.toMatchObject({ code: 'app.data-in-use', facts: { pid: process.pid } })
  await folder.release()
  const again = await takeDataFolder(dir)
  await again.release()
})

test('the lock of a process that has died is taken over', async () => {
  const dir = tempDir()
  const { pid, child } = await neighbour()
  writeLock(dir, { pid, startedAt: Date.now(), socket: path.join(dir, 'gone.sock') })
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(await ownerOf(dir)).toBeNull()
  const folder = await takeDataFolder(dir)
  expect((await ownerOf(dir))?.pid).toBe(process.pid)
  await folder.release()
})

test('a process id that was given to another program since is no owner', async () => {
  const dir = tempDir()
  const { pid } = await neighbour()
  writeLock(dir, { pid, startedAt: now() - 3_600_000, socket: path.join(dir, 'gone.sock') })
  const folder = await takeDataFolder(dir)
  await folder.release()
})

test('a process that runs but does not listen yet is an owner', async () => {
  const dir = tempDir()
  const { pid, startedAt } = await neighbour()
  writeLock(dir, { pid, startedAt, socket: path.join(dir, 'not-yet.sock') })
  await expect(takeDataFolder(dir)).rejects.toMatchObject({ code: 'app.data-in-use', facts: { pid } })
})

test.skipIf(process.platform === 'win32')(
  'who answers on the socket is an owner, whatever its number means here',
  async () => {
    const dir = tempDir()
    const socket = path.join(dir, 'control.sock')
    const server = createServer((connection) => connection.end()).listen(socket)
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    writeLock(dir, { pid: 2 ** 22 - 1, startedAt: 1, socket })
    await expect(takeDataFolder(dir)).rejects.toMatchObject({ code: 'app.data-in-use' })
  },
)

test.each(['', '{"pid":', 'null', '{"pid":"1"}'])('a lock that a power cut left as %j is taken over', async (text) => {
  const dir = tempDir()
  writeFileSync(lockOf(dir), text)
  const folder = await takeDataFolder(dir)
  await folder.release()
})

test('of many who find a dead lock at once, one gets the folder', async () => {
  const dir = tempDir()
  writeLock(dir, { pid: 2 ** 22 - 1, startedAt: 1, socket: path.join(dir, 'gone.sock') })
  const tries = await Promise.allSettled(Array.from({ length: 12 }, () => takeDataFolder(dir)))
  const got = tries.filter(({ status }) => status === 'fulfilled')
  expect(got).toHaveLength(1)
  expect(readdirSync(dir)).toEqual(['nightshift.lock'])
})

test('releasing leaves a lock that someone else has taken meanwhile', async () => {
  const dir = tempDir()
  const folder = await takeDataFolder(dir)
  writeLock(dir, { pid: 1, startedAt: 1, socket: 'x' })
  await folder.release()
  expect(existsSync(lockOf(dir))).toBe(true)
})

test.skipIf(process.platform === 'win32')(
  'a long path gets a short socket, in a folder of this user alone',
  async () => {
    const dir = path.join(tempDir(), '夜班'.repeat(20), 'x'.repeat(60))
    const { socket, release } = await takeDataFolder(dir)
    expect(Buffer.byteLength(socket)).toBeLessThanOrEqual(100)
    expect(statSync(path.dirname(socket)).mode & 0o077).toBe(0)
    await release()
  },
)

test('a folder that cannot be made is told as such', async () => {
  const file = path.join(tempDir(), 'file')
  writeFileSync(file, '')
  await expect(takeDataFolder(path.join(file, 'data'))).rejects.toMatchObject({ code: 'disk.denied' })
})

test('the key stays the same, and only this user can read it', async () => {
  const dir = tempDir()
  const token = await accessToken(dir)
  expect(token).toMatch(/^[\w-]{43}$/)
  expect(await accessToken(dir)).toBe(token)
  if (process.platform !== 'win32') expect(statSync(path.join(dir, 'token')).mode & 0o777).toBe(0o600)
  const other = tempDir()
  mkdirSync(other, { recursive: true })
  expect(await accessToken(other)).not.toBe(token)
})

test.each([
  ['linux', { XDG_DATA_HOME: '/data' }, '/data/nightshift'],
  ['win32', { LOCALAPPDATA: '/local' }, '/local/Nightshift'],
  ['linux', { NIGHTSHIFT_DATA: '/mine', XDG_DATA_HOME: '/data' }, '/mine'],
] as const)('on %s with %o the data is in %s', (platform, env, expected) => {
  expect(dataDirOf(undefined, env, platform)).toBe(path.normalize(expected))
  expect(dataDirOf('/given', env, platform)).toBe(path.resolve('/given'))
})
