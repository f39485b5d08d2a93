import { contextBridge, ipcRenderer, webUtils } from 'electron'
import type { Bridge, BridgeFrame } from '../core/contract/desktop.ts'
import type { Envelope } from '../core/contract/errors.ts'

// The keyhole: a page gets these functions and never ipcRenderer itself, nor its events.

const listeners = new Map<number, (frame: BridgeFrame) => void>()
let subscriptions = 0

const call = (name: string, input: unknown): Promise<Envelope> => ipcRenderer.invoke('call', name, input)

ipcRenderer.on('event', (_event, id: number, frame: BridgeFrame) => listeners.get(id)?.(frame))

const bridge: Bridge = {
  platform: process.platform,
  call,
  subscribe(since, listener) {
    const id = subscriptions++
    listeners.set(id, listener)
    void call('desktop.subscribe', { id, since })
    return () => {
      if (listeners.delete(id)) void call('desktop.unsubscribe', { id })
    }
  },
  pathForFile: (file) => webUtils.getPathForFile(file as File),
  openArtifact: (id) => call('desktop.openArtifact', { id }),
  revealArtifact: (id) => call('desktop.revealArtifact', { id }),
  startDrag: (ids) => void call('desktop.startDrag', { ids }),
  async chooseFolder(from = '') {
    const reply = await call('desktop.chooseFolder', { from })
    return reply.ok ? (reply.value as { path: string | null }).path : null
  },
  openExternal: (url) => call('desktop.openExternal', { url }),
}

contextBridge.exposeInMainWorld('bridge', bridge)
