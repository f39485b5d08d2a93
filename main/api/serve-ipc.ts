import { ipcMain, type WebContents, type WebFrameMain } from 'electron'
import { app } from '../../core/contract/app.ts'
import { type BridgeFrame, type Desktop, desktop } from '../../core/contract/desktop.ts'
import { AppError, type Envelope, toFailure } from '../../core/contract/errors.ts'
import type { Router } from '../../core/contract/procedure.ts'
import { isOurs } from '../electron/addresses.ts'
import { roughSizeOf } from '../electron/rough-size.ts'
import { call } from './call.ts'

/** Where the app's own procedures are answered. */
export interface Relay {
  send(name: string, input: unknown): Promise<Envelope>
  subscribe(since: number | null, listener: (frame: BridgeFrame) => void): () => void
}
/** What the window's process does itself, for the window that asks. */
export type DesktopActions = Omit<Router<Desktop>, 'desktop.subscribe' | 'desktop.unsubscribe'>

const MiB = 1024 * 1024
/** As the HTTP door's: a file of 64 MiB in base64, with some room. */
const LIMIT_BYTES = 96 * MiB

/**
 * One channel, `call`, for the main frame of our own pages; the app's procedures go on to the host, which reads and
 * checks them as it does everyone's. Events come back on `event`.
 */
export function serveIpc(
  relay: Relay,
  actionsFor: (window: WebContents) => DesktopActions,
  onFault: (cause: unknown, name: string) => void,
) {
  const subscriptions = new WeakMap<WebContents, Map<number, () => void>>()

  /** Subscriptions end with the page that made them. */
  function subscriptionsOf(window: WebContents) {
    const known = subscriptions.get(window)
    if (known) return known
    const made = new Map<number, () => void>()
    subscriptions.set(window, made)
    const leaveAll = () => {
      for (const leave of made.values()) leave()
      made.clear()
    }
    window.on('did-start-navigation', ({ isMainFrame, isSameDocument }) => {
      if (isMainFrame && !isSameDocument) leaveAll()
    })
    window.on('render-process-gone', leaveAll)
    window.on('destroyed', leaveAll)
    return made
  }

  const routerFor = (window: WebContents): Router<Desktop> => ({
    ...actionsFor(window),
    'desktop.subscribe': ({ id, since }) => {
      const own = subscriptionsOf(window)
      own.get(id)?.()
      const leave = relay.subscribe(since, (frame) => {
        if (!window.isDestroyed()) window.send('event', id, frame)
      })
      own.set(id, leave)
      return {}
    },
    'desktop.unsubscribe': ({ id }) => {
      const own = subscriptionsOf(window)
      own.get(id)?.()
      own.delete(id)
      return {}
    },
  })

  ipcMain.handle('call', async (event, name: unknown, input: unknown): Promise<Envelope> => {
    try {
      if (!isMainFrameOfOurs(event.senderFrame))
        throw new AppError('app.refused', { reason: 'the caller is not our page' })
      if (typeof name !== 'string') throw new AppError('app.bad-request', { reason: 'the name is not text' })
      const sizeBytes = roughSizeOf(input, LIMIT_BYTES)
      if (sizeBytes > LIMIT_BYTES)
        throw new AppError('app.too-large', {
          name: 'The request',
          sizeMiB: Math.ceil(sizeBytes / MiB),
          limitMiB: LIMIT_BYTES / MiB,
        })
      if (Object.hasOwn(desktop, name))
        return await call(desktop, routerFor(event.sender), name, input, 'local', onFault)
      const procedure = Object.hasOwn(app, name) ? app[name as keyof typeof app] : undefined
      if (!procedure || procedure.kind === 'event') throw new AppError('app.unknown-procedure', { name })
      return await relay.send(name, input ?? {})
    } catch (cause) {
      return { ok: false, failure: toFailure(cause) }
    }
  })
}

const isMainFrameOfOurs = (frame: WebFrameMain | null) => frame !== null && frame.parent === null && isOurs(frame.url)
