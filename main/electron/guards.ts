import { app, dialog, type Session, shell, type WebContents } from 'electron'
import { fill } from '../../core/contract/errors.ts'
import { isOurs, mayOpen } from './addresses.ts'
import type { EditorWindows } from './editor-windows.ts'
import type { Words } from './words.ts'

/** No page of ours may become another's, open a window, or ask the machine for anything; nor may an editor's leave it. */
export function guardEveryPage(words: () => Words, editors: EditorWindows) {
  app.on('web-contents-created', (_event, contents) => {
    const mayGo = (url: string) => {
      const home = editors.homeOf(contents)
      return home === null ? isOurs(url) : URL.canParse(url) && new URL(url).origin === home
    }
    contents.on('will-navigate', (event) => {
      if (!mayGo(event.url)) event.preventDefault()
    })
    contents.on('will-redirect', (event) => {
      if (!mayGo(event.url)) event.preventDefault()
    })
    contents.on('will-frame-navigate', (event) => {
      if (!mayGo(event.url)) event.preventDefault()
    })
    contents.on('will-attach-webview', (event) => event.preventDefault())
    contents.setWindowOpenHandler(({ url }) => {
      if (editors.takes(url, contents)) editors.open(url)
      else void openOutside(url, words())
      return { action: 'deny' }
    })
  })
}

/** Copying text is all a page may ask for. */
const GRANTED = 'clipboard-sanitized-write'

export function denyPermissions(session: Session, editors: EditorWindows) {
  const granted = (permission: string, contents: WebContents | null) =>
    permission === GRANTED && contents !== null && (isOurs(contents.getURL()) || editors.homeOf(contents) !== null)
  session.setPermissionRequestHandler((contents, permission, answer) => answer(granted(permission, contents)))
  session.setPermissionCheckHandler((contents, permission) => granted(permission, contents))
  session.setDevicePermissionHandler(() => false)
}

/** In the system's browser, if it is https; a place that is not well known is asked about. */
export async function openOutside(url: string, { external }: Words): Promise<boolean> {
  const answer = mayOpen(url)
  if (answer === 'no') return false
  if (answer === 'ask') {
    const { response } = await dialog.showMessageBox({
      type: 'question',
      message: fill(external.message, { host: new URL(url).hostname }),
      detail: url,
      buttons: [external.open, external.cancel],
      defaultId: 1,
      cancelId: 1,
    })
    if (response !== 0) return false
  }
  await shell.openExternal(url)
  return true
}
