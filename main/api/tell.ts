import type { App } from '../../core/contract/app.ts'
import type { Awake } from '../services/awake.ts'
import type { Service } from '../services/service.ts'
import { type EventHub, throttled, throttledEach } from './events.ts'
import type { Services } from './router.ts'

const TELL_EVERY_MS = 100
const TELL_LOGS_EVERY_MS = 500
const MOST_IDS = 200

interface Telling extends Services {
  readonly awake: Awake
  readonly events: EventHub<App>
}

/** Passes on what the services tell, none of it more often than a page can draw. */
export function tellAll({
  events,
  awake,
  queue,
  dispatcher,
  library,
  fleet,
  endpoints,
  publish,
  localEngine,
  installations,
  customNodes,
  settings,
  share,
  taskDoor,
  downloads,
  network,
  models,
  snapshots,
}: Telling): Service {
  const changedJobs = new Map<string, Set<string> | 'many'>()
  const tellQueue = throttled(() => {
    const { running: _, ...state } = dispatcher.state()
    events.tell('queue.changed', state)
  }, TELL_EVERY_MS)
  const tellJobs = throttled(() => {
    for (const [batchId, ids] of changedJobs)
      events.tell('job.changed', { batchId, ids: ids === 'many' ? [] : [...ids] })
    changedJobs.clear()
  }, TELL_EVERY_MS)

  const snapshotsGo = throttled(() => events.tell('snapshot.changed', {}), TELL_EVERY_MS)
  snapshots.events.on('changed', snapshotsGo.push)
  const engines = throttledEach((name) => events.tell('engine.changed', { name }), TELL_EVERY_MS)
  const installs = throttledEach((name) => events.tell('install.changed', { name }), TELL_EVERY_MS)
  const nodes = throttledEach((engine) => events.tell('nodes.changed', { engine }), TELL_EVERY_MS)
  const nodesGo = throttledEach((engine) => events.tell('nodes.progress', { engine }), TELL_EVERY_MS)
  const logs = throttledEach((process) => events.tell('engine.logged', { process }), TELL_LOGS_EVERY_MS)

  const looked = () => awake.look()
  queue.events.on('changed', () => {
    looked()
    tellQueue.push()
  })
  queue.events.on('jobs', (batchId, ids) => {
    const known = changedJobs.get(batchId) ?? new Set()
    if (known !== 'many') for (const id of ids) known.add(id)
    const many = known === 'many' || ids.length === 0 || known.size > MOST_IDS
    changedJobs.set(batchId, many ? 'many' : known)
    tellJobs.push()
  })
  queue.events.on('batch', (id) => events.tell('batch.changed', { id }))
  queue.events.on('batchEnded', ({ id, name, counts }) => {
    tellJobs.flush() // the last jobs are told before the end
    events.tell('batch.ended', { id, name, counts })
    events.tell('batch.changed', { id })
  })
  dispatcher.events.on('progress', (progress) => events.tell('job.progress', progress))
  dispatcher.events.on('kept', (job, kept) =>
    events.tell('artifact.added', { batchId: job.batchId, jobId: job.id, ids: kept.map(({ id }) => id) }),
  )
  library.events.on('changed', (id) => events.tell('workflow.changed', { id }))
  fleet.events.on('changed', (id) => {
    events.tell('worker.changed', { id })
    tellQueue.push() // a worker that came or went may be why it stalls
  })
  const places = throttledEach((name) => events.tell('endpoint.changed', { name }), TELL_EVERY_MS)
  endpoints.events.on('changed', places.push)
  const publications = throttledEach((id) => events.tell('publish.changed', { id }), TELL_EVERY_MS)
  publish.events.on('changed', (id) => {
    looked()
    publications.push(id)
  })
  localEngine.events.on('changed', engines.push)
  localEngine.events.on('logged', logs.push)
  installations.events.on('changed', installs.push)
  customNodes.events.on('changed', nodes.push)
  customNodes.events.on('progress', nodesGo.push)
  settings.events.on('changed', (all) => {
    looked()
    events.tell('settings.changed', all)
  })
  share.events.on('changed', () => events.tell('share.changed', {}))
  taskDoor.events.on('changed', () => events.tell('taskDoor.changed', {}))
  const changedDownloads = new Set<string>()
  const tellDownloads = throttled(() => {
    events.tell('download.changed', { ids: changedDownloads.size > MOST_IDS ? [] : [...changedDownloads] })
    changedDownloads.clear()
  }, TELL_EVERY_MS)
  downloads.events.on('changed', (ids) => {
    for (const id of ids) changedDownloads.add(id)
    tellDownloads.push()
  })
  downloads.events.on('active', looked)
  downloads.events.on('done', (view) => events.tell('download.done', view))
  const tellMirrors = throttled(() => events.tell('mirror.changed', {}), TELL_EVERY_MS)
  network.mirrors.events.on('changed', tellMirrors.push)
  network.events.on('changed', () => events.tell('network.changed', {}))
  const tellModels = throttled(() => events.tell('model.changed', {}), TELL_LOGS_EVERY_MS)
  models.events.on('changed', tellModels.push)
  models.events.on('progress', () => events.tell('model.progress', { progress: models.progress() }))
  awake.events.on('changed', (on) => events.tell('awake.changed', { on }))
  return {
    async start() {},
    async stop() {
      for (const each of [
        snapshotsGo,
        tellQueue,
        tellJobs,
        tellDownloads,
        tellMirrors,
        tellModels,
        places,
        publications,
        engines,
        installs,
        nodes,
        nodesGo,
        logs,
      ])
        each.stop()
    },
  }
}
