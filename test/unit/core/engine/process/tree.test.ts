import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import {
  endTree,
  identify,
  MARK,
  type ProcessRow,
  readCim,
  readPs,
  readStat,
  systemOf,
  treeOf,
} from '../../../../../core/engine/process/tree.ts'
import { alive } from '../../../../kit/alive.ts'
import { eventually } from '../../../../kit/eventually.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

const row = (pid: number, ppid: number, startedAt: number, marked = false): ProcessRow => ({
  pid,
  ppid,
  startedAt,
  marked,
})
const pidsOf = (rows: readonly ProcessRow[]) => rows.map(({ pid }) => pid).toSorted((a, b) => a - b)

test.each<[string, ProcessRow[], number[]]>([
  ['its children and theirs', [row(10, 1, 5), row(11, 10, 6), row(12, 11, 7), row(13, 1, 8)], [10, 11, 12]],
  [
    'what broke away but carries the mark, with its children',
    [row(20, 1, 9, true), row(21, 20, 9), row(22, 1, 9)],
    [20, 21],
  ],
  ['not a process that was given its id later', [row(10, 1, 50), row(11, 10, 51)], []],
  ['what a parent left that is gone, where its id lives on', [row(11, 10, 6), row(12, 11, 7)], [11, 12]],
  ['of a reused id only what began before the new one', [row(10, 1, 50), row(11, 10, 6), row(12, 10, 51)], [11]],
  ['no child that is older than its parent', [row(10, 1, 5), row(11, 10, 4)], [10]],
  ['never ourselves, nor the first process', [row(10, 1, 5), row(99, 10, 6, true), row(1, 0, 0, true)], [10]],
])('a tree holds %s', (_, rows, expected) => {
  expect(pidsOf(treeOf(rows, { pid: 10, startedAt: 5 }, 99))).toEqual(expected)
})

test('a process on Linux is read whatever its name holds; one that is dead already is none', () => {
  const rest = '1 2 2 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000'
  expect(readStat(7, `7 (a) b (c)) S ${rest}`)).toEqual({ pid: 7, ppid: 1, startedAt: 987654 })
  expect(readStat(7, `7 (python) Z ${rest}`)).toBeNull()
})

test('on macOS ps tells of processes and their environment', async () => {
  const asked: unknown[] = []
  const system = systemOf('darwin', async (...call) => {
    asked.push(call)
    return [
      '    1     0 Ss   Thu Nov 20 09:00:00 2026 /sbin/launchd',
      `  812     1 S    Fri Nov  6 07:22:19 2026 /Users/me/venv/bin/python main.py HOME=/Users/me ${MARK}=abc LANG=C`,
      '  813   812 Z    Fri Nov 21 07:22:20 2026 (git)',
      '  814   812 S+   Fri Nov 21 07:22:21 2026 git clone NIGHTSHIFT_CHILD=abcd',
    ].join('\n')
  })
  expect(await system.list('abc')).toEqual([
    { pid: 1, ppid: 0, startedAt: Date.parse('Nov 20 2026 09:00:00'), marked: false },
    { pid: 812, ppid: 1, startedAt: Date.parse('Nov 6 2026 07:22:19'), marked: true },
    { pid: 814, ppid: 812, startedAt: Date.parse('Nov 21 2026 07:22:21'), marked: false },
  ])
  expect(asked).toEqual([['env', ['LC_ALL=C', 'ps', '-axww', '-E', '-o', 'pid=,ppid=,stat=,lstart=,command=']]])
  expect(readPs('nonsense\n', 'x')).toEqual([])
})

test('on Windows the tree is listed by PowerShell and ended by taskkill; asking is no use', async () => {
  const asked: [string, readonly string[]][] = []
  let living = '4 0 133000000000000000\r\n810 4 133000000000010000\r\n811 810 133000000000020000\r\n'
  const system = systemOf('win32', async (command, args) => {
    asked.push([command, args])
    if (command === 'taskkill') living = '4 0 133000000000000000\r\n'
    return command === 'powershell' ? living : ''
  })
  const root = { pid: 810, startedAt: 13300000000001 }
  expect(await endTree({ root, mark: 'm' }, { askMs: 0, system })).toEqual([])
  expect(asked.filter(([command]) => command === 'taskkill')).toEqual([
    ['taskkill', ['/F', '/T', '/PID', '810', '/PID', '811']],
  ])
  expect(asked.flatMap(([, args]) => args).join(' ')).not.toMatch(/cmd|\/c/i)
  expect(readCim('ProcessId x\n')).toEqual([])
})

test('what cannot be ended is told, not waited for without end', async () => {
  const stuck = row(810, 4, 5)
  const system = { list: async () => [stuck], end: async () => {}, boot: async () => '' }
  const left = await endTree({ root: stuck, mark: 'm' }, { askMs: -9_500, system })
  expect(left).toEqual([stuck])
})

/** A child that ignores what can be ignored, with two children of its own, one in a session of its own. */
function stubborn() {
  const dir = tempDir()
  const file = path.join(dir, 'stubborn.mjs')
  const pidsFile = path.join(dir, 'pids')
  writeFileSync(
    file,
    `import { spawn } from 'node:child_process'
     import { appendFileSync } from 'node:fs'
     for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {})
     const deeper = process.argv[2] === 'deeper'
     if (!deeper) for (const detached of [false, true]) {
       const child = spawn(process.execPath, [process.argv[1], 'deeper'], { detached, stdio: 'ignore' })
       if (detached) child.unref()
     }
     setInterval(() => {}, 1000)
     appendFileSync(${JSON.stringify(pidsFile)}, process.pid + '\\n')`,
  )
  const mark = randomUUID()
  const child = spawn(process.execPath, [file], {
    env: { ...process.env, [MARK]: mark },
    stdio: 'ignore',
    detached: true,
  })
  const pids = () => readFileSync(pidsFile, 'utf8').trim().split('\n').map(Number)
  onTestFinished(() => {
    for (const pid of pids()) if (alive(pid)) process.kill(pid, 'SIGKILL')
  })
  return { child, mark, pids, settled: () => eventually(() => pids().length === 3) }
}
test.runIf(process.platform === 'linux')(
  'a process that ignores signals ends with its children, one of which broke away',
  async () => {
    const { child, mark, pids, settled } = stubborn()
    await settled()
    const root = await identify(child.pid!)
    expect(pidsOf(treeOf(await systemOf().list(mark), root, process.pid))).toEqual(pids().toSorted((a, b) => a - b))
    expect(await endTree({ root, mark }, { askMs: 200 })).toEqual([])
    expect(pids().filter(alive)).toEqual([])
  },
)

test.runIf(process.platform === 'linux')('children are found by the mark when their parent is long gone', async () => {
  const { child, mark, pids, settled } = stubborn()
  await settled()
  const root = await identify(child.pid!)
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(pids().filter(alive)).toHaveLength(2)
  expect(await endTree({ root, mark }, { askMs: 5_000 })).toEqual([])
  expect(pids().filter(alive)).toEqual([])
})

test.runIf(process.platform === 'linux')(
  'a process of another is never touched, though it has the id on record',
  async () => {
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    onTestFinished(() => void stranger.kill('SIGKILL'))
    const real = await eventually(() => identify(stranger.pid!))
    const root = { pid: real.pid, startedAt: real.startedAt - 100 }
    expect(await endTree({ root, mark: randomUUID() }, { askMs: 100 })).toEqual([])
    expect(alive(stranger.pid!)).toBe(true)
  },
)
