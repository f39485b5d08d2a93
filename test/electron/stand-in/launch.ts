// biome-ignore-all lint/suspicious/noExplicitAny: stands in for an interface of any shape
import { fork } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import path from 'node:path'
import type { Browser, BrowserContext, CDPSession, Frame, Locator, Page, Request, Route } from 'playwright'
import { eventually } from '../../kit/eventually.ts'
import type { StandIn } from './electron.ts'
import { makeLine } from './line.ts'
import { type Boot, makeCodec } from './worlds.ts'

export interface LaunchOptions {
  readonly main: string
  readonly browser: Browser
  readonly args?: readonly string[]
  readonly env?: Record<string, string>
  readonly locale?: string
}
export interface Recorded {
  readonly api: string
  readonly [fact: string]: any
}
interface Window {
  readonly id: number
  readonly page: Page
  readonly cdp: CDPSession
  readonly mainFrameId: string
  /** Of the preload's world, while the page has one. */
  world: number
  /** An address main itself loads: such a navigation is not asked about. */
  wanted: string
}

const root = path.resolve(import.meta.dirname, '../../..')
const WORLD = 'Electron Isolated Context'
const worldsSource = stripTypeScriptTypes(readFileSync(path.join(import.meta.dirname, 'worlds.ts'), 'utf8')).replaceAll(
  /^export /gm,
  '',
)
const { encode, decode } = makeCodec()
const VIEWPORT = { width: 1280, height: 860 }

export type LaunchedApp = Awaited<ReturnType<typeof launch>>

