import { readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { isJsonObject, tryJson } from '../../contract/json.ts'
import type { Place } from '../../contract/snapshot.ts'

/** Files among packages that name places of the machine they were installed on. */
export const NAMES_PLACES = /^[^/]+\.(?:pth|egg-link)$|^__editable__[^/]*\.py$|^[^/]+\.dist-info\/direct_url\.json$/

/** They and what they say, by their path from the folder of packages. */
async function filesThatNamePlaces(packagesDir: string): Promise<[at: string, text: string][]> {
  const names = await readdir(packagesDir)
  const all = names.flatMap((name) => (name.endsWith('.dist-info') ? [`${name}/direct_url.json`] : [name]))
  const named = all.filter((name) => NAMES_PLACES.test(name))
  const texts = await Promise.all(named.map((at) => readFile(path.join(packagesDir, at), 'utf8').catch(() => null)))
  return named.flatMap((at, n) => (texts[n] === null ? [] : [[at, texts[n]!]]))
}

/**
 * Of `known`, those places that packages name; and folders beyond them that packages were installed from to be edited
 * there, which are then part of the environment too.
 */
export async function placesNamed(
  packagesDir: string,
  known: readonly Place[],
): Promise<{ named: Place[]; sources: string[]; around: string[] }> {
  const texts = await filesThatNamePlaces(packagesDir)
  const named = known.filter(({ was }) => texts.some(([, text]) => spellings(was).some((each) => text.includes(each))))
  const dirs = new Set<string>()
  for (const dir of texts.flatMap(([at, text]) => foldersIn(at, text)))
    if ((await stat(dir).catch(() => null))?.isDirectory()) dirs.add(dir)
  const outside = [...dirs].filter((dir) => !known.some(({ was }) => isWithin(dir, was)))
  const around = outside.filter((dir) => known.some(({ was }) => isWithin(was, dir)))
  const sources = outside.filter(
    (dir) => !around.includes(dir) && !outside.some((other) => other !== dir && isWithin(dir, other)),
  )
  return { named, sources, around }
}

/** Folders that a file of packages leads to. Pure. */
function foldersIn(at: string, text: string): string[] {
  if (at.endsWith('.json')) {
    const said = tryJson(text)
    const editable = isJsonObject(said) && isJsonObject(said.dir_info) && said.dir_info.editable === true
    if (!editable || typeof said.url !== 'string' || !said.url.startsWith('file://')) return []
    return [path.normalize(fileURLToPath(said.url))]
  }
  const said = at.endsWith('.py')
    ? [...text.matchAll(/(['"])((?:\/|[A-Za-z]:\\\\)[^'"\n]*)\1/g)].map(([, , quoted]) =>
        quoted!.replaceAll('\\\\', '\\'),
      )
    : text.split(/\r?\n/)
  return said.filter((line) => path.isAbsolute(line.trim())).map((line) => path.normalize(line.trim()))
}

/** Makes packages name the places where things are now. What is not theirs alone is replaced, not written into. */
export async function movePlaces(packagesDir: string, moves: readonly { was: string; is: string }[]): Promise<void> {
  for (const [at, text] of await filesThatNamePlaces(packagesDir)) {
    const moved = moveIn(text, moves)
    if (moved !== text) await replaceText(path.join(packagesDir, at), moved)
  }
}

/** A text with each place's own name instead of its old one, the longest first. Pure. */
export function moveIn(text: string, moves: readonly { was: string; is: string }[]): string {
  const pairs = moves.flatMap(({ was, is }) => spellings(was).map((each, n) => [each, spellings(is)[n]!] as const))
  const found = new Map(pairs)
  if (found.size === 0) return text
  const longest = [...found.keys()].toSorted((a, b) => b.length - a.length)
  // not where the name only begins so
  const any = new RegExp(
    `(?:${longest.map((each) => each.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})(?![\\w.-])`,
    'g',
  )
  return text.replace(any, (each) => found.get(each)!)
}

const PYTHON_LINE = /^(#!|'''exec' )("?)[^"\n]*?python[\w.]*\2(?=[ \r\n])/m
/** A script that is begun by another environment's Python is begun by this one; others are left. */
export async function giveScriptPython(file: string, python: string): Promise<void> {
  const bytes = await readFile(file)
  if (!/^#!/.test(bytes.toString('latin1', 0, 2)) || bytes.includes(0)) return
  const text = bytes.toString('utf8')
  if (!PYTHON_LINE.test(text.split('\n', 2).join('\n'))) return
  const [first, rest] = [text.slice(0, text.indexOf('\n')), text.slice(text.indexOf('\n'))]
  // longer, or with a space in it, no system takes it in a first line
  const plain = python.length < 120 && !python.includes(' ')
  const direct = first !== '#!/bin/sh'
  if (direct && plain) return replaceText(file, `#!${python}${rest}`)
  const exec = `'''exec' "${python}" "$0" "$@"`
  await replaceText(file, direct ? `#!/bin/sh\n${exec}\n' '''${rest}` : text.replace(/^'''exec' .*$/m, () => exec))
}

/** Its time stays, and whoever else has the file under another name keeps what it was. */
export async function replaceText(file: string, text: string) {
  const { mode, mtime } = await stat(file)
  const part = `${file}.part`
  await writeFile(part, text, { mode })
  await utimes(part, mtime, mtime)
  await rename(part, file)
}

export const isWithin = (dir: string, root: string) => dir === root || dir.startsWith(root + path.sep)
/** As it is written in a line, in a string of Python or JSON, and in an address. */
const spellings = (dir: string) => [dir, dir.replaceAll('\\', '\\\\'), pathToFileURL(dir).href]
