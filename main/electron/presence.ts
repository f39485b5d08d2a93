import path from 'node:path'
import { Menu, Notification, nativeImage, powerSaveBlocker, Tray } from 'electron'
import type { App } from '../../core/contract/app.ts'
import { fill } from '../../core/contract/errors.ts'
import type { PayloadOf } from '../../core/contract/procedure.ts'
import { type MenuActions, trayMenu, windowMenu } from './menu.ts'
import { type Night, nothingYet, taskbarOf, trayView } from './night.ts'
import type { MainWindow } from './window.ts'
import type { Words } from './words.ts'

/** How the machine shows the work outside the window: tray, menus, taskbar, notifications, and staying awake. */
export class Presence {
  #iconsDir: string
  #window: MainWindow
  #does: MenuActions
  #fromSource: boolean
  #words: Words
  #night: Night = nothingYet
  #tray: Tray | null = null
  #blocker: number | null = null
  /** What the menus show now: they are made anew only when it changes, since an open one would close. */
  #shown = ''
  #notifications = new Set<Notification>()

  constructor(deps: {
    iconsDir: string
    window: MainWindow
    does: MenuActions
    fromSource: boolean
    words: Words
  }) {
    this.#iconsDir = deps.iconsDir
    this.#window = deps.window
    this.#does = deps.does
    this.#fromSource = deps.fromSource
    this.#words = deps.words
    try {
      this.#tray = new Tray(this.#icon('idle'))
      if (process.platform !== 'darwin') this.#tray.on('click', () => this.#does.show())
    } catch {
      this.#tray = null // a desktop without a tray: closing the window then quits
    }
    this.#draw()
  }

  get hasTray() {
    return this.#tray !== null
  }
  get night() {
    return this.#night
  }

  speak(words: Words) {
    this.#words = words
    this.#draw()
  }

  tell(night: Night) {
    this.#night = night
    this.#draw()
  }

  /** Keeps the machine, not its screen, awake. */
  stayAwake(on: boolean) {
    if (on) this.#blocker ??= powerSaveBlocker.start('prevent-app-suspension')
    else if (this.#blocker !== null) {
      powerSaveBlocker.stop(this.#blocker)
      this.#blocker = null
    }
  }

  batchEnded({ id, name, counts }: PayloadOf<App, 'batch.ended'>) {
    const { ended } = this.#words
    const { done, failed, parked } = counts
    const body = fill(failed + parked > 0 ? ended.someFailed : ended.allDone, { done, failed: failed + parked })
    this.#notify(fill(ended.title, { name }), body, () => this.#does.show('gallery', { batch: id }))
  }

  closedToTray() {
    const { closing } = this.#words
    this.#notify(closing.title, closing.body, () => this.#does.show())
  }

  #notify(title: string, body: string, onClick: () => void) {
    if (!Notification.isSupported()) return
    const notification = new Notification({ title, body, icon: path.join(this.#iconsDir, 'app', '128x128.png') })
    // held until it is gone: one that is collected no longer hears its click
    this.#notifications.add(notification)
    const gone = () => this.#notifications.delete(notification)
    notification.on('click', () => {
      gone()
      onClick()
    })
    notification.on('close', gone)
    notification.on('failed', gone)
    notification.show()
  }

  #draw() {
    const view = trayView(this.#night, this.#words)
    const facts = {
      platform: process.platform,
      fromSource: this.#fromSource,
      words: this.#words,
      night: this.#night,
    }
    const shown = JSON.stringify([view, this.#words.menu.file])
    if (shown !== this.#shown) {
      this.#shown = shown
      this.#tray?.setImage(this.#icon(view.icon))
      this.#tray?.setToolTip(`Nightshift · ${view.status}`)
      this.#tray?.setContextMenu(Menu.buildFromTemplate(trayMenu(facts, this.#does)))
      Menu.setApplicationMenu(Menu.buildFromTemplate(windowMenu(facts, this.#does)))
    }
    const { value, mode } = taskbarOf(this.#night)
    this.#window.window?.setProgressBar(value, { mode })
  }

  /** macOS draws the tray's picture in one colour of its own, so there the state is only in the words. */
  #icon(state: string) {
    if (process.platform !== 'darwin') return nativeImage.createFromPath(path.join(this.#iconsDir, `tray-${state}.png`))
    const icon = nativeImage.createFromPath(path.join(this.#iconsDir, 'trayTemplate.png'))
    icon.setTemplateImage(true)
    return icon
  }
}
