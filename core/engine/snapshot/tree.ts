import { z } from 'zod'
import { AppError } from '../../contract/errors.ts'
import { tryJson, writeJson } from '../../contract/json.ts'

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const Size = z.int().min(0)

/** One name in a folder. `mtime` in seconds: Python's byte-code is valid only beside a source of that very second. */
export const Entry = z.discriminatedUnion('is', [
  z.object({
    is: z.literal('file'),
    name: z.string(),
    size: Size,
    mtime: z.int(),
    executable: z.literal(true).optional(),
    sha256: Sha256,
  }),
  z.object({
    is: z.literal('pieces'),
    name: z.string(),
    size: Size,
    mtime: z.int(),
    executable: z.literal(true).optional(),
    /** In order; together they are the file. */
    pieces: z.array(z.object({ sha256: Sha256, size: Size })),
  }),
  z.object({ is: z.literal('folder'), name: z.string(), tree: Sha256 }),
  z.object({ is: z.literal('link'), name: z.string(), to: z.string() }),
])
export type Entry = z.infer<typeof Entry>
/** A folder's names, sorted. Its sha256 says all that is under it, so an unchanged folder is one comparison. */
export const Tree = z.array(Entry)
export type Tree = z.infer<typeof Tree>

/** Folders in each other: deeper than any environment; a tree that holds itself ends here. */
export const MOST_DEPTH = 100

/** Reserved by Windows, whatever follows the first dot. */
const DEVICE = /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\.|$)/i
const REFUSED_BY_WINDOWS = /[<>:"|?*\p{Cc}]|[ .]$/u

/**
 * The names of a folder that came from elsewhere, once they are known to stay in it and apart from each other there.
 * `depth`: folders between it and the root of what is restored.
 * @throws AppError 'snapshot.unsafe'
 */
export function readTree(bytes: Uint8Array, at: string, depth: number, platform: NodeJS.Platform): Tree {
  const tree = parseTree(bytes, at)
  checkTree(tree, at, depth, platform)
  return tree
}

/** @throws AppError 'snapshot.unsafe' */
export function parseTree(bytes: Uint8Array, at: string): Tree {
  const parsed = Tree.safeParse(tryJson(Buffer.from(bytes).toString('utf8')))
  if (!parsed.success) throw new AppError('snapshot.unsafe', { path: at, reason: 'its list of files cannot be read' })
  return parsed.data
}

/** @throws AppError 'snapshot.unsafe' */
export function checkTree(tree: Tree, at: string, depth: number, platform: NodeJS.Platform) {
  const refuse = (name: string, reason: string) => {
    throw new AppError('snapshot.unsafe', { path: at === '' ? name : `${at}/${name}`, reason })
  }
  const seen = new Set<string>()
  for (const entry of tree) {
    const { name } = entry
    if (name === '' || name === '.' || name === '..' || /[/\\]|\0/.test(name) || !name.isWellFormed())
      refuse(name, 'it is no name of a file')
    if (platform === 'win32' && (DEVICE.test(name) || REFUSED_BY_WINDOWS.test(name)))
      refuse(name, 'Windows allows no such name')
    // Windows and macOS take Model and model for one, and both spellings of é
    const key = platform === 'linux' ? name : name.normalize('NFC').toLowerCase()
    if (seen.has(key)) refuse(name, 'another file has this name, or one that differs by capitals only')
    seen.add(key)
    if (entry.is === 'link' && !staysInside(entry.to, depth)) refuse(name, `it leads out, to ${entry.to}`)
    if (entry.is === 'pieces' && entry.pieces.reduce((sum, { size }) => sum + size, 0) !== entry.size)
      refuse(name, 'its pieces are of another size')
  }
}

/**
 * Whether a link leads to somewhere under the root. Up is allowed only at its beginning: after a name that is itself a
 * link, `..` would lead elsewhere than it reads.
 */
export function staysInside(to: string, depth: number): boolean {
  if (to === '' || to.startsWith('/') || /[\\\0]|^[a-z]:/i.test(to)) return false
  const parts = to.split('/').filter((part) => part !== '' && part !== '.')
  const up = parts.findIndex((part) => part !== '..')
  const ups = up < 0 ? parts.length : up
  return ups <= depth && !parts.slice(ups).includes('..')
}

/** The bytes a tree is known by: the same names give the same bytes. */
export const treeBytes = (tree: Tree): Buffer =>
  Buffer.from(canonical(tree.toSorted((a, b) => (a.name < b.name ? -1 : 1))))

/** JSON with sorted keys and no spaces, so that equal values have equal bytes. */
export const canonical = (value: unknown): string => writeJson(inOrder(value))

function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((each) => inOrder(each))
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(fields.map(([key, field]) => [key, inOrder(field)]))
}
