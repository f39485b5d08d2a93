import type { App } from '../../core/contract/app.ts'
import type { ObjectInfo } from '../../core/contract/comfyui.ts'
import { AppError } from '../../core/contract/errors.ts'
import type { Reach, Router } from '../../core/contract/procedure.ts'
import type { Artifacts } from '../services/artifacts.ts'
import type { Catalogue } from '../services/catalogue.ts'
import type { CustomNodes } from '../services/custom-nodes.ts'
import type { Diagnostics } from '../services/diagnostics.ts'
import type { Dispatcher } from '../services/dispatcher.ts'
import type { Downloads } from '../services/downloads.ts'
import type { Editors } from '../services/editors.ts'
import type { Endpoints } from '../services/endpoints.ts'
import type { Importer } from '../services/importer.ts'
import type { Inputs } from '../services/inputs.ts'
import type { Installations } from '../services/installations.ts'
import type { Keys } from '../services/keys.ts'
import type { Definitions, Library } from '../services/library.ts'
import type { LocalEngine } from '../services/local-engine.ts'
import type { ModelStaging } from '../services/model-staging.ts'
import type { ModelTrash } from '../services/model-trash.ts'
import type { Models } from '../services/models.ts'
import { completeNeeds } from '../services/needs.ts'
import type { Network } from '../services/network.ts'
import type { NodePacks } from '../services/node-packs.ts'
import type { Plans } from '../services/plans.ts'
import type { Publish } from '../services/publish.ts'
import type { Queue } from '../services/queue.ts'
import type { Quiet } from '../services/quiet.ts'
import { readPanelsFile } from '../services/read-import.ts'
import type { Report } from '../services/report.ts'
import { ACCOUNT_KEY, type Secrets } from '../services/secrets.ts'
import type { ServerFiles } from '../services/server-files.ts'
import type { KeptSettings } from '../services/settings.ts'
import type { Share } from '../services/share.ts'
import type { Snapshots } from '../services/snapshots.ts'
import { readTable } from '../services/tables.ts'
import type { TaskDoor } from '../services/task-door.ts'
import type { Fleet } from '../services/workers/fleet.ts'

export interface Services {
  readonly settings: KeptSettings
  readonly secrets: Secrets
  readonly library: Library
  readonly importer: Importer
  readonly inputs: Inputs
  readonly serverFiles: ServerFiles
  readonly plans: Plans
  readonly queue: Queue
  readonly dispatcher: Dispatcher
  readonly editors: Editors
  readonly artifacts: Artifacts
  readonly report: Report
  readonly fleet: Fleet
  readonly endpoints: Endpoints
  readonly publish: Publish
  readonly localEngine: LocalEngine
  readonly installations: Installations
  readonly customNodes: CustomNodes
  readonly diagnostics: Diagnostics
  readonly nodePacks: NodePacks
  readonly models: Models
  readonly trash: ModelTrash
  readonly network: Network
  readonly downloads: Downloads
  readonly catalogue: Catalogue
  readonly staging: ModelStaging
  readonly snapshots: Snapshots
  readonly keys: Keys
  readonly share: Share
  readonly taskDoor: TaskDoor
  readonly quiet: Quiet
  readonly info: () => Promise<Info>
  /** The language to show a sample in. */
  readonly locale: () => string
}
type Info = Awaited<ReturnType<Router<App>['app.info']>>

const bytesOf = (base64: string) => Buffer.from(base64, 'base64')

