import { BrowserWindow, type Session, session, type WebContents } from 'electron'
import { isEditorEntry } from './addresses.ts'

/** Cookies and drafts of ComfyUI's editors; nothing of ours is ever in it. */
const PARTITION = 'persist:editors'
const SIZE = { width: 1360, height: 900 }

/**
 * ComfyUI's own editors. Custom nodes bring scripts of strangers into them, so their windows have a session of their own,
 * no preload, and pages that stay on the address they were opened with.
 */
export class EditorWindows {
  readonly #icon: string
  /** The address a page may not leave. */
  readonly #homes = new WeakMap<WebContents, string>()

  constructor(icon: string) {
    this.#icon = icon
  }

  /** Once the app is ready. */
  get session(): Session {
    return session.fromPartition(PARTITION)
  }

  /** null: the page is no editor's. */
  homeOf(contents: WebContents): string | null {
    return this.#homes.get(contents) ?? null
  }

  /** Whether this is for an editor's window: the way into one, or a page of the editor that asks. */
  takes(url: string, asker: WebContents): boolean {
    return isEditorEntry(url) || (URL.canParse(url) && new URL(url).origin === this.homeOf(asker))
  }

  open(url: string) {
    const window = new BrowserWindow({
      ...SIZE,
      title: 'ComfyUI',
      icon: this.#icon,
      autoHideMenuBar: true,
      webPreferences: {
        partition: PARTITION,
        sandbox: true,
        contextIsolation: true,
        nodeIntegration: false,
        webSecurity: true,
        spellcheck: false, // its dictionaries come from the network
      },
    })
    this.#homes.set(window.webContents, new URL(url).origin)
    void window.loadURL(url).catch(() => {}) // ComfyUI has gone; the page says so
  }
}
