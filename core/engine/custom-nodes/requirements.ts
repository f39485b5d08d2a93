import { readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { parse as parseToml } from 'smol-toml'
import type { LeftOut, LeftOutReason, NodeRequirement } from '../../contract/custom-node.ts'
import { normal } from '../install/lock.ts'

/** A line that may be given to uv. */
export interface Wanted extends NodeRequirement {
  /** One requirement and nothing else: no option, no path, no second line. */
  readonly spec: string
  /** From there, and no index. */
  readonly url: string | null
}
interface Requirements {
  readonly wanted: readonly Wanted[]
  readonly leftOut: readonly LeftOut[]
}

const LARGEST_BYTES = 1_000_000
const DEEPEST = 5
const NAME = /^([A-Za-z\d](?:[\w.-]*[A-Za-z\d])?)\s*(\[[\w\s,.-]*\])?\s*/
const SPECIFIERS = /^\s*(?:(?:~=|===?|!=|<=?|>=?)\s*[\w.*+!-]+\s*(?:,\s*(?=[~=!<>])|$))*$/
const HASH = /\s--hash[=\s](sha\d+:[0-9a-f]+)/g
const TOOLS = /^(?:pip|uv)$/
const CORE = /^comfyui(?:-frontend-package|-workflow-templates.*|-embedded-docs|-manager)?$/

/** What belongs to the graphics card, and what ComfyUI pins for itself: as it is, while it is there. */
export const GPU_PACKAGES =
  /^(?:torch|torchvision|torchaudio|torchtext|torch-directml|pytorch-triton.*|triton.*|xformers|nvidia-.*|cuda-.*|cupy.*|flash-attn.*|sageattention.*|tensorrt.*|rocm.*|intel-extension-for-pytorch|nunchaku|comfy-kitchen|comfy-aimdo)$/
export const CORE_PACKAGES = /^comfyui(?:-.*)?$/

/** Packages that bring the same module; each does what those before it do. Two of them overwrite each other. */
const BUILDS_OF_ONE: readonly (readonly string[])[] = [
  ['opencv-python-headless', 'opencv-python', 'opencv-contrib-python-headless', 'opencv-contrib-python'],
  ['onnxruntime', 'onnxruntime-gpu', 'onnxruntime-directml', 'onnxruntime-openvino'],
]
/** The other packages that bring the module of this one. */
export const othersOf = (name: string): readonly string[] =>
  BUILDS_OF_ONE.find((group) => group.includes(name))?.filter((each) => each !== name) ?? []
/** Whether what `there` brings is enough for whoever wants `wanted`. Windows (cv2.imshow) are never needed here. */
export function suffices(there: string, wanted: string): boolean {
  if (!othersOf(wanted).includes(there)) return false
  return /contrib/.test(wanted) ? /contrib/.test(there) : true
}

/** What a custom node's folder requires: requirements.txt, else pyproject.toml. */
export async function readRequirements(dir: string, folder: string): Promise<Requirements> {
  const wanted: Wanted[] = []
  const leftOut: LeftOut[] = []
  const root = await realpath(dir).catch(() => dir)
  const seen = new Set<string>()
  const take = (file: string, line: string) => {
    const read = readLine(line)
    const at = { folder, file, line: shown(line), package: read.package }
    if (read.is === 'left-out') leftOut.push({ ...at, reason: read.reason })
    else {
      if (read.without) leftOut.push({ ...at, line: shown(read.without), reason: 'option' })
      wanted.push({ ...at, spec: read.spec, url: read.url })
    }
  }
  const readAll = async (file: string, depth: number) => {
    const real = await realpath(path.join(root, file)).catch(() => null)
    if (real === null || seen.has(real)) return
    seen.add(real)
    const text = await textOf(real)
    if (text === null) return void leftOut.push({ folder, file, line: file, package: null, reason: 'unreadable' })
    for (const line of linesOf(text)) {
      const other = /^(?:-r|--requirement)[\s=]+(.+)$/.exec(line)?.[1]?.trim()
      if (other === undefined) {
        take(file, line)
        continue
      }
      const there = await realpath(path.resolve(path.dirname(real), other)).catch(() => null)
      const within = there?.startsWith(root + path.sep) ? there : null
      if (within === null || depth === DEEPEST || /^[a-z]+:/i.test(other))
        leftOut.push({ folder, file, line: shown(line), package: null, reason: 'outside' })
      else await readAll(path.relative(root, within), depth + 1)
    }
  }
  if (await isFile(path.join(root, 'requirements.txt'))) await readAll('requirements.txt', 0)
  else for (const line of (await readProject(root))?.dependencies ?? []) take('pyproject.toml', line)
  return { wanted, leftOut }
}

export interface Project {
  readonly name: string | null
  readonly version: string | null
  readonly title: string | null
  readonly repository: string | null
  readonly dependencies: readonly string[]
  /** It has a part that is ComfyUI's. */
  readonly isComfy: boolean
}

/** What pyproject.toml says; null: there is none, or nobody can read it. */
export async function readProject(dir: string): Promise<Project | null> {
  const text = await textOf(path.join(dir, 'pyproject.toml'))
  if (text === null) return null
  try {
    const file = parseToml(text)
    const project = tableOf(file.project)
    const comfy = tableOf(tableOf(file.tool).comfy)
    const said = (value: unknown) => (typeof value === 'string' && value.trim() !== '' ? value.trim() : null)
    const urls = Object.entries(tableOf(project.urls)).find(([name]) => /^repository$/i.test(name))
    const { dependencies } = project
    return {
      name: said(project.name),
      version: said(project.version),
      title: said(comfy.DisplayName) ?? said(project.name),
      repository: said(urls?.[1]),
      dependencies: Array.isArray(dependencies) ? dependencies.filter((each) => typeof each === 'string') : [],
      isComfy: Object.keys(comfy).length > 0,
    }
  } catch {
    return null
  }
}
const tableOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}