/** Every procedure, for a caller at `reach`. */
export function appRouter(services: Services, reach: Reach): Router<App> {
  const {
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
    fleet,
    endpoints,
    localEngine,
    customNodes,
    models,
    trash,
    network,
    downloads,
  } = services
  const asker = { mayUsePaths: reach === 'local' }
  const changed = (count: number) => ({ changed: count })
  /** A browser may be on another machine: it chooses among what was found here. */
  const ownFolder = async (dir: string) => {
    if (asker.mayUsePaths) return dir
    const { report } = await localEngine.machine()
    if (!report.installs.some((found) => (found.baseDir ?? found.dir) === dir))
      throw new AppError('app.refused', { reason: 'a folder can only be named on the machine itself' })
    return dir
  }
  const definitionsFor = async (worker?: string, definitions?: unknown): Promise<Definitions> =>
    definitions ? { definitions: definitions as ObjectInfo, from: 'file' } : fleet.definitionsFor(worker)

  return {
    'app.info': () => services.info(),
    'settings.get': () => settings.get(),
    'settings.set': (changes) => {
      // a folder of this machine; a browser may be on another one
      if (changes.outputDir && !asker.mayUsePaths)
        throw new AppError('app.refused', { reason: 'an output folder can only be chosen on the machine itself' })
      return settings.set(changes)
    },

    'account.get': () => ({ isSet: secrets.get(ACCOUNT_KEY) !== undefined }),
    'account.set': ({ key }) => {
      secrets.set(ACCOUNT_KEY, key)
      return { isSet: true }
    },
    'account.remove': () => {
      secrets.remove(ACCOUNT_KEY)
      return { isSet: false }
    },

    'workflow.import': ({ name, base64 }) => importer.import(name, bytesOf(base64)),
    'workflow.importMany': async ({ sources, cameWith }) => ({
      results: await importer.importMany(sources, { ...asker, cameWith }),
    }),
    'workflow.sample': () => library.sample(services.locale()),
    'workflow.list': (page) => library.list(page),
    'workflow.get': async ({ id, workerId }) => {
      const workflow = await library.get(id, workerId)
      return { ...workflow, inspection: await serverFiles.judge(workflow.inspection) }
    },
    'workflow.rename': ({ id, name }) => library.rename(id, name),
    'workflow.remove': ({ id }) => library.remove(id),
    'workflow.restore': ({ id }) => library.restore(id),
    'workflow.arrange': ({ id, parameters }) => library.arrange(id, parameters),
    'workflow.presets': ({ id, values }) => library.advise(id, values),
    'workflow.export': ({ id, as }) => library.export(id, as),
    'workflow.panel.set': ({ id, panels }) => library.setPanels(id, panels),
    'workflow.panel.undo': ({ id }) => library.undoPanels(id),
    'workflow.panel.propose': ({ id, words }) => library.proposePanel(id, words),
    'workflow.panel.fill': ({ id, panel, values }) => library.fillPanel(id, panel, values),
    'workflow.panel.read': ({ name, base64 }) => readPanelsFile(name, bytesOf(base64)),
    'workflow.needs': async ({ id, workerId }) => {
      const { inspection, prompt } = await library.load(id, workerId)
      return completeNeeds(inspection, prompt, { fleet, nodePacks: customNodes })
    },
    'workflow.inspect': async ({ name, base64, worker, definitions }) => {
      const known = await definitionsFor(worker, definitions)
      const { prompt, ...inspection } = await importer.look('inspect', name, bytesOf(base64), known)
      return completeNeeds(await serverFiles.judge(inspection), prompt, { fleet, nodePacks: customNodes })
    },
    'workflow.convert': async ({ name, base64, worker, definitions }) =>
      importer.look('convert', name, bytesOf(base64), await definitionsFor(worker, definitions)),

    'input.add': ({ name, base64 }) => inputs.add(name, bytesOf(base64)),
    'input.addPath': ({ path }) => inputs.addPath(path),
    'input.addFolder': ({ path }) => inputs.addFolder(path),

    'table.read': ({ name, base64, sheet }) => readTable({ name, bytes: bytesOf(base64), sheet }),
    'table.map': ({ workflowId, columns, sample }) => plans.guessColumns(workflowId, columns, sample),
    'batch.preview': (plan) => plans.preview(plan, asker),
    'batch.submit': (plan) => plans.submit(plan, asker),
    'batch.list': (page) => queue.batches(page),
    'batch.get': ({ id }) => queue.batch(id),
    'batch.pause': ({ id, how }) => changed(queue.pauseBatch(id, how)),
    'batch.resume': ({ id }) => changed(queue.resumeBatch(id)),
    'batch.window': ({ id, startAt, stopAt }) => changed(queue.setWindow(id, startAt, stopAt)),
    'batch.report': ({ id, as }) => report.table(id, as),
    'batch.contactSheet': ({ id }) => report.contactSheet(id),

    'job.page': (filter) => queue.page(filter),
    'job.get': ({ id }) => queue.get(id),
    'job.cancel': (selection) => changed(queue.cancel(selection)),
    'job.retry': (selection) => changed(queue.retry(selection)),
    'job.prioritise': ({ jobs, priority }) => changed(queue.prioritise(jobs, priority)),
    'job.move': ({ id, position }) => changed(queue.move(id, position)),

    'queue.state': () => dispatcher.state(),
    'queue.pause': ({ how }) => {
      queue.pause(how)
      return dispatcher.state()
    },
    'queue.resume': () => {
      queue.resume()
      return dispatcher.state()
    },

    'editor.open': (subject) => services.editors.open(subject),

    'artifact.page': (filter) => artifacts.page(filter),
    'artifact.get': ({ id }) => artifacts.get(id),
    'artifact.rerun': ({ id, newSeed, sets }) => {
      const made = artifacts.rerunFacts(id)
      return plans.again(queue.job(made.jobId), { newSeeds: newSeed, sets })
    },
    'artifact.locate': (wanted) => ({ files: artifacts.locate(wanted) }),

    'machine.look': ({ again }) => localEngine.machine(again),
    'engine.list': () => ({ rows: localEngine.list() }),
    'engine.adopt': (given) => localEngine.adopt(given),
    'engine.adoptFound': ({ dir }) => localEngine.adoptFound(dir),
    'engine.set': ({ name, settings }) => localEngine.change(name, settings),
    'engine.start': ({ name, process }) => localEngine.run(name, process),
    'engine.restart': ({ name, process }) => localEngine.restart(name, process),
    'engine.stop': ({ name }) => localEngine.halt(name),
    'engine.plan': ({ name, choices }) => services.installations.plan(name, choices),
    'engine.install': ({ name, choices }) => {
      // programs and folders of this machine; a browser may be on another one
      const { source, python, findLinks, index, proxy, torch, ref } = choices
      if (!asker.mayUsePaths && [source, python, findLinks, index, proxy, torch, ref].some((given) => given !== null))
        throw new AppError('app.refused', { reason: 'sources of one’s own can only be chosen on the machine itself' })
      return services.installations.install(name, choices)
    },
    'engine.update': ({ name, ref, speedUps }) => services.installations.update(name, ref, speedUps),
    'engine.speedUps': async ({ name }) => ({ rows: await services.installations.speedUps(name) }),
    'engine.resumeInstall': ({ name }) => services.installations.resume(name),
    'engine.cancelInstall': async ({ name }) => {
      await services.installations.cancel(name)
      return changed(1)
    },
    'engine.installs': ({ name }) => ({
      rows: name === undefined ? services.installations.views() : services.installations.viewsOf(name),
    }),
    'engine.installLog': async ({ name, generation, search }) => ({
      rows: await services.installations.log(name, generation, search),
    }),
    'engine.generations': async ({ name }) => ({ rows: await services.installations.generations(name) }),
    'snapshot.create': (asked) => services.snapshots.create(asked),
    'snapshot.list': async () => ({ rows: await services.snapshots.list(), progress: services.snapshots.progress }),
    'snapshot.show': ({ id }) => services.snapshots.get(id),
    'snapshot.diff': async ({ before, after }) => ({ changes: await services.snapshots.diff(before, after) }),
    'snapshot.label': ({ id, label, on }) => services.snapshots.label(id, label, on),
    'snapshot.remove': async ({ id }) => {
      await services.snapshots.remove(id)
      return changed(1)
    },
    'snapshot.verify': () => services.snapshots.verify(),
    'snapshot.collect': (asked) => services.snapshots.collect(asked),
    'snapshot.plan': ({ id, to, key, models }) =>
      services.snapshots.planPush(id, { to, key }, models ? {} : { models: [] }),
    'snapshot.push': ({ id, to, key, models, bytesPerSecond }) =>
      services.snapshots.push(id, { to, key }, { bytesPerSecond, ...(!models && { models: [] }) }),
    'snapshot.derive': ({ id, ...how }) => services.snapshots.derive(id, how),
    'snapshot.restore': ({ id, to, ...how }) => services.snapshots.restore(id, to, how),
    'snapshot.cancel': () => changed(services.snapshots.cancel() ? 1 : 0),
    'engine.rollback': async ({ name }) => ({ rows: await services.installations.rollback(name) }),
    'engine.diagnostics': ({ name }) => services.diagnostics.bundle(name),
    'engine.lookAtModels': async ({ dir }) => localEngine.lookAtModels(await ownFolder(dir)),
    'engine.shareModels': async ({ name, dir, use }) =>
      localEngine.shareModels(name, use ? await ownFolder(dir) : dir, use),
    'engine.doctor': ({ name, mend }) => services.installations.doctor(name, mend),
    'engine.remove': async ({ name }) => {
      await customNodes.leave(name)
      await services.installations.cancel(name)
      await localEngine.remove(name)
      await services.installations.remove(name)
      return changed(1)
    },
    'engine.log': async ({ process, ...query }) => ({ rows: await localEngine.log(process, query) }),

    'download.list': (asked) => downloads.list(asked),
    'download.pause': async (selection) => changed(await downloads.pause(selection)),
    'download.resume': (selection) => changed(downloads.resume(selection)),
    'download.retry': (selection) => changed(downloads.retry(selection)),
    'download.cancel': async (selection) => changed(await downloads.cancel(selection)),
    'download.clear': (selection) => changed(downloads.clear(selection)),
    'download.move': ({ id, position }) => changed(downloads.move(id, position)),
    'download.schedule': ({ downloads: chosen, startAt, stopAt }) =>
      changed(downloads.schedule(chosen, startAt, stopAt)),
    'download.hold': ({ held }) => {
      downloads.hold(held)
      return changed(1)
    },

    'mirror.list': () => ({ kinds: network.mirrors.views() }),
    'mirror.test': async (asked) => {
      await network.mirrors.test(asked)
      return { kinds: network.mirrors.views() }
    },
    'mirror.choose': ({ kind, id }) => {
      network.mirrors.choose(kind, id)
      return { kinds: network.mirrors.views() }
    },
    'mirror.add': ({ kind, ...given }) => ({
      id: network.mirrors.add(kind, given),
      kinds: network.mirrors.views(),
    }),
    'mirror.remove': ({ kind, id }) => {
      network.mirrors.remove(kind, id)
      return { kinds: network.mirrors.views() }
    },
    'network.get': () => network.view(),
    'network.set': ({ settings: changes, credentials }) => {
      // a file of this machine; a browser may be on another one
      if (changes.certificates && !asker.mayUsePaths)
        throw new AppError('app.refused', { reason: 'certificates can only be chosen on the machine itself' })
      return network.set(changes, credentials)
    },
    'token.set': ({ host, token }) => network.setToken(host, token),
    'token.remove': ({ host }) => network.removeToken(host),
    'token.give': ({ host, mirror, given }) => network.giveToken(host, mirror, given),

    'model.page': (filter) => models.page(filter),
    'model.get': ({ id }) => models.get(id),
    'model.state': () => models.state(),
    'model.find': ({ asked }) => ({ model: models.find(asked) }),
    'model.scan': () => models.scan(),
    'model.hash': async ({ wait, ...wish }) => {
      if (wait) await models.hash(wish)
      else models.beginHashing(wish)
      return {}
    },
    'model.control': ({ what, how }) => changed(models.control(what, how) ? 1 : 0),
    'model.verify': ({ ids }) => models.verify(ids),
    'model.note': ({ id, note }) => models.note(id, note),
    'model.trust': async ({ ids, trusted }) => ({ rows: await models.trust(ids, trusted) }),
    'model.duplicates': (page) => models.duplicates(page),
    'model.merge': ({ hashes }) => models.merge(hashes),
    'model.undoMerge': ({ id }) => models.undo(id),
    'model.move': ({ id, folder }) => models.move(id, folder),
    'model.trash': ({ ids }) => trash.put(ids),
    'model.trashed': () => ({ rows: trash.list() }),
    'model.restore': ({ ids }) => trash.restore(ids),
    'model.emptyTrash': ({ ids }) => trash.empty(ids),
    'model.addFolder': async ({ dir }) => {
      await models.addFolder(dir)
      return models.state()
    },
    'model.removeFolder': async ({ id }) => changed(await models.removeFolder(id)),
    'model.inspect': ({ path }) => models.inspect(path),
    'model.import': ({ path, ...wish }) => models.import(path, wish),

    'catalogue.find': (asked) => services.catalogue.find(asked),
    'catalogue.plan': (ask) => services.catalogue.plan(ask),
    'catalogue.get': (ask) => services.catalogue.get(ask),
    'catalogue.means': ({ texts }) => ({ models: texts.map((text) => services.catalogue.meansModel(text)) }),
    'catalogue.file': ({ staged, folder }) => services.staging.file(staged, folder),

    'nodes.list': ({ engine }) => customNodes.list(engine),
    'nodes.search': (asked) => customNodes.search(asked),
    'nodes.find': ({ classTypes }) => customNodes.find(classTypes),
    'nodes.missing': ({ engine }) => customNodes.missing(engine),
    'nodes.plan': (given) => customNodes.plan(given, asker),
    'nodes.planSnapshot': ({ base64, ...given }) =>
      customNodes.planSnapshot({ ...given, bytes: bytesOf(base64) }, asker),
    'nodes.snapshot': async ({ engine }) => {
      const { name, text } = await customNodes.snapshot(engine)
      return { name, mediaType: 'application/json', base64: Buffer.from(text).toString('base64') }
    },
    'nodes.begin': ({ engine, plan, consent }) => customNodes.begin(engine, plan, consent),
    'nodes.cancel': async ({ engine }) => changed(Number(await customNodes.cancel(engine))),
    'nodes.changes': () => ({ rows: customNodes.views() }),
    'nodes.rollback': async ({ engine }) => {
      await customNodes.rollBack(engine)
      return changed(1)
    },
    'nodes.bisect': ({ engine, check }) => customNodes.bisect(engine, check),
    'nodes.bisects': () => ({ rows: customNodes.bisects() }),
    'nodes.cancelBisect': async ({ engine }) => changed(Number(await customNodes.cancelBisect(engine))),

    'publish.plan': (asked) => services.publish.plan(asked),
    'publish.start': (asked) => services.publish.begin(asked),
    'publish.list': ({ endpoint }) => ({ rows: services.publish.list(endpoint) }),
    'publish.get': ({ id }) => services.publish.get(id),
    'publish.stop': ({ id }) => services.publish.cancel(id),
    'publish.resume': ({ id }) => services.publish.resume(id),
    'publish.answer': ({ id, accept }) => services.publish.answer(id, accept),
    'publish.versions': async ({ endpoint }) => ({ rows: await services.publish.versions(endpoint) }),
    'publish.rollBack': ({ endpoint, version }) => services.publish.rollBack(endpoint, version),

    'endpoint.list': () => ({ rows: endpoints.list() }),
    'endpoint.test': (address) => endpoints.test(address),
    'endpoint.add': (asked) => endpoints.add(asked),
    'endpoint.set': ({ name, settings }) => endpoints.set(name, settings),
    'endpoint.setKey': ({ name, key }) => endpoints.setKey(name, key),
    'endpoint.remove': async ({ name }) => {
      await services.publish.cancelAll(name)
      return changed(await endpoints.remove(name))
    },
    'endpoint.look': ({ name }) => endpoints.look(name),
    'endpoint.releases': async ({ name }) => ({ rows: await endpoints.releases(name) }),
    'endpoint.forms': async ({ name }) => ({ rows: await endpoints.forms(name) }),
    'endpoint.log': async ({ name }) => ({ rows: await endpoints.log(name) }),

    'worker.list': () => ({ rows: fleet.view().map((view) => ({ ...view, quiet: services.quiet.of(view.id) })) }),
    'worker.test': (address) => fleet.test(address),
    'worker.add': (address) => fleet.add(address),
    'worker.enable': ({ id, enabled }) => fleet.enable(id, enabled),
    'worker.remove': async ({ id }) => changed(await fleet.remove(id)),
    'worker.contents': ({ id }) => fleet.contents(id),
    'share.state': () => services.share.state(),
    'key.list': () => ({ rows: services.keys.list() }),
    'taskDoor.state': () => services.taskDoor.state(),
    'key.make': ({ name, scopes, expiresAt }) => services.keys.make(name, scopes, expiresAt),
    'key.revoke': ({ id }) => services.keys.revoke(id),
  }
}
