import { createHash } from 'node:crypto'
import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import type { CustomNode, NodeScript, NodeSource } from '../../contract/custom-node.ts'
import type { CustomNodeLoad } from '../../contract/engine.ts'
import type { CommandOptions } from '../install/command.ts'
import { git, readUnpacked, withoutUser } from './fetch.ts'
import { type LiveNode, listLive, pointerOf, readSet } from './places.ts'
import { type Project, readProject, readRequirements } from './requirements.ts'
import { type NodesSite, placesOf } from './site.ts'
import { classesIn, type NodeClasses } from './trial.ts'

export interface Seen {
  /** What the server that runs says of its classes; null: none runs, so it is told what the last trial found. */
  readonly classes: NodeClasses | null
  readonly loads: readonly CustomNodeLoad[]
  readonly command: CommandOptions
}

const AT_ONCE = 4
const MOST_FILES = 50
const LONGEST_TEXT = 64_000

/** The custom nodes of a ComfyUI, switched off ones too. Nothing of them is run. */
export async function scanNodes(
  site: Pick<NodesSite, 'kind' | 'dir' | 'settings' | 'home'>,
  seen: Seen,
): Promise<CustomNode[]> {
  const { live } = placesOf(site)
  const nodes = await listLive(live)
  const pointer = seen.classes === null ? pointerOf(site) : null
  const tried = pointer && (await readSet(site, pointer.current).catch(() => null))?.classes
  const known: Seen = tried ? { ...seen, classes: { nodes: tried, core: [] } } : seen
  const found: CustomNode[] = []
  const next = nodes.values()
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const node of next) found.push(await scanNode(live, node, known))
    }),
  )
  return found.toSorted((a, b) => a.folder.localeCompare(b.folder, 'en'))
}

async function scanNode(live: string, { folder, name, enabled }: LiveNode, seen: Seen): Promise<CustomNode> {
  const dir = path.join(live, name)
  const project = await readProject(dir)
  const { source, version, changedAt } = await sourceOf(dir, project)
  const { changedFiles, addedFiles } = await changesOf(dir, source, seen.command)
  const { wanted, leftOut } = await readRequirements(dir, folder)
  const requirements = [...wanted, ...leftOut].map(({ file, line, package: name }) => ({
    folder,
    file,
    line,
    package: name,
  }))
  return {
    folder,
    title: project?.title ?? folder.replace(/\.py$/, ''),
    enabled,
    source,
    version: version ?? project?.version ?? null,
    changedAt,
    changedFiles,
    addedFiles,
    requirements,
    scripts: await scriptsIn(dir, folder),
    runsAtStart: await isFile(path.join(dir, 'prestartup_script.py')),
    classes: enabled ? classesIn(seen.classes, folder) : null,
    load: seen.loads.find((load) => path.basename(load.folder) === folder) ?? null,
  }
}

/** Where it is from, without running git. */
export async function sourceOf(
  dir: string,
  project: Project | null,
): Promise<{ source: NodeSource; version: string | null; changedAt: number | null }> {
  const found = await stat(dir).catch(() => null)
  const changedAt = found?.mtimeMs ?? null
  if (found?.isFile()) return { source: { is: 'file' }, version: null, changedAt }
  const repository = await readGit(dir)
  if (repository) {
    const { remote, commit, branch, fetchedAt } = repository
    return {
      source: { is: 'git', remote, commit, branch },
      version: project?.version ?? null,
      changedAt: fetchedAt ?? changedAt,
    }
  }
  if (project?.name && project.version && (await isFile(path.join(dir, '.tracking'))))
    return {
      source: { is: 'registry', id: project.name.toLowerCase(), version: project.version },
      version: project.version,
      changedAt,
    }
  const unpacked = await readUnpacked(dir)
  const remote = unpacked?.remote ?? null
  return {
    source: { is: 'archive', remote, commit: unpacked?.commit ?? null },
    version: project?.version ?? null,
    changedAt,
  }
}

