import { useEffect, useSyncExternalStore } from 'react'
import type { App } from '../../core/contract/app.ts'
import type { JobProgress, QueueState } from '../../core/contract/job.ts'
import type { ModelProgress } from '../../core/contract/model.ts'
import type { EventName, PayloadOf } from '../../core/contract/procedure.ts'
import { type Name, queries, refresh, transport } from './client.ts'
import type { Connection } from './transport.ts'

/** Which answers an event makes old. */
const staleAfter: { [E in EventName<App>]: Name[] } = {
  'workflow.changed': ['workflow.list', 'workflow.get', 'workflow.needs', 'nodes.missing'],
  'queue.changed': [],
  'job.changed': ['job.page', 'job.get', 'batch.list', 'batch.get'],
  'job.progress': [],
  'artifact.added': ['artifact.page', 'job.get'],
  'batch.changed': ['batch.list', 'batch.get', 'job.page'],
  'batch.ended': ['batch.list', 'batch.get', 'workflow.list'],
  'share.changed': ['share.state'],
  'taskDoor.changed': ['taskDoor.state'],
  'worker.changed': ['worker.list', 'share.state', 'taskDoor.state', 'workflow.get', 'workflow.needs'],
  'settings.changed': ['settings.get', 'app.info'],
  'engine.changed': ['engine.list', 'worker.list', 'nodes.list'],
  'install.changed': ['engine.installs', 'engine.generations', 'engine.installLog', 'engine.speedUps', 'engine.list'],
  'nodes.changed': [
    'nodes.list',
    'nodes.changes',
    'nodes.bisects',
    'nodes.missing',
    'nodes.search',
    'workflow.needs',
    'engine.list',
    'engine.generations',
  ],
  'nodes.progress': ['nodes.changes', 'nodes.bisects'],
  'engine.logged': ['engine.log'],
  'model.changed': [
    'model.page',
    'model.get',
    'model.state',
    'model.duplicates',
    'model.trashed',
    'catalogue.find',
    'catalogue.plan',
    'workflow.needs',
  ],
  'model.progress': [],
  'snapshot.changed': ['snapshot.list'],
  'endpoint.changed': ['endpoint.list', 'endpoint.forms', 'endpoint.releases', 'publish.versions', 'worker.list'],
  'publish.changed': ['publish.list', 'publish.get', 'publish.versions'],
  'download.changed': ['download.list'],
  'download.done': ['download.list', 'catalogue.find', 'catalogue.plan'],
  'mirror.changed': ['mirror.list'],
  'network.changed': ['network.get'],
  'awake.changed': [],
}
/** Lists are asked again at most this often, however fast jobs end. */
const ASK_AGAIN_MS = 300

type Ended = PayloadOf<App, 'batch.ended'>
const listeners = new Set<() => void>()
const ended = new Set<(batch: Ended) => void>()
const progress = new Map<string, JobProgress>()
/** What is done with models now; null: nothing was told yet. */
let models: ModelProgress[] | null = null
let connection: Connection = 'connecting'
let stale = new Set<Name>()
let askingSoon = false

const announce = () => {
  for (const listener of listeners) listener()
}
function askAgain(names: Name[]) {
  for (const name of names) stale.add(name)
  if (askingSoon) return
  askingSoon = true
  setTimeout(() => {
    askingSoon = false
    const names = [...stale]
    stale = new Set()
    void refresh(...names)
  }, ASK_AGAIN_MS)
}

/** Listens to the host; call once. */
export function listen(): () => void {
  return transport.subscribe({
    connection(state) {
      const back = state === 'connected' && connection !== 'connected'
      connection = state
      if (back) void queries.invalidateQueries()
      announce()
    },
    reset() {
      progress.clear()
      models = null
      void queries.invalidateQueries()
      announce()
    },
    told({ name, payload }) {
      askAgain(staleAfter[name] ?? [])
      if (name === 'queue.changed') {
        const state = payload as PayloadOf<App, 'queue.changed'>
        queries.setQueryData(['queue.state', {}], (old: QueueState | undefined) => ({
          ...state,
          running: old?.running ?? [],
        }))
        if (state.counts.running === 0) progress.clear()
        // Counts move only when jobs do, so lists on screen are older than this.
        askAgain(['job.page', 'batch.list'])
      } else if (name === 'job.progress') {
        const one = payload as JobProgress
        progress.set(one.jobId, one)
      } else if (name === 'model.progress') {
        models = (payload as PayloadOf<App, 'model.progress'>).progress
      } else if (name === 'batch.ended') {
        for (const listener of ended) listener(payload as Ended)
      }
      announce()
    },
  })
}

const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => listeners.delete(listener)
}
export const useConnection = () => useSyncExternalStore(subscribe, () => connection)
/** How far a running job is; undefined: nothing told yet. */
export const useProgress = (jobId: string) => useSyncExternalStore(subscribe, () => progress.get(jobId))
export const useModelProgress = () => useSyncExternalStore(subscribe, () => models)
/** How much of these running jobs is done, in jobs. */
export const useOverall = (jobIds: readonly string[]) =>
  useSyncExternalStore(subscribe, () => jobIds.reduce((sum, id) => sum + (progress.get(id)?.overall ?? 0), 0))
/** Takes the progress the host had when asked, for what ran before we listened. */
export function seedProgress(running: readonly JobProgress[]) {
  for (const one of running) if (!progress.has(one.jobId)) progress.set(one.jobId, one)
}
export function useBatchEnded(listener: (batch: Ended) => void) {
  useEffect(() => {
    ended.add(listener)
    return () => void ended.delete(listener)
  }, [listener])
}
