import { z } from 'zod'
import { EngineName } from './engine.ts'
import { Failure } from './errors.ts'
import { Model } from './model.ts'
import { ModelNeed, WorkflowId } from './workflow.ts'

const Sha256 = z.string().regex(/^[\da-f]{64}$/)
const Repo = z.string().regex(/^[\w-][\w.-]*\/[\w-][\w.-]*$/)
/** Below a repository: no way out of it. */
const RepoPath = z
  .string()
  .min(1)
  .max(1000)
  .refine((path) => path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'))

/**
 * Where one file is, whichever host gives it: hubs have mirrors. A `revision` is a branch, tag or commit; pinned to a
 * commit before anything is fetched.
 */
export const FileRef = z.discriminatedUnion('hub', [
  z.object({
    hub: z.literal('huggingface'),
    kind: z.enum(['models', 'datasets', 'spaces']).default('models'),
    repo: Repo,
    revision: z.string().min(1).max(200).default('main'),
    path: RepoPath,
  }),
  z.object({
    hub: z.literal('modelscope'),
    repo: Repo,
    revision: z.string().min(1).max(200).default('master'),
    path: RepoPath,
  }),
  z.object({ hub: z.literal('civitai'), versionId: z.int().positive(), fileId: z.int().positive().nullable() }),
  /** Any other address; one of a code host is also asked of the mirrors that stand in for it. */
  z.object({ hub: z.literal('url'), url: z.url({ protocol: /^https?$/ }) }),
])
export type FileRef = z.infer<typeof FileRef>
export const HubId = z.enum(['huggingface', 'modelscope', 'civitai', 'url'])
export type HubId = z.infer<typeof HubId>

/** What a hub says of one file. */
export const HubFile = z.object({
  ref: FileRef,
  name: z.string(),
  sizeBytes: z.int().nullable(),
  sha256: Sha256.nullable(),
  /** The git blob's id, of a small file that has no SHA-256. */
  gitSha1: z.string().nullable().default(null),
  /** As its page calls it: `owner/repository`, or the model's name and version. */
  title: z.string(),
  page: z.string().nullable(),
  licence: z.string().nullable(),
  /** Somebody has to agree on its page before it can be fetched. */
  gated: z.boolean(),
  /** The folder its hub's own type means; null: it says none. */
  folder: z.string().nullable(),
  baseModel: z.string().nullable(),
  /** A file that can run code when it is loaded. */
  pickle: z.boolean().default(false),
  downloads: z.int().nullable().default(null),
})
export type HubFile = z.infer<typeof HubFile>

/**
 * How sure it is that this is the file that was meant. `hash`: the wanted hash is the one its hub has; `author`: whoever
 * made the workflow, or the person, named it; `catalogue`: the name is that of a file in a list, whose place is known;
 * `official`: exactly this name at those who publish such models; `name`: only the name is the same.
 */
export const Sureness = z.enum(['hash', 'author', 'catalogue', 'official', 'name'])
export type Sureness = z.infer<typeof Sureness>

/** One place a wanted file may come from. */
export const Candidate = HubFile.extend({
  sure: Sureness,
  /** Which list or hub told of it. */
  from: z.enum(['workflow', 'library', 'own', 'manager', 'huggingface', 'modelscope', 'civitai', 'link']),
})
export type Candidate = z.infer<typeof Candidate>

/** A file that is to be had, and how that stands. */
export const GetRow = z.object({
  /** What was asked for: a file of a workflow, a link, a name. */
  item: z.string(),
  /** The name it gets. */
  name: z.string(),
  /** Under models/; null: the person has to say. */
  folder: z.string().nullable(),
  /** Why that folder: the node that names it, a list, the hub, or the file's own header. */
  folderBy: z.enum(['node', 'catalogue', 'hub', 'header', 'person']).nullable(),
  /** Where it would lie, as this machine calls it. */
  to: z.string().nullable(),
  /** The best first; `chosen` is one of them. */
  candidates: z.array(Candidate),
  chosen: z.int().nullable(),
  state: z.discriminatedUnion('is', [
    /** It is there already. */
    z.object({ is: z.literal('present') }),
    /** The same file is here under another name or folder, and can be linked. */
    z.object({ is: z.literal('elsewhere'), modelId: z.string(), at: z.string(), sure: Sureness }),
    z.object({ is: z.literal('queued'), downloadId: z.string() }),
    z.object({ is: z.literal('ready') }),
    /** A person has to choose: the folder, or which of several. */
    z.object({ is: z.literal('asks'), what: z.enum(['folder', 'file']) }),
    /** Nobody that was asked knows it. */
    z.object({ is: z.literal('unknown') }),
    z.object({ is: z.literal('refused'), because: Failure }),
  ]),
})
export type GetRow = z.infer<typeof GetRow>

export const GetPlan = z.object({
  rows: z.array(GetRow),
  /** Of those that are ready; what has no known size is counted in `unknownSizes`. */
  totalBytes: z.number(),
  unknownSizes: z.int(),
  /** Where models go; null: unknown. */
  freeBytes: z.number().nullable(),
  /** Hubs and lists that could not be asked. */
  silent: z.array(z.object({ from: z.string(), because: Failure })),
})
export type GetPlan = z.infer<typeof GetPlan>

/** What to get: links, AIRs, `hub:reference`s, names of the catalogue; or what a workflow lacks. */
export const GetAsk = z.object({
  items: z.array(z.string().trim().min(1).max(4000)).max(200).default([]),
  workflowId: WorkflowId.optional(),
  /** As `workflow.inspect` found them, of a file that is not kept. */
  needs: z.array(ModelNeed).max(1000).default([]),
  /** Whose folders they go to; not said: those of the first. */
  engine: EngineName.optional(),
  /** By item: what the person decided otherwise. */
  choices: z
    .record(
      z.string(),
      z.object({
        folder: z
          .string()
          .regex(/^[\w.-]+([/\\][\w .-]+)*$/)
          .optional(),
        ref: FileRef.optional(),
        /** Where it is to be had, as the person knows. */
        link: z.string().max(4000).optional(),
        take: z.boolean().optional(),
      }),
    )
    .default({}),
})
export type GetAsk = z.infer<typeof GetAsk>

/** A model that a search found, with the files of it that can be had. */
export const FoundModel = z.object({
  from: Candidate.shape.from,
  /** What to ask for to get it, or its files. */
  item: z.string(),
  title: z.string(),
  page: z.string().nullable(),
  licence: z.string().nullable(),
  baseModel: z.string().nullable(),
  gated: z.boolean(),
  downloads: z.int().nullable(),
  /** What a card needs at least, as its makers or ours tried it; null: unknown. */
  vramBytes: z.number().nullable(),
  note: z.string().nullable(),
  files: z.array(HubFile.extend({ item: z.string(), present: z.boolean(), downloadId: z.string().nullable() })),
})
export type FoundModel = z.infer<typeof FoundModel>

/** A model file that was sent here: where it went, or that the person has to say. */
export const StagedModel = z.object({
  model: Model.nullable(),
  /** To be named with a folder; null: it lies in one already. */
  staged: z.string().nullable(),
})
export type StagedModel = z.infer<typeof StagedModel>
