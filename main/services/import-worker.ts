// A thread for what would stall the host: dropped files read and converted. Its own entry in the build.
import { parentPort } from 'node:worker_threads'
import { type Failure, toFailure } from '../../core/contract/errors.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import { bytesSource, openFile } from '../../core/engine/metadata/source.ts'
import type { Definitions } from './library.ts'
import { convertFile, inspectFile, type ReadSource, readForKeeping } from './read-import.ts'

export type ImportRequest = {
  readonly id: number
  readonly name: string
  readonly from: { readonly path: string } | { readonly bytes: Uint8Array }
  /** `keep`: every workflow of it, the files into `dir`; else the first is looked at. */
  readonly to: { readonly keep: string } | 'inspect' | 'convert'
}
/** What was asked for with `to`. */
export type Looked = { inspect: ReturnType<typeof inspectFile>; convert: ReturnType<typeof convertFile> }
/** Said before the requests that are to use them; without `definitions` those that came with Nightshift. */
export type DefinitionsNow = Omit<Definitions, 'definitions'> & Partial<Pick<Definitions, 'definitions'>>
export type ImportReply = {
  readonly id: number
  readonly found:
    | ReadSource
    | { readonly name: string; readonly failure: Failure }
    | { readonly looked: Looked[keyof Looked] }
    | null // that was all
}

let known: Definitions = { ...bundledDefinitions(), from: 'bundled' }

parentPort?.on('message', (message: { known: DefinitionsNow } | ImportRequest) => {
  if ('known' in message) known = { ...bundledDefinitions(), ...message.known }
  else read(message)
})

function read({ id, name, from, to }: ImportRequest) {
  const say = (found: ImportReply['found']) => parentPort?.postMessage({ id, found } satisfies ImportReply)
  try {
    const file = 'path' in from ? openFile(from.path) : null
    try {
      const source = file ?? bytesSource((from as { bytes: Uint8Array }).bytes)
      if (to === 'inspect') say({ looked: inspectFile(name, source, known) })
      else if (to === 'convert') say({ looked: convertFile(name, source, known) })
      else
        for (const found of readForKeeping(name, source, to.keep, known))
          say('fault' in found ? { name: found.name, failure: toFailure(found.fault) } : found)
    } finally {
      file?.close()
    }
  } catch (cause) {
    say({ name, failure: toFailure(cause) })
  }
  say(null)
}
