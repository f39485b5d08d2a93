import type { App } from '../../core/contract/app.ts'
import { AppError, FailureError, fill } from '../../core/contract/errors.ts'
import type { Json } from '../../core/contract/json.ts'
import type { OutputOf } from '../../core/contract/procedure.ts'
import type { Publication, PublishPlan } from '../../core/contract/publish.ts'
import type { Client } from '../api/client.ts'
import { type Context, EXIT, onlyArgument, readWorkflowInput, wholeNumber } from './context.ts'
import { hearInterruption } from './interruption.ts'
import { sayChange, sayPush } from './snapshot.ts'
import { sayBytes, sayTime } from './terminal.ts'

/** Of `endpoint deploy` and `endpoint rollback`. */
export const DEPLOY_OPTIONS = {
  engine: { type: 'string' },
  snapshot: { type: 'string' },
  workflow: { type: 'string', multiple: true },
  consent: { type: 'string', multiple: true },
  note: { type: 'string' },
  limit: { type: 'string' },
  'accept-different': { type: 'boolean' },
  'dry-run': { type: 'boolean' },
} as const
interface Values {
  readonly engine?: string | undefined
  readonly snapshot?: string | undefined
  readonly workflow?: string[] | undefined
  readonly consent?: string[] | undefined
  readonly note?: string | undefined
  readonly limit?: string | undefined
  readonly 'accept-different'?: boolean | undefined
  readonly 'dry-run'?: boolean | undefined
}

const LOOK_EVERY_MS = 1_000

/** A snapshot of how it is now, or the one named, onto an endpoint, followed until it is live. */
export async function deploy(context: Context, client: Client, args: string[], values: Values): Promise<boolean> {
  const { terminal } = context
  const endpoint = onlyArgument(context, args, 'NAME')
  const bytesPerSecond = values.limit === undefined ? null : wholeNumber(context, '--limit', values.limit)
  const workflows: string[] = []
  for (const file of values.workflow ?? []) workflows.push(...(await importOne(context, client, file)))
  const { engine, snapshot, consent = [] } = values
  const earlier = values['dry-run'] ? null : await goOn(context, client, endpoint, values)
  const plan = await client.call('publish.plan', { endpoint, engine, snapshot, workflows, consent })
  tellPlan(context, plan)
  const [secret] = plan.secrets
  if (!plan.snapshot)
    throw new AppError('snapshot.secrets', {
      count: plan.secrets.length,
      kind: secret?.kind ?? '',
      path: secret?.path ?? '',
    })
  for (const refusal of plan.refusals.slice(1)) terminal.failure(refusal)
  if (plan.refusals[0]) throw new FailureError(plan.refusals[0])
  const isThat =
    earlier?.state.is === 'done' &&
    earlier.version === plan.live?.version &&
    plan.changes?.length === 0 &&
    sameOf(earlier.workflows, plan.workflows)
  if (values['dry-run'] || isThat) return true
  const publication = await client.call('publish.start', {
    ...{ endpoint, engine, workflows, bytesPerSecond },
    snapshot: plan.snapshot.id,
    note: values.note ?? '',
    acceptDifferent: values['accept-different'] ?? false,
  })
  return follow(context, client, publication.id)
}

/** What was begun before and not ended, as by the same command that was killed, comes first. */
async function goOn(context: Context, client: Client, endpoint: string, values: Values): Promise<Publication | null> {
  const { rows } = await client.call('publish.list', { endpoint })
  const open = rows.find(({ state }) => state.is === 'running' || state.is === 'asking')
  if (!open) return null
  const { terminal } = context
  terminal.event('going-on', { id: open.id, endpoint, snapshotId: open.snapshotId })
  if (!terminal.json) terminal.say(terminal.speech.words.endpoint.goingOn, { endpoint })
  if (open.state.is === 'asking')
    await client.call('publish.answer', { id: open.id, accept: !!values['accept-different'] })
  if (open.state.is !== 'asking' || values['accept-different']) await follow(context, client, open.id)
  return client.call('publish.get', { id: open.id })
}
const sameOf = (some: Publication['workflows'], others: Publication['workflows']) =>
  some.length === others.length && some.every(({ id }) => others.some((other) => other.id === id))

async function follow(context: Context, client: Client, id: string): Promise<boolean> {
  const interrupt = hearInterruption(EXIT.interrupted)
  try {
    return await toTheEnd(context, client, id, interrupt.signal)
  } finally {
    interrupt.end()
  }
}

