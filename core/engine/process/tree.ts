import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'

/** A process for certain: ids are given out again, a start is not. */
export interface ProcessId {
  readonly pid: number
  /** As the system counts it: only equality and order mean something. */
  readonly startedAt: number
}
export interface ProcessRow extends ProcessId {
  readonly ppid: number
  /** Its environment holds the mark asked for. */
  readonly marked: boolean
}
/** What is to end: a process and all it brought forth, also what broke away from it. */
export interface Target {
  readonly root: ProcessId | null
  /** The value of MARK in the environment that all of them inherited. */
  readonly mark: string
}

/** What ending a tree needs of a system. */
export interface ProcessSystem {
  /** All living processes. */
  list(mark: string): Promise<ProcessRow[]>
  /** `interrupt` and `terminate` may be refused or not exist here; `kill` is final. */
  end(pids: readonly number[], how: 'interrupt' | 'terminate' | 'kill'): Promise<void>
  /** How long these have worked, together, ms; absent where the system does not say. */
  worked?(pids: readonly number[]): Promise<number>
  /** Changes with every start of the machine; process ids of another boot mean nothing. */
  boot(): Promise<string>
}
export type Run = (command: string, args: readonly string[]) => Promise<string>

export const MARK = 'NIGHTSHIFT_CHILD'

const TERMINATE_AFTER_MS = 3_000
/** What outlives the root that ended as asked. */
const LEFT_BEHIND_MS = 1_000
const GIVE_UP_MS = 10_000
const LOOK_EVERY_MS = 60

/**
 * Asks, waits up to `askMs`, then ends whatever is left, until nothing is. Gives what could not be ended: processes stuck
 * in a driver.
 */
export async function endTree(
  target: Target,
  { askMs, system = systemOf() }: { askMs: number; system?: ProcessSystem },
): Promise<ProcessRow[]> {
  const find = async () => treeOf(await system.list(target.mark), target.root, process.pid)
  const started = performance.now()
  let members = await find()
  let asked: 'not' | 'interrupt' | 'terminate' = 'not'
  let rootGoneAt: number | null = null
  while (members.length > 0) {
    const now = performance.now()
    const passed = now - started
    const { root } = target
    const rootLives = root !== null && members.some(({ pid }) => pid === root.pid)
    if (!rootLives) rootGoneAt ??= now
    const patient = rootGoneAt === null ? passed < askMs : asked !== 'not' && now - rootGoneAt < LEFT_BEHIND_MS
    if (!patient) {
      if (passed > askMs + GIVE_UP_MS) return members
      await system.end(
        members.map(({ pid }) => pid),
        'kill',
      )
    } else if (rootLives && asked === 'not') {
      asked = 'interrupt'
      await system.end([root.pid], 'interrupt')
    } else if (asked === 'interrupt' && passed > TERMINATE_AFTER_MS) {
      asked = 'terminate'
      await system.end(
        members.map(({ pid }) => pid),
        'terminate',
      )
    }
    await pause(LOOK_EVERY_MS)
    members = await find()
  }
  return []
}

/** The root if it lives, what descends from it, and whatever carries the mark. Pure. */
export function treeOf(rows: readonly ProcessRow[], root: ProcessId | null, self: number): ProcessRow[] {
  const living = new Map(rows.map((row) => [row.pid, row]))
  const members = new Map<number, ProcessRow>()
  const add = (row: ProcessRow) => {
    if (row.pid > 1 && row.pid !== self) members.set(row.pid, row)
  }
  for (const row of rows) if (row.marked) add(row)
  if (root) {
    const here = living.get(root.pid)
    if (here?.startedAt === root.startedAt) add(here)
    // where a parent's id outlives it (Windows), its children still name it; another process may have it by now
    const until = here && here.startedAt !== root.startedAt ? here.startedAt : Number.POSITIVE_INFINITY
    for (const row of rows)
      if (row.ppid === root.pid && row.startedAt >= root.startedAt && row.startedAt < until) add(row)
  }
  for (let before = -1; before !== members.size; ) {
    before = members.size
    for (const row of rows) {
      const parent = members.get(row.ppid)
      if (parent && row.startedAt >= parent.startedAt) add(row)
    }
  }
  return [...members.values()]
}

/** The living process of this id. */
export async function identify(pid: number, system: ProcessSystem = systemOf()): Promise<ProcessId | null> {
  const found = (await system.list('-')).find((row) => row.pid === pid)
  return found ? { pid, startedAt: found.startedAt } : null
}

// ---- systems ----

const runCommand: Run = async (command, args) => {
  const { stdout } = await promisify(execFile)(command, [...args], {
    timeout: 20_000,
    maxBuffer: 64 * 1024 * 1024,
    windowsHide: true,
  })
  return stdout
}

