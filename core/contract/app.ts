import { z } from 'zod'
import { Artifact, ArtifactFilter, ArtifactId, Sidecar } from './artifact.ts'
import { Batch, BatchId, BatchPlan, BatchPreview, ClockTime, RowFault, Table, Values } from './batch.ts'
import { JsonRecord, Prompt } from './comfyui.ts'
import { BisectCheck, BisectView, CustomNode, NodeChange, NodeChangeView, NodeConsent } from './custom-node.ts'
import { DownloadFilter, DownloadId, DownloadSelection, DownloadTotals, DownloadView } from './download.ts'
import {
  Endpoint,
  EndpointAddress,
  EndpointAsked,
  EndpointForm,
  EndpointFound,
  EndpointLine,
  EndpointName,
  EndpointSettings,
} from './endpoint.ts'
import {
  EngineChange,
  EngineName,
  EngineView,
  Finding,
  Generation,
  GitRef,
  HardwareReport,
  InstallChoices,
  InstallPlan,
  InstallView,
  LogLine,
  SharedModels,
  SpeedUp,
  SpeedUpOffer,
  Verdict,
} from './engine.ts'
import { Failure } from './errors.ts'
import { FoundModel, GetAsk, GetPlan, HubId } from './hub.ts'
import { Job, JobDetail, JobFilter, JobId, JobProgress, JobSelection, Page, PauseState, QueueState } from './job.ts'
import { isJsonObject, walkable } from './json.ts'
import { Key, KeyName, KeyScope, SecretText, ShareSettings, TaskDoorSettings } from './key.ts'
import { MirrorKind, MirrorKindView, NetworkChange, NetworkView, ProxyCredentials, TokenHost } from './mirror.ts'
import {
  CheckedModel,
  Duplicates,
  ImportHow,
  LeftModel,
  MergeResult,
  Model,
  ModelDetail,
  ModelFilter,
  ModelId,
  ModelLooked,
  ModelProgress,
  ModelState,
  TrashedModel,
} from './model.ts'
import { FoundPack, MissingClass, NodeItem } from './pack.ts'
import { Panel } from './panel.ts'
import { command, event, query } from './procedure.ts'
import { Publication, PublicationId, PublishAsk, PublishPlan, VersionView } from './publish.ts'
import { ReleaseView } from './release.ts'
import { Settings, SettingsChange } from './settings.ts'
import {
  PushPlan,
  SealedManifest,
  SecretFound,
  SnapshotChange,
  SnapshotLabel,
  SnapshotProgress,
  SnapshotView,
} from './snapshot.ts'
import { WorkerAddress, WorkerContents, WorkerFound, WorkerId, WorkerView } from './worker.ts'
import {
  Advice,
  CustomNodeNeed,
  Inspection,
  NodeLists,
  ParameterChoice,
  Problem,
  Workflow,
  WorkflowId,
  WorkflowSummary,
} from './workflow.ts'

const nothing = z.object({})
const changed = z.object({ changed: z.int() })
const isSet = z.object({ isSet: z.boolean() })
const FileBytes = z.object({ name: z.string(), base64: z.base64() })
const OfEngine = z.object({ engine: EngineName.optional() })
const Text = z.object({ name: z.string(), mediaType: z.string(), base64: z.base64() })

/** Walked only once it is known not to be nested without end. */
const WalkablePanel = z
  .custom<z.input<typeof Panel>>((value) => isJsonObject(value) && walkable(value), 'it is no form')
  .pipe(Panel)
const PanelFault = RowFault.pick({ reason: true, code: true, facts: true }).extend({
  key: z.string(),
  title: z.string(),
})

/** Something to import: a file's bytes, an address (http, https or data), or a file or folder of this machine. */
export const ImportSource = z.union([
  FileBytes,
  z.object({ url: z.string().max(32 * 1024 * 1024) }),
  z.object({ path: z.string() }),
])
/** One workflow that was found, or one file that holds none; a file may hold several. */
export const ImportResult = z.discriminatedUnion('ok', [
  z.object({
    ok: z.literal(true),
    name: z.string(),
    workflow: WorkflowSummary,
    /** Titles of the forms that came alone and were given to it; `workflow.panel.undo` takes them back. */
    forms: z.array(z.string()).optional(),
  }),
  z.object({ ok: z.literal(false), name: z.string(), failure: Failure }),
])
export type ImportResult = z.infer<typeof ImportResult>

/** A file kept for LoadImage and its relatives; `ref` is the value to give such a parameter. */
export const InputFile = z.object({
  ref: z.string(),
  name: z.string(),
  sizeBytes: z.int(),
  sha256: z.string(),
})

