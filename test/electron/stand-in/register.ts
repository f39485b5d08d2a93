// `node --import register.ts out/main/index.js`: whoever asks for 'electron' gets the stand-in, by import and require.
import { EventEmitter } from 'node:events'
import { registerHooks } from 'node:module'

const url = new URL('./electron.ts', import.meta.url).href
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'electron' || specifier.startsWith('electron/')
      ? { url, format: 'module-typescript', shortCircuit: true }
      : next(specifier, context),
})

const utility = process.env.STAND_IN_UTILITY === '1'
Object.defineProperty(process.versions, 'electron', { value: '45.4.1-stand-in' })
Object.defineProperty(process, 'type', { value: utility ? 'utility' : 'browser' })
Object.defineProperty(process, 'resourcesPath', { value: process.cwd() })
if (utility) {
  const port = Object.assign(new EventEmitter(), { postMessage: (message: unknown) => process.send?.(message) })
  port.once('newListener', () => process.on('message', (data) => port.emit('message', { data, ports: [] })))
  // a utility process does not outlive the one that made it
  process.on('disconnect', () => process.exit(1))
  Object.defineProperty(process, 'parentPort', { value: port })
}