/** Starts a built main entry against the stand-in. As Playwright's ElectronApplication, with what only tests need. */
export async function launch({ main, browser, args = [], env = {}, locale = 'en-US' }: LaunchOptions) {
  const events = new EventEmitter<{ 'second-instance': [any] }>()
  const records: Recorded[] = []
  const windows = new Map<number, Promise<Window>>()
  const utilities: number[] = []
  const schemes: string[] = []
  const consoleLines: string[] = []
  /** By session; '' is the default one. */
  const contexts = new Map<string, Promise<BrowserContext>>()
  let output = ''

  const child = fork(main, args, {
    cwd: root,
    serialization: 'advanced',
    silent: true,
    execArgv: ['--import', new URL('./register.ts', import.meta.url).href, '--enable-source-maps'],
    env: { ...process.env, ...env, STAND_IN_APP: root, STAND_IN_LOCALE: locale },
  })
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      output += chunk
      if (process.env.STAND_IN_DEBUG) process.stderr.write(chunk)
    })
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    // not 'exit': what it said last may still be on its way then
    child.on('close', (code, signal) => {
      line.cut(`main ended with ${code ?? signal}`)
      resolve({ code, signal })
    })
  })

  /** A page cannot have a scheme of one program's own, so it goes by a name that no network has. */
  const outside = (url: string) => {
    const { protocol, host, pathname, search, hash } = new URL(url)
    const scheme = protocol.slice(0, -1)
    return schemes.includes(scheme) ? `https://${host}.${scheme}.invalid${pathname}${search}${hash}` : url
  }
  const inside = (url: string) => {
    const [, host, scheme = '', rest] = /^https:\/\/([^/]+)\.([^./]+)\.invalid(\/.*)?$/.exec(url) ?? []
    return schemes.includes(scheme) ? `${scheme}://${host}${rest ?? '/'}` : url
  }
  const windowOf = (id: number) => windows.get(id) ?? Promise.reject(new Error(`there is no window ${id}`))

  const line = makeLine((message) => child.connected && child.send(message as any), {
    record: (one: Recorded) => records.push(one),
    schemes: (list: { scheme: string }[]) => schemes.push(...list.map(({ scheme }) => scheme)),
    utility: ({ pid }) => utilities.push(pid),
    'second-instance': (told) => events.emit('second-instance', told),
    'new-window': (made) => {
      const window = openWindow(made)
      window.catch((cause) => console.error('stand-in:', cause))
      windows.set(made.window, window)
    },
    async load({ window: id, url }) {
      const window = await windowOf(id)
      const sameDocument = window.page.url().split('#')[0] === outside(url).split('#')[0] && url.includes('#')
      window.wanted = outside(url)
      if (!sameDocument) line.tell('started', { window: id, url, isMainFrame: true })
      await window.page.goto(window.wanted)
      line.tell('at', { window: id, url })
      if (!sameDocument) line.tell('shown', { window: id })
    },
    reload: async ({ window }) => (await windowOf(window)).page.reload().then(() => {}),
    async send({ window: id, channel, args: sent }) {
      const window = await windowOf(id)
      await hear(window, { is: 'message', channel, given: encode(sent, null, null) })
    },
    resize: async ({ window, bounds }) => (await windowOf(window)).page.setViewportSize(bounds),
    async 'close-window'({ window: id }) {
      const window = await windowOf(id)
      windows.delete(id)
      await window.page.close()
    },
  })
  child.on('message', (message) => line.hear(message))

  const hear = (window: Window, message: object) =>
    window.cdp
      .send('Runtime.evaluate', {
        contextId: window.world,
        expression: `standInHear(${JSON.stringify(JSON.stringify(message))})`,
      })
      .catch(() => {}) // the page is gone, and with it whoever listened

  async function openContext(partition: string) {
    const made = await browser.newContext({ locale, viewport: VIEWPORT, serviceWorkers: 'block' })
    made.setDefaultTimeout(60_000)
    await made.route('**/*', (route) => answer(route, partition))
    // a window that a page opened: main was asked about it (Page.windowOpen), and Electron would not have made it
    made.on('page', async (page) => {
      if (await page.opener()) await page.close()
    })
    return made
  }

  /** Every request of every page: our scheme is answered by main, and nothing leaves this machine. */
  async function answer(route: Route, partition: string) {
    const request = route.request()
    try {
      const page = request.frame().page()
      const window = (await Promise.all(windows.values())).find((one) => one.page === page)
      if (!window || !(await mayGo(window, request))) return await route.abort('aborted')
      const url = inside(request.url())
      // other programs of this machine are had by a session of their own alone
      if (partition !== '' && new URL(url).hostname === '127.0.0.1') return await route.continue()
      if (url === request.url()) {
        records.push({ api: 'network', url })
        return await route.abort('blockedbyclient')
      }
      const reply = await line.ask('scheme', {
        url,
        method: request.method(),
        headers: request.headers(),
        body: request.postDataBuffer(),
      })
      await route.fulfill({ status: reply.status, headers: reply.headers, body: Buffer.from(reply.body) })
    } catch {
      await route.abort('failed').catch(() => {})
    }
  }

  async function mayGo({ id, page, wanted }: Window, request: Request) {
    if (!request.isNavigationRequest() || request.url() === wanted.split('#')[0]) return true
    const to = { window: id, url: inside(request.url()), isMainFrame: request.frame() === page.mainFrame() }
    const may = await line.ask('navigate', to)
    if (may) line.tell('started', to)
    return may
  }

  type Made = { window: number; bounds: any; preload: string; partition: string }
  async function openWindow({ window: id, bounds, preload, partition }: Made) {
    const opening = contexts.get(partition) ?? openContext(partition)
    contexts.set(partition, opening)
    const context = await opening
    const page = await context.newPage()
    await page.setViewportSize({ width: bounds.width, height: bounds.height })
    const cdp = await context.newCDPSession(page)
    const { frameTree } = await cdp.send('Page.getFrameTree')
    const window: Window = { id, page, cdp, mainFrameId: frameTree.frame.id, world: 0, wanted: '' }

    cdp.on('Runtime.executionContextCreated', ({ context: { name, id: world, auxData } }) => {
      if (name === WORLD && auxData?.frameId === window.mainFrameId) window.world = world
    })
    cdp.on('Runtime.bindingCalled', ({ name, payload, executionContextId }) => {
      if (name === 'standInOut') void fromPreload(window, JSON.parse(payload), executionContextId)
    })
    cdp.on('Page.windowOpen', ({ url }) => void line.ask('open', { window: id, url: inside(url) }))
    page.on('console', (message) => consoleLines.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (cause) => consoleLines.push(`error: ${cause.message}`))
    page.on('crash', () =>
      line.tell('contents', { window: id, name: 'render-process-gone', facts: { reason: 'crashed' } }),
    )
    page.on('framenavigated', (frame: Frame) => {
      if (frame === page.mainFrame()) line.tell('at', { window: id, url: inside(frame.url()) })
    })
    await cdp.send('Page.enable')
    await cdp.send('Runtime.enable')
    await cdp.send('Runtime.addBinding', { name: 'standInOut', executionContextName: WORLD })
    const boot: Boot = { preload, platform: process.platform, versions: { electron: '45.4.1', chrome: '150' } }
    // frames get no preload, as with nodeIntegrationInSubFrames off
    const inTopFrame = (code: string) => `if (window === window.top) { (() => { ${worldsSource}\n${code} })() }`
    await cdp.send('Page.addScriptToEvaluateOnNewDocument', { source: inTopFrame('pageWorld()') })
    await cdp.send('Page.addScriptToEvaluateOnNewDocument', {
      source: inTopFrame(`preloadWorld(${JSON.stringify(boot)})`),
      worldName: WORLD,
    })
    return window
  }

  async function fromPreload(window: Window, message: any, world: number) {
    if (message.is === 'preload-error') {
      records.push({ api: 'preload-error', message: message.message })
      return
    }
    const { id, channel, given } = message
    let reply: object
    try {
      const value = await line.ask('invoke', {
        window: window.id,
        channel,
        args: decode(given, null, []),
        frameUrl: inside(window.page.url()),
        isMainFrame: true,
      })
      reply = { is: 'answer', id, value: encode(value, null, null) }
    } catch (cause) {
      reply = { is: 'answer', id, error: (cause as Error).message }
    }
    if (world === window.world) await hear(window, reply) // else the page that asked is gone
  }

  const announce = async (page: Page, files: readonly string[]) => {
    const window = (await Promise.all(windows.values())).find((one) => one.page === page)
    if (!window) throw new Error('the page has no window')
    const paths = Object.fromEntries(files.map((file) => [`${path.basename(file)}|${statSync(file).size}`, file]))
    const expression = `globalThis.standInPaths = ${JSON.stringify(paths)}`
    await window.cdp.send('Runtime.evaluate', { contextId: window.world, expression })
    return window
  }

  return {
    events,
    records,
    exited,
    /** Ids of host processes, oldest first. */
    utilities,
    consoleLines,
    output: () => output,
    process: () => child,
    recorded: (api: string) => records.filter((one) => one.api === api),
    async firstWindow(): Promise<Page> {
      const first = await eventually(() => {
        if (child.exitCode !== null) throw new Error(`main ended with ${child.exitCode}\n${output}`)
        return [...windows.values()][0]
      })
      const { page } = await first
      await page.waitForURL((url) => url.href !== 'about:blank')
      return page
    },
    windowCount: () => windows.size,
    pageCount: async () => (await Promise.all(contexts.values())).flatMap((context) => context.pages()).length,
    /** The page of a window, by its number. */
    page: async (id: number) => (await windowOf(id)).page,
    /** Runs a function, which may use nothing from outside, in main. */
    evaluate: <T, G>(look: (electron: StandIn, given: G) => T, given?: G): Promise<Awaited<T>> =>
      line.ask('evaluate', { source: String(look), given }),
    emitOnApp: (name: string, ...sent: unknown[]) => line.ask('emitOnApp', { name, args: sent }),
    permission: (name: string): Promise<{ granted: boolean; checked: boolean; device: boolean }> =>
      line.ask('permission', { window: 1, name }),
    /** As a person does: a real drag of real files, whose paths the preload can learn, let go once `shown` is there. */
    async dropFiles(page: Page, files: readonly string[], shown: Locator) {
      const { cdp } = await announce(page, files)
      const { width, height } = page.viewportSize() ?? VIEWPORT
      const at = { x: width / 2, y: height / 2, data: { items: [], files: [...files], dragOperationsMask: 1 } }
      for (const type of ['dragEnter', 'dragOver'] as const) await cdp.send('Input.dispatchDragEvent', { type, ...at })
      await shown.waitFor()
      for (const type of ['dragOver', 'drop'] as const) await cdp.send('Input.dispatchDragEvent', { type, ...at })
    },
    /** Ends it without a question, and whatever it left. */
    async end() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      const ended = await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 20_000, null).unref())])
      if (!ended) {
        child.kill('SIGKILL')
        for (const pid of utilities)
          try {
            process.kill(pid, 'SIGKILL')
          } catch {
            // it ended by itself
          }
      }
      for (const context of contexts.values()) await (await context).close()
    },
  }
}
