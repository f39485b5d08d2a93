import path from 'node:path'
import type { Dispatcher } from 'undici'
import { type HardwareReport, InstallChoices } from '../../contract/engine.ts'
import type { Mirrors } from '../download/mirrors.ts'
import { planInstall } from '../install/plan.ts'
import { findUv, indexSetIn, uvEnvironment } from '../install/uv.ts'
import type { Builder } from './derive.ts'

export interface BuilderWanted {
  readonly report: HardwareReport
  /** Tools, Pythons and what was fetched are kept in it. */
  readonly dataDir: string
  readonly mirrors: Mirrors
  readonly choices: Partial<InstallChoices>
  readonly dispatcher: Dispatcher
  readonly env: NodeJS.ProcessEnv
  readonly log: string
  readonly locale: string
  readonly signal?: AbortSignal
}

/**
 * What builds a snapshot for this machine, from where an installation here has its packages; and the environment it runs in.
 * @throws AppError 'install.unreachable'
 */
export async function findBuilder(wanted: BuilderWanted): Promise<{ builder: Builder; env: NodeJS.ProcessEnv }> {
  const { report, dataDir, mirrors, dispatcher, log, locale, signal } = wanted
  const choices = InstallChoices.parse(wanted.choices)
  const recipe = planInstall(report, {
    name: 'derived',
    dataDir,
    choices: { ...choices, python: '3.12' }, // each snapshot says its own
    mirrors,
    timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    locale,
    noPythonDownloads: wanted.env.UV_PYTHON_DOWNLOADS === 'never',
    generation: '',
  })
  const tools = path.join(dataDir, 'engines', '.tools')
  const env = uvEnvironment(wanted.env, {
    cache: recipe.plan.cache,
    pythons: path.join(tools, 'python'),
    proxy: choices.proxy,
  })
  const own = indexSetIn(wanted.env)
  const indexes = own === null || choices.index !== null ? recipe.indexes : [own, ...recipe.indexes]
  const { uv } = await findUv({
    toolsDir: path.join(tools, 'uv'),
    indexes,
    dispatcher,
    env,
    pipEnv: wanted.env,
    log,
    platform: report.platform === 'other' ? 'linux' : report.platform,
    arch: report.arch,
    pythons: report.pythons.map((each) => each.path),
    signal,
  })
  const { torchIndexes, pythonBuilds } = recipe
  const findLinks = choices.findLinks ?? (wanted.env.UV_FIND_LINKS || wanted.env.PIP_FIND_LINKS || null)
  return { builder: { uv, indexes, torchIndexes, pythonBuilds, findLinks }, env }
}
