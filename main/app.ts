import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import path from 'node:path'
import type { App } from '../core/contract/app.ts'
import { AppError, toFailure } from '../core/contract/errors.ts'
import { placesOf as nodePlacesOf } from '../core/engine/custom-nodes/site.ts'
import { placesOf } from '../core/engine/download/mirrors.ts'
import { officialAddress, sourcesOf } from '../core/engine/hubs/sources.ts'
import type { Look } from '../core/engine/installs.ts'
import type { Log } from '../core/engine/log.ts'
import type { RehearsalOptions } from '../core/engine/rehearsal/server.ts'
import { FolderBucket } from '../core/engine/store/bucket.ts'
import { freeBytes } from '../core/engine/volume.ts'
import { EventHub } from './api/events.ts'
import { appRouter } from './api/router.ts'
import type { Served } from './api/served.ts'
import { tellAll } from './api/tell.ts'
import { explain, languageOf } from './language.ts'
import { Artifacts } from './services/artifacts.ts'
import { Awake } from './services/awake.ts'
import { Catalogue, isManagerModels } from './services/catalogue.ts'
import { type Clock, systemClock } from './services/clock.ts'
import { CustomNodes } from './services/custom-nodes.ts'
import { openDatabase } from './services/database/open.ts'
import { Diagnostics } from './services/diagnostics.ts'
import { Dispatcher } from './services/dispatcher.ts'
import { Downloads } from './services/downloads.ts'
import { Editors } from './services/editors.ts'
import { Endpoints } from './services/endpoints.ts'
import { Importer } from './services/importer.ts'
import { Inputs } from './services/inputs.ts'
import { Installations } from './services/installations.ts'
import { KeptList, listNamed } from './services/kept-list.ts'
import { Keys } from './services/keys.ts'
import { Library } from './services/library.ts'
import { LocalEngine } from './services/local-engine.ts'
import { ModelStaging } from './services/model-staging.ts'
import { ModelTrash } from './services/model-trash.ts'
import { Models } from './services/models.ts'
import { completeNeeds } from './services/needs.ts'
import { Network } from './services/network.ts'
import { NodePacks } from './services/node-packs.ts'
import { picturesDir } from './services/pictures-dir.ts'
import { Plans } from './services/plans.ts'
import { createMake, createPrepare, jobNames } from './services/prepare.ts'
import { Publish } from './services/publish.ts'
import { publishPlaces } from './services/publish-places.ts'
import { Queue } from './services/queue.ts'
import { Quiet } from './services/quiet.ts'
import { Report } from './services/report.ts'
import { resourcesDir } from './services/resources.ts'
import { ACCOUNT_KEY, openSecrets } from './services/secrets.ts'
import { ServerFiles } from './services/server-files.ts'
import { lifecycle, type Service } from './services/service.ts'
import { KeptSettings } from './services/settings.ts'
import { Share } from './services/share.ts'
import { Snapshots } from './services/snapshots.ts'
import { TaskDoor } from './services/task-door.ts'
import { SqliteTasks } from './services/task-store.ts'
import { Thumbnails } from './services/thumbnails.ts'
import { Fleet } from './services/workers/fleet.ts'
import { version } from './version.ts'

export interface AppOptions {
  /** Owned by this process; see data-folder.ts. */
  readonly dataDir: string
  readonly door: 'desktop' | 'headless' | 'cli'
  /** The language of the person or the system. */
  readonly locale: string
  readonly log: Log
  readonly clock?: Clock
  /** No job is given to a worker: what is kept is only looked at and changed. */
  readonly idle?: boolean
  /** Seals the secrets; see secrets.ts. */
  readonly secretKey?: Uint8Array
  /** Called at named points of a job's way; tests of recovery end the process there. */
  readonly point?: (name: string) => void
  /** Where pictures go unless the settings say otherwise. */
  readonly outputDir?: string
  /** For tests: from which addresses the pictures a form names may be fetched. */
  readonly mayReach?: (address: string) => boolean
  /** The ComfyUIs of this machine are shared there, for as long as it runs. */
  readonly share?: { host: string; port: number }
  /** Other programs may send workflows there, for as long as it runs. */
  readonly tasks?: { host: string; port: number }
  /** For tests: what is run as ssh. */
  readonly ssh?: ConstructorParameters<typeof Fleet>[0]['ssh']
  /** For tests: how long engines are waited for. */
  readonly enginePace?: ConstructorParameters<typeof LocalEngine>[0]['pace']
  /** For tests: where ComfyUIs of this machine are looked for. */
  readonly look?: Look
  /** For tests: how the embedded server behaves. */
  readonly rehearsal?: Partial<RehearsalOptions>
}
export interface RunningApp extends Service {
  readonly served: Served
  /** After `stop`: closes the database. */
  close(): void
  /** Browsers reach this machine there. */
  listenOn(host: string): void
}

