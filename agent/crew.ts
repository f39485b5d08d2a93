import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { EngineState } from '../core/contract/engine.ts'
import { AppError } from '../core/contract/errors.ts'
import type { Release } from '../core/contract/release.ts'
import type { Manifest } from '../core/contract/snapshot.ts'
import { validatePrompt } from '../core/domain/workflow/validate.ts'
import { type ComfyAddress, readAddress } from '../core/engine/comfy/address.ts'
import { ComfyClient } from '../core/engine/comfy/client.ts'
import { paintCanary } from '../core/engine/install/canary.ts'
import type { CommandOptions } from '../core/engine/install/command.ts'
import { normal } from '../core/engine/install/lock.ts'
import { flagsIn, launchOf } from '../core/engine/process/launch.ts'
import { LineLog } from '../core/engine/process/line-log.ts'
import { freePort } from '../core/engine/process/ports.ts'
import { type Pace, Supervisor, startSomewhere } from '../core/engine/process/supervisor.ts'
import { askPython } from '../core/engine/snapshot/environment.ts'
import type { RestoredEnvironment } from '../core/engine/snapshot/restore-environment.ts'

export interface CrewOptions {
  readonly release: Release
  readonly manifest: Manifest
  readonly environment: RestoredEnvironment
  /** One ComfyUI each: `cpu`, `auto`, or the number of a card. */
  readonly cards: readonly string[]
  /** Of this agent alone. */
  readonly dir: string
  /** Ports of other ComfyUIs of this agent. */
  readonly taken: ReadonlySet<number>
  readonly env: NodeJS.ProcessEnv
  readonly now: () => number
  readonly pace?: Partial<Pace>
  readonly onChange: () => void
}
export interface CrewMember {
  readonly card: string
  readonly state: EngineState['is']
  readonly restarts: number
}

const FIRST_PORT = 8188
/** After so many crashes in a row that its supervisor gave up. */
const AGAIN_AFTER_MS = 60_000
/** What ComfyUI saved is in the store by then; its cache may still tell of the newest. */
const KEEP_FILES = 500
const KEEP_MS = 60 * 60_000
const SWEEP_EVERY_MS = 10 * 60_000
const IDLE_WITHIN_MS = 10 * 60_000
const LOOK_EVERY_MS = 500

/** The ComfyUIs of one release, each under its supervisor. */
export class Crew {
  readonly #options: CrewOptions
  readonly #all: { readonly supervisor: Supervisor; readonly card: string; address: ComfyAddress | null }[] = []
  #again: NodeJS.Timeout | undefined
  #sweeping: NodeJS.Timeout | undefined

  constructor(options: CrewOptions) {
    this.#options = options
  }

