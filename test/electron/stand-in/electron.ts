// biome-ignore-all lint/suspicious/noExplicitAny: stands in for an interface of any shape
// A stand-in for Electron's main-process module: plain Node here, real Chromium pages on the other end of the line
// (launch.ts). What has no picture is recorded. What is not modelled is not exported, so that using it fails loudly.
import { fork } from 'node:child_process'
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { runInThisContext } from 'node:vm'
import { makeLine } from './line.ts'

const given = {
  userData: process.env.STAND_IN_USER_DATA ?? path.join(os.tmpdir(), 'stand-in'),
  appPath: process.env.STAND_IN_APP ?? process.cwd(),
  locale: process.env.STAND_IN_LOCALE ?? 'en-US',
  keyStore: process.env.STAND_IN_KEY_STORE ?? 'gnome_libsecret',
}
const cloneable = (value: unknown) =>
  JSON.parse(JSON.stringify(value, (_key, item) => (typeof item === 'function' ? '[function]' : item)) ?? 'null')
const record = (api: string, facts: object = {}) => line.tell('record', { api, ...cloneable(facts) })

class PreventableEvent {
  defaultPrevented = false
  constructor(facts: object = {}) {
    Object.assign(this, facts)
  }
  preventDefault() {
    this.defaultPrevented = true
  }
}

// --- app

class App extends EventEmitter {
  isPackaged = false
  #ready = false
  #quitting = false
  #lock: string | null = null
  #paths: Record<string, string> = { userData: given.userData, temp: os.tmpdir(), home: os.homedir() }