/** Text as people's editors save it. null: there is none, it is too large, or no text. */
export async function textOf(file: string): Promise<string | null> {
  if (!(await isFile(file))) return null
  const bytes = await readFile(file).catch(() => null)
  if (bytes === null || bytes.length > LARGEST_BYTES) return null
  const coded =
    bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8'
  const text = new TextDecoder(coded).decode(bytes)
  return text.includes('\0') ? null : text
}
const isFile = (file: string) =>
  stat(file).then(
    (found) => found.isFile(),
    () => false,
  )

/** Lines that say something, those that go on joined. Pure. */
export function linesOf(text: string): string[] {
  const joined = text.replace(/\\\r?\n/g, ' ')
  return joined
    .split(/[\r\n\v\f\u0085\u2028\u2029]+/)
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '')
}

type Read =
  | { is: 'wanted'; package: string | null; spec: string; url: string | null; without: string | null }
  | { is: 'left-out'; package: string | null; reason: LeftOutReason }

/** Pure. */
export function readLine(line: string): Read {
  const leave = (reason: LeftOutReason, name: string | null = null): Read => ({ is: 'left-out', package: name, reason })
  // uv fills these in from the environment, and what they hold is nobody's business
  if (/\$\{/.test(line)) return leave('unreadable')
  if (/^(?:-e|--editable)\b/.test(line)) return leave('editable')
  if (line.startsWith('-')) return leave('option')
  const hashes = [...line.matchAll(HASH)].map(([, hash]) => ` --hash=${hash}`).join('')
  const bare = line.replace(HASH, '').trim()
  const options = /\s(--?[A-Za-z].*)$/.exec(bare)?.[1] ?? null
  const plain = options === null ? bare : bare.slice(0, bare.length - options.length).trim()
  const [said, marker] = splitMarker(plain)
  const ending = (marker === null ? '' : ` ; ${marker}`) + hashes
  const taken = (name: string | null, spec: string, url: string | null): Read => {
    if (name !== null && TOOLS.test(name)) return leave('tool', name)
    if (name !== null && CORE.test(name)) return leave('core', name)
    return { is: 'wanted', package: name, spec: spec + ending, url, without: options }
  }

  const found = NAME.exec(said)
  const rest = found ? said.slice(found[0].length) : ''
  const url = found && rest.startsWith('@') ? rest.slice(1).trim() : /^[a-z][a-z\d+.-]*:/i.test(said) ? said : null
  if (url !== null) {
    const name = found && rest.startsWith('@') ? normal(found[1]!) : nameIn(url)
    if (!/^(?:git\+)?https:\/\/[^\s]+$/i.test(url))
      return leave(/^(?:file:|[./\\]|[a-z]:[/\\](?!\/))/i.test(url) ? 'editable' : 'not-https', name)
    return taken(name, found && rest.startsWith('@') ? `${found[1]}${found[2] ?? ''} @ ${url}` : url, url)
  }
  if (/^git@/.test(said)) return leave('not-https')
  if (/^\.{0,2}[\\/]|^\.{1,2}$|^[A-Za-z]:[\\/]|[\\/]/.test(said)) return leave('editable')
  const specifiers = rest.replace(/^\((.*)\)$/, '$1').trim()
  if (!found || !SPECIFIERS.test(specifiers)) return leave('unreadable')
  return taken(normal(found[1]!), `${found[1]}${found[2] ?? ''}${specifiers}`, null)
}

/** A marker follows a semicolon, which addresses may hold too when no space is before it. */
function splitMarker(line: string): [string, string | null] {
  const at = /:\/\//.test(line) ? line.search(/\s;/) : line.indexOf(';')
  if (at < 0) return [line, null]
  return [line.slice(0, at).trim(), line.slice(at).replace(/^\s*;/, '').trim()]
}

/** The package that an address is of, where it tells. */
function nameIn(url: string): string | null {
  const egg = /[#&]egg=([\w.-]+)/.exec(url)?.[1]
  const file = /\/([^/?#]+?)(?:-\d[^/?#]*)?\.(?:whl|tar\.gz|zip|tgz)(?:[?#]|$)/.exec(url)?.[1]
  const repository = /^git\+[^@]*\/([\w.-]+?)(?:\.git)?(?:@[^/]*)?(?:#.*)?$/.exec(url)?.[1]
  const name = egg ?? file ?? repository
  return name === undefined ? null : normal(decodeURIComponent(name))
}

/** For a person: no credentials, and not endless. */
const shown = (line: string) => line.replace(/(:\/\/)[^/\s]*@/g, '$1').slice(0, 500)