const BATCHES_AT_ONCE = 200

/** Builds every service. They live from `start` to `stop`; the router may be called from the beginning. */
export async function createApp(options: AppOptions): Promise<RunningApp> {
  const { dataDir, door, log, clock = systemClock, point, outputDir = await picturesDir() } = options
  const note = (event: string, facts: object) => log.info(facts, event)
  const shared = { clock, newId: randomUUID, point, log: note }

  const database = openDatabase(path.join(dataDir, 'nightshift.db'))
  const settings = new KeptSettings(database)
  const secrets = openSecrets(dataDir, options.secretKey)
  const network = new Network({
    ...shared,
    dataDir,
    resourcesDir,
    database,
    settings,
    secrets,
    version,
    locale: options.locale,
    env: process.env,
  })
  const hubs = network.hubs()
  const downloads = new Downloads({
    ...shared,
    database,
    settings,
    dispatcher: () => network.dispatcher(),
    sourcesOf(refs, known, signal) {
      for (const { hub } of refs) if (hub !== 'url') network.mirrors.freshen(hub)
      return sourcesOf(hubs, refs, known, signal)
    },
    mirrors: network.mirrors,
    idle: options.idle === true,
  })
  const queue = new Queue({ database, clock, point })
  const fleet = new Fleet({ ...shared, dataDir, database, secrets, rehearsal: options.rehearsal, ssh: options.ssh })
  const endpoints = new Endpoints({ ...shared, database, secrets, fleet, dispatcher: network.dispatcher() })
  const localEngine = new LocalEngine({
    ...shared,
    database,
    fleet,
    dataDir,
    idle: options.idle,
    pace: options.enginePace,
    look: options.look,
    picturesDir: () => settings.get().outputDir || outputDir,
    hasEnded: (promptId) => queue.hasEnded(promptId),
  })
  const keys = new Keys({ ...shared, database })
  const share = new Share({ settings, keys, fleet, clock, given: options.share, log: note })
  const tasks = new SqliteTasks({ database, clock, files: new FolderBucket(path.join(dataDir, 'tasks')) })
  const taskDoor = new TaskDoor({ settings, keys, fleet, store: tasks, clock, given: options.tasks, log: note })
  const installations = new Installations({
    ...shared,
    localEngine,
    secrets,
    dataDir,
    network,
    locale: options.locale,
  })
  const diagnostics = new Diagnostics({ dataDir, version, localEngine, installations, secrets, clock })
  const inputs = new Inputs(dataDir, { mayReach: options.mayReach })
  const nodePacks = new NodePacks({
    dataDir,
    mirrors: () => network.mirrors.ordered(),
    dispatcher: () => network.dispatcher(),
    clock,
  })
  const library = new Library({ ...shared, database, dataDir, resourcesDir, fleet, queue })
  const serverFiles = new ServerFiles({ fleet, clock })
  const importer = new Importer({ dataDir, library, fleet })
  const plans = new Plans({
    unsafeModels: (values) => models.unsafeIn(values),
    serverFiles,
    queue,
    library,
    fleet,
    inputs,
    settings,
    clock,
    hasAccountKey: () => secrets.get(ACCOUNT_KEY) !== undefined,
    random: Math.random,
    defaultOutputDir: outputDir,
  })
  const thumbnails = new Thumbnails({ cacheDir: path.join(dataDir, 'cache') })
  const artifacts = new Artifacts({
    ...shared,
    database,
    thumbnails,
    version,
    nameFacts: (made) => jobNames(made, library.summary(made.job.batch.workflowId).name),
  })
  const report = new Report({ queue, artifacts })
  const models: Models = new Models({
    ...shared,
    database,
    dataDir,
    localEngine,
    library,
    thumbnails,
    artifactsOf: (batchId, limit) => artifacts.page({ batchId, limit }).rows.map(({ id }) => id),
    pastBatches: () => pastBatches(queue, artifacts),
    civitai: () => network.mirrors.all().kinds.civitai?.official.replace(/\/$/, '') ?? null,
    isBusy: () => queue.counts().running > 0,
    published: (file, tell, signal) => catalogue.published(file, tell, signal),
    look: options.look,
    idle: options.idle,
  })
  const trash = new ModelTrash({ ...shared, database, models })
  downloads.events.on('done', ({ kind, to, sha256 }) => {
    if (kind === 'model') models.takeIn(to, sha256).catch((err: unknown) => log.warn({ err }, 'models.not-taken-in'))
  })
  const managerList = new KeptList(
    { dataDir, mirrors: () => network.mirrors.ordered(), dispatcher: () => network.dispatcher(), clock, waitMs: 3_000 },
    { name: 'model-list', source: listNamed('model-list'), isRight: isManagerModels },
  )
  const staging = new ModelStaging({ dataDir, models, newId: randomUUID })
  const catalogue = new Catalogue({
    network: {
      ...hubs,
      hosts() {
        const all = network.mirrors.all()
        return hubs.hosts().map((host) => ({
          ...host,
          // links of a mirror that is not asked now mean the same
          also: [...(all.kinds[host.hub]?.standsIn ?? []), ...placesOf(host.hub, all).map(({ id }) => id)],
        }))
      },
    },
    own: () => readFile(path.join(resourcesDir, 'models.json'), 'utf8'),
    manager: () => managerList.current(),
    shelf: models,
    downloads,
    async needsOf(workflowId) {
      const { inspection, prompt } = await library.load(workflowId)
      return (await completeNeeds({ ...inspection, customNodes: [] }, prompt, { fleet, nodePacks })).models
    },
  })
  const customNodes = new CustomNodes({
    ...shared,
    dataDir,
    localEngine,
    installations,
    nodePacks,
    network,
    settings,
    library,
    pythonIndex: () => network.mirrors.all().sources['python-index'] ?? '',
    idle: options.idle,
  })
  const snapshots = new Snapshots({
    dataDir,
    clock,
    secrets,
    version,
    env: process.env,
    engines: localEngine,
    nodesDir: (engine) => nodePlacesOf(localEngine.site(engine.name)).live,
    modelsOf: (engine) => models.usedBy(engine.name),
    fileOf: (sha256) => models.bySha256(sha256)?.places[0]?.path ?? null,
    cameFrom: (file) => downloads.cameFrom(file).flatMap((ref) => officialAddress(network.hosts(), ref) ?? []),
    dispatcher: network.dispatcher(),
    builder: (...asked) => installations.builder(...asked),
    classesOf: async ({ processes }) => {
      const ready = processes.find(({ state }) => state.is === 'ready')
      return ready ? Object.keys((await fleet.definitionsFor(ready.id)).definitions) : null
    },
  })
  const make = createMake({ inputs })
  const publish = new Publish({
    ...shared,
    ...publishPlaces({ ...shared, endpoints, snapshots, localEngine, fleet, dispatcher: network.dispatcher() }),
    database,
    dataDir,
    snapshots,
    library,
    inputs,
    make,
    random: Math.random,
    person: () => userInfo().username,
    compare: (desk, endpoint, difference) => thumbnails.compare(desk, endpoint, difference),
    idle: options.idle,
  })
  const dispatcher = new Dispatcher({ ...shared, queue, fleet, artifacts, prepare: createPrepare(make, models) })
  dispatcher.events.on('kept', (job, kept) => models.made(job, kept))
  const quiet = new Quiet({ clock, running: () => dispatcher.running(), localEngine, log: note })
  quiet.events.on('changed', (id) => fleet.events.emit('changed', id))
  const awake = new Awake({
    needed: () =>
      settings.get().keepAwake &&
      (downloads.active() || publish.active() || (options.idle !== true && queue.runnable())),
    note: (reason) => log.info({ reason }, 'awake.not-kept'),
    holdsItself: door !== 'desktop',
  })

  const locale = () => {
    const { language } = settings.get()
    return language === 'system' ? options.locale : language
  }
  const editors = new Editors({ fleet, library, queue, artifacts, make, words: () => editorWords(locale()) })
  const info = async () => {
    const dir = settings.get().outputDir || outputDir
    return {
      version,
      platform: process.platform,
      door,
      locale: locale(),
      outputDir: dir,
      freeBytes: await freeBytes(dir),
    }
  }
  const events = new EventHub<App>(clock.now())
  const services = {
    settings,
    secrets,
    library,
    importer,
    inputs,
    serverFiles,
    plans,
    queue,
    dispatcher,
    artifacts,
    report,
    editors,
    fleet,
    endpoints,
    publish,
    localEngine,
    installations,
    customNodes,
    diagnostics,
    nodePacks,
    catalogue,
    staging,
    snapshots,
    models,
    trash,
    network,
    downloads,
    keys,
    share,
    taskDoor,
    quiet,
    info,
    locale,
  }
  const telling = tellAll({ ...services, awake, events })
  // what is told last may come from a service that ends
  const life = lifecycle([
    ...[telling, network, downloads, thumbnails, ...(options.idle ? [] : [artifacts])],
    ...[fleet, endpoints, localEngine, installations, customNodes, models, trash, importer, snapshots, publish],
    ...(options.idle ? [] : [editors, dispatcher, quiet, share, taskDoor, awake]),
  ])
  return {
    ...life,
    served: {
      routers: { local: appRouter(services, 'local'), any: appRouter(services, 'any') },
      events,
      files: {
        artifact: (id, asked) => artifacts.serve(id, asked),
        thumbnail: (id, size) => artifacts.thumbnail(id, size),
        async inputThumbnail(of, workflowId, size) {
          const ref = of.startsWith('input:') ? of : await inputs.addUrl(await library.knownAddress(workflowId, of))
          const { path: file, sha256 } = inputs.resolve(ref)
          return thumbnails.thumbnail(sha256, file, size)
        },
        modelPicture: (id, size) => models.preview(id, size),
        proofPicture: (id, at, side) => publish.picture(id, at, side),
        preview: (jobId) => dispatcher.preview(jobId),
        addInput: (name, body) => inputs.add(name, body),
        addModel: (name, body) => staging.add(name, body),
        importWorkflow: (name, body, facts) => importer.importStream(name, body, facts),
      },
      onFault: (cause, name) => log.error({ err: cause, name }, 'call.failed'),
    },
    listenOn: (host) => editors.listenOn(host),
    close() {
      nodePacks.close()
      managerList.close()
      database.close()
    },
  }
}

/** What the page of an editor may have to say. */
function editorWords(locale: string) {
  const language = languageOf('system', [locale])
  const said = (code: 'editor.not-opened' | 'editor.no-entry') => {
    const { message, remedy } = explain(toFailure(new AppError(code)), language)
    return `${message} ${remedy}`
  }
  return { notOpened: said('editor.not-opened'), noEntry: said('editor.no-entry') }
}

/** Every batch that was ever made, for what is reckoned from them. */
function* pastBatches(queue: Queue, artifacts: Artifacts) {
  for (let offset = 0; ; offset += BATCHES_AT_ONCE) {
    const { rows } = queue.batches({ offset, limit: BATCHES_AT_ONCE })
    for (const { id, createdAt } of rows) {
      const made = artifacts.page({ batchId: id, limit: 1 })
      if (made.total === 0 || made.rows[0]?.rehearsal) continue
      yield { batchId: id, prompt: queue.batchOf(id).prompt, artifacts: made.total, at: createdAt }
    }
    if (rows.length < BATCHES_AT_ONCE) return
  }
}
