import { createWriteStream, existsSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Values } from '../../core/contract/batch.ts'
import { AppError, FailureError } from '../../core/contract/errors.ts'
import {
  type Compared,
  type Proof,
  type ProofPicture,
  type ProofSide,
  ProofVerdict,
  proofSides,
} from '../../core/contract/publish.ts'
import { HEAD_BYTES, mediaOf } from '../../core/domain/media.ts'
import { type Make, type Making, markOutputs } from './prepare.ts'
import type { Attempt, Output, Worker } from './workers/worker.ts'

/** One workflow to make here and there. */
export interface Proving {
  readonly name: string
  readonly batch: Making['batch']
  /** The seeds and input files both are given. */
  readonly overrides: Values
}
interface Made {
  readonly node: string
  readonly index: number
  readonly file: string
}
/** Where the pictures of one comparison lie. */
export type ProofFiles = Record<ProofSide, string | null>
export interface ProveOptions {
  readonly desk: Worker
  readonly endpoint: Worker
  readonly demands: Proof['demands']
  readonly make: Make
  readonly newId: () => string
  readonly now: () => number
  readonly compare: (desk: string, endpoint: string, difference: string) => Promise<Compared>
  /** Where what is made goes. */
  readonly dir: string
  readonly signal: AbortSignal
  /** Told after each workflow that was made somewhere. */
  readonly onNews: (news: { done: number; total: number }) => void
}

/**
 * Makes the workflows on the desk and on the endpoint, at the same time, and compares file by file.
 * @throws what the one said that could not make it
 */
export async function prove(
  workflows: readonly Proving[],
  options: ProveOptions,
): Promise<{ proof: Proof; files: ProofFiles[] }> {
  const { dir, compare, demands, onNews, newId, make } = options
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true })
  let done = 0
  const ended = new AbortController()
  const signal = AbortSignal.any([options.signal, ended.signal])
  const marks = workflows.map(() => newId())
  const side = async (worker: Worker, where: 'desk' | 'endpoint') => {
    const began = options.now()
    const made: Made[][] = []
    for (const [at, workflow] of workflows.entries()) {
      const into = path.join(dir, `${at}-${where}`)
      const promptId = where === 'desk' ? marks[at]! : newId() // both may be behind one ComfyUI
      made.push(await makeOn(worker, workflow, marks[at]!, promptId, { make, signal, into }))
      onNews({ done: ++done, total: workflows.length * 2 })
    }
    return { made, seconds: (options.now() - began) / 1000 }
  }
  const [desk, endpoint] = await Promise.all(
    [side(options.desk, 'desk'), side(options.endpoint, 'endpoint')].map((one) =>
      one.catch((cause: unknown) => {
        ended.abort() // what one side lacks the other need not make
        throw cause
      }),
    ),
  ).catch((cause: unknown) => {
    options.signal.throwIfAborted()
    throw cause
  })
  const pictures: (ProofPicture & { files: ProofFiles })[] = []
  for (const [at, { name }] of workflows.entries()) {
    const [here, there] = [desk!.made[at]!, endpoint!.made[at]!]
    for (const key of new Set([...here, ...there].map(keyOf))) {
      const [one, other] = [here, there].map((all) => all.find((each) => keyOf(each) === key))
      const difference = path.join(dir, `${pictures.length}-difference.png`)
      pictures.push({ workflow: name, ...(await pair(one, other, difference, compare)) })
    }
  }
  return {
    files: pictures.map(({ files }) => files),
    proof: {
      demands,
      verdict: ProofVerdict.options.findLast((each) => pictures.some(({ verdict }) => verdict === each)) ?? 'different',
      pictures: pictures.map(({ files: _, ...picture }) => picture),
      seconds: { desk: desk!.seconds, endpoint: endpoint!.seconds },
    },
  }
}
const keyOf = ({ node, index }: Made) => `${node} ${index}`

/**
 * What it saved, in the order of its nodes. `mark` is in the names of its files and in what they tell of themselves, so
 * that films and sounds, which hold that too, can be the same to the last bit.
 */
async function makeOn(
  worker: Worker,
  { batch, overrides }: Proving,
  mark: string,
  promptId: string,
  { make, into, signal }: Pick<ProveOptions, 'make' | 'signal'> & { into: string },
): Promise<Made[]> {
  const { record, definitions } = await make({ index: 0, overrides, batch }, worker, signal)
  const prompt = markOutputs(record.prompt, definitions, mark)
  const attempt = { promptId, jobId: mark, prompt, pngInfo: { nightshift: { proof: mark } } }
  const made: Made[] = []
  for (const output of await outputsOf(worker, attempt, signal)) {
    if (output.is !== 'file') continue
    const { node, index, file } = output
    const to = path.join(
      into,
      `${made.length}${path
        .extname(file.filename)
        .toLowerCase()
        .replace(/[^.\w]/g, '')}`,
    )
    await mkdir(into, { recursive: true })
    await pipeline(Readable.from(worker.fetch(file, signal)), createWriteStream(to), { signal })
    await worker.discard?.(promptId, file)
    made.push({ node, index, file: to })
  }
  return made
}

async function outputsOf(worker: Worker, attempt: Attempt, signal: AbortSignal): Promise<readonly Output[]> {
  try {
    for await (const step of worker.run(attempt, signal)) {
      if (step.is === 'saved') return step.outputs
      if (step.is === 'failed') throw new FailureError(step.failure)
      if (step.is === 'interrupted') throw new AppError('prompt.interrupted')
      if (step.is === 'lost') throw new AppError('prompt.forgotten')
    }
  } catch (cause) {
    await worker.cancel(attempt.promptId, AbortSignal.timeout(5_000)).catch(() => {})
    throw cause
  }
  throw new AppError('prompt.no-files')
}

const nothing = { ssim: null, changed: null, largest: null, verdict: 'different' } as const

async function pair(
  desk: Made | undefined,
  endpoint: Made | undefined,
  difference: string,
  compare: ProveOptions['compare'],
): Promise<Omit<ProofPicture, 'workflow'> & { files: ProofFiles }> {
  const one = (desk ?? endpoint)!
  const compared =
    desk && endpoint
      ? await compare(desk.file, endpoint.file, difference)
      : { ...nothing, why: desk ? ('missing' as const) : ('extra' as const) }
  const handle = await open(one.file)
  const head = Buffer.alloc(HEAD_BYTES)
  const { bytesRead } = await handle.read(head).finally(() => handle.close())
  const { mediaType } = mediaOf(head.subarray(0, bytesRead), one.file)
  const files: ProofFiles = {
    desk: desk?.file ?? null,
    endpoint: endpoint?.file ?? null,
    difference: existsSync(difference) ? difference : null,
  }
  const shows = proofSides.filter((side) => files[side] !== null)
  return { ...compared, node: one.node, mediaType, shows, files }
}
