// The rehearsal as a process of its own, for tests that kill it: prints its address, then serves until it is ended.
import { parseArgs } from 'node:util'
import { RehearsalServer } from './server.ts'

const { values } = parseArgs({
  options: {
    dir: { type: 'string' },
    port: { type: 'string', default: '0' },
    'step-ms': { type: 'string', default: '15' },
    'sketch-unknown': { type: 'boolean', default: false },
  },
})
if (!values.dir) throw new Error('--dir FOLDER is needed')
const server = new RehearsalServer({
  dir: values.dir,
  port: Number(values.port),
  stepMs: Number(values['step-ms']),
  sketchUnknown: values['sketch-unknown'],
  assumeModels: true,
  keepOutput: true,
})
await server.start()
console.log(JSON.stringify({ event: 'listening', url: server.url }))