  /** Those that take prompts now. */
  get places(): ComfyAddress[] {
    return this.#all.flatMap(({ supervisor, address }) => (supervisor.state.is === 'ready' && address ? [address] : []))
  }
  /** All that ever did. */
  get addresses(): ComfyAddress[] {
    return this.#all.flatMap(({ address }) => address ?? [])
  }
  get ports(): number[] {
    return this.#all.flatMap(({ supervisor }) => supervisor.port ?? [])
  }
  get members(): CrewMember[] {
    return this.#all.map(({ supervisor, card }) => ({
      card,
      state: supervisor.state.is,
      restarts: supervisor.restarts,
    }))
  }
  /** What they said last. */
  async lines(limit: number): Promise<{ at: number; text: string }[]> {
    const all = await Promise.all(this.#all.map(({ supervisor }) => supervisor.log.read({ limit })))
    return all
      .flat()
      .map(({ at, text }) => ({ at, text }))
      .toSorted((a, b) => a.at - b.at)
      .slice(-limit)
  }

  /** Resolves when all answer. @throws what one of them failed of */
  async start(signal: AbortSignal) {
    const { cards, dir, taken, release } = this.#options
    const ports: number[] = []
    for (const _ of cards) {
      const port = await freePort(FIRST_PORT, new Set([...taken, ...ports]))
      if (port === null) throw new AppError('engine.port-taken', { port: FIRST_PORT, holder: '' })
      ports.push(port)
    }
    await mkdir(path.join(dir, 'logs'), { recursive: true })
    for (const [at, card] of cards.entries())
      this.#all.push({
        card,
        address: null,
        supervisor: await this.#supervisor(`release-${release.version}-${at}`, card, ports, at),
      })
    await Promise.all(this.#all.map(({ supervisor }) => startSomewhere(supervisor, signal)))
    this.#sweeping = setInterval(() => void this.#sweep(), SWEEP_EVERY_MS)
    this.#sweeping.unref()
  }

  /** Resolves once their queues are empty: prompts that came past the tasks end too, within bounds. */
  async idle(signal: AbortSignal) {
    const within = AbortSignal.any([signal, AbortSignal.timeout(IDLE_WITHIN_MS)])
    const ended = async (address: ComfyAddress) => {
      const client = new ComfyClient(address, { clientId: randomUUID() })
      try {
        while ((await client.queueLength(within)) > 0) await pause(LOOK_EVERY_MS, undefined, { signal: within })
      } finally {
        await client.close()
      }
    }
    await Promise.allSettled(this.places.map(ended))
  }

  async stop() {
    clearTimeout(this.#again)
    clearInterval(this.#sweeping)
    await Promise.all(this.#all.map(({ supervisor }) => supervisor.stop()))
  }

  async #supervisor(id: string, card: string, ports: readonly number[], at: number): Promise<Supervisor> {
    const { environment, dir, manifest, release, env, taken, now, pace } = this.#options
    const own = path.join(dir, 'run', id)
    const shared = path.join(dir, 'input') // whichever runs it, a file was put there
    const declared = await readFile(path.join(environment.dir, 'comfy', 'cli_args.py'), 'utf8').catch(() => null)
    const known = declared === null ? null : flagsIn(declared)
    const folders = {
      '--input-directory': shared,
      '--temp-directory': own,
      '--output-directory': path.join(own, 'output'),
    }
    for (const folder of Object.values(folders)) await mkdir(folder, { recursive: true })
    const has = (flag: string) => known === null || known.has(flag)
    const flags = [
      ...Object.entries(folders).flatMap(([flag, folder]) => (has(flag) ? [flag, folder] : [])),
      ...travelling([...manifest.launch.flags, ...release.flags]),
    ]
    const supervisor = new Supervisor({
      id,
      port: null,
      taken: () => new Set([...taken, ...ports.filter((_, other) => other !== at)]),
      stateDir: path.join(dir, 'processes'),
      log: new LineLog(path.join(dir, 'logs', `${id}.log`), { now }),
      newId: randomUUID,
      now,
      ...(pace && { pace }),
      launch: async (port) => {
        const launch = launchOf({
          kind: 'installed',
          dir: environment.dir,
          python: environment.python,
          settings: {
            flags,
            cards: [],
            baseDir: environment.base,
            withCustomNodes: true,
            autoStart: true,
            hungMinutes: null,
            modelsOf: [],
          },
          card: { card, flags: [], port: null },
          port,
          outputDir: null,
          database: path.join(own, 'comfyui.db'),
          known,
          platform: process.platform,
          env: withoutOurs(env),
        })
        return { ...launch, env: { ...launch.env, ...OFFLINE } }
      },
    })
    supervisor.events.on('state', (state) => {
      const member = this.#all.find((each) => each.supervisor === supervisor)
      if (member && state.is === 'ready' && member.address?.url !== `${state.url}/`)
        member.address = readAddress(state.url)
      if (state.is === 'failed') this.#startAgain()
      this.#options.onChange()
    })
    return supervisor
  }

  /** A card that comes back, a disk that has room again: nobody is here to press a button. */
  #startAgain() {
    if (this.#again || this.addresses.length === 0) return // it never was ready: that is told, not tried
    this.#again = setTimeout(() => {
      this.#again = undefined
      for (const { supervisor } of this.#all) if (supervisor.state.is === 'failed') supervisor.begin()
    }, AGAIN_AFTER_MS)
    this.#again.unref()
  }

  // ---- proving ----

  /**
   * What runs is what was published: code, version, packages, every class of the snapshot, every workflow of the release.
   * @throws AppError 'release.other-versions' | 'release.no-classes' | 'release.no-values'
   */
  async verify(
    command: CommandOptions,
    signal: AbortSignal,
    changed: readonly { readonly path: string; readonly commit: string | null }[],
  ) {
    const { manifest, release, environment } = this.#options
    const { python, packages } = await askPython(environment.python, command).then((facts) => ({
      python: facts.version,
      packages: facts.packages,
    }))
    const found = new Map(packages.map(({ name, version }) => [normal(name), version]))
    const others = manifest.packages.flatMap(({ name, version }) => {
      const is = found.get(normal(name))
      return is === version ? [] : [`${name} ${is ?? '–'} (${version})`]
    })
    for (const { path: file, commit } of changed) others.push(`${file} (${commit?.slice(0, 12) ?? '–'})`)
    const minor = (version: string) => version.split('.').slice(0, 2).join('.')
    if (minor(python) !== minor(manifest.python.version)) others.push(`Python ${python} (${manifest.python.version})`)
    for (const { supervisor, address } of this.#all) {
      const client = new ComfyClient(address!, { clientId: randomUUID() })
      try {
        const { stats } = await client.probe(signal)
        const is = stats.system.comfyui_version ?? null
        if (manifest.comfyui.version !== null && is !== null && is !== manifest.comfyui.version)
          others.push(`ComfyUI ${is} (${manifest.comfyui.version})`)
        if (others.length > 0)
          throw new AppError('release.other-versions', { differences: list(others), count: others.length })
        const definitions = await client.objectInfo(signal)
        const offered = new Set(Object.keys(definitions))
        const used = release.workflows.flatMap(({ prompt }) =>
          Object.values(prompt).map(({ class_type }) => class_type),
        )
        const classes = [...new Set([...(manifest.nodeClasses ?? []), ...used])].filter((name) => !offered.has(name))
        const failed = supervisor.facts.customNodes.filter((load) => load.failed).map(({ folder }) => folder)
        if (classes.length > 0)
          throw new AppError('release.no-classes', {
            classes: list(classes),
            count: classes.length,
            failed: failed.join(', ') || '–',
          })
        for (const { name, prompt } of release.workflows) {
          const values = Object.values(validatePrompt(prompt, definitions).node_errors).flatMap(
            ({ class_type, errors }) =>
              errors
                .filter(({ type }) => type === 'value_not_in_list')
                .map(({ details }) => `${class_type} ${details.replace(/ not in \[.*/s, '')}`),
          )
          if (values.length > 0) throw new AppError('release.no-values', { name, values: list(values) })
        }
      } finally {
        await client.close()
      }
    }
  }

  /** A tiny picture, really made, by each. @throws AppError 'install.no-picture' */
  async paint(signal: AbortSignal) {
    await Promise.all(this.addresses.map(({ url }) => paintCanary(url, signal)))
  }

  /** What ComfyUI saved here was copied to the store as each task ended. */
  async #sweep() {
    const { dir, now } = this.#options
    for (const { supervisor } of this.#all)
      for (const folder of ['output', 'temp']) {
        const at = path.join(dir, 'run', supervisor.id, folder)
        await sweepFiles(at, now() - KEEP_MS).catch(() => {})
      }
    await sweepFiles(path.join(dir, 'input'), now() - KEEP_MS).catch(() => {})
  }
}

