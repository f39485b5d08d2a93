// A thread that reads, hashes and packs files, or unpacks and writes them. Its own entry in the build.
import {
  accessSync,
  closeSync,
  constants,
  copyFileSync,
  type Dirent,
  fstatSync,
  futimesSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  type Stats,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import path from 'node:path'
import { parentPort, threadId } from 'node:worker_threads'
import { CHUNK, CHUNKED_FROM, nextCut } from './chunk.ts'
import { type PackIndex, PackWriter, type Place, readFrame, readIndex, sha256, takeObject } from './pack.ts'
import { MOST_DEPTH, staysInside } from './tree.ts'

/** A name as it lies on the disk. `stamp`: as long as it is the same, so is the content. */
export type Found =
  | {
      readonly is: 'file'
      readonly path: string
      readonly size: number
      readonly mtime: number
      readonly executable: boolean
      readonly stamp: string
    }
  | { readonly is: 'folder'; readonly path: string }
  | { readonly is: 'link'; readonly path: string; readonly to: string }
  | { readonly is: 'other'; readonly path: string; readonly what: string }
export type Content = { readonly sha256: string } | { readonly pieces: { sha256: string; size: number }[] }
export interface FileToKeep {
  readonly path: string
  readonly size: number
  readonly stamp: string
}
export interface Written {
  readonly id: string
  readonly bytes: number
  readonly index: PackIndex
}
/** An object, and where its bytes go. */
export interface Unpack {
  readonly key: string
  readonly place: Place
  readonly to: readonly To[]
}
/** A whole file to make, or a part of one that is there already. */
export type To =
  | { readonly path: string; readonly mtime: number; readonly mode: number }
  | { readonly path: string; readonly at: number }

/** A file restored before, which is to be one of another folder too. */
export interface Take {
  readonly from: string
  readonly to: string
  readonly size: number
  readonly mtime: number
  /** null: its bytes are not looked at. */
  readonly sha256: string | null
}

export interface Tasks {
  /** Everything under `root`, less the paths (relative, with /) one of the patterns matches. */
  walk: { asked: { root: string; except: readonly RegExp[] }; gives: Found[] }
  /** null: it changed while it was read. */
  keep: { asked: { files: readonly FileToKeep[]; packs: string }; gives: (Content | null)[] }
  keepBytes: { asked: { objects: readonly Uint8Array[]; packs: string }; gives: null }
  close: { asked: object; gives: Written[] }
  abandon: { asked: object; gives: null }
  unpack: { asked: { pack: string; objects: readonly Unpack[] }; gives: null }
  /** `changed`: another size or time, or gone; `damaged`: other bytes under the same time. Neither is there then. */
  take: { asked: { files: readonly Take[] }; gives: ('taken' | 'changed' | 'damaged')[] }
  /** All of a pack, checked. `damaged`: the keys of objects that are lost; null: all of them are. */
  check: { asked: { pack: string; id: string }; gives: { damaged: string[] | null; reason: string | null } }
}
export type Task = keyof Tasks
export type ToThread =
  | { id: number; task: Task; asked: Tasks[Task]['asked'] }
  | { answer: number; wanted: readonly boolean[] }
export type FromThread =
  | { id: number; gives: Tasks[Task]['gives'] }
  | { id: number; failed: string; code: string | null }
  | { ask: number; hashes: readonly string[] }

let writer: PackWriter | null = null
let written: Written[] = []
let packsMade = 0
let lastAsk = 0
const asked = new Map<number, (wanted: readonly boolean[]) => void>()
const SMALL_FRAME_BYTES = 4 << 20

const tasks: { [T in Task]: (asked: Tasks[T]['asked']) => Tasks[T]['gives'] | Promise<Tasks[T]['gives']> } = {
  walk: ({ root, except }) => walk(root, { path: '', real: [] }, except),
  async keep({ files, packs }) {
    const [first] = files
    if (files.length === 1 && first!.size >= CHUNKED_FROM) return [await keepPieces(first!, packs)]
    const buffer = borrow(files.reduce((sum, { size }) => sum + size, 0))
    try {
      const objects: { hash: string; at: number; length: number }[] = []
      let at = 0
      const contents = files.map((file) => {
        if (!readWhole(file, buffer, at)) return null
        const hash = sha256(buffer.subarray(at, at + file.size))
        objects.push({ hash, at, length: file.size })
        at += file.size
        return { sha256: hash }
      })
      await keepTogether(buffer, objects, packs)
      return contents
    } finally {
      idle.push(buffer)
    }
  },
  async keepBytes({ objects, packs }) {
    let at = 0
    const places = objects.map((bytes) => {
      at += bytes.length
      return { hash: sha256(bytes), at: at - bytes.length, length: bytes.length }
    })
    await keepTogether(Buffer.concat(objects), places, packs)
    return null
  },
  close() {
    closePack()
    const all = written
    written = []
    return all
  },
  abandon() {
    writer?.abandon()
    writer = null
    written = []
    return null
  },
  unpack({ pack, objects }) {
    const { frames } = readIndex(pack)
    const handle = openSync(pack, 'r')
    try {
      let at = -1
      let frame: Buffer = Buffer.alloc(0)
      for (const { key, place, to } of objects) {
        if (place.frame !== at) {
          frame = readFrame(handle, frames[place.frame]!)
          at = place.frame
        }
        const bytes = takeObject(frame, key, place)
        for (const each of to) write(each, bytes)
      }
    } finally {
      closeSync(handle)
    }
    return null
  },
  take: ({ files }) => files.map((file) => take(file)),
  check({ pack, id }) {
    const damaged: string[] = []
    try {
      const isWhole = sha256(readFileSync(pack)) === id
      const { frames, objects } = readIndex(pack)
      const handle = openSync(pack, 'r')
      try {
        const byFrame = Map.groupBy(objects, ([, { frame }]) => frame)
        for (const [n, inFrame] of byFrame) {
          try {
            const frame = readFrame(handle, frames[n]!)
            for (const [key, { offset, length }] of inFrame)
              if (sha256(frame.subarray(offset, offset + length)) !== key) damaged.push(key)
          } catch {
            damaged.push(...inFrame.map(([key]) => key))
          }
        }
      } finally {
        closeSync(handle)
      }
      return { damaged, reason: isWhole && damaged.length === 0 ? null : 'its content is not what it says' }
    } catch (cause) {
      const { code = '', message } = cause as NodeJS.ErrnoException
      if (/^E[A-Z]+$/.test(code) && code !== 'ENOENT') throw cause // a disk that does not answer damages nothing
      return { damaged: null, reason: message }
    }
  },
}

parentPort?.on('message', (message: ToThread) => {
  if ('answer' in message) {
    asked.get(message.answer)?.(message.wanted)
    asked.delete(message.answer)
  } else void run(message.id, message.task, message.asked)
})
const say = (message: FromThread) => parentPort?.postMessage(message)

async function run(id: number, task: Task, wish: Tasks[Task]['asked']) {
  try {
    say({ id, gives: await (tasks[task] as (asked: unknown) => Tasks[Task]['gives'])(wish) })
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException
    say({ id, failed: message ?? String(cause), code: code ?? null })
  }
}

interface Within {
  readonly path: string
  /** Folders that links on the way here led to, and where they lay. */
  readonly real: readonly string[]
}
function walk(root: string, within: Within, except: readonly RegExp[], found: Found[] = []): Found[] {
  const names = namesIn(path.join(root, within.path))
  if (!names) found.push({ is: 'other', path: within.path, what: CLOSED })
  for (const entry of names ?? []) {
    const at = within.path === '' ? entry.name : `${within.path}/${entry.name}`
    if (except.some((pattern) => pattern.test(entry.isDirectory() ? `${at}/` : at))) continue
    const odd = oddName(at, entry.name)
    if (odd) found.push({ is: 'other', path: at, what: odd })
    else if (entry.isDirectory()) {
      found.push({ is: 'folder', path: at })
      walk(root, { ...within, path: at }, except, found)
    } else if (entry.isSymbolicLink()) {
      const to = readlinkSync(path.join(root, at))
      if (staysInside(to, at.split('/').length - 1)) found.push({ is: 'link', path: at, to })
      else follow(at)
    } else if (entry.isFile()) {
      const stat = lstatSync(path.join(root, at), { throwIfNoEntry: false })
      if (stat) found.push(fileAt(root, at, stat))
    } else found.push({ is: 'other', path: at, what: 'it is a device, a pipe or a socket' })
  }
  return found

  /** What lies elsewhere is taken as if it were here: there it will not be. */
  function follow(at: string) {
    const stat = statSync(path.join(root, at), { throwIfNoEntry: false })
    if (stat?.isFile()) found.push(fileAt(root, at, stat))
    else if (!stat?.isDirectory()) found.push({ is: 'other', path: at, what: 'its link leads to no file or folder' })
    else if (!except.some((pattern) => pattern.test(`${at}/`))) {
      const to = realpathSync(path.join(root, at))
      const here = [...within.real, realpathSync(path.join(root, within.path))]
      if (here.some((dir) => dir === to || dir.startsWith(to + path.sep)))
        found.push({ is: 'other', path: at, what: 'its link leads around in a circle' })
      else {
        found.push({ is: 'folder', path: at })
        walk(root, { path: at, real: [...here, to] }, except, found)
      }
    }
  }
}

const CLOSED = 'it may not be read'

/** null: they may not be read. */
function namesIn(dir: string): Dirent[] | null {
  try {
    return readdirSync(dir, { withFileTypes: true })
  } catch (cause) {
    if (isGone(cause)) return []
    if ((cause as NodeJS.ErrnoException).code === 'EACCES') return null
    throw cause
  }
}

/** Why no restore would take this name; null: it would. */
function oddName(at: string, name: string): string | null {
  if (name.includes('\ufffd')) return 'its name is not UTF-8'
  if (name.includes('\\')) return 'its name has a backslash, which elsewhere is no name'
  return at.split('/').length > MOST_DEPTH ? 'it lies too deep' : null
}

function fileAt(root: string, at: string, stat: Stats): Found {
  try {
    accessSync(path.join(root, at), constants.R_OK)
  } catch (cause) {
    if (!isGone(cause)) return { is: 'other', path: at, what: CLOSED }
  }
  const { size, mode, mtimeMs } = stat
  const executable = (mode & 0o100) !== 0
  return { is: 'file', path: at, size, mtime: Math.floor(mtimeMs / 1000), executable, stamp: stampOf(stat) }
}

const stampOf = ({ dev, ino, size, mtimeMs, ctimeMs }: Stats) => `${dev}.${ino}.${size}.${mtimeMs}.${ctimeMs}`

/** Buffers of this size are used again: new memory has to be zeroed by the system, page after page. */
const BUFFER_BYTES = CHUNK.max * 2
const idle: Buffer[] = []
const borrow = (bytes: number) =>
  bytes > BUFFER_BYTES ? Buffer.allocUnsafeSlow(bytes) : (idle.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES))

