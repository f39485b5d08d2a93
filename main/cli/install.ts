import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import {
  EngineName,
  type Generation,
  InstallChoices,
  type InstallPlan,
  type InstallView,
  SpeedUp,
} from '../../core/contract/engine.ts'
import { AppError, FailureError } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { Client } from '../api/client.ts'
import type { Action, ValuesOf } from './actions.ts'
import { type Context, EXIT, usageError } from './context.ts'
import { hearInterruption } from './interruption.ts'
import { sayBytes } from './terminal.ts'

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const list = { type: 'string', multiple: true } as const
export const INSTALL_OPTIONS = {
  name: text,
  python: text,
  cpu: flag,
  source: text,
  ref: text,
  'find-links': text,
  torch: text,
  manager: flag,
  index: text,
  mirrors: text,
  proxy: text,
  'speed-up': list,
  'no-speed-ups': flag,
  mend: flag,
  bundle: text,
  undo: flag,
} as const
type InstallOptions = ValuesOf<typeof INSTALL_OPTIONS>

const DEFAULT_NAME = 'local'

export const installActions: Record<string, Action<typeof INSTALL_OPTIONS>> = {
  async plan(context, client, args, options) {
    tellPlan(
      context,
      await client.call('engine.plan', { name: nameIn(args, options), choices: choicesOf(context, options) }),
    )
    return true
  },
  async install(context, client, args, options) {
    const name = nameIn(args, options)
    const choices = choicesOf(context, options)
    tellPlan(context, await client.call('engine.plan', { name, choices }))
    return follow(context, client, await client.call('engine.install', { name, choices }))
  },
  async update(context, client, args, options) {
    const name = nameIn(args, options)
    const speedUps = options['no-speed-ups'] ? [] : options['speed-up'] && speedUpsOf(options)
    return follow(context, client, await client.call('engine.update', { name, ref: options.ref ?? null, speedUps }))
  },
  async share(context, client, args, options) {
    const { terminal, cwd } = context
    const [given, ...names] = args
    if (given === undefined) throw usageError(terminal.speech.words.reason.missing, { what: 'DIR' })
    const [dir, name, use] = [path.resolve(cwd, given), nameIn(names, options), !options.undo]
    const { install: said } = terminal.speech.words
    if (use)
      for (const each of (await client.call('engine.lookAtModels', { dir })).folders) {
        terminal.event('folder', each)
        if (!terminal.json) terminal.say(said.folder, { ...each, size: sayBytes(each.sizeBytes) })
      }
    const { settings } = await client.call('engine.shareModels', { name, dir, use })
    terminal.event('shared', { name, modelsOf: settings.modelsOf })
    if (!terminal.json) terminal.say(use ? said.shared : said.unshared, { name, dir })
    return true
  },
  async rollback(context, client, args, options) {
    const name = nameIn(args, options)
    const { rows } = await client.call('engine.rollback', { name })
    tellGenerations(context, rows)
    return true
  },
  async doctor(context, client, args, options) {
    const name = nameIn(args, options)
    const { terminal } = context
    if (options.bundle !== undefined) {
      const file = path.resolve(context.cwd, options.bundle)
      const { base64 } = await client.call('engine.diagnostics', { name })
      await writeFile(file, Buffer.from(base64, 'base64'), { mode: 0o600 }).catch((cause) => {
        throw new AppError('disk.denied', { dir: file }, { cause })
      })
      terminal.event('bundle', { file })
      if (!terminal.json) terminal.say(terminal.speech.words.install.bundled, { file })
      return true
    }
    const { findings, mending } = await client.call('engine.doctor', { name, mend: options.mend ?? false })
    for (const found of findings) {
      terminal.event('finding', found as unknown as Record<string, Json>)
      if (!terminal.json)
        terminal.say('{level}  {message}', {
          level: terminal.speech.words.engine.levels[found.level],
          message: terminal.speech.problem(found),
        })
    }
    const { rows } = await client.call('engine.generations', { name })
    tellGenerations(context, rows)
    if (mending) return follow(context, client, mending)
    if (findings.some(({ mend }) => mend === 'bisect')) terminal.note(terminal.speech.words.install.bisect, { name })
    return findings.every(({ level }) => level !== 'bad')
  },
}

function nameIn(args: string[], { name }: InstallOptions): string {
  const given = name ?? args[0] ?? DEFAULT_NAME
  const read = EngineName.safeParse(given)
  if (!read.success) throw new AppError('app.usage', { reason: given })
  return read.data
}

