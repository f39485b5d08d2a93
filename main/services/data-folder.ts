import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, link, mkdir, open, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { homedir, tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import { AppError } from '../../core/contract/errors.ts'

/** Who holds a data folder, and where it can be spoken to. */
const Owner = z.object({
  pid: z.int(),
  /** When that process started, epoch ms: a process id alone is given out again. */
  startedAt: z.number(),
  socket: z.string(),
})
export type Owner = z.infer<typeof Owner>

export interface DataFolder {
  readonly dir: string
  /** Where the owner listens for programs of this user. */
  readonly socket: string
  /** Lets others have it. */
  release(): Promise<void>
}

const LOCK = 'nightshift.lock'
/** A Unix socket's path may have 103 bytes on macOS, 107 on Linux. */
const LONGEST_SOCKET_BYTES = 100
/** The two ways to learn when a process started agree to this. */
const SAME_START_MS = 3000
/** Taking over is a few file operations; whoever is longer at it has died. */
const TAKEOVER_LIMIT_MS = 10_000
const LOOK_AGAIN_MS = 20

/** `--data`, else NIGHTSHIFT_DATA, else where the platform keeps such things. */
export function dataDirOf(given: string | undefined, env: NodeJS.ProcessEnv, platform = process.platform): string {
  const home = homedir()
  if (given) return path.resolve(given)
  if (env.NIGHTSHIFT_DATA) return path.resolve(env.NIGHTSHIFT_DATA)
  if (platform === 'win32') return path.join(env.LOCALAPPDATA || path.join(home, 'AppData', 'Local'), 'Nightshift')
  if (platform === 'darwin') return path.join(home, 'Library', 'Application Support', 'Nightshift')
  return path.join(env.XDG_DATA_HOME || path.join(home, '.local', 'share'), 'nightshift')
}

/**
 * Takes the folder for this process; one process owns it. What a dead owner left is taken over.
 * @throws AppError 'app.data-in-use', 'disk.denied', 'disk.full'
 */
export async function takeDataFolder(given: string): Promise<DataFolder> {
  const dir = await makeFolder(given)
  const lock = path.join(dir, LOCK)
  const socket = await socketFor(dir)
  const mine: Owner = { pid: process.pid, startedAt: ownStart(), socket }
  const text = `${JSON.stringify(mine)}\n`
  while (!(await createWhole(lock, text))) {
    const held = await readOwner(lock)
    if (held.is === 'gone') continue
    if (held.is === 'owner' && (await isAlive(held.owner)))
      throw new AppError('app.data-in-use', { pid: held.owner.pid, dir })
    await removeDead(lock, held.text)
  }
  return {
    dir,
    socket,
    async release() {
      const held = await readOwner(lock)
      if (held.is === 'owner' && held.text === text) await rm(lock, { force: true })
    },
  }
}

/** The living owner of a folder, if it has one. */
export async function ownerOf(dir: string): Promise<Owner | null> {
  const held = await readOwner(path.join(dir, LOCK))
  return held.is === 'owner' && (await isAlive(held.owner)) ? held.owner : null
}

/** The key that browsers show; kept, so that a bookmarked address keeps working. Readable by this user only. */
export async function accessToken(dir: string): Promise<string> {
  const file = path.join(dir, 'token')
  const kept = await readFile(file, 'utf8').catch(() => '')
  if (/^[\w-]{40,}$/.test(kept.trim())) return kept.trim()
  const token = randomBytes(32).toString('base64url')
  await rm(file, { force: true })
  await writeFile(file, `${token}\n`, { mode: 0o600, flag: 'wx' })
  return token
}

async function makeFolder(dir: string): Promise<string> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    return await realpath(dir)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new AppError(code === 'ENOSPC' || code === 'EDQUOT' ? 'disk.full' : 'disk.denied', { dir }, { cause })
  }
}

async function socketFor(dir: string): Promise<string> {
  const hash = createHash('sha256').update(dir).digest('hex').slice(0, 24)
  if (process.platform === 'win32') return `\\\\.\\pipe\\nightshift-${hash}`
  const beside = path.join(dir, 'control.sock')
  if (Buffer.byteLength(beside) <= LONGEST_SOCKET_BYTES) return beside
  const { uid } = userInfo()
  const folder = path.join(tmpdir(), `nightshift-${uid}`)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const made = await stat(folder)
  if (made.uid !== uid) throw new AppError('disk.denied', { dir: folder }) // someone else's, in a folder open to all
  await chmod(folder, 0o700)
  return path.join(folder, `${hash}.sock`)
}