/** null: it went away since it was found. */
function opened(file: string): number | null {
  try {
    return openSync(file, 'r')
  } catch (cause) {
    if (isGone(cause)) return null
    throw cause
  }
}
const isGone = (cause: unknown) => ['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '')

/** Whether it is what it was when it was found. */
function readWhole(file: FileToKeep, buffer: Buffer, at: number): boolean {
  const handle = opened(file.path)
  if (handle === null) return false
  try {
    return fill(handle, buffer, at, file.size) === file.size && stampOf(fstatSync(handle)) === file.stamp
  } finally {
    closeSync(handle)
  }
}

/** The pieces of a large file. null: it changed meanwhile. */
async function keepPieces(file: FileToKeep, packs: string): Promise<Content | null> {
  const handle = opened(file.path)
  if (handle === null) return null
  const buffer = borrow(BUFFER_BYTES)
  try {
    const pieces: { sha256: string; size: number }[] = []
    let held = 0
    let done = 0
    for (let last = false; !last; ) {
      const read = fill(handle, buffer, held, Math.min(buffer.length - held, file.size - done))
      held += read
      done += read
      last = done >= file.size || read === 0
      const bytes = buffer.subarray(0, held)
      const found: { hash: string; at: number; length: number }[] = []
      let from = 0
      while (from < held && (last || held - from >= CHUNK.max)) {
        const to = nextCut(bytes, from)
        found.push({ hash: sha256(bytes.subarray(from, to)), at: from, length: to - from })
        from = to
      }
      const wanted = await ask(found.map(({ hash }) => hash))
      for (const [n, { hash, at, length }] of found.entries()) {
        pieces.push({ sha256: hash, size: length })
        if (wanted[n]) add(bytes.subarray(at, at + length), [{ hash, length }], packs)
      }
      buffer.copyWithin(0, from, held)
      held -= from
    }
    return stampOf(fstatSync(handle)) === file.stamp ? { pieces } : null
  } finally {
    idle.push(buffer)
    closeSync(handle)
  }
}

function fill(handle: number, bytes: Buffer, from: number, length: number): number {
  let done = 0
  while (done < length) {
    const read = readSync(handle, bytes, from + done, length - done, null)
    if (read === 0) break
    done += read
  }
  return done
}

/** The objects lie in `buffer` in their order; what is not wanted is moved over. */
async function keepTogether(
  buffer: Buffer,
  objects: readonly { hash: string; at: number; length: number }[],
  packs: string,
) {
  const wanted = await ask(objects.map(({ hash }) => hash))
  let together: { hash: string; length: number }[] = []
  let from = 0
  let to = 0
  for (const [n, { hash, at, length }] of objects.entries()) {
    if (!wanted[n]) continue
    if (at !== to) buffer.copyWithin(to, at, at + length)
    together.push({ hash, length })
    to += length
    if (to - from < SMALL_FRAME_BYTES) continue
    add(buffer.subarray(from, to), together, packs)
    together = []
    from = to
  }
  if (together.length > 0) add(buffer.subarray(from, to), together, packs)
}

/** Which of these nobody has yet; those are then ours to keep. */
function ask(hashes: readonly string[]): Promise<readonly boolean[]> {
  if (hashes.length === 0) return Promise.resolve([])
  const ask = ++lastAsk
  return new Promise((resolve) => {
    asked.set(ask, resolve)
    say({ ask, hashes })
  })
}

function add(raw: Uint8Array, objects: readonly { hash: string; length: number }[], packs: string) {
  writer ??= new PackWriter(packs, `${process.pid}-${threadId}-${++packsMade}`)
  writer.add(raw, objects)
  if (writer.isFull) closePack()
}

function closePack() {
  const closed = writer?.close()
  writer = null
  if (closed) written.push(closed)
}

function write(to: To, bytes: Buffer) {
  const whole = 'mtime' in to
  const handle = whole ? openSync(to.path, 'wx', to.mode) : openSync(to.path, 'r+')
  const at = whole ? 0 : to.at
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(handle, bytes, done, bytes.length - done, at + done)
    if (whole) futimesSync(handle, to.mtime, to.mtime)
  } finally {
    closeSync(handle)
  }
}

let canClone = true
/** A clone where the file system has them, else a second name, else a copy. */
function take({ from, to, size, mtime, sha256: wanted }: Take): 'taken' | 'changed' | 'damaged' {
  const stat = lstatSync(from, { throwIfNoEntry: false })
  if (!stat?.isFile() || stat.size !== size || Math.floor(stat.mtimeMs / 1000) !== mtime) return 'changed'
  if (wanted !== null && sha256(readFileSync(from)) !== wanted) return 'damaged'
  const copy = (how: number) => {
    copyFileSync(from, to, how | constants.COPYFILE_EXCL)
    utimesSync(to, mtime, mtime)
  }
  if (canClone) {
    try {
      copy(constants.COPYFILE_FICLONE_FORCE)
      return 'taken'
    } catch {
      canClone = false
    }
  }
  try {
    linkSync(from, to)
  } catch {
    copy(0)
  }
  return 'taken'
}