  isReady = () => this.#ready
  whenReady() {
    return this.#ready ? Promise.resolve() : new Promise<void>((resolve) => this.once('ready', () => resolve()))
  }
  becomeReady() {
    this.#ready = true
    this.emit('ready', {}, {})
  }
  getPath(name: string) {
    if (!this.#paths[name]) throw new Error(`Failed to get '${name}' path`)
    return this.#paths[name]
  }
  setPath(name: string, to: string) {
    this.#paths[name] = to
  }
  getAppPath = () => given.appPath
  getName = () => 'Nightshift'
  getVersion = () => JSON.parse(fs.readFileSync(path.join(given.appPath, 'package.json'), 'utf8')).version as string
  getLocale = () => given.locale
  getPreferredSystemLanguages = () => [given.locale]
  setAppUserModelId = (id: string) => record('app.setAppUserModelId', { id })
  enableSandbox() {
    if (this.#ready) throw new Error('app.enableSandbox() can only be called before app is ready')
    record('app.enableSandbox')
  }
  requestSingleInstanceLock(extra: unknown): boolean {
    const file = path.join(this.getPath('userData'), 'SingletonLock')
    fs.mkdirSync(path.dirname(file), { recursive: true })
    for (let tries = 0; tries < 2; tries += 1) {
      try {
        fs.writeFileSync(file, String(process.pid), { flag: 'wx' })
        this.#lock = file
        return true
      } catch {
        const pid = Number(fs.readFileSync(file, 'utf8'))
        if (isAlive(pid)) {
          line.tell('second-instance', { argv: process.argv, dir: process.cwd(), extra })
          return false
        }
        fs.rmSync(file, { force: true })
      }
    }
    return false
  }
  quit() {
    if (this.#quitting) return
    const before = new PreventableEvent()
    this.emit('before-quit', before)
    if (before.defaultPrevented) return
    this.#quitting = true
    for (const window of BrowserWindow.getAllWindows()) window.close()
    if (BrowserWindow.getAllWindows().length > 0) this.#quitting = false
    else this.exit(0)
  }
  exit(code: number) {
    const last = new PreventableEvent()
    this.emit('will-quit', last)
    if (last.defaultPrevented) {
      this.#quitting = false
      return
    }
    this.emit('quit', {}, code)
    if (this.#lock) fs.rmSync(this.#lock, { force: true })
    setImmediate(() => process.exit(code))
  }
}
export const app = new App()

function isAlive(pid: number) {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

// --- IPC, protocol, session

class IpcMain extends EventEmitter {
  readonly handlers = new Map<string, (event: any, ...args: any[]) => unknown>()
  handle(channel: string, handler: (event: any, ...args: any[]) => unknown) {
    if (this.handlers.has(channel)) throw new Error(`Attempted to register a second handler for '${channel}'`)
    this.handlers.set(channel, handler)
  }
}
export const ipcMain = new IpcMain()

const schemes = new Map<string, (request: Request) => Response | Promise<Response>>()
export const protocol = {
  registerSchemesAsPrivileged(list: { scheme: string; privileges: object }[]) {
    if (app.isReady()) throw new Error('protocol.registerSchemesAsPrivileged should be called before app is ready')
    line.tell('schemes', list)
  },
  handle(scheme: string, answer: (request: Request) => Response | Promise<Response>) {
    if (!app.isReady()) throw new Error('protocol module can only be used after app is ready')
    schemes.set(scheme, answer)
  },
}

class Session extends EventEmitter {
  request: ((contents: WebContents, permission: string, answer: (granted: boolean) => void) => void) | null = null
  check: ((contents: WebContents | null, permission: string, origin: string) => boolean) | null = null
  device: ((details: object) => boolean) | null = null
  setPermissionRequestHandler(handler: Session['request']) {
    this.request = handler
  }
  setPermissionCheckHandler(handler: Session['check']) {
    this.check = handler
  }
  setDevicePermissionHandler(handler: Session['device']) {
    this.device = handler
  }
}
const partitions = new Map<string, Session>()
export const session = {
  defaultSession: new Session(),
  fromPartition(name: string) {
    if (!app.isReady()) throw new Error('Session can only be received when app is ready')
    const known = partitions.get(name) ?? new Session()
    partitions.set(name, known)
    return known
  },
}

// --- windows

const windows = new Map<number, BrowserWindow>()
let windowsMade = 0

class WebFrameMain {
  readonly url: string
  readonly parent: WebFrameMain | null
  constructor(url: string, parent: WebFrameMain | null = null) {
    this.url = url
    this.parent = parent
  }
}

type OpenHandler = (details: { url: string; disposition: string }) => { action: 'allow' | 'deny' }

class WebContents extends EventEmitter {
  readonly id: number
  readonly session: Session
  readonly owner: BrowserWindow
  url = ''
  #openHandler: OpenHandler = () => ({ action: 'allow' })

  constructor(owner: BrowserWindow, partition: string | undefined) {
    super()
    this.session = partition === undefined ? session.defaultSession : session.fromPartition(partition)
    this.id = owner.id
    this.owner = owner
  }
  get mainFrame() {
    return new WebFrameMain(this.url)
  }
  getURL = () => this.url
  isDestroyed = () => this.owner.isDestroyed()
  setWindowOpenHandler(handler: OpenHandler) {
    this.#openHandler = handler
  }
  askToOpen(url: string) {
    const { action } = this.#openHandler({ url, disposition: 'foreground-tab' })
    record('window.open', { url, action })
  }
  send(channel: string, ...args: unknown[]) {
    if (this.isDestroyed()) throw new TypeError('Object has been destroyed')
    line.tell('send', { window: this.id, channel, args: structuredClone(args) })
  }
  reload = () => void line.ask('reload', { window: this.id })
  startDrag(item: { file: string; files?: string[]; icon: NativeImage }) {
    if (item.icon.isEmpty()) throw new Error('Must specify non-empty "icon" option')
    record('webContents.startDrag', { file: item.file, files: item.files })
  }
}

const SAFE = { sandbox: true, contextIsolation: true, nodeIntegration: false, webSecurity: true }

export class BrowserWindow extends EventEmitter {
  readonly id: number
  readonly webContents: WebContents
  #bounds: Electron.Rectangle
  #visible: boolean
  #minimised = false
  #maximised = false
  progress: { value: number; mode: string } | null = null
  backgroundColor: string

  constructor(options: Electron.BrowserWindowConstructorOptions = {}) {
    super()
    if (!app.isReady()) throw new Error('Cannot create BrowserWindow before app is ready')
    windowsMade += 1
    this.id = windowsMade
    const {
      x = 40,
      y = 40,
      width = 800,
      height = 600,
      show = true,
      webPreferences = {},
      backgroundColor = '',
    } = options
    const preferences = { ...SAFE, ...webPreferences }
    for (const [name, value] of Object.entries(SAFE))
      if (preferences[name as keyof typeof SAFE] !== value) throw new Error(`stand-in: refuses ${name}: ${!value}`)
    this.#bounds = { x, y, width, height }
    this.#visible = show
    this.backgroundColor = backgroundColor
    this.webContents = new WebContents(this, preferences.partition)
    windows.set(this.id, this)
    record('BrowserWindow', { ...options, webPreferences: preferences })
    line.tell('new-window', {
      window: this.id,
      bounds: this.#bounds,
      preload: preferences.preload ? fs.readFileSync(preferences.preload, 'utf8') : '',
      partition: preferences.partition ?? '',
    })
    queueMicrotask(() => app.emit('web-contents-created', {}, this.webContents))
  }
  static getAllWindows = () => [...windows.values()]
  static fromWebContents = (contents: WebContents) => contents.owner
  static getFocusedWindow = () => [...windows.values()].find((window) => window.isVisible()) ?? null

  async loadURL(url: string) {
    await line.ask('load', { window: this.id, url })
  }
  getNormalBounds = () => ({ ...this.#bounds })
  getBounds = () => ({ ...this.#bounds })
  setBounds(bounds: Partial<Electron.Rectangle>) {
    Object.assign(this.#bounds, bounds)
    line.tell('resize', { window: this.id, bounds: this.#bounds })
    this.emit('resize')
    this.emit('move')
  }
  show() {
    this.#visible = true
    this.emit('show')
  }
  hide() {
    this.#visible = false
    this.emit('hide')
  }
  focus() {
    record('window.focus')
    this.emit('focus')
  }
  minimize() {
    this.#minimised = true
  }
  restore() {
    this.#minimised = false
  }
  maximize() {
    this.#maximised = true
    this.emit('maximize')
  }
  isVisible = () => this.#visible
  isMinimized = () => this.#minimised
  isMaximized = () => this.#maximised
  isDestroyed = () => !windows.has(this.id)
  setBackgroundColor(color: string) {
    this.backgroundColor = color
  }
  setProgressBar(value: number, { mode = 'normal' } = {}) {
    this.progress = { value, mode }
    record('window.setProgressBar', { value, mode })
  }
  close() {
    const closing = new PreventableEvent()
    this.emit('close', closing)
    if (!closing.defaultPrevented) this.destroy()
  }
  destroy() {
    if (!windows.delete(this.id)) return
    line.tell('close-window', { window: this.id })
    this.emit('closed')
    this.webContents.emit('destroyed')
    if (windows.size > 0) return
    if (app.listenerCount('window-all-closed') > 0) app.emit('window-all-closed')
    else app.quit()
  }
}

// --- what has no picture here: recorded, and played by tests

const ROLES_WITHOUT_CLICK = new Set(['separator'])
export class MenuItem {
  readonly label: string
  readonly id: string
  readonly type: string
  readonly enabled: boolean
  readonly role: string | undefined
  readonly accelerator: string | undefined
  readonly submenu: Menu | undefined
  readonly click: () => void
  constructor(options: Electron.MenuItemConstructorOptions) {
    const {
      label = '',
      id = '',
      type = options.submenu ? 'submenu' : 'normal',
      enabled = true,
      submenu,
      click,
    } = options
    this.label = label
    this.id = id
    this.type = type
    this.enabled = enabled
    this.role = options.role
    this.accelerator = options.accelerator as string | undefined
    this.submenu = Array.isArray(submenu) ? Menu.buildFromTemplate(submenu) : undefined
    this.click = () => {
      if (!this.enabled || ROLES_WITHOUT_CLICK.has(this.type)) throw new Error(`${this.label} cannot be clicked`)
      click?.(this as any, undefined, {} as any)
    }
  }
}
export class Menu {
  static application: Menu | null = null
  readonly items: MenuItem[]
  constructor(items: MenuItem[] = []) {
    this.items = items
  }
  static buildFromTemplate = (template: Electron.MenuItemConstructorOptions[]) =>
    new Menu(template.map((options) => new MenuItem(options)))
  static setApplicationMenu(menu: Menu | null) {
    Menu.application = menu
  }
  static getApplicationMenu = () => Menu.application
}

export class Tray extends EventEmitter {
  static all: Tray[] = []
  image: NativeImage
  toolTip = ''
  menu: Menu | null = null
  constructor(image: NativeImage) {
    super()
    if (process.env.STAND_IN_NO_TRAY) throw new Error('there is no tray here')
    if (image.isEmpty()) throw new Error('stand-in: a tray needs a picture')
    this.image = image
    Tray.all.push(this)
  }
  setImage(image: NativeImage) {
    if (image.isEmpty()) throw new Error('stand-in: a tray needs a picture')
    this.image = image
    record('tray.setImage', { icon: path.basename(image.file) })
  }
  setToolTip(toolTip: string) {
    this.toolTip = toolTip
    record('tray.setToolTip', { toolTip })
  }
  setContextMenu(menu: Menu) {
    this.menu = menu
  }
}

export class Notification extends EventEmitter {
  static all: Notification[] = []
  static isSupported = () => true
  readonly title: string
  readonly body: string
  constructor({ title = '', body = '' }: Electron.NotificationConstructorOptions) {
    super()
    this.title = title
    this.body = body
  }
  show() {
    Notification.all.push(this)
    record('notification.show', { title: this.title, body: this.body })
  }
}

const blockers = new Set<number>()
let blockersMade = 0
export const powerSaveBlocker = {
  start(type: string) {
    blockersMade += 1
    blockers.add(blockersMade)
    record('powerSaveBlocker.start', { id: blockersMade, type })
    return blockersMade
  },
  stop(id: number) {
    record('powerSaveBlocker.stop', { id })
    return blockers.delete(id)
  },
  isStarted: (id: number) => blockers.has(id),
}
export const powerMonitor = new EventEmitter()

const answers: Record<string, any[]> = {}
const askPerson = (name: string, standard: any) => async (first: any, second?: any) => {
  const options = second ?? first
  record(`dialog.${name}`, options)
  const answer = answers[name]?.shift() ?? standard
  return typeof answer === 'function' ? answer(options) : answer
}
export const dialog = {
  /** For tests: what the person answers next. */
  willAnswer(name: string, answer: unknown) {
    answers[name] = [...(answers[name] ?? []), answer]
  },
  showOpenDialog: askPerson('showOpenDialog', { canceled: true, filePaths: [] }),
  showMessageBox: askPerson('showMessageBox', { response: 0, checkboxChecked: false }),
}
export const shell = {
  openExternal: async (url: string) => record('shell.openExternal', { url }),
  async openPath(file: string) {
    record('shell.openPath', { file })
    return fs.existsSync(file) ? '' : 'No such file'
  },
  showItemInFolder: (file: string) => record('shell.showItemInFolder', { file }),
}
class NativeTheme extends EventEmitter {
  themeSource = 'system'
  get shouldUseDarkColors() {
    return this.themeSource === 'dark'
  }
}
export const nativeTheme = new NativeTheme()
export const screen = Object.assign(new EventEmitter(), {
  getAllDisplays: () => [{ id: 1, workArea: { x: 0, y: 0, width: 1920, height: 1040 } }],
})

class NativeImage {
  readonly bytes: Buffer
  readonly file: string
  constructor(bytes: Buffer, file = '') {
    this.bytes = bytes
    this.file = file
  }
  isEmpty = () => this.bytes.length === 0
  setTemplateImage() {}
}
export const nativeImage = {
  createFromPath: (file: string) =>
    new NativeImage(fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0), file),
}

const storeKey = createHash('sha256').update('a key store that forgets nothing').digest()
export const safeStorage = {
  getSelectedStorageBackend: () => given.keyStore,
  isAsyncEncryptionAvailable: async () => app.isReady() && given.keyStore !== 'none',
  async encryptStringAsync(text: string) {
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', storeKey, nonce)
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
    return Buffer.concat([Buffer.from('v10'), nonce, sealed, cipher.getAuthTag()])
  },
  async decryptStringAsync(sealed: Buffer) {
    const cipher = createDecipheriv('aes-256-gcm', storeKey, sealed.subarray(3, 15))
    cipher.setAuthTag(sealed.subarray(-16))
    const result = cipher.update(sealed.subarray(15, -16), undefined, 'utf8') + cipher.final('utf8')
    return { result, shouldReEncrypt: false }
  },
}

const register = new URL('./register.ts', import.meta.url).href
export const utilityProcess = {
  fork(file: string, args: string[] = [], { env = process.env }: Electron.ForkOptions = {}) {
    if (!app.isReady()) throw new Error('stand-in: utilityProcess.fork before ready')
    const child = fork(file, args, {
      serialization: 'advanced',
      silent: true,
      execArgv: ['--import', register, '--enable-source-maps'],
      env: { ...(env as NodeJS.ProcessEnv), STAND_IN_UTILITY: '1' },
    })
    child.stdout?.pipe(process.stdout)
    const process_ = Object.assign(new EventEmitter(), {
      stderr: child.stderr,
      kill: () => child.kill(),
      postMessage: (message: unknown) => child.connected && child.send(message as any),
    })
    Object.defineProperty(process_, 'pid', { get: () => child.pid })
    child.on('message', (message) => process_.emit('message', message))
    child.on('exit', (code) => process_.emit('exit', code ?? 1))
    line.tell('utility', { pid: child.pid })
    return process_
  },
}

const everything = {
  app,
  BrowserWindow,
  dialog,
  ipcMain,
  Menu,
  MenuItem,
  nativeImage,
  nativeTheme,
  Notification,
  powerMonitor,
  powerSaveBlocker,
  protocol,
  safeStorage,
  screen,
  session,
  shell,
  Tray,
  utilityProcess,
}
export default everything
export type StandIn = typeof everything

// --- the other end of the line: pages, and tests

const contentsOf = (id: number) => {
  const window = windows.get(id)
  if (!window) throw new Error(`there is no window ${id}`)
  return window.webContents
}

const line = makeLine((message) => process.connected && process.send?.(message), {
  async invoke({ window, channel, args, frameUrl, isMainFrame }) {
    const contents = contentsOf(window)
    const handler = ipcMain.handlers.get(channel)
    if (!handler) throw new Error(`No handler registered for '${channel}'`)
    const senderFrame = new WebFrameMain(frameUrl, isMainFrame ? null : contents.mainFrame)
    return structuredClone(await handler({ sender: contents, senderFrame }, ...args))
  },
  async scheme({ url, method, headers, body }) {
    const answer = schemes.get(new URL(url).protocol.slice(0, -1))
    if (!answer) throw new Error(`nobody answers ${url}`)
    const response = await answer(
      new Request(url, { method, headers, ...(body ? { body, duplex: 'half' } : {}) } as RequestInit),
    )
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: Buffer.from(await response.arrayBuffer()),
    }
  },
  /** Whether the page may go there. */
  navigate({ window, url, isMainFrame }) {
    const contents = contentsOf(window)
    const event = new PreventableEvent({ url, isMainFrame, isSameDocument: false })
    if (isMainFrame) contents.emit('will-navigate', event, url)
    contents.emit('will-frame-navigate', event, url)
    return !event.defaultPrevented
  },
  started: ({ window, url, isMainFrame }) =>
    void contentsOf(window).emit(
      'did-start-navigation',
      new PreventableEvent({ url, isMainFrame, isSameDocument: false }),
    ),
  at({ window, url }) {
    contentsOf(window).url = url
  },
  shown: ({ window }) => void windows.get(window)?.emit('ready-to-show'),
  open: ({ window, url }) => contentsOf(window).askToOpen(url),
  contents: ({ window, name, facts }) => void contentsOf(window).emit(name, new PreventableEvent(facts), facts),
  permission({ window, name }) {
    const contents = contentsOf(window)
    const { request, check, device } = contents.session
    let granted: boolean | undefined
    request?.(contents, name, (answer) => {
      granted = answer
    })
    return { granted, checked: check?.(contents, name, contents.url), device: device?.({}) }
  },
  emitOnApp: ({ name, args }) => void app.emit(name, new PreventableEvent(), ...args),
  evaluate: ({ source, given }) => runInThisContext(`(${source})`)(everything, given),
})

if (process.env.STAND_IN_UTILITY !== '1') {
  process.on('message', (message) => line.hear(message))
  process.on('disconnect', () => process.exit(1))
  // after the main module has run to its first wait, as Electron does
  setImmediate(() => setImmediate(() => app.becomeReady()))
}