export function systemOf(platform: NodeJS.Platform = process.platform, run: Run = runCommand): ProcessSystem {
  if (platform === 'win32') return windows(run)
  return platform === 'linux' ? linux() : ps(run)
}

const signals = { interrupt: 'SIGINT', terminate: 'SIGTERM', kill: 'SIGKILL' } as const

async function signalAll(pids: readonly number[], how: keyof typeof signals) {
  for (const pid of pids) {
    try {
      process.kill(pid, signals[how])
    } catch {} // it was quicker
  }
}

function linux(): ProcessSystem {
  return {
    async list(mark) {
      const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
      const rows = await Promise.all(pids.map((pid) => linuxRow(Number(pid), `${MARK}=${mark}`)))
      return rows.filter((row) => row !== null)
    },
    end: signalAll,
    async worked(pids) {
      const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')))
      return stats.reduce((sum, stat) => sum + workedIn(stat), 0)
    },
    boot: async () => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(),
  }
}

async function linuxRow(pid: number, mark: string): Promise<ProcessRow | null> {
  try {
    const row = readStat(pid, await readFile(`/proc/${pid}/stat`, 'utf8'))
    if (!row) return null
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '') // another user's
    return { ...row, marked: environment.split('\0').includes(mark) }
  } catch {
    return null // it ended meanwhile
  }
}

/** proc(5); null: dead already, only not yet buried. Pure. */
export function readStat(pid: number, stat: string): Omit<ProcessRow, 'marked'> | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name before may hold spaces and brackets
  const [state, ppid] = fields
  if (state === 'Z' || state === 'X' || state === undefined) return null
  return { pid, ppid: Number(ppid), startedAt: Number(fields[19]) }
}

/** User and system time of proc(5), ms; 0: it is gone. Pure. */
export function workedIn(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  return Number.isFinite(ticks) ? ticks * 10 : 0 // USER_HZ is 100 on every Linux that Node runs on
}

/** macOS and the BSDs. `-E` shows the environment of the user's own processes. */
function ps(run: Run): ProcessSystem {
  return {
    async list(mark) {
      return readPs(
        await run('env', ['LC_ALL=C', 'ps', '-axww', '-E', '-o', 'pid=,ppid=,stat=,lstart=,command=']),
        `${MARK}=${mark}`,
      )
    },
    end: signalAll,
    boot: async () => /sec = (\d+)/.exec(await run('sysctl', ['-n', 'kern.boottime']))?.[1] ?? '',
  }
}

/** `  123     1 S    Fri Nov 21 07:22:19 2026 python main.py … KEY=value …`. Pure. */
export function readPs(text: string, mark: string): ProcessRow[] {
  return text.split('\n').flatMap((line) => {
    const found = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\w{3} \w{3} +\d+ [\d:]+ \d{4}) ?(.*)$/.exec(line)
    if (!found || found[3]!.startsWith('Z')) return []
    const startedAt = Date.parse(found[4]!)
    return [{ pid: Number(found[1]), ppid: Number(found[2]), startedAt, marked: found[5]!.split(' ').includes(mark) }]
  })
}

/** No signal asks a process without a console to end here, and no environment of another can be read: parents tell. */
function windows(run: Run): ProcessSystem {
  const powershell = (command: string) => run('powershell', ['-NoProfile', '-NonInteractive', '-Command', command])
  return {
    async list() {
      return readCim(await powershell(CIM))
    },
    async end(pids, how) {
      if (how !== 'kill' || pids.length === 0) return
      const each = pids.flatMap((pid) => ['/PID', String(pid)])
      await run('taskkill', ['/F', '/T', ...each]).catch(() => {}) // some were quicker
    },
    boot: async () =>
      (await powershell('(Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToFileTimeUtc()')).trim(),
  }
}
const CIM =
  "Get-CimInstance Win32_Process | Where-Object CreationDate | ForEach-Object { '{0} {1} {2}' -f $_.ProcessId, $_.ParentProcessId, $_.CreationDate.ToFileTimeUtc() }"

/** `pid parent start` a line. Pure. */
export function readCim(text: string): ProcessRow[] {
  return text.split('\n').flatMap((line) => {
    const found = /^(\d+) (\d+) (\d+)\s*$/.exec(line)
    if (!found) return []
    // 100 ns since 1601 is more than a number holds exactly; the last digits are not needed to tell starts apart
    const startedAt = Number(BigInt(found[3]!) / 10_000n)
    return [{ pid: Number(found[1]), ppid: Number(found[2]), startedAt, marked: false }]
  })
}
