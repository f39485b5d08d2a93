// A rehearsal as a process of its own, whose prompts stand at their first node while a file is there.
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Fault, RehearsalServer } from '../../core/engine/rehearsal/server.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({ options: { dir: text, port: text, gate: text } })
const { dir, port, gate } = values as Required<typeof values>
const server = new RehearsalServer({ dir, port: Number(port), stepMs: 0, assumeModels: true, keepOutput: true })
server.onNext(...Array<Fault>(1_000).fill('hold'))
await server.start()
setInterval(() => existsSync(gate) || server.release(), 10)
