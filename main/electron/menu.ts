import type { MenuItemConstructorOptions } from 'electron'
import type { Night } from './night.ts'
import { trayView } from './night.ts'
import type { Words } from './words.ts'

export interface MenuActions {
  openWorkflow(): void
  /** Brings the window to the front, on a page of it. */
  show(page?: 'queue' | 'gallery', facts?: Record<string, string>): void
  pause(): void
  resume(): void
  openLogs(): void
  about(): void
  quit(): void
}
interface MenuFacts {
  readonly platform: NodeJS.Platform
  /** Started from the sources: the developer tools are at hand. */
  readonly fromSource: boolean
  readonly words: Words
  readonly night: Night
}

const separator: MenuItemConstructorOptions = { type: 'separator' }

export function windowMenu({ platform, fromSource, words, night }: MenuFacts, does: MenuActions) {
  const { menu } = words
  const mac = platform === 'darwin'
  const template: MenuItemConstructorOptions[] = [
    {
      label: menu.file,
      submenu: [
        { label: menu.openWorkflow, accelerator: 'CmdOrCtrl+O', click: () => does.openWorkflow() },
        separator,
        { label: menu.closeWindow, accelerator: 'CmdOrCtrl+W', role: 'close' },
        ...(mac ? [] : [{ label: menu.quit, accelerator: 'CmdOrCtrl+Q', click: () => does.quit() }]),
      ],
    },
    {
      label: menu.edit,
      submenu: [
        { label: menu.undo, role: 'undo' },
        { label: menu.redo, role: 'redo' },
        separator,
        { label: menu.cut, role: 'cut' },
        { label: menu.copy, role: 'copy' },
        { label: menu.paste, role: 'paste' },
        { label: menu.selectAll, role: 'selectAll' },
      ],
    },
    {
      label: menu.queue,
      submenu: [
        ...pauseItem(words, night, does),
        separator,
        { label: menu.showQueue, click: () => does.show('queue') },
        { label: menu.showGallery, click: () => does.show('gallery') },
      ],
    },
    {
      label: menu.view,
      submenu: [
        { label: menu.reload, role: 'reload' },
        { label: menu.actualSize, role: 'resetZoom' },
        { label: menu.zoomIn, role: 'zoomIn' },
        { label: menu.zoomOut, role: 'zoomOut' },
        { label: menu.fullScreen, role: 'togglefullscreen' },
        ...(fromSource ? [separator, { label: menu.developerTools, role: 'toggleDevTools' as const }] : []),
      ],
    },
    {
      label: menu.help,
      role: 'help',
      submenu: [
        { label: menu.openLogs, click: () => does.openLogs() },
        ...(mac ? [] : [{ label: menu.about, click: () => does.about() }]),
      ],
    },
  ]
  if (!mac) return template
  const own: MenuItemConstructorOptions = {
    label: 'Nightshift',
    submenu: [
      { label: menu.about, click: () => does.about() },
      separator,
      { label: menu.services, role: 'services' },
      separator,
      { label: menu.hide, role: 'hide' },
      { label: menu.hideOthers, role: 'hideOthers' },
      { label: menu.showAll, role: 'unhide' },
      separator,
      { label: menu.quit, accelerator: 'Cmd+Q', click: () => does.quit() },
    ],
  }
  return [own, ...template]
}

export function trayMenu({ words, night }: MenuFacts, does: MenuActions): MenuItemConstructorOptions[] {
  const { tray } = words
  return [
    { label: trayView(night, words).status, enabled: false },
    separator,
    ...pauseItem(words, night, does),
    { label: tray.open, click: () => does.show() },
    { label: tray.openQueue, click: () => does.show('queue') },
    separator,
    { label: tray.quit, click: () => does.quit() },
  ]
}

function pauseItem(words: Words, night: Night, does: MenuActions): MenuItemConstructorOptions[] {
  const { action } = trayView(night, words)
  if (action === 'resume') return [{ id: 'resume', label: words.tray.resume, click: () => does.resume() }]
  return [{ id: 'pause', label: words.tray.pause, enabled: action === 'pause', click: () => does.pause() }]
}
