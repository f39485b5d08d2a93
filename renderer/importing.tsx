import type { AnyRouter } from '@tanstack/react-router'
import { CircleAlert, CircleCheck } from 'lucide-react'
import { useSyncExternalStore } from 'react'
import type { ImportResult } from '../core/contract/app.ts'
import { call, failureOf, refresh } from './client/client.ts'
import { sayFailure, useWords } from './i18n.ts'
import { Button, ProgressBar } from './parts/basics.tsx'
import { Modal, say, sayFault } from './parts/overlays.tsx'

/** Something to import: how it is called, and how it is done. */
export interface Incoming {
  readonly name: string
  run(cameWith: readonly string[], signal: AbortSignal): Promise<ImportResult[]>
}
interface Import {
  readonly total: number
  readonly done: number
  readonly results: readonly ImportResult[]
  readonly is: 'running' | 'ended' | 'cancelled'
  readonly stop: AbortController
}

/** Uploads on their way at once: enough to keep the host reading. */
const AT_ONCE = 4
/** As many as an address may tell of. */
const MOST_COMPANIONS = 100

let current: Import | null = null
const listeners = new Set<() => void>()
function show(next: Import | null) {
  current = next
  for (const listener of listeners) listener()
}
const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

let latest: AbortController | null = null
/** One file that takes longer than this is told of as many are. */
const SLOW_MS = 600

/** Imports everything, telling how far it is, and opens what came of it: the workflow if it is one, else the list. */
export async function importAll(items: readonly Incoming[], router: AnyRouter, words: ImportWords) {
  if (items.length === 0) return
  latest?.abort()
  const stop = new AbortController()
  latest = stop
  let state: Import = { total: items.length, done: 0, results: [], is: 'running', stop }
  let visible = items.length > 1
  const tell = (more: Partial<Import>) => {
    state = { ...state, ...more }
    if (visible && latest === stop) show(state)
  }
  tell({})
  const slow = setTimeout(() => {
    visible = true
    tell({})
  }, SLOW_MS)
  const results: ImportResult[][] = items.map(() => [])
  const take = async (at: number, cameWith: readonly string[]) => {
    const item = items[at]!
    try {
      results[at] = await item.run(cameWith, stop.signal)
    } catch (cause) {
      if (!stop.signal.aborted) results[at] = [{ ok: false, name: item.name, failure: failureOf(cause) }]
    }
  }
  let next = 0
  const some = async () => {
    for (let at = next++; at < items.length && !stop.signal.aborted; at = next++) {
      await take(at, [])
      tell({ done: state.done + 1, results: results.flat() })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, some))

  // a form that came before its workflow is tried again beside those it came with, also where an older one took it
  const ids = [...new Set(results.flat().flatMap((result) => (result.ok && !result.forms ? [result.workflow.id] : [])))]
  if (ids.length > 0 && ids.length <= MOST_COMPANIONS && !stop.signal.aborted)
    for (const [at, some] of results.entries()) {
      const elsewhere = some.flatMap((result) =>
        result.ok && result.forms && !ids.includes(result.workflow.id) ? [result.workflow.id] : [],
      )
      for (const id of elsewhere) await call('workflow.panel.undo', { id })
      const lost = some.some((result) => !result.ok && /^panel\./.test(result.failure.code))
      if (lost || elsewhere.length > 0) await take(at, ids)
    }

  clearTimeout(slow)
  if (latest !== stop) return // another import has begun
  const all = results.flat()
  const [only, ...more] = new Map(
    all
      .flatMap((result) => (result.ok ? [result.workflow] : []))
      .sort((one, other) => one.panelCount - other.panelCount) // as it was when it had all its forms
      .map((workflow) => [workflow.id, workflow]),
  ).values()
  const faults = all.filter((result) => !result.ok)
  if (only) void refresh('workflow.list', 'workflow.get')
  for (const result of all) if (result.ok && result.forms) tellForms(result, words)
  if (stop.signal.aborted) return tell({ results: all, is: 'cancelled' })
  if (faults.length > 0 && all.length > 1) {
    visible = true
    return tell({ results: all, is: 'ended' })
  }
  show(null)
  if (faults[0]) sayFault(faults[0].failure)
  else if (only && more.length === 0)
    await router.navigate({ to: only.panelCount > 0 ? '/form/$id' : '/workflow/$id', params: { id: only.id } })
  else {
    say({ title: words.all(more.length + 1) })
    await router.navigate({ to: '/' })
  }
}

