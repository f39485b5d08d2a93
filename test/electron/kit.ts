import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Browser, chromium, type Page } from 'playwright'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import type { App } from '../../core/contract/app.ts'
import type { Bridge, BridgeFrame } from '../../core/contract/desktop.ts'
import type { Envelope } from '../../core/contract/errors.ts'
import type { InputOf, OutputOf, ProcedureName } from '../../core/contract/procedure.ts'
import { ensureBuilt } from '../kit/built.ts'
import { type LaunchedApp, type LaunchOptions, launch } from './stand-in/launch.ts'

declare global {
  interface Window {
    readonly bridge?: Bridge
    heard: BridgeFrame[]
  }
}

const root = path.resolve(import.meta.dirname, '../..')
export const main = path.join(root, 'out/main/index.js')
const FLAGS =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'

let browser: Browser
/** One browser for all tests of a file. */
export function withBrowser() {
  beforeAll(async () => {
    ensureBuilt()
    const executablePath = process.env.NIGHTSHIFT_CHROMIUM ?? '/usr/bin/chromium'
    browser = await chromium.launch({ executablePath, args: FLAGS.split(' ') })
  })
  afterAll(() => browser?.close())
}

export function dataFolder(): { dir: string; remove: () => void } {
  const dir = realpathSync(mkdtempSync(path.join(tmpdir(), 'nightshift-window-')))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }) }
}

type StartOptions = Pick<LaunchOptions, 'locale' | 'env'> & { dir: string; args?: readonly string[] }

/** The real door with a window, on a data folder. */
export function launchApp({ dir, args = [], ...options }: StartOptions): Promise<LaunchedApp> {
  const pictures = { XDG_CONFIG_HOME: dir, HOME: dir }
  return launch({
    main,
    browser,
    // Electron is given its own path and the app's folder first, as Node its own and the entry's
    args: [...args, '--data', path.join(dir, 'data')],
    ...options,
    env: { ...pictures, ...options.env },
  })
}

/** For one test: gone when it ends. */
export async function startApp(options: Partial<StartOptions> = {}) {
  const folder = options.dir === undefined ? dataFolder() : undefined
  const app = await launchApp({ ...options, dir: options.dir ?? (folder?.dir as string) })
  onTestFinished(async () => {
    await app.end()
    folder?.remove()
  })
  return { app, page: await app.firstWindow() }
}

export const callRaw = (page: Page, name: string, input: unknown = {}): Promise<Envelope> =>
  page.evaluate(([name, input]) => window.bridge?.call(name as string, input), [name, input] as const) as never

/** A procedure, called by the page. */
export async function call<N extends ProcedureName<App>>(page: Page, name: N, input: InputOf<App, N>) {
  const reply = await callRaw(page, name, input)
  if (!reply.ok) throw new Error(`${name}: ${reply.failure.message}`)
  return reply.value as OutputOf<App, N>
}
