import type { Inspection, Parameter } from '../../core/contract/workflow.ts'
import { isLocalFile, isWebAddress } from '../../core/domain/batch/check.ts'
import { problem } from '../../core/domain/workflow/problems.ts'
import type { Clock } from './clock.ts'
import type { Worker } from './workers/worker.ts'

interface Deps {
  fleet: { get(id: string): (Pick<Worker, 'id' | 'hasInput'> & { health: Pick<Worker['health'], 'is'> }) | undefined }
  clock: Clock
}

const ANSWERS_LAST_MS = 15_000 // who put the file there meanwhile asks again
const MOST_REMEMBERED = 20_000
const AT_ONCE = 8
const PATIENCE_MS = 5_000 // for all questions together; what is not known by then is not held against anyone

/** Which input files, named as the server's own, the servers have. */
export class ServerFiles {
  readonly #deps: Deps
  readonly #known = new Map<string, { at: number; there: boolean }>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** Of these names those a worker lacks, with the first that does. A worker that cannot say is taken to have them. */
  async lacking(workers: readonly string[], names: Iterable<string>): Promise<Map<string, string>> {
    const lacking = new Map<string, string>()
    const signal = AbortSignal.timeout(PATIENCE_MS)
    const asked = [...new Set(names)]
    for (const id of workers) {
      const worker = this.#deps.fleet.get(id)
      if (worker?.health.is !== 'ready') continue
      const left = asked.values()
      const lane = async () => {
        for (const name of left) {
          if (signal.aborted) return
          if (!(await this.#has(worker, name, signal)) && !lacking.has(name)) lacking.set(name, id)
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, lane))
    }
    return lacking
  }

  /** With a problem for each file that the worker it was judged by lacks. */
  async judge<T extends Pick<Inspection, 'parameters' | 'problems' | 'definitions'>>(inspection: T): Promise<T> {
    const wanted = inspection.parameters.flatMap((parameter) => {
      const file = serverFileOf(parameter, parameter.default)
      return file === null ? [] : [{ parameter, file }]
    })
    const worker = inspection.definitions.from
    const files = wanted.map(({ file }) => file)
    const lacking = await this.lacking([worker], files)
    const problems = wanted.flatMap(({ parameter: { node, input, classType, name }, file }) =>
      lacking.has(file)
        ? [problem('bad-value', 'missing-input-file', { name, file, worker }, { node, classType, input })]
        : [],
    )
    return problems.length === 0 ? inspection : { ...inspection, problems: [...inspection.problems, ...problems] }
  }

  async #has(worker: Pick<Worker, 'id' | 'hasInput'>, name: string, signal: AbortSignal): Promise<boolean> {
    const key = `${worker.id}\0${name}`
    const now = this.#deps.clock.now()
    const known = this.#known.get(key)
    if (known && now - known.at < ANSWERS_LAST_MS) return known.there
    try {
      const there = await worker.hasInput(name, signal)
      if (this.#known.size >= MOST_REMEMBERED) this.#known.clear()
      this.#known.set(key, { at: now, there })
      return there
    } catch {
      return true // the worker's health says what is wrong with it
    }
  }
}

/** The name of a file that a worker is expected to have already; null: the value names none. */
export function serverFileOf({ upload }: Parameter, value: unknown): string | null {
  if (!upload || typeof value !== 'string' || value.trim() === '') return null
  return isLocalFile(value) || isWebAddress(value) || value.includes('{{') ? null : value.trim()
}
