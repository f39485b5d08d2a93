import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { AppError } from '../../contract/errors.ts'
import { parseJson } from '../../contract/json.ts'
import type { Checkout, NodeKept } from '../../contract/snapshot.ts'
import { type CommandOptions, runCommand } from '../install/command.ts'

/** What a Python says of itself and its packages; paths are where they lie here. */
const PythonFacts = z.object({
  version: z.string(),
  implementation: z.string(),
  abi: z.string(),
  libc: z.string().nullable(),
  packagesDir: z.string(),
  /** Of a virtual environment; null: its programs lie among the system's. */
  programsDir: z.string().nullable(),
  prefix: z.string(),
  cuda: z.string().nullable(),
  /** Packages it sees that lie in another Python's folder. */
  elsewhere: z.array(z.object({ name: z.string(), dir: z.string() })),
  packages: z.array(z.object({ name: z.string(), version: z.string(), url: z.string().nullable() })),
})
export type PythonFacts = z.infer<typeof PythonFacts>

/** Run by the environment's own Python: another one, or PYTHONPATH, would name packages it does not have. */
const ASK = `
import importlib.metadata as m, json, os, platform, sys, sysconfig
found, elsewhere = {}, []
own = os.path.realpath(sysconfig.get_path('purelib'))
for d in m.distributions():
    name = d.metadata['Name']
    if not name or name.lower() in found: continue
    url = None
    try:
        said = json.loads(d.read_text('direct_url.json') or '{}')
        url = said.get('url')
        vcs = said.get('vcs_info')
        if vcs: url = vcs['vcs'] + '+' + url + '@' + vcs['commit_id']
        if url and said.get('subdirectory'): url += '#subdirectory=' + said['subdirectory']
    except (ValueError, KeyError): pass
    found[name.lower()] = {'name': name, 'version': d.version, 'url': url}
    at = os.path.realpath(str(d.locate_file('')))
    if at != own: elsewhere.append({'name': name, 'dir': at})
cuda = None
try:
    with open(sysconfig.get_path('purelib') + '/torch/version.py', encoding='utf-8') as f:
        scope = {}
        exec(f.read(), scope)
        cuda = scope.get('cuda')
except (OSError, SyntaxError): pass
libc = '-'.join(platform.libc_ver()) if sys.platform == 'linux' else None
print(json.dumps({'version': platform.python_version(), 'implementation': sys.implementation.name,
    'abi': sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag, 'libc': libc or None,
    'packagesDir': sysconfig.get_path('purelib'), 'prefix': sys.prefix,
    'programsDir': sysconfig.get_path('scripts') if sys.prefix != sys.base_prefix else None, 'cuda': cuda,
    'elsewhere': elsewhere, 'packages': sorted(found.values(), key=lambda p: p['name'].lower())}))
`

/** @throws AppError 'snapshot.no-python' */
export async function askPython(python: string, command: CommandOptions): Promise<PythonFacts> {
  try {
    const said = await runCommand(python, ['-I', '-X', 'utf8', '-c', ASK], command)
    const facts = PythonFacts.parse(parseJson(said.trim().split('\n').at(-1)!))
    return {
      ...facts,
      packages: facts.packages.map((each) => ({ ...each, url: each.url && withoutCredentials(each.url) })),
    }
  } catch (cause) {
    command.signal?.throwIfAborted()
    throw new AppError('snapshot.no-python', { python, reason: cause instanceof Error ? cause.message : '' }, { cause })
  }
}

/** What a folder's repository says; all null and empty where it is none. */
export async function checkoutOf(dir: string, command: CommandOptions): Promise<Checkout> {
  const none = { remote: null, commit: null, describe: null, changed: [], untracked: [] }
  if (!(await stat(path.join(dir, '.git')).catch(() => null))) return none // one further up is another's
  const git = (...args: string[]) =>
    runCommand('git', ['-c', 'safe.directory=*', '-c', 'core.fsmonitor=', '-c', 'core.quotepath=off', ...args], {
      ...command,
      cwd: dir,
      env: { ...command.env, GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0' },
    }).catch(() => {
      command.signal?.throwIfAborted()
      return ''
    })
  const [remote, commit, describe, changed, untracked] = await Promise.all([
    git('config', '--get', 'remote.origin.url'),
    git('rev-parse', 'HEAD'),
    git('describe', '--tags', '--always'),
    // line endings alone are no change of anybody's
    git('diff', '--name-only', '-z', '--ignore-cr-at-eol', 'HEAD'),
    git('ls-files', '-o', '--exclude-standard', '-z'),
  ])
  return {
    remote: withoutCredentials(remote.trim()) || null,
    commit: commit.trim() || null,
    describe: describe.trim() || null,
    changed: named(changed),
    untracked: named(untracked),
  }
}

/** Custom nodes as they lie under `dir`, those that are switched off left out. */
export async function nodesIn(dir: string, command: CommandOptions): Promise<NodeKept[]> {
  const names = await readdir(dir, { withFileTypes: true }).catch(() => [])
  const nodes = names.filter(
    ({ name }) => !/^(?:\.|__pycache__)|\.disabled$|\.example$/.test(name) && !/\.(?:part|tmp)/.test(name),
  )
  const all = await Promise.all(
    nodes.map(async (entry) => {
      const folder = entry.name
      if (!entry.isDirectory() && !entry.isSymbolicLink()) {
        const none = { remote: null, commit: null, describe: null, changed: [], untracked: [] }
        return folder.endsWith('.py') ? [{ folder, version: null, ...none }] : []
      }
      const about = await readFile(path.join(dir, folder, 'pyproject.toml'), 'utf8').catch(() => '')
      const version = /^\s*version\s*=\s*["']([^"']+)["']/m.exec(about)?.[1] ?? null
      return [{ folder, version, ...(await checkoutOf(path.join(dir, folder), command)) }]
    }),
  )
  return all.flat().toSorted((a, b) => (a.folder < b.folder ? -1 : 1))
}

const named = (text: string) => text.split('\0').filter((name) => name !== '')
/** `https://user:token@host/…` without who asked for it. */
const withoutCredentials = (url: string) => url.replace(/^([\w+.-]+:\/\/)[^/@]*@/, '$1')
