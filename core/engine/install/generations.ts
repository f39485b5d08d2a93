import { type Dirent, readFileSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import {
  Finding,
  type Generation,
  InstallChoices,
  InstallPurpose,
  InstallStepId,
  InstallView,
  SpeedUp,
} from '../../contract/engine.ts'
import { parseJson, tryJson, writeJson } from '../../contract/json.ts'
import { flagsOf } from '../../domain/speed-ups.ts'
import { writeWhole } from '../write-whole.ts'

/** How far a generation's making has come: written after each step, so that the next start goes on from there. */
export const Journal = z.object({
  purpose: InstallPurpose,
  choices: InstallChoices,
  createdAt: z.number(),
  done: z.array(InstallStepId).default([]),
  python: z.string().nullable().default(null),
  version: z.string().nullable().default(null),
  commit: z.string().nullable().default(null),
  torch: z.string().nullable().default(null),
  findings: z.array(Finding).default([]),
  switched: InstallView.shape.switched.default([]),
  /** Those that were installed and work. */
  speedUps: z.array(SpeedUp).default([]),
  /** Whether ComfyUI-Manager is there; null: whether its step was done says it. */
  manager: z.boolean().nullable().default(null),
  sizeBytes: z.number().nullable().default(null),
})
export type Journal = z.infer<typeof Journal>

const Pointer = z.object({ current: z.string(), previous: z.string().nullable() })
type Pointer = z.infer<typeof Pointer>

const POINTER = 'current'
const JOURNAL = 'journal.json'
export const sourceDir = (generation: string) => path.join(generation, 'ComfyUI')
export const pythonOf = (generation: string, platform: NodeJS.Platform = process.platform) =>
  platform === 'win32'
    ? path.join(generation, 'venv', 'Scripts', 'python.exe')
    : path.join(generation, 'venv', 'bin', 'python')
export const generationDir = (home: string, id: string) => path.join(home, 'generations', id)

/** Which generation an engine runs; null: none was finished yet. */
export function readPointer(home: string): Pointer | null {
  try {
    return Pointer.parse(parseJson(readFileSync(path.join(home, POINTER), 'utf8')))
  } catch {
    return null
  }
}
export const writePointer = (home: string, pointer: Pointer) => writeWhole(path.join(home, POINTER), writeJson(pointer))

/** Where the current generation's ComfyUI and Python are, and the flags it is run with. */
export function currentInstall(home: string): { dir: string; python: string; ownFlags: string[] } | null {
  const pointer = readPointer(home)
  if (!pointer) return null
  const generation = generationDir(home, pointer.current)
  let journal: Journal | null = null
  try {
    journal = parseJournal(readFileSync(path.join(generation, JOURNAL), 'utf8'))
  } catch {} // it runs without them
  return { dir: sourceDir(generation), python: pythonOf(generation), ownFlags: journal ? flagsFor(journal) : [] }
}

/** The flags that a generation is run with. */
export const flagsFor = ({ done, choices, manager, speedUps }: Journal): string[] => [
  ...((manager ?? (choices.manager && done.includes('manager'))) ? ['--enable-manager'] : []),
  ...flagsOf(speedUps),
]

export async function readJournal(generation: string): Promise<Journal | null> {
  const text = await readFile(path.join(generation, JOURNAL), 'utf8').catch(() => null)
  return text === null ? null : parseJournal(text)
}
function parseJournal(text: string): Journal | null {
  const read = Journal.safeParse(tryJson(text))
  return read.success ? read.data : null
}
export async function writeJournal(generation: string, journal: Journal) {
  await mkdir(generation, { recursive: true })
  await writeWhole(path.join(generation, JOURNAL), writeJson(journal as never))
}

/** All that can be run, the newest first. */
export async function listGenerations(home: string): Promise<Generation[]> {
  const pointer = readPointer(home)
  const ids = await readdir(path.join(home, 'generations')).catch(() => [])
  const all = await Promise.all(
    ids.map(async (id) => {
      const journal = await readJournal(generationDir(home, id))
      if (!journal?.done.includes('trial')) return []
      const { version, commit, torch, createdAt, sizeBytes, speedUps } = journal
      return [{ id, current: id === pointer?.current, version, commit, torch, createdAt, sizeBytes, speedUps }]
    }),
  )
  return all.flat().toSorted((a, b) => b.createdAt - a.createdAt)
}

/** One that was begun and not finished, and fits what is asked for now. */
export async function unfinishedOf(home: string): Promise<{ id: string; journal: Journal } | null> {
  const pointer = readPointer(home)
  const ids = await readdir(path.join(home, 'generations')).catch(() => [])
  for (const id of ids.toSorted().reverse()) {
    if (id === pointer?.current || id === pointer?.previous) continue
    const journal = await readJournal(generationDir(home, id))
    if (journal && !journal.done.includes('switch')) return { id, journal }
  }
  return null
}

/** Removes all generations but the current, the one before, and `keep`. */
export async function tidy(home: string, keep: string | null = null) {
  const pointer = readPointer(home)
  const dir = path.join(home, 'generations')
  for (const id of await readdir(dir).catch(() => [])) {
    if (id === pointer?.current || id === pointer?.previous || id === keep) continue
    // renamed first: half of a generation must not look like one
    const gone = path.join(home, `.gone-${id}`)
    await rename(path.join(dir, id), gone).catch(() => {})
    await removeDir(gone)
  }
  for (const name of await readdir(home).catch(() => []))
    if (name.startsWith('.gone-')) await removeDir(path.join(home, name))
}
export const isThere = (file: string) =>
  lstat(file).then(
    () => true,
    () => false,
  )

/** What is in a folder, in bytes; links are not followed. */
export async function sizeOf(dir: string): Promise<number> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true }).catch(() => [])
  let bytes = 0
  for (let at = 0; at < entries.length; at += AT_ONCE)
    for (const size of await Promise.all(entries.slice(at, at + AT_ONCE).map(sizeOfFile))) bytes += size
  return bytes
}
const sizeOfFile = async (entry: Dirent) =>
  entry.isFile()
    ? lstat(path.join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      )
    : 0
const AT_ONCE = 256

/** Windows keeps files of a process that just ended for a moment. */
export const removeDir = (dir: string) =>
  rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }).catch(() => {})
