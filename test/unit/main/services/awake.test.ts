import { EventEmitter } from 'node:events'
import { expect, test, vi } from 'vitest'
import { Awake } from '../../../../main/services/awake.ts'

class FakeHolder extends EventEmitter {
  killed = false
  kill() {
    this.killed = true
    this.emit('exit', null)
    return true
  }
}

function kit({ platform = 'linux' as NodeJS.Platform, holdsItself = true } = {}) {
  const state = { work: false }
  const holders: FakeHolder[] = []
  const commands: [string, readonly string[]][] = []
  const note = vi.fn()
  const told: boolean[] = []
  const awake = new Awake({
    needed: () => state.work,
    note,
    holdsItself,
    platform,
    spawn(command, args) {
      commands.push([command, args])
      const holder = new FakeHolder()
      holders.push(holder)
      return holder as never
    },
  })
  awake.events.on('changed', (on) => told.push(on))
  return { awake, state, holders, commands, note, told }
}

test.each([
  ['linux', 'systemd-inhibit'],
  ['darwin', 'caffeinate'],
  ['win32', 'powershell'],
] as const)(
  'on %s the machine is kept awake by %s while there is work, and released when it ends',
  async (platform, command) => {
    const { awake, state, holders, commands, told, note } = kit({ platform })
    await awake.start()
    expect(commands).toEqual([])
    state.work = true
    awake.look()
    awake.look()
    expect(commands.map(([name]) => name)).toEqual([command])
    state.work = false
    awake.look()
    expect(holders[0]!.killed).toBe(true)
    expect(told).toEqual([true, false])
    expect(note).not.toHaveBeenCalled()
  },
)

test('work that is there at the start counts', async () => {
  const { awake, state, commands } = kit()
  state.work = true
  await awake.start()
  expect(commands).toHaveLength(1)
})

test('stopping releases the machine, also when there is still work', async () => {
  const { awake, state, holders, told } = kit()
  state.work = true
  await awake.start()
  await awake.stop()
  await awake.stop()
  expect(holders[0]!.killed).toBe(true)
  expect(told).toEqual([true, false])
})

test('a system that cannot is noted once, and the work goes on', async () => {
  const { awake, state, holders, note } = kit()
  state.work = true
  await awake.start()
  holders[0]!.emit('error', new Error('spawn systemd-inhibit ENOENT'))
  expect(note).toHaveBeenCalledExactlyOnceWith('spawn systemd-inhibit ENOENT')
  state.work = false
  awake.look()
  state.work = true
  awake.look()
  holders[1]!.emit('exit', 1)
  expect(note).toHaveBeenCalledOnce()
  expect(awake.on).toBe(true)
})

test('under the desktop it only tells: the window’s process holds the machine', async () => {
  const { awake, state, commands, told } = kit({ holdsItself: false })
  state.work = true
  await awake.start()
  expect(commands).toEqual([])
  expect(told).toEqual([true])
})