/** Back to a version that served before. */
export async function rollBack(context: Context, client: Client, args: string[]): Promise<boolean> {
  const { terminal } = context
  const [given, ...others] = args.slice(1)
  const endpoint = onlyArgument(context, [args[0] ?? '', ...others].filter(Boolean), 'NAME')
  const version = given === undefined ? null : wholeNumber(context, 'VERSION', given)
  const now = await client.call('publish.rollBack', { endpoint, version })
  terminal.event('release', now as unknown as Record<string, Json>)
  if (!terminal.json) terminal.say(terminal.speech.words.endpoint.rolledBack, { endpoint, version: now.version })
  return true
}

async function importOne(context: Context, client: Client, file: string): Promise<string[]> {
  const { source } = await readWorkflowInput(context, file)
  const { results } = await client.call('workflow.importMany', { sources: [source] })
  const bad = results.find((result) => !result.ok)
  if (bad && !bad.ok) throw new FailureError(bad.failure)
  return results.flatMap((result) => (result.ok ? [result.workflow.id] : []))
}

function tellPlan(context: Context, plan: PublishPlan) {
  const { terminal } = context
  const { snapshot: kept } = terminal.speech.words
  terminal.event('plan', plan as unknown as Record<string, Json>)
  for (const secret of plan.secrets) terminal.note(kept.secret, { ...secret })
  if (terminal.json || !plan.push) return
  sayPush(context, plan.push, kept.would, kept.wouldModels)
  for (const change of plan.changes ?? []) sayChange(context, change)
}

/** Ctrl-C stops it where it is; what has arrived stays there. */
async function toTheEnd(context: Context, client: Client, id: string, signal: AbortSignal): Promise<boolean> {
  const { terminal } = context
  const { endpoint: said } = terminal.speech.words
  const told = new Set<string>()
  let wake = () => {}
  const leave = client.subscribe(null, ({ name }) => {
    if (name === 'publish.changed') wake()
  })
  const interrupted = () => wake()
  signal.addEventListener('abort', interrupted)
  try {
    for (;;) {
      if (signal.aborted) {
        await client.call('publish.stop', { id })
        throw new AppError('app.interrupted')
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      wake = resolve
      const now = await client.call('publish.get', { id })
      tellSteps(context, now, told)
      const { state } = now
      if (state.is === 'failed') throw new FailureError(state.failure)
      if (state.is === 'stopped') throw new AppError('app.interrupted')
      if (state.is === 'asking') {
        // nobody is here to say that they may: the page can, and so can the same command with its option
        const { state: answered } = await client.call('publish.answer', { id, accept: false })
        throw answered.is === 'failed' ? new FailureError(answered.failure) : new AppError('app.interrupted')
      }
      if (state.is === 'done') {
        terminal.event('release', { endpoint: now.endpoint, version: now.version, verdict: now.proof?.verdict ?? null })
        if (!terminal.json) terminal.say(said.published, { endpoint: now.endpoint, version: now.version ?? '' })
        return true
      }
      const timer = setTimeout(resolve, LOOK_EVERY_MS)
      await promise
      clearTimeout(timer)
    }
  } finally {
    leave()
    signal.removeEventListener('abort', interrupted)
  }
}

function tellSteps({ terminal }: Context, now: OutputOf<App, 'publish.get'>, told: Set<string>) {
  const { endpoint: said } = terminal.speech.words
  for (const [step, seconds] of Object.entries(now.seconds)) {
    if (told.has(step)) continue
    told.add(step)
    terminal.event('step', { step, seconds })
    if (!terminal.json)
      terminal.say(said.step, { step: said.steps[step as keyof typeof said.steps], seconds: seconds.toFixed(1) })
    if (step === 'prove' && now.proof) tellProof(terminal, now.proof)
  }
  const { state } = now
  if (state.is !== 'running') return
  const { step, phase, done, total, perSecond, etaSeconds } = state
  const isBytes = step !== 'prove'
  terminal.bar(
    total > 0 ? done / total : 0,
    fill(said.bar, {
      step: said.steps[step],
      phase: phase === null ? '' : said.phases[phase],
      done: isBytes ? sayBytes(done) : done,
      of: isBytes ? sayBytes(total) : total,
      rate: isBytes && perSecond !== null ? `${sayBytes(perSecond)}/s` : '',
      left: etaSeconds === null ? '' : sayTime(etaSeconds),
    }),
  )
}

function tellProof(terminal: Context['terminal'], proof: NonNullable<Publication['proof']>) {
  const { endpoint: said } = terminal.speech.words
  terminal.event('proof', proof as unknown as Record<string, Json>)
  if (terminal.json) return
  for (const { workflow, node, verdict, ssim } of proof.pictures)
    terminal.say(said.picture, {
      ...{ workflow, node, verdict: said.verdicts[verdict] },
      ssim: ssim === null ? '' : `SSIM ${ssim.toFixed(4)}`,
    })
}
