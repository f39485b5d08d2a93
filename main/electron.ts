// The front door with a window. Holds what must be in Electron's first process, and nothing that can stall: the work
// is done in the host, a process of its own (main/host.ts).
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { app, dialog, powerMonitor, protocol, session, shell, utilityProcess } from 'electron'
import type { App } from '../core/contract/app.ts'
import type { BridgeFrame } from '../core/contract/desktop.ts'
import { type Failure, fill } from '../core/contract/errors.ts'
import type { PayloadOf } from '../core/contract/procedure.ts'
import type { Settings } from '../core/contract/settings.ts'
import { throttled } from './api/events.ts'
import { serveIpc } from './api/serve-ipc.ts'
import { actionsOf, chooseWorkflows, importFiles } from './electron/actions.ts'
import { commandIn, filesIn, optionIn, SCHEME } from './electron/addresses.ts'
import { EditorWindows } from './electron/editor-windows.ts'
import { denyPermissions, guardEveryPage } from './electron/guards.ts'
import { HostLink } from './electron/host-link.ts'
import type { MenuActions } from './electron/menu.ts'
import { nightOf } from './electron/night.ts'
import { answerPages } from './electron/pages.ts'
import { Presence } from './electron/presence.ts'
import { secretKey } from './electron/secret-key.ts'
import { MainWindow, systemLanguages } from './electron/window.ts'
import { wordsIn } from './electron/words.ts'
import { explain, languageOf, sayProblem } from './language.ts'
import { dataDirOf } from './services/data-folder.ts'

/** The numbers in the tray are asked for at most this often. */
const LOOK_EVERY_MS = 500

const root = path.resolve(import.meta.dirname, '../..') // of the sources, or of the packed app
const icon = (name: string) => path.join(root, 'resources', 'icons', name)
const dataDir = dataDirOf(optionIn(process.argv, 'data'), process.env)

// All of this must come before the first wait.
app.setPath('userData', path.join(dataDir, 'window'))
app.setAppUserModelId('app.nightshift.desktop')
app.enableSandbox()
protocol.registerSchemesAsPrivileged([
  { scheme: SCHEME, privileges: { standard: true, secure: true, supportFetchAPI: true, stream: true } },
])
const command = commandIn(process.argv, app.isPackaged)
const given = filesIn(process.argv, process.cwd(), app.isPackaged)
if (command) void runCommand(command)
else if (app.requestSingleInstanceLock({ files: given })) run()
else app.quit()

/** The installed program is the command line too: `nightshift run …`, without a window. */
async function runCommand(args: readonly string[]) {
  process.argv = [process.execPath, 'nightshift', ...args]
  try {
    await import(pathToFileURL(path.join(import.meta.dirname, '../headless/index.js')).href)
  } catch (cause) {
    console.error(cause)
    process.exitCode = 1
  }
  app.exit(Number(process.exitCode ?? 0))
}