function choicesOf(context: Context, options: InstallOptions): InstallChoices {
  const { cwd } = context
  const place = (given: string | undefined) =>
    given === undefined || /^[a-z][a-z\d+.-]+:\/\/|^git@/i.test(given) ? (given ?? null) : path.resolve(cwd, given)
  const { python, mirrors } = options
  if (mirrors !== undefined && !['first', 'last', 'none'].includes(mirrors))
    throw usageError('--mirrors first|last|none: {value}', { value: mirrors })
  const program = python !== undefined && !/^(system|\d+(\.\d+)*)$/i.test(python)
  return InstallChoices.parse({
    source: place(options.source),
    ref: options.ref ?? null,
    python: program ? (/[\\/]/.test(python) ? path.resolve(cwd, python) : python) : (python ?? null),
    findLinks: place(options['find-links']),
    torch: options.torch ?? null,
    cpu: options.cpu ?? false,
    manager: options.manager ?? false,
    index: options.index ?? null,
    mirrors: mirrors ?? null,
    proxy: options.proxy ?? null,
    speedUps: speedUpsOf(options),
  })
}

function speedUpsOf({ 'speed-up': given = [] }: InstallOptions): SpeedUp[] {
  return given.map((id) => {
    const read = SpeedUp.safeParse(id)
    if (!read.success) throw usageError(`--speed-up ${SpeedUp.options.join('|')}: {value}`, { value: id })
    return read.data
  })
}

function tellPlan({ terminal }: Context, plan: InstallPlan) {
  terminal.event('plan', plan as unknown as Record<string, Json>)
  if (terminal.json) return
  const { install: said } = terminal.speech.words
  for (const step of plan.steps)
    terminal.say(said.planned, {
      step: said.steps[step.id],
      what: step.what,
      size: sayBytes(step.downloadBytes),
      from: step.from[0] ?? '',
    })
  terminal.say(said.total, {
    download: sayBytes(plan.downloadBytes),
    disk: sayBytes(plan.diskBytes),
    minutes: Math.ceil(plan.seconds / 60),
    dir: plan.home,
  })
  for (const { id, what, why } of plan.speedUps) if (why === null) terminal.say(said.speedUp, { id, what })
}

/** Tells each step up to the end. Ctrl-C ends it where it is. */
async function follow(context: Context, client: Client, begun: InstallView): Promise<boolean> {
  const { terminal } = context
  const { install: said } = terminal.speech.words
  const { name } = begun
  const interrupt = hearInterruption(EXIT.interrupted)
  const told = new Map<string, string>()
  const { promise, resolve, reject } = Promise.withResolvers<InstallView>()
  const look = async () => {
    const { rows } = await client.call('engine.installs', {})
    const view = rows.find((row) => row.name === name)
    if (!view) return
    for (const step of view.steps) {
      const key = `${step.is} ${step.bytes}`
      if (step.is === 'waiting' || told.get(step.id) === key) continue
      told.set(step.id, key)
      terminal.event('step', { ...step })
      const facts = { step: said.steps[step.id], state: said.states[step.is], bytes: sayBytes(step.bytes) }
      terminal.note(step.bytes > 0 ? said.progress : said.step, {
        ...facts,
        total: sayBytes(step.totalBytes ?? 0),
        eta: step.etaSeconds ?? '?',
      })
    }
    if (view.is !== 'running') resolve(view)
  }
  const leave = client.subscribe(null, ({ name: event }) => {
    if (event === 'install.changed') look().catch(reject)
  })
  try {
    await look()
    const interrupted = once(interrupt.signal, 'abort').then(() => null)
    const view = await Promise.race([promise, interrupted])
    if (view === null) {
      await client.call('engine.cancelInstall', { name })
      throw new AppError('app.interrupted')
    }
    for (const each of view.switched) {
      terminal.event('switched', { ...each })
      terminal.note(said.switched, each)
    }
    for (const found of view.findings) {
      terminal.event('finding', found as unknown as Record<string, Json>)
      terminal.note('{message}', { message: terminal.speech.problem(found) })
    }
    if (view.failure) throw new FailureError(view.failure)
    if (view.is === 'cancelled') throw new AppError('app.interrupted')
    tellGenerations(context, (await client.call('engine.generations', { name })).rows)
    return true
  } finally {
    leave()
    interrupt.end()
  }
}

function tellGenerations({ terminal }: Context, rows: readonly Generation[]) {
  const { install: said } = terminal.speech.words
  for (const row of rows) {
    terminal.event('generation', { ...row })
    if (terminal.json) continue
    terminal.say(row.current ? said.current : said.kept, {
      id: row.id,
      version: row.version ?? '?',
      commit: row.commit?.slice(0, 10) ?? '',
      torch: row.torch ?? '-',
      size: row.sizeBytes === null ? '?' : sayBytes(row.sizeBytes),
    })
  }
}
