import nodePath from 'node:path'
import type { EngineCard, EngineKind, EngineSettings } from '../../contract/engine.ts'
import { AppError } from '../../contract/errors.ts'
import type { Launch } from './supervisor.ts'

export interface Wish {
  readonly kind: EngineKind
  /** Where main.py is. */
  readonly dir: string
  readonly python: string
  readonly settings: EngineSettings
  readonly card: EngineCard
  readonly port: number
  /** Where it saves; null: where it does by itself. */
  readonly outputDir: string | null
  /** A file of its own for this process. */
  readonly database: string
  /** The flags this ComfyUI has; see flagsIn. null: unknown. */
  readonly known: ReadonlySet<string> | null
  readonly platform: NodeJS.Platform
  readonly env: NodeJS.ProcessEnv
}

/** What belongs to other Pythons and installers, and what is ours alone. */
const NOT_INHERITED =
  /^(?:PYTHON(?:HOME|PATH|STARTUP|SAFEPATH|INSPECT|BREAKPOINT)|VIRTUAL_ENV.*|CONDA_.*|PIP_.*|UV_.*|NIGHTSHIFT_.*|ELECTRON_.*|NODE_OPTIONS|__COMFY.*|__PYVENV_LAUNCHER__)$/i
/** Ours to say, since what follows depends on it. */
const OURS =
  /^--(?:listen|port|auto-launch|windows-standalone-build|tls-keyfile|tls-certfile|quick-test-for-ci|dont-print-server|list-feature-flags|enable-cors-header)(?:=|$)/

/** @throws AppError 'engine.flag-ours' */
export function refuseOurFlags(flags: readonly string[]) {
  const ours = flags.find((flag) => OURS.test(flag))
  if (ours !== undefined) throw new AppError('engine.flag-ours', { flag: ours })
}

/** The flags a ComfyUI declares, from the text of its cli_args.py. Pure. */
export const flagsIn = (source: string): Set<string> =>
  new Set([...source.matchAll(/add_argument\(\s*["'](--[\w-]+)["']/g)].map(([, flag]) => flag!))

/** How to start one process of an engine. Pure. */
export function launchOf(wish: Wish): Launch {
  const { kind, dir, python, settings, card, port, outputDir, database, known, platform, env } = wish
  const path = platform === 'win32' ? nodePath.win32 : nodePath.posix
  const flags = [...settings.flags, ...card.flags]
  refuseOurFlags(flags)
  const given = (flag: string) => flags.some((each) => each === flag || each.startsWith(`${flag}=`))
  const has = (flag: string) => known === null || known.has(flag)

  const args = [...(kind === 'portable' || kind === 'installed' ? ['-s'] : []), path.join(dir, 'main.py')]
  args.push('--listen', '127.0.0.1', '--port', String(port), '--disable-auto-launch')
  if (settings.baseDir !== null && !given('--base-directory')) args.push('--base-directory', settings.baseDir)
  if (outputDir !== null && !given('--output-directory')) args.push('--output-directory', outputDir)
  // two of one folder would wait for each other's database
  if (known?.has('--database-url') && !given('--database-url'))
    args.push('--database-url', `sqlite:///${path.sep === '\\' ? database.replaceAll('\\', '/') : database}`)
  if (!settings.withCustomNodes && has('--disable-all-custom-nodes')) args.push('--disable-all-custom-nodes')
  if (card.card === 'cpu' && !given('--cpu')) args.push('--cpu')
  args.push(...flags)

  const inherited = Object.entries(env).filter(([name]) => !NOT_INHERITED.test(name))
  const own: NodeJS.ProcessEnv = { PYTHONUNBUFFERED: '1', PYTHONIOENCODING: 'utf-8' }
  if (platform === 'win32') own.PYTHONUTF8 = '1'
  if (/^\d+$/.test(card.card)) {
    own.CUDA_DEVICE_ORDER = 'PCI_BUS_ID' // count as nvidia-smi does
    own.CUDA_VISIBLE_DEVICES = card.card
    own.HIP_VISIBLE_DEVICES = card.card
  }
  // a portable build's own scripts start it from the folder that its Python is in
  const cwd = kind === 'portable' ? dir.slice(0, commonLength(dir, python, path.sep)) : dir
  return { command: python, args, cwd, env: { ...Object.fromEntries(inherited), ...own } }
}

/** How much of two paths is the same folder. */
function commonLength(one: string, other: string, separator: string): number {
  const [a, b] = [one.split(separator), other.split(separator)]
  const differs = a.findIndex((part, at) => part !== b[at])
  return a.slice(0, differs < 0 ? a.length : differs).join(separator).length
}

/** The id of a card's process, which is its worker's too. */
export const processId = (engine: string, cards: readonly EngineCard[], card: EngineCard) =>
  cards.length === 1 ? engine : `${engine}-${card.card}`
