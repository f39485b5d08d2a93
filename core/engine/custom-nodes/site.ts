import path from 'node:path'
import type { Dispatcher } from 'undici'
import type { NodeStep } from '../../contract/custom-node.ts'
import type { EngineKind, EngineSettings } from '../../contract/engine.ts'
import { currentInstall } from '../install/generations.ts'
import type { Pace } from '../process/supervisor.ts'

/** A ComfyUI whose custom nodes are looked at or changed. */
export interface NodesSite {
  readonly name: string
  readonly kind: EngineKind
  /** Where main.py is, and its Python, as they are now. */
  readonly dir: string
  readonly python: string
  readonly settings: EngineSettings
  /** engines/<name> in the data folder; of one that is not ours only notes lie there. */
  readonly home: string
}

/** What it takes to change them. */
export interface NodesTools {
  readonly dispatcher: Dispatcher
  readonly env: NodeJS.ProcessEnv
  /** For git, uv and the custom nodes' own installers: mirrors and proxies; after `env`. */
  readonly childEnv: NodeJS.ProcessEnv
  readonly platform: NodeJS.Platform
  readonly arch: string
  /** Programs; their pip may get uv. */
  readonly pythons: readonly string[]
  readonly now: () => number
  readonly newId: () => string
  readonly signal?: AbortSignal
  /** The same thing elsewhere, in the order to try. */
  readonly addressesFor: (kind: 'git' | 'github', url: string) => readonly string[]
  /** Python indexes in the order to try; empty: `findLinks` alone. */
  readonly indexes: readonly string[]
  readonly findLinks: string | null
  /** uv's cache, on the volume of the environments. */
  readonly cache: string
  /** engines/.tools and engines/.running. */
  readonly toolsDir: string
  readonly stateDir: string
  readonly proxy: string | null
  readonly onStep?: (step: NodeStep) => void
  /** Where it runs now; null: it does not. */
  readonly url: string | null
  /** Stops it, and starts it again as it then is, if it ran. */
  readonly whileStopped: (change: () => Promise<void>) => Promise<void>
  /** For tests of recovery. */
  readonly point?: (name: string) => void
  readonly pace?: Partial<Pace>
  readonly limits?: Partial<NodesLimits>
}

interface NodesLimits {
  /** All of a plan's resolving, with what has to be built to know what it needs. */
  readonly resolveMs: number
  /** Installing packages, with what has to be built. */
  readonly installMs: number
  /** Each install script. */
  readonly scriptMs: number
  /** One custom node: files, and bytes unpacked. */
  readonly files: number
  readonly bytes: number
}
export const limitsOf = ({ limits }: Pick<NodesTools, 'limits'>): NodesLimits => ({
  resolveMs: 10 * 60_000,
  installMs: 2 * 60 * 60_000,
  scriptMs: 20 * 60_000,
  files: 50_000,
  bytes: 2 * 2 ** 30,
  ...limits,
})

/** Where the custom nodes are that run, and where those are kept that do not. */
export interface NodesPlaces {
  readonly live: string
  /** On the same volume, so that a folder moves between them at once. ComfyUI passes over names that end so. */
  readonly aside: string
}

export function placesOf({
  kind,
  dir,
  settings,
  home,
}: Pick<NodesSite, 'kind' | 'dir' | 'settings' | 'home'>): NodesPlaces {
  const live = path.join(kind === 'installed' ? path.join(home, 'base') : (settings.baseDir ?? dir), 'custom_nodes')
  return { live, aside: kind === 'installed' ? path.join(home, 'nodes') : path.join(live, '.nightshift.disabled') }
}

/** An engine that we installed runs what its pointer says now, with the flags that go with it. */
export function currentSite(site: NodesSite): NodesSite {
  const current = site.kind === 'installed' ? currentInstall(site.home) : null
  if (!current) return site
  const { dir, python, ownFlags } = current
  const flags = [...ownFlags.filter((flag) => !site.settings.flags.includes(flag)), ...site.settings.flags]
  return { ...site, dir, python, settings: { ...site.settings, flags } }
}

/** Where all is kept that git, uv, install scripts and trials said. */
export const nodesLog = ({ home }: Pick<NodesSite, 'home'>) => path.join(home, 'custom-nodes.log')