/** What a repository says of itself in its files. null: it is none. */
async function readGit(dir: string) {
  const dotGit = path.join(dir, '.git')
  const found = await stat(dotGit).catch(() => null)
  if (!found) return null
  // a submodule's or worktree's says where its own is
  const leads = found.isFile()
    ? /^gitdir: (.+)$/m.exec(await readFile(dotGit, 'utf8').catch(() => ''))?.[1]?.trim()
    : undefined
  const own = leads === undefined ? dotGit : path.resolve(dir, leads)
  const read = (name: string) => readFile(path.join(own, name), 'utf8').catch(() => '')
  const head = (await read('HEAD')).trim()
  const ref = /^ref: (.+)$/.exec(head)?.[1] ?? null
  let commit = /^[0-9a-f]{40,64}$/.test(head) ? head : null
  if (ref !== null && /^refs\/[^\s]+$/.test(ref) && !ref.includes('..')) {
    const loose = (await read(ref)).trim()
    const packed = new RegExp(`^([0-9a-f]{40,64}) ${ref.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`, 'm').exec(
      await read('packed-refs'),
    )
    commit = /^[0-9a-f]{40,64}$/.test(loose) ? loose : (packed?.[1] ?? null)
  }
  const config = await read('config')
  const remotes = [...config.matchAll(/^\s*\[remote "([^"]+)"\]([^[]*)/gm)]
  const section = remotes.find(([, name]) => name === 'origin') ?? remotes[0]
  const remote = /^\s*url\s*=\s*(.+?)\s*$/m.exec(section?.[2] ?? '')?.[1] ?? null
  const at = await stat(path.join(own, 'HEAD')).catch(() => null)
  return {
    remote: remote === null ? null : withoutUser(remote),
    commit,
    branch: ref?.replace(/^refs\/heads\//, '') ?? null,
    fetchedAt: at?.mtimeMs ?? null,
  }
}

async function changesOf(dir: string, source: NodeSource, command: CommandOptions) {
  const [changedFiles, addedFiles]: [string[], string[]] = [[], []]
  if (source.is === 'git') {
    const options = { ...command, cwd: dir }
    const said = await git(
      ['--no-optional-locks', 'status', '--porcelain=v1', '-z', '--untracked-files=normal'],
      options,
    ).catch(() => '')
    for (const entry of `${said}`.split('\0')) {
      const [, state, name] = /^(?: ?(.{1,2})) (.+)$/s.exec(entry) ?? []
      if (!state || !name || /(?:^|\/)__pycache__\//.test(name)) continue
      const list = state.includes('?') ? addedFiles : changedFiles
      if (list.length < MOST_FILES) list.push(name)
    }
  } else if (source.is === 'registry' || (source.is === 'archive' && source.remote !== null)) {
    const tracked = await readFile(path.join(dir, '.tracking'), 'utf8').catch(() => null)
    const files = tracked === null ? (await readUnpacked(dir))?.files : tracked.split(/\r?\n/)
    const brought = new Set([...(files ?? []), '.tracking', '.nightshift.json'])
    const there = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
    for (const entry of there) {
      const name = path.relative(dir, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/')
      if (!entry.isFile() || brought.has(name) || /(?:^|\/)__pycache__\//.test(name)) continue
      if (addedFiles.length < MOST_FILES) addedFiles.push(name)
    }
    for (const name of files ?? [])
      if (name !== '' && changedFiles.length < MOST_FILES && !(await isFile(path.join(dir, name))))
        changedFiles.push(name)
  }
  return { changedFiles, addedFiles }
}

/** Code that its installing would run, as a person may read it. */
export async function scriptsIn(dir: string, folder: string): Promise<NodeScript[]> {
  const file = path.join(dir, 'install.py')
  const [real, root] = await Promise.all([realpath(file).catch(() => null), realpath(dir).catch(() => dir)])
  if (real === null || !real.startsWith(root + path.sep) || !(await isFile(real))) return []
  const bytes = await readFile(real)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const text = bytes.toString('utf8').slice(0, LONGEST_TEXT)
  return [{ folder, file: 'install.py', sha256, sizeBytes: bytes.length, text }]
}

const isFile = (file: string) =>
  lstat(file).then(
    (found) => found.isFile(),
    () => false,
  )