/** What to open in a ComfyUI's own editor: what made a picture, a job, or a workflow with the values of the form. */
export const EditorSubject = z.object({
  artifactId: ArtifactId.optional(),
  jobId: JobId.optional(),
  workflowId: WorkflowId.optional(),
  sets: Values.optional(),
  /** Whose editor; not said: the one that made it, else the first that answers. */
  workerId: WorkerId.optional(),
})
export type EditorSubject = z.infer<typeof EditorSubject>

/** What opens an agent, or object storage: `ID:SECRET`, or `ID:SECRET:TOKEN`. */
const PlaceKey = z.string().regex(/^[\x21-\x7e]{3,4096}$/)
const SnapshotPlace = {
  to: z.string(),
  key: PlaceKey.nullable().default(null),
  /** Models too, those that are not there. */
  models: z.boolean().default(true),
}

/** renderer and command line ⇄ host */
export const app = {
  'app.info': query(
    nothing,
    z.object({
      version: z.string(),
      platform: z.string(),
      door: z.enum(['desktop', 'headless', 'cli']),
      locale: z.string(),
      outputDir: z.string(),
      /** Free bytes where pictures go; null: unknown. */
      freeBytes: z.number().nullable(),
    }),
  ),
  'settings.get': query(nothing, Settings),
  'settings.set': command(SettingsChange, Settings),

  /** The key of a ComfyUI account, for nodes that cost money: it can be set and removed, never read. */
  'account.get': query(nothing, isSet),
  'account.set': command(z.object({ key: SecretText }), isSet),
  'account.remove': command(nothing, isSet),

  'workflow.import': command(FileBytes, WorkflowSummary),
  /**
   * Any number of files, each told of on its own: one that fails stops no other. `cameWith`: workflows imported just
   * before, for forms without one.
   */
  'workflow.importMany': command(
    z.object({ sources: z.array(ImportSource).min(1).max(1000), cameWith: z.array(WorkflowId).max(1000).default([]) }),
    z.object({ results: z.array(ImportResult) }),
  ),
  'workflow.sample': command(nothing, WorkflowSummary),
  'workflow.list': query(
    Page.extend({ search: z.string().default('') }),
    z.object({ rows: z.array(WorkflowSummary), total: z.int() }),
  ),
  /** Against one worker's definitions, or the best known ones. */
  'workflow.get': query(z.object({ id: WorkflowId, workerId: WorkerId.optional() }), Workflow),
  'workflow.rename': command(z.object({ id: WorkflowId, name: z.string().min(1).max(200) }), WorkflowSummary),
  /** Removed workflows can be put back; their batches and pictures stay. */
  'workflow.remove': command(z.object({ id: WorkflowId }), changed),
  'workflow.restore': command(z.object({ id: WorkflowId }), changed),
  'workflow.arrange': command(z.object({ id: WorkflowId, parameters: z.array(ParameterChoice) }), changed),
  /** Presets for its models and suggestions for its prompt, as the changes they would make; `values` as on the form. */
  'workflow.presets': query(z.object({ id: WorkflowId, values: Values.default({}) }), Advice),
  /** The file as dropped, its prompt in API format, or its forms with the prompt. */
  'workflow.export': query(z.object({ id: WorkflowId, as: z.enum(['original', 'prompt', 'panel']) }), Text),
  /** All forms of a workflow, in order; those before can be brought back with `undo`, and again. */
  'workflow.panel.set': command(z.object({ id: WorkflowId, panels: z.array(WalkablePanel).max(50) }), changed),
  'workflow.panel.undo': command(z.object({ id: WorkflowId }), changed),
  /** A first form, from the parameters found, in the caller's words. */
  'workflow.panel.propose': query(
    z.object({
      id: WorkflowId,
      words: z.object({
        title: z.string(),
        pictures: z.string(),
        words: z.string(),
        size: z.string(),
        more: z.string(),
        names: z.record(z.string(), z.string()),
      }),
    }),
    Panel,
  ),
  /** What a filled-in form sends, for `batch.submit`, and what of it its nodes refuse. `values` by parameter key. */
  'workflow.panel.fill': query(
    z.object({ id: WorkflowId, panel: WalkablePanel, values: Values }),
    z.object({ values: Values, faults: z.array(PanelFault) }),
  ),
  /** The forms in a file, without keeping them. */
  'workflow.panel.read': query(FileBytes, z.object({ panels: z.array(Panel), problems: z.array(Problem) })),
  /** With what servers and the network can say: where each model is, how large, who brings the missing classes. */
  'workflow.needs': query(
    z.object({ id: WorkflowId, workerId: WorkerId.optional() }),
    Inspection.pick({ models: true, customNodes: true, paid: true, vram: true, nodeLists: true, definitions: true }),
  ),
  /** Looks without keeping; `definitions` is an object_info to use instead of a worker's. */
  'workflow.inspect': query(
    FileBytes.extend({ worker: z.string().optional(), definitions: JsonRecord.optional() }),
    Inspection,
  ),
  'workflow.convert': query(
    FileBytes.extend({ worker: z.string().optional(), definitions: JsonRecord.optional() }),
    z.object({ prompt: Prompt, losses: z.array(Problem) }),
  ),

  'input.add': command(FileBytes, InputFile),
  'input.addPath': command(z.object({ path: z.string() }), InputFile, 'local'),
  /** Every media file directly in a folder, in the order people expect (2 before 10). */
  'input.addFolder': command(z.object({ path: z.string() }), z.object({ files: z.array(InputFile) }), 'local'),

  'table.read': query(FileBytes.extend({ sheet: z.string().optional() }), Table),
  /** Which parameter each column most likely means; null: none. */
  'table.map': query(
    z.object({ workflowId: WorkflowId, columns: z.array(z.string()), sample: z.array(z.array(z.string())).max(50) }),
    z.object({ parameters: z.record(z.string(), z.string().nullable()) }),
  ),
  'batch.preview': query(BatchPlan, BatchPreview),
  'batch.submit': command(
    BatchPlan,
    z.object({
      batchId: BatchId,
      jobs: z.int(),
      faults: z.array(RowFault),
      warnings: BatchPreview.shape.warnings,
      continued: z.boolean(),
    }),
  ),
  'batch.list': query(
    Page.extend({ workflowId: WorkflowId.optional() }),
    z.object({ rows: z.array(Batch), total: z.int() }),
  ),
  'batch.get': query(z.object({ id: BatchId }), Batch),
  'batch.pause': command(z.object({ id: BatchId, how: z.enum(['after-current', 'now']) }), changed),
  'batch.resume': command(z.object({ id: BatchId }), changed),
  'batch.window': command(
    z.object({ id: BatchId, startAt: BatchPlan.shape.startAt, stopAt: BatchPlan.shape.stopAt }),
    changed,
  ),
  'batch.report': query(z.object({ id: BatchId, as: z.enum(['csv', 'json']) }), Text),
  /** One PNG with a thumbnail, row and name per picture. */
  'batch.contactSheet': query(z.object({ id: BatchId }), Text),

  'job.page': query(JobFilter.extend(Page.shape), z.object({ rows: z.array(Job), total: z.int() })),
  'job.get': query(z.object({ id: JobId }), JobDetail),
  'job.cancel': command(JobSelection, changed),
  'job.retry': command(JobSelection, changed),
  'job.prioritise': command(z.object({ jobs: JobSelection, priority: z.int().min(-1000).max(1000) }), changed),
  /** Position among the waiting jobs, 0 = next. */
  'job.move': command(z.object({ id: JobId, position: z.int().min(0) }), changed),

  'queue.state': query(nothing, QueueState),
  'queue.pause': command(z.object({ how: PauseState.exclude(['no']) }), QueueState),
  'queue.resume': command(nothing, QueueState),

  'artifact.page': query(ArtifactFilter.extend(Page.shape), z.object({ rows: z.array(Artifact), total: z.int() })),
  'artifact.get': query(z.object({ id: ArtifactId }), z.object({ artifact: Artifact, sidecar: Sidecar })),
  /** The same job once more, or with new seeds. */
  'artifact.rerun': command(
    z.object({ id: ArtifactId, newSeed: z.boolean(), sets: Values.default({}) }),
    z.object({ batchId: BatchId }),
  ),
  'artifact.locate': query(
    z.object({ ids: z.array(ArtifactId).max(10_000).optional(), jobId: JobId.optional() }),
    z.object({ files: z.array(z.object({ id: ArtifactId, path: z.string() })) }),
    'local',
  ),

  /** The address is that of this host, with another port; it enters once, within two minutes. */
  'editor.open': command(EditorSubject, z.object({ port: z.int(), path: z.string(), worker: WorkerId })),

  'worker.list': query(nothing, z.object({ rows: z.array(WorkerView) })),
  'worker.test': query(WorkerAddress, WorkerFound),
  'worker.add': command(WorkerAddress, WorkerView),
  'worker.enable': command(z.object({ id: WorkerId, enabled: z.boolean() }), WorkerView),
  'worker.remove': command(z.object({ id: WorkerId }), changed),
  'worker.contents': query(z.object({ id: WorkerId }), WorkerContents),

  /** Remote places with an agent; each is a worker of its name too. */
  'endpoint.list': query(nothing, z.object({ rows: z.array(Endpoint) })),
  'endpoint.test': query(EndpointAddress, EndpointFound),
  'endpoint.add': command(EndpointAsked, Endpoint),
  'endpoint.set': command(z.object({ name: EndpointName, settings: EndpointSettings.partial() }), Endpoint),
  'endpoint.setKey': command(z.object({ name: EndpointName, key: SecretText }), Endpoint),
  /** What was published there stays. */
  'endpoint.remove': command(z.object({ name: EndpointName }), changed),
  /** Asks it how it is at once, also where it was left alone for a while. */
  'endpoint.look': command(z.object({ name: EndpointName }), Endpoint),
  /** The newest first. */
  'endpoint.releases': query(z.object({ name: EndpointName }), z.object({ rows: z.array(ReleaseView) })),
  /** Of what is live there. */
  'endpoint.forms': query(z.object({ name: EndpointName }), z.object({ rows: z.array(EndpointForm) })),
  /** The oldest first. */
  'endpoint.log': query(z.object({ name: EndpointName }), z.object({ rows: z.array(EndpointLine) })),

  /** `url`: where others reach it; null: it is not shared, or `failure` says why not. `given`: for this run only. */
  'share.state': query(
    nothing,
    ShareSettings.extend({
      url: z.string().nullable(),
      given: z.boolean(),
      failure: Failure.nullable(),
      places: z.array(z.object({ id: z.string(), ready: z.boolean() })),
    }),
  ),
  /** The same for workflows that other programs send; `running`, `waiting`: tasks of theirs. */
  'taskDoor.state': query(
    nothing,
    TaskDoorSettings.extend({
      url: z.string().nullable(),
      given: z.boolean(),
      failure: Failure.nullable(),
      places: z.array(z.string()),
      running: z.int(),
      waiting: z.int(),
    }),
  ),
  'key.list': query(nothing, z.object({ rows: z.array(Key) })),
  /** `token` is told this once. */
  'key.make': command(
    z.object({ name: KeyName, scopes: z.array(KeyScope).min(1), expiresAt: z.number().nullable().default(null) }),
    z.object({ key: Key, token: z.string() }),
  ),
  'key.revoke': command(z.object({ id: z.string() }), Key),

  /** What this machine has and what will run on it; kept for a while, unless asked for `again`. */
  'machine.look': query(
    z.object({ again: z.boolean().default(false) }),
    z.object({ report: HardwareReport, verdict: Verdict, at: z.number() }),
  ),
  'engine.list': query(nothing, z.object({ rows: z.array(EngineView) })),
  /** Runs an existing ComfyUI in place; without a name, one that is known already is changed. */
  'engine.adopt': command(
    z.object({
      dir: z.string(),
      python: z.string().optional(),
      name: EngineName.optional(),
      settings: EngineChange.extend({ baseDir: z.string().nullable().optional() }).optional(),
    }),
    EngineView,
    'local',
  ),
  /** One of those `machine.look` found. */
  'engine.adoptFound': command(z.object({ dir: z.string() }), EngineView),
  'engine.set': command(z.object({ name: EngineName, settings: EngineChange }), EngineView),
  /** Resolves when it answers; `process`: only this one of its processes. */
  'engine.start': command(z.object({ name: EngineName, process: z.string().optional() }), EngineView),
  /** Ends one process and starts it again; what it was busy with is looked up, and done again if it is lost. */
  'engine.restart': command(z.object({ name: EngineName, process: z.string() }), EngineView),
  'engine.stop': command(z.object({ name: EngineName }), EngineView),
  /** What an installation would fetch and do. */
  'engine.plan': query(z.object({ name: EngineName, choices: InstallChoices }), InstallPlan),
  /** Begins it, or goes on with the same; `install.changed` tells how it goes. */
  'engine.install': command(z.object({ name: EngineName, choices: InstallChoices }), InstallView),
  /** To a tag, branch or commit; null: the newest. `speedUps`: those to have from then on; not said: as before. */
  'engine.update': command(
    z.object({ name: EngineName, ref: GitRef.nullable(), speedUps: z.array(SpeedUp).optional() }),
    InstallView,
  ),
  /** What the engine has of speed-ups and may have. */
  'engine.speedUps': query(z.object({ name: EngineName }), z.object({ rows: z.array(SpeedUpOffer) })),
  'engine.cancelInstall': command(z.object({ name: EngineName }), changed),
  /** Goes on with the one that was stopped or failed. */
  'engine.resumeInstall': command(z.object({ name: EngineName }), InstallView),
  /** Those under way, and how the last ones ended; of one engine all that are remembered, the newest first. */
  'engine.installs': query(z.object({ name: EngineName.optional() }), z.object({ rows: z.array(InstallView) })),
  /** The end of what one of them said. */
  'engine.installLog': query(
    z.object({
      name: EngineName,
      generation: z.string().regex(/^[\w-]{1,40}$/),
      search: z.string().max(200).optional(),
    }),
    z.object({ rows: z.array(z.string()) }),
  ),
  /** The newest first. */
  'engine.generations': query(z.object({ name: EngineName }), z.object({ rows: z.array(Generation) })),
  'engine.rollback': command(z.object({ name: EngineName }), z.object({ rows: z.array(Generation) })),
  /** `mend`: what is damaged is made again. */
  'engine.doctor': command(
    z.object({ name: EngineName, mend: z.boolean().default(false) }),
    z.object({ findings: z.array(Finding), mending: InstallView.nullable() }),
  ),
  /** A zip of what somebody who helps needs to know, without secrets. */
  'engine.diagnostics': query(z.object({ name: EngineName }), Text),
  /** The models of another ComfyUI, by its folder; from a browser, of one that `machine.look` found. */
  'engine.lookAtModels': query(z.object({ dir: z.string().max(4000) }), SharedModels),
  /** Uses them where they lie, from the next start on; a running engine is started again. `use: false` takes it back. */
  'engine.shareModels': command(
    z.object({ name: EngineName, dir: z.string().max(4000), use: z.boolean() }),
    EngineView,
  ),
  /** Forgets it. The folder of an adopted one stays; of an installed one, its models, pictures and custom nodes do. */
  'engine.remove': command(z.object({ name: EngineName }), changed),
  /** In the order they were said: the newest, those before `before`, or those after `after`. */
  'engine.log': query(
    z.object({
      process: z.string(),
      search: z.string().max(200).optional(),
      before: z.int().optional(),
      after: z.int().optional(),
      limit: z.int().min(1).max(1000).default(200),
    }),
    z.object({ rows: z.array(LogLine) }),
  ),

  /** Those of one ComfyUI of this machine; not said: the first. `engines`: all there are; without any there are no rows. */
  'nodes.list': query(
    OfEngine,
    z.object({
      engine: EngineName.nullable(),
      engines: z.array(EngineName),
      /** `beside`: a change is made in a new generation; `in-place`: in a ComfyUI that is not ours. */
      way: z.enum(['beside', 'in-place']),
      /** How it was before the last change can be had again. */
      mayRollBack: z.boolean(),
      rows: z.array(CustomNode),
    }),
  ),
  /** By name, author, description or class, best first. */
  'nodes.search': query(
    OfEngine.extend({ ...Page.shape, search: z.string().max(200) }),
    z.object({ rows: z.array(FoundPack), total: z.int(), lists: NodeLists }),
  ),
  /** Who brings these classes. */
  'nodes.find': query(
    z.object({ classTypes: z.array(z.string().max(500)).min(1).max(500) }),
    z.object({ rows: z.array(CustomNodeNeed), lists: NodeLists.optional() }),
  ),
  /** Classes that the workflows use and a ComfyUI lacks, with who brings them. */
  'nodes.missing': query(OfEngine, z.object({ rows: z.array(MissingClass), lists: NodeLists.optional() })),
  /** Begins to find out what a change would do; `nodes.changes` tells how it goes. Nothing that runs is touched. */
  'nodes.plan': command(
    OfEngine.extend({
      items: z.array(NodeItem).max(200).default([]),
      changes: z.array(NodeChange).max(1000).default([]),
    }),
    NodeChangeView,
  ),
  /** The same for what ComfyUI-Manager wrote into a snapshot file. `lost`: files it only names; `comfyui`: its commit, where it is another. */
  'nodes.planSnapshot': command(
    OfEngine.extend(FileBytes.shape),
    z.object({
      view: NodeChangeView.nullable(),
      same: z.int(),
      lost: z.array(z.string()),
      comfyui: z.string().nullable(),
    }),
  ),
  /** The installed ones as such a file. */
  'nodes.snapshot': query(OfEngine, Text),
  /** Carries out the plan that was seen, and no other. */
  'nodes.begin': command(
    z.object({ engine: EngineName, plan: z.string(), consent: NodeConsent.prefault({}) }),
    NodeChangeView,
  ),
  /** Ends it where it is, or forgets a plan. */
  'nodes.cancel': command(z.object({ engine: EngineName }), changed),
  /** Those under way, and how the last ones ended. */
  'nodes.changes': query(nothing, z.object({ rows: z.array(NodeChangeView) })),
  /** As it was before the last change; a second time, forth again. */
  'nodes.rollback': command(z.object({ engine: EngineName }), changed),
  /** Looks for the custom nodes that break something, by itself. */
  'nodes.bisect': command(z.object({ engine: EngineName, check: BisectCheck }), BisectView),
  'nodes.bisects': query(nothing, z.object({ rows: z.array(BisectView) })),
  'nodes.cancelBisect': command(z.object({ engine: EngineName }), changed),

  /** What is to be done in its order, then what ended, the newest first. */
  'download.list': query(
    DownloadFilter.extend(Page.shape),
    z.object({ rows: z.array(DownloadView), total: z.int(), totals: DownloadTotals }),
  ),
  'download.pause': command(DownloadSelection, changed),
  /** What is paused goes on; what waits to be tried again is now. */
  'download.resume': command(DownloadSelection, changed),
  'download.retry': command(DownloadSelection, changed),
  /** What came so far is thrown away. */
  'download.cancel': command(DownloadSelection, changed),
  /** Takes what ended out of the list; files stay. */
  'download.clear': command(DownloadSelection, changed),
  /** Position among those to be done, 0 = next. */
  'download.move': command(z.object({ id: DownloadId, position: z.int().min(0) }), changed),
  /** When they may run, each day; null: whenever downloads may. */
  'download.schedule': command(
    z.object({ downloads: DownloadSelection, startAt: ClockTime.nullable(), stopAt: ClockTime.nullable() }),
    changed,
  ),
  /** All of them wait, until they are let go again. */
  'download.hold': command(z.object({ held: z.boolean() }), changed),

  'mirror.list': query(nothing, z.object({ kinds: z.array(MirrorKindView) })),
  /** Tries places from here, and resolves when all were; `mirror.changed` tells of each. */
  'mirror.test': command(
    z.object({ kinds: z.array(MirrorKind).optional(), id: z.string().optional() }),
    z.object({ kinds: z.array(MirrorKindView) }),
  ),
  /** null: the best measured. */
  'mirror.choose': command(
    z.object({ kind: MirrorKind, id: z.string().nullable() }),
    z.object({ kinds: z.array(MirrorKindView) }),
  ),
  /** One of the person's own: a pattern, or the address before which (`prefix`) or in place of which paths are asked. */
  'mirror.add': command(
    z.object({
      kind: MirrorKind,
      address: z.string().trim().min(1).max(1000),
      prefix: z.boolean().default(false),
      name: z.string().max(100).optional(),
      direct: z.boolean().default(false),
    }),
    z.object({ id: z.string(), kinds: z.array(MirrorKindView) }),
  ),
  'mirror.remove': command(
    z.object({ kind: MirrorKind, id: z.string() }),
    z.object({ kinds: z.array(MirrorKindView) }),
  ),
  'network.get': query(nothing, NetworkView),
  /** `credentials` of the proxy: null removes them. They can be set and removed, never read. */
  'network.set': command(
    z.object({ settings: NetworkChange, credentials: ProxyCredentials.nullable().optional() }),
    NetworkView,
  ),
  /** A token is asked whose it is before it is kept; it can be set and removed, never read. */
  'token.set': command(z.object({ host: TokenHost, token: SecretText }), NetworkView),
  'token.remove': command(z.object({ host: TokenHost }), NetworkView),
  /** Lets a mirror have it, which whoever runs that mirror can then use. */
  'token.give': command(z.object({ host: TokenHost, mirror: z.string().max(253), given: z.boolean() }), NetworkView),

  'model.page': query(
    ModelFilter.extend(Page.shape),
    z.object({ rows: z.array(Model), total: z.int(), bytes: z.number() }),
  ),
  'model.get': query(z.object({ id: ModelId }), ModelDetail),
  'model.state': query(nothing, ModelState),
  /** By an id, a path, a hash or a name. */
  'model.find': query(z.object({ asked: z.string().max(4000) }), z.object({ model: Model.nullable() })),
  /** Looks through all folders; resolves when it has. */
  'model.scan': command(nothing, ModelState),
  /**
   * Hashes what is not hashed yet, or these; `likely`: only those of which there may be a copy, going by their size.
   * `model.progress` tells how it goes; with `wait` it resolves when it is done.
   */
  'model.hash': command(
    z.object({
      ids: z.array(ModelId).max(10_000).optional(),
      likely: z.boolean().default(false),
      wait: z.boolean().default(false),
    }),
    nothing,
  ),
  'model.control': command(
    z.object({ what: ModelProgress.shape.what, how: z.enum(['pause', 'resume', 'stop']) }),
    changed,
  ),
  /**
   * Reads files anew and compares them with what they were and with what the hubs publish; none named: all. Resolves when
   * it is done.
   */
  'model.verify': command(
    z.object({ ids: z.array(ModelId).max(10_000).nullable() }),
    z.object({ rows: z.array(CheckedModel), silent: GetPlan.shape.silent }),
  ),
  'model.note': command(z.object({ id: ModelId, note: z.string().max(20_000) }), Model),
  /** Files that may run code when loaded: allowed to from now on, or no longer. They are hashed first. */
  'model.trust': command(
    z.object({ ids: z.array(ModelId).min(1).max(1000), trusted: z.boolean().default(true) }),
    z.object({ rows: z.array(Model) }),
  ),
  'model.duplicates': query(Page, Duplicates),
  /** Copies share their bytes from then on; null: all. Resolves when it is done. */
  'model.merge': command(z.object({ hashes: z.array(z.string()).max(10_000).nullable() }), MergeResult),
  'model.undoMerge': command(z.object({ id: z.string() }), MergeResult),
  /** Into another folder of the same program; `from`: where it was. */
  'model.move': command(z.object({ id: ModelId, folder: z.string() }), z.object({ model: Model, from: z.string() })),
  /** Puts models aside, where no loader finds them; they can be put back until they are thrown away. */
  'model.trash': command(
    z.object({ ids: z.array(ModelId).min(1).max(1000) }),
    z.object({ rows: z.array(TrashedModel), left: z.array(LeftModel) }),
  ),
  'model.trashed': query(nothing, z.object({ rows: z.array(TrashedModel) })),
  'model.restore': command(
    z.object({ ids: z.array(z.string()).min(1).max(1000) }),
    changed.extend({ left: z.array(LeftModel) }),
  ),
  /** For good; null: all. */
  'model.emptyTrash': command(
    z.object({ ids: z.array(z.string()).max(1000).nullable() }),
    changed.extend({ freedBytes: z.number(), left: z.array(LeftModel) }),
  ),
  'model.addFolder': command(z.object({ dir: z.string().min(1) }), ModelState, 'local'),
  'model.removeFolder': command(z.object({ id: z.string() }), changed),
  /** What a file is, and which folder it would go to. */
  'model.inspect': query(z.object({ path: z.string() }), ModelLooked, 'local'),
  /** Into the folder its header says, or `folder`. */
  'model.import': command(
    z.object({
      path: z.string(),
      how: ImportHow,
      folder: z.string().optional(),
      engine: EngineName.nullable().default(null),
      name: z.string().optional(),
    }),
    Model,
    'local',
  ),

  /** Among the lists of known models, and at the hubs named. A link or hash finds what it means. */
  'catalogue.find': query(
    z.object({
      search: z.string().max(4000),
      hubs: z
        .array(HubId.exclude(['url']))
        .max(3)
        .default([]),
    }),
    z.object({ rows: z.array(FoundModel), silent: GetPlan.shape.silent, manager: NodeLists }),
  ),
  /** What would be fetched, from where to where; nothing is changed. */
  'catalogue.plan': query(GetAsk, GetPlan),
  /** Links what is here already and queues what can be fetched. */
  'catalogue.get': command(GetAsk, GetPlan),
  /** Whether lines that were dropped or pasted mean models. */
  'catalogue.means': query(
    z.object({ texts: z.array(z.string().max(4000)).max(50) }),
    z.object({ models: z.array(z.boolean()) }),
  ),
  /** A model that was sent here, into the folder the person says. */
  'catalogue.file': command(
    z.object({ staged: z.string().regex(/^[\w-]{1,64}$/), folder: z.string().regex(/^[\w-]{1,100}$/) }),
    Model,
  ),

  /** What an engine is made of, kept; `snapshot` null: `secrets` were found that nobody consented to. */
  'snapshot.create': command(
    z.object({
      engine: EngineName.optional(),
      name: z.string().max(200).optional(),
      consent: z.array(z.string()).optional(),
      label: SnapshotLabel.optional(),
    }),
    z.object({
      snapshot: SnapshotView.nullable(),
      secrets: z.array(SecretFound),
      left: z.array(z.object({ path: z.string(), what: z.string() })),
      newBytes: z.number(),
    }),
  ),
  'snapshot.list': query(nothing, z.object({ rows: z.array(SnapshotView), progress: SnapshotProgress.nullable() })),
  /** By id, its beginning, or a label; so for all that follow. */
  'snapshot.show': query(z.object({ id: z.string() }), SealedManifest),
  'snapshot.diff': query(
    z.object({ before: z.string(), after: z.string() }),
    z.object({ changes: z.array(SnapshotChange) }),
  ),
  'snapshot.label': command(z.object({ id: z.string(), label: SnapshotLabel, on: z.boolean() }), SnapshotView),
  'snapshot.remove': command(z.object({ id: z.string() }), changed),
  'snapshot.verify': command(
    nothing,
    z.object({
      packs: z.int(),
      bytes: z.number(),
      damaged: z.array(z.object({ pack: z.string(), reason: z.string(), objects: z.array(z.string()) })),
      broken: z.array(z.object({ id: z.string(), reason: z.string() })),
    }),
  ),
  'snapshot.collect': command(
    z.object({ graceMs: z.int().min(0).optional() }),
    z.object({ packs: z.int(), bytes: z.number() }),
  ),
  /** What a push would send: to a folder, s3://…, or an agent with a key that may publish. */
  'snapshot.plan': query(z.object({ id: z.string(), ...SnapshotPlace }), PushPlan, 'local'),
  'snapshot.push': command(
    z.object({ id: z.string(), ...SnapshotPlace, bytesPerSecond: z.int().min(1).nullable().default(null) }),
    PushPlan,
    'local',
  ),
  'snapshot.derive': command(
    z.object({
      id: z.string(),
      python: z.string().optional(),
      findLinks: z.string().optional(),
      index: z.string().optional(),
      cpu: z.boolean().optional(),
    }),
    z.object({ snapshot: SnapshotView, left: z.array(z.object({ path: z.string(), what: z.string() })) }),
    'local',
  ),
  'snapshot.restore': command(
    z.object({
      id: z.string(),
      to: z.string(),
      python: z.string().optional(),
      from: z.string().nullable().default(null),
      key: PlaceKey.nullable().default(null),
    }),
    z.object({ dir: z.string(), python: z.string(), base: z.string() }),
    'local',
  ),
  'snapshot.cancel': command(nothing, changed),

  /** What would travel to an endpoint; a snapshot is made of how it is now unless one is named. Nothing is sent. */
  'publish.plan': command(PublishAsk, PublishPlan),
  /** @see Publication: it goes on in the background. */
  'publish.start': command(
    PublishAsk.omit({ consent: true, snapshot: true }).extend({
      snapshot: z.string(),
      note: z.string().max(2000).default(''),
      /** Pictures may differ; who says so is kept. */
      acceptDifferent: z.boolean().default(false),
      bytesPerSecond: z.int().min(1).nullable().default(null),
    }),
    Publication,
  ),
  /** The newest first. */
  'publish.list': query(z.object({ endpoint: EndpointName.optional() }), z.object({ rows: z.array(Publication) })),
  'publish.get': query(z.object({ id: PublicationId }), Publication),
  'publish.stop': command(z.object({ id: PublicationId }), Publication),
  'publish.resume': command(z.object({ id: PublicationId }), Publication),
  /** Whether it is published although pictures differ. */
  'publish.answer': command(z.object({ id: PublicationId, accept: z.boolean() }), Publication),
  'publish.versions': query(z.object({ endpoint: EndpointName }), z.object({ rows: z.array(VersionView) })),
  /** No version: the one that served before. */
  'publish.rollBack': command(
    z.object({ endpoint: EndpointName, version: z.int().min(1).nullable().default(null) }),
    ReleaseView,
  ),

  'workflow.changed': event(z.object({ id: WorkflowId })),
  /** At most ten a second. */
  'queue.changed': event(QueueState.omit({ running: true })),
  'job.changed': event(z.object({ batchId: BatchId, ids: z.array(JobId).max(200) })),
  'job.progress': event(JobProgress),
  'artifact.added': event(z.object({ batchId: BatchId, jobId: JobId, ids: z.array(ArtifactId) })),
  'batch.changed': event(z.object({ id: BatchId })),
  'batch.ended': event(z.object({ id: BatchId, name: z.string(), counts: Batch.shape.counts })),
  /** At most ten a second. */
  'publish.changed': event(z.object({ id: PublicationId })),
  'endpoint.changed': event(z.object({ name: EndpointName })),
  'worker.changed': event(z.object({ id: WorkerId })),
  'share.changed': event(nothing),
  'taskDoor.changed': event(nothing),
  'engine.changed': event(z.object({ name: EngineName })),
  'install.changed': event(z.object({ name: EngineName })),
  'nodes.changed': event(z.object({ engine: EngineName })),
  /** How a change or a search goes. */
  'nodes.progress': event(z.object({ engine: EngineName })),
  /** At most twice a second. */
  'engine.logged': event(z.object({ process: z.string() })),
  /** At most ten a second; no ids: many. */
  'download.changed': event(z.object({ ids: z.array(DownloadId).max(200) })),
  'download.done': event(DownloadView),
  'mirror.changed': event(nothing),
  'network.changed': event(nothing),
  /** At most twice a second. */
  'model.changed': event(nothing),
  /** At most five times a second. */
  'model.progress': event(z.object({ progress: z.array(ModelProgress) })),
  'snapshot.changed': event(nothing),
  'settings.changed': event(Settings),
  /** The machine should stay awake: there is work that may run. */
  'awake.changed': event(z.object({ on: z.boolean() })),
}
export type App = typeof app