type Held = { is: 'gone' } | { is: 'owner'; owner: Owner; text: string } | { is: 'nonsense'; text: string }

async function readOwner(lock: string): Promise<Held> {
  try {
    const text = await readFile(lock, 'utf8')
    try {
      return { is: 'owner', owner: Owner.parse(JSON.parse(text)), text }
    } catch {
      return { is: 'nonsense', text } // cut off by a power failure
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return { is: 'gone' }
    throw new AppError('disk.denied', { dir: path.dirname(lock) }, { cause })
  }
}

/** Creates the file with all its text at once, or leaves what is there; false: it is there already. */
async function createWhole(file: string, text: string): Promise<boolean> {
  const beside = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await writeFile(beside, text, { mode: 0o600, flush: true })
    await link(beside, file)
    return true
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS' || code === 'EMLINK')
      return await createExclusively(file, text) // a file system without links
    throw new AppError(code === 'ENOSPC' ? 'disk.full' : 'disk.denied', { dir: path.dirname(file) }, { cause })
  } finally {
    await rm(beside, { force: true })
  }
}

async function createExclusively(file: string, text: string): Promise<boolean> {
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx', flush: true })
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new AppError('disk.denied', { dir: path.dirname(file) }, { cause })
  }
}

/** Removes a lock that still says `text`. Only one process at a time may, so that nobody removes a living one's. */
async function removeDead(lock: string, text: string) {
  const taking = `${lock}.taking`
  try {
    await (await open(taking, 'wx')).close()
  } catch {
    const { mtimeMs } = await stat(taking).catch(() => ({ mtimeMs: Date.now() }))
    if (Date.now() - mtimeMs > TAKEOVER_LIMIT_MS) await rm(taking, { force: true })
    await pause(LOOK_AGAIN_MS)
    return
  }
  try {
    const held = await readOwner(lock)
    if (held.is !== 'gone' && held.text === text) await rm(lock, { force: true })
  } finally {
    await rm(taking, { force: true })
  }
}

/** It answers on its socket; or its process runs, and is the one that took the lock. */
async function isAlive({ pid, startedAt, socket }: Owner): Promise<boolean> {
  if (await answers(socket)) return true
  if (pid === process.pid) return Math.abs(ownStart() - startedAt) < SAME_START_MS
  try {
    process.kill(pid, 0)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  const started = await startOf(pid)
  return started === null || Math.abs(started - startedAt) < SAME_START_MS
}

function answers(socket: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const asking = connect(socket)
  asking.setTimeout(2000)
  asking.on('connect', () => resolve(true))
  asking.on('error', () => resolve(false))
  asking.on('timeout', () => resolve(false))
  return promise.finally(() => asking.destroy())
}

const ownStart = () => Math.round(Date.now() - process.uptime() * 1000)

/** When a process started, epoch ms; null: nobody can say. */
async function startOf(pid: number): Promise<number | null> {
  const run = async (command: string, args: string[]) =>
    (await promisify(execFile)(command, args, { env: { ...process.env, LC_ALL: 'C' }, timeout: 10_000 })).stdout.trim()
  try {
    if (process.platform === 'linux') return await startOnLinux(pid)
    const text =
      process.platform === 'win32'
        ? await run('powershell', [
            '-NoProfile',
            '-NonInteractive',
            '-Command',
            `([DateTimeOffset](Get-Process -Id ${pid}).StartTime).ToUnixTimeMilliseconds()`,
          ])
        : String(Date.parse(await run('ps', ['-o', 'lstart=', '-p', String(pid)])))
    const at = Number(text)
    return Number.isFinite(at) && text !== '' ? at : null
  } catch {
    return null
  }
}

async function startOnLinux(pid: number): Promise<number | null> {
  const [stats, system] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/stat', 'utf8')])
  const fields = stats.slice(stats.lastIndexOf(')') + 2).split(' ') // the name before may hold spaces and brackets
  const ticks = Number(fields[19]) // field 22 of proc(5): starttime, 100 a second
  const boot = Number(/^btime (\d+)$/m.exec(system)?.[1])
  return Number.isFinite(ticks) && Number.isFinite(boot) ? boot * 1000 + ticks * 10 : null
}
