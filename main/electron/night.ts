import type { Batch } from '../../core/contract/batch.ts'
import { fill } from '../../core/contract/errors.ts'
import type { QueueState } from '../../core/contract/job.ts'
import { sayDuration, type Words } from './words.ts'

/** What the tray, the taskbar and the question at quitting tell of the work, in numbers. */
export interface Night {
  readonly link: 'starting' | 'up' | 'down'
  readonly paused: boolean
  readonly running: number
  readonly waiting: number
  /** Of the batches that have not ended: jobs over, however they ended, and all jobs. */
  readonly over: number
  readonly total: number
  /** Failed or parked there. */
  readonly attention: number
  readonly etaSeconds: number | null
  readonly stalled: string | null
}

export const nothingYet: Night = {
  link: 'starting',
  paused: false,
  running: 0,
  waiting: 0,
  over: 0,
  total: 0,
  attention: 0,
  etaSeconds: null,
  stalled: null,
}

/** `say`: why nothing moves, in the person's language. */
export function nightOf(
  { counts, paused, etaSeconds, stalled }: Omit<QueueState, 'running'>,
  batches: readonly Pick<Batch, 'counts' | 'endedAt'>[],
  say: (reason: NonNullable<QueueState['stalled']>) => string,
): Night {
  const open = batches.filter(({ endedAt }) => endedAt === null).map((batch) => batch.counts)
  const sum = (...states: (keyof Batch['counts'])[]) =>
    open.reduce((all, one) => states.reduce((count, state) => count + one[state], all), 0)
  return {
    link: 'up',
    paused: paused !== 'no',
    running: counts.running,
    waiting: counts.waiting,
    over: sum('done', 'failed', 'cancelled'),
    total: sum('waiting', 'running', 'done', 'failed', 'cancelled', 'parked'),
    attention: sum('failed', 'parked'),
    etaSeconds,
    stalled: stalled && say(stalled),
  }
}

export type TrayIcon = 'idle' | 'running' | 'paused' | 'error'
export interface TrayView {
  readonly icon: TrayIcon
  readonly status: string
  readonly action: 'pause' | 'resume' | null
}

export function trayView(night: Night, { tray, ...words }: Words): TrayView {
  const { link, paused, over: done, total, attention, etaSeconds, stalled } = night
  if (link === 'starting') return { icon: 'idle', status: tray.starting, action: null }
  if (link === 'down') return { icon: 'error', status: tray.disconnected, action: null }
  const action = paused ? 'resume' : 'pause'
  const tail = attention > 0 ? ` · ${fill(tray.attention, { count: attention })}` : ''
  const trouble = attention > 0 ? 'error' : null
  if (total === 0) return { icon: paused ? 'paused' : 'idle', status: tray.idle, action }
  if (paused) return { icon: trouble ?? 'paused', status: fill(tray.paused, { done, total }) + tail, action }
  if (stalled !== null && night.running === 0)
    return { icon: trouble ?? 'idle', status: fill(tray.stalled, { done, total, reason: stalled }) + tail, action }
  const left = etaSeconds === null ? null : sayDuration(etaSeconds, { tray, ...words })
  const status = left === null ? fill(tray.progress, { done, total }) : fill(tray.progressLeft, { done, total, left })
  return { icon: trouble ?? 'running', status: status + tail, action }
}

/** For the taskbar; below 0: nothing to show. */
export function taskbarOf({ link, paused, over, total, attention }: Night): {
  value: number
  mode: 'none' | 'normal' | 'paused' | 'error'
} {
  if (link !== 'up' || total === 0) return { value: -1, mode: 'none' }
  return { value: over / total, mode: attention > 0 ? 'error' : paused ? 'paused' : 'normal' }
}