function run() {
  let settings: Settings | undefined
  let presence: Presence | undefined
  let key: Uint8Array | undefined
  let leaving: 'no' | 'asking' | 'stopping' | 'gone' = 'no'

  const link = new HostLink({
    fork() {
      const args = ['--data', dataDir, '--door', 'desktop', '--locale', systemLanguages()[0] ?? 'en', '--key']
      const host = utilityProcess.fork(path.join(import.meta.dirname, '../host/index.js'), args, {
        serviceName: 'Nightshift host',
        stdio: ['ignore', 'inherit', 'pipe'],
      })
      host.postMessage({ key: key ? Buffer.from(key).toString('base64') : null }) // not on the command line, which all can read
      return host
    },
  })
  const window = new MainWindow({
    stateFile: path.join(dataDir, 'window', 'state.json'),
    preload: path.join(import.meta.dirname, '../preload/index.cjs'),
    icon: icon('app/256x256.png'),
    mayClose,
  })
  const editors = new EditorWindows(icon('app/256x256.png'))
  const language = () => languageOf(settings?.language ?? window.language, systemLanguages())
  const words = () => wordsIn(language())
  const deps = { link, language, dragIcon: icon('app/64x64.png') }
  const does: MenuActions = {
    openWorkflow: () => void chooseWorkflows(language()).then(open),
    show: (page, facts) => window.show(page && (facts ? `${page}?${new URLSearchParams(facts)}` : page)),
    pause: () => void link.send('queue.pause', { how: 'after-current' }),
    resume: () => void link.send('queue.resume', {}),
    openLogs: () => void shell.openPath(path.join(dataDir, 'logs')),
    about: () =>
      void dialog.showMessageBox({
        message: app.getName(),
        detail: fill(words().about.detail, { version: app.getVersion() }),
      }),
    quit: () => app.quit(),
  }

  guardEveryPage(words, editors)
  link.events.on('up', () => void catchUp())
  link.events.on('down', () => {
    if (leaving !== 'stopping') presence?.tell({ ...presence.night, link: 'down' })
  })
  link.events.on('failed', (failure) => void failed(failure))
  const looking = throttled(() => void look(), LOOK_EVERY_MS)
  link.subscribe('birth', heard)

  app.on('second-instance', (_event, _argv, _dir, extra) => {
    window.show()
    void open((extra as { files?: string[] } | null)?.files ?? [])
  })
  app.on('open-file', (event, file) => {
    event.preventDefault()
    void open([file])
  })
  app.on('activate', () => window.show())
  app.on('window-all-closed', () => {}) // the tray remains
  app.on('before-quit', (event) => {
    if (leaving === 'gone') return
    event.preventDefault()
    void leave({ asking: true })
  })
  // who ends us this way does not wait for an answer
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void leave({ asking: false }))

  void app.whenReady().then(() => {
    window.start()
    void secretKey(path.join(dataDir, 'window', 'secret-key')).then((found) => {
      key = found
      if (leaving === 'no') link.start()
    })
    for (const each of [session.defaultSession, editors.session]) denyPermissions(each, editors)
    protocol.handle(SCHEME, answerPages(path.join(root, 'out', 'renderer'), link))
    serveIpc(link, actionsOf(deps), (cause, name) => console.error(name, cause))
    powerMonitor.on('shutdown', ((event: Electron.Event) => {
      event.preventDefault()
      void leave({ asking: false })
    }) as () => void)
    presence = new Presence({ iconsDir: icon(''), window, does, fromSource: !app.isPackaged, words: words() })
    if (process.argv.includes('--hidden')) window.prepare()
    else window.show()
    void open(given)
  })

  /** What the host tells that matters outside the window. */
  function heard({ name, payload }: BridgeFrame) {
    if (name === 'queue.changed' || name === 'batch.changed' || name === 'batch.ended') looking.push()
    if (name === 'awake.changed') presence?.stayAwake((payload as PayloadOf<App, 'awake.changed'>).on)
    if (name === 'settings.changed') apply(payload as Settings)
    if (name === 'batch.ended' && settings?.notifyAtEnd !== false)
      presence?.batchEnded(payload as PayloadOf<App, 'batch.ended'>)
  }

  async function catchUp() {
    looking.push()
    const reply = await link.send('settings.get', {})
    if (reply.ok) apply(reply.value as Settings)
  }

  async function look() {
    try {
      const [queue, batches] = await Promise.all([
        link.call('queue.state', {}),
        link.call('batch.list', { limit: 200 }),
      ])
      presence?.tell(nightOf(queue, batches.rows, (reason) => sayProblem(reason, language())))
    } catch {
      // the host is away; `up` comes when it is back
    }
  }

  function apply(changed: Settings) {
    settings = changed
    window.remember({ theme: changed.theme, language: changed.language })
    presence?.speak(words())
    looking.push() // its reasons are said in the new language
  }

  async function open(files: readonly string[]) {
    const id = await importFiles(files, deps)
    if (id !== undefined) window.show(`workflow/${encodeURIComponent(id)}`)
  }

  /** Closing the window never stops work. The first time, it says where it went. */
  function mayClose(): boolean {
    if (leaving === 'gone') return true
    if (!presence?.hasTray) app.quit()
    else if (settings && !settings.toldAboutTray) {
      settings = { ...settings, toldAboutTray: true }
      presence.closedToTray()
      void link.send('settings.set', { toldAboutTray: true })
    }
    return false
  }

  /** Parks the work and ends; what runs on a server runs on, and is taken up again at the next start. */
  async function leave({ asking }: { asking: boolean }) {
    if (leaving === 'stopping' || leaving === 'gone' || (asking && leaving === 'asking')) return
    leaving = 'asking'
    if (asking && !(await mayLeave())) {
      if (leaving === 'asking') leaving = 'no'
      return
    }
    if (leaving !== 'asking') return
    leaving = 'stopping'
    await link.stop()
    presence?.stayAwake(false)
    leaving = 'gone'
    app.quit()
  }

  async function mayLeave(): Promise<boolean> {
    const night = presence?.night
    if (!night || (night.running === 0 && (night.waiting === 0 || night.paused))) return true
    const { quitting } = words()
    const { response } = await dialog.showMessageBox({
      type: 'question',
      message: quitting.message,
      detail: fill(quitting.detail, { running: night.running, waiting: night.waiting }),
      buttons: [quitting.quit, quitting.stay],
      defaultId: 1,
      cancelId: 1,
    })
    return response === 0
  }

  async function failed(failure: Failure) {
    presence?.stayAwake(false)
    await app.whenReady()
    const { message, remedy } = explain(failure, language())
    const { failed: say } = words()
    const { response } = await dialog.showMessageBox({
      type: 'error',
      title: say.title,
      message,
      detail: remedy,
      buttons: [say.again, say.quit],
      cancelId: 1,
    })
    if (response === 0) link.start()
    else void leave({ asking: false })
  }
}