export interface ImportWords {
  all(count: number): string
  /** Forms that came alone were given to a workflow. */
  forms(titles: string, name: string): string
  undo: string
}
function tellForms({ workflow: { id, name }, forms = [] }: ImportResult & { ok: true }, words: ImportWords) {
  const undo = () =>
    void call('workflow.panel.undo', { id }).then(() => refresh('workflow.get', 'workflow.list'), sayFault)
  say({ title: words.forms(forms.join(', '), name), action: { label: words.undo, run: undo } })
}

/** How far an import of many is, in a corner; then what failed, and why. */
export function ImportProgress({ router }: { router: AnyRouter }) {
  const state = useSyncExternalStore(subscribe, () => current)
  const { t, format } = useWords()
  if (!state) return null
  const imported = new Set(state.results.flatMap((result) => (result.ok ? [result.workflow.id] : []))).size
  const failed = state.results.flatMap((result) => (result.ok ? [] : [result]))
  if (state.is === 'running')
    return (
      <section
        aria-label={t('intake.importing')}
        className="pop rise fixed right-4 bottom-4 z-40 flex w-[360px] max-w-[calc(100vw-32px)] flex-col gap-2.5 p-3.5"
      >
        <div className="flex items-baseline justify-between gap-3">
          <span className="font-medium">{t('intake.importing')}</span>
          <span className="num text-xs text-soft" role="status">
            {t('intake.progress', { done: format.number(state.done), total: format.number(state.total) })}
          </span>
        </div>
        <ProgressBar value={state.done / state.total} label={t('intake.importing')} />
        <div className="flex items-center justify-between gap-3">
          <span className="text-xs text-faint">
            {failed.length > 0 && t('intake.failedSoFar', { count: failed.length, n: format.number(failed.length) })}
          </span>
          <Button size="sm" onClick={() => state.stop.abort()}>
            {t('common.cancel')}
          </Button>
        </div>
      </section>
    )
  const seeAll = () => {
    show(null)
    void router.navigate({ to: '/' })
  }
  return (
    <Modal
      open
      wide
      onClose={() => show(null)}
      title={t('intake.imported', { count: imported, n: format.number(imported) })}
      note={
        state.is === 'cancelled'
          ? t('intake.cancelled', { done: format.number(state.done), total: format.number(state.total) })
          : t('intake.failed', { count: failed.length, n: format.number(failed.length) })
      }
      footer={
        <Button look="primary" onClick={seeAll}>
          {t('intake.seeAll')}
        </Button>
      }
    >
      {failed.length === 0 ? (
        <p className="flex items-center gap-2 py-2 text-soft">
          <CircleCheck size={16} className="text-good" aria-hidden /> {t('intake.noneFailed')}
        </p>
      ) : (
        <ul aria-label={t('intake.failedList')} className="flex flex-col">
          {failed.slice(0, MOST_LISTED).map(({ name, failure }, place) => {
            const { message, remedy } = sayFailure(failure)
            return (
              <li key={`${name} ${String(place)}`} className="flex gap-2.5 border-b border-line py-2 last:border-0">
                <CircleAlert size={16} className="mt-0.5 shrink-0 text-bad" aria-hidden />
                <div className="min-w-0">
                  <p className="break-words">{message.includes(name) ? message : `${name}: ${message}`}</p>
                  <p className="text-xs text-soft break-words">{remedy}</p>
                </div>
              </li>
            )
          })}
        </ul>
      )}
    </Modal>
  )
}
/** More are not read; the count says how many there are. */
const MOST_LISTED = 300
