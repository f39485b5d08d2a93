// Damaged files of every container, read as an import reads them: JSON lines with what became of them.
// npm run fuzz:import -- [--files 10000] [--seed 1] [CONTAINER…]
import { parseArgs } from 'node:util'
import { everyContainer } from '../kit/containers.ts'
import { fuzzContainer } from '../kit/fuzz-import.ts'

const MOST_MS = 1000
const MOST_MIB = 1024

const { values, positionals } = parseArgs({
  options: { files: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } },
  allowPositionals: true,
})
const kinds = positionals.length > 0 ? positionals : Object.keys(everyContainer)
let allOk = true
for (const kind of kinds) {
  const started = performance.now()
  let fault: string | undefined
  let told: ReturnType<typeof fuzzContainer> | undefined
  try {
    told = fuzzContainer(kind, Number(values.files), Number(values.seed))
  } catch (cause) {
    fault = `${(cause as Error).message}: ${String((cause as Error).cause)}`
  }
  const rssMiB = Math.round(process.resourceUsage().maxRSS / 1024)
  const ok = told !== undefined && told.slowestMs < MOST_MS && rssMiB < MOST_MIB
  allOk &&= ok
  const seconds = Number(((performance.now() - started) / 1000).toFixed(1))
  const slowestMs = told && Number(told.slowestMs.toFixed(1))
  console.log(JSON.stringify({ fuzz: kind, ok, ...told, slowestMs, rssMiB, seconds, ...(fault && { fault }) }))
}
process.exitCode = allOk ? 0 : 1