async function sweepFiles(dir: string, before: number) {
  const names = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = await Promise.all(
    names
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const file = path.join(entry.parentPath, entry.name)
        return { file, at: (await stat(file)).mtimeMs }
      }),
  )
  for (const { file, at } of files.toSorted((a, b) => b.at - a.at).slice(KEEP_FILES))
    if (at < before) await rm(file, { force: true })
}

const MOST_NAMED = 20
const list = (names: readonly string[]) =>
  names.slice(0, MOST_NAMED).join(', ') + (names.length > MOST_NAMED ? ` … (${names.length})` : '')

/** Folders and devices of the machine it was taken on mean nothing here. */
const OF_A_MACHINE =
  /^--(?:(?:base|output|input|temp|user)-directory|extra-model-paths-config|front-end-root|database-url|(?:cuda|hip|default)-device|directml|oneapi-device-selector|cpu)$/
/** Flags without those that say where things are on the machine they come from. Pure. */
export function travelling(flags: readonly string[]): string[] {
  const kept: string[] = []
  for (let at = 0; at < flags.length; at++) {
    const [name = ''] = flags[at]!.split('=')
    if (!OF_A_MACHINE.test(name)) kept.push(flags[at]!)
    else if (!flags[at]!.includes('=')) while (flags[at + 1] !== undefined && !flags[at + 1]!.startsWith('--')) at++
  }
  return kept
}

/** What a release needs it brought along. */
const OFFLINE = {
  HF_HUB_OFFLINE: '1',
  TRANSFORMERS_OFFLINE: '1',
  HF_DATASETS_OFFLINE: '1',
  HF_HUB_DISABLE_TELEMETRY: '1',
  DISABLE_TELEMETRY: '1',
  DO_NOT_TRACK: '1',
  PIP_NO_INDEX: '1',
  UV_OFFLINE: '1',
  UV_PYTHON_DOWNLOADS: 'never',
  GIT_TERMINAL_PROMPT: '0',
}

/** Nothing of what opens our store. */
const withoutOurs = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !/^(?:AWS|NIGHTSHIFT)_/i.test(name)))
