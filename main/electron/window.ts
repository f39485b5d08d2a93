import { readFileSync } from 'node:fs'
import { app, BrowserWindow, nativeTheme, screen } from 'electron'
import { parseJson } from '../../core/contract/json.ts'
import { writeWholeSync } from '../../core/engine/write-whole.ts'
import { ORIGIN } from './addresses.ts'
import { placeWindow, SMALLEST, WindowState } from './window-state.ts'

const SAVE_AFTER_MS = 400
const RELOAD_AGAIN_MS = 10_000
/** The pages' own background, so that nothing flashes before they are drawn. */
const BACKGROUND = { light: '#f3f5f9', dark: '#0b0f1a' }
const backgroundColor = () => (nativeTheme.shouldUseDarkColors ? BACKGROUND.dark : BACKGROUND.light)

interface WindowDeps {
  readonly stateFile: string
  readonly preload: string
  readonly icon: string
  /** false: the window is hidden instead. */
  readonly mayClose: () => boolean
}

/** The one window: made when first shown, hidden when closed, kept where it was. */
export class MainWindow {
  #deps: WindowDeps
  #state: WindowState
  #window: BrowserWindow | null = null
  #saveTimer: NodeJS.Timeout | undefined

  constructor(deps: WindowDeps) {
    this.#deps = deps
    this.#state = readState(deps.stateFile)
  }

  /** Once the app is ready. */
  start() {
    nativeTheme.themeSource = this.#state.theme
    nativeTheme.on('updated', () => this.#window?.setBackgroundColor(backgroundColor()))
  }

  get window() {
    return this.#window
  }
  get language() {
    return this.#state.language
  }

  /** `page`: what comes after `#/`. */
  show(page?: string) {
    const window = this.#window
    if (!window) return this.#create(page, true)
    const url = page === undefined ? undefined : `${ORIGIN}/index.html#/${page}`
    if (url !== undefined && window.webContents.getURL() !== url) go(window, url)
    if (window.isMinimized()) window.restore()
    if (this.#state.maximised && !window.isMaximized()) window.maximize()
    window.show()
    window.focus()
  }

  /** Ready, but out of sight. */
  prepare() {
    if (!this.#window) this.#create(undefined, false)
  }

  remember(part: Pick<WindowState, 'theme' | 'language'>) {
    this.#state = { ...this.#state, ...part }
    nativeTheme.themeSource = part.theme
    this.#save()
  }

  #create(page: string | undefined, visible: boolean) {
    const place = placeWindow(
      this.#state.bounds,
      screen.getAllDisplays().map(({ workArea }) => workArea),
    )
    const window = new BrowserWindow({
      ...place,
      minWidth: SMALLEST.width,
      minHeight: SMALLEST.height,
      show: false,
      backgroundColor: backgroundColor(),
      title: 'Nightshift',
      icon: this.#deps.icon,
      autoHideMenuBar: true,
      webPreferences: {
        preload: this.#deps.preload,
        sandbox: true,
        contextIsolation: true,
        nodeIntegration: false,
        webSecurity: true,
        spellcheck: false, // its dictionaries come from the network
      },
    })
    this.#window = window
    if (visible) window.once('ready-to-show', () => this.show())
    for (const event of ['resize', 'move', 'maximize', 'unmaximize'] as const)
      window.on(event as 'resize', () => this.#saveSoon())
    window.on('close', (event) => {
      this.#save()
      if (this.#deps.mayClose()) return
      event.preventDefault()
      window.hide()
    })
    window.on('closed', () => {
      clearTimeout(this.#saveTimer)
      this.#window = null
    })
    let reloadedAt = Number.NEGATIVE_INFINITY
    window.webContents.on('render-process-gone', (_event, { reason }) => {
      // a page that crashes at once would do so for ever
      if (reason === 'clean-exit' || performance.now() - reloadedAt < RELOAD_AGAIN_MS) return
      reloadedAt = performance.now()
      window.webContents.reload()
    })
    go(window, `${ORIGIN}/index.html${page === undefined ? '' : `#/${page}`}`)
  }

  #saveSoon() {
    this.#saveTimer ??= setTimeout(() => this.#save(), SAVE_AFTER_MS)
  }

  #save() {
    clearTimeout(this.#saveTimer)
    this.#saveTimer = undefined
    const window = this.#window
    if (window && !window.isDestroyed())
      this.#state = { ...this.#state, bounds: window.getNormalBounds(), maximised: window.isMaximized() }
    const { stateFile } = this.#deps
    try {
      writeWholeSync(stateFile, JSON.stringify(this.#state))
    } catch {
      // a full disk must not keep the window from closing; the place is forgotten
    }
  }
}

/** A load that another one overtakes rejects; there is nothing to do about it. */
const go = (window: BrowserWindow, url: string) => void window.loadURL(url).catch(() => {})

function readState(file: string): WindowState {
  try {
    return WindowState.parse(parseJson(readFileSync(file, 'utf8')))
  } catch {
    return WindowState.parse({})
  }
}

/** The languages the system was set to, best first. */
export const systemLanguages = () => [...app.getPreferredSystemLanguages(), app.getLocale()]
