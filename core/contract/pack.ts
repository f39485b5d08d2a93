import { z } from 'zod'
import { NodeFolder } from './custom-node.ts'
import { CustomNodeNeed, WorkflowId } from './workflow.ts'

/** A package of custom nodes, as lists of others tell of it. */
export const Pack = z.object({
  /** `owner/repository`, else the registry's id, else the address. */
  id: z.string(),
  /** The Comfy registry's; null: it is not there, or nobody says so. */
  registryId: z.string().nullable(),
  title: z.string(),
  author: z.string(),
  description: z.string(),
  /** Its page. */
  url: z.string().nullable(),
  /** `files`: single files that are put into custom_nodes. */
  how: z.enum(['git', 'archive', 'files']),
  stars: z.int().nullable(),
  /** Epoch ms of its last change. */
  updatedAt: z.number().nullable(),
  classes: z.int(),
  /** Further packages of Python, and of the system, that it asks for in the list. */
  pip: z.array(z.string()),
  system: z.array(z.string()),
})
export type Pack = z.infer<typeof Pack>

/** A package that was found. */
export const FoundPack = Pack.extend({
  /** Of its classes, those that were looked for; at most 20. */
  matched: z.array(z.string()),
  /** Its folder on the ComfyUI asked about. */
  installed: NodeFolder.nullable(),
  enabled: z.boolean(),
})
export type FoundPack = z.infer<typeof FoundPack>

/** A class that workflows use and a ComfyUI lacks. */
export const MissingClass = CustomNodeNeed.extend({
  workflows: z.array(z.object({ id: WorkflowId, name: z.string() })),
})
export type MissingClass = z.infer<typeof MissingClass>

/** Which custom nodes may be added: any, those that lists name, or those of `chosen` alone. */
export const NodeRules = z.object({
  from: z.enum(['any', 'listed', 'chosen']).default('any'),
  /** `owner/*`, `owner/repository`, an id of the registry, or an address. */
  chosen: z.array(z.string().trim().min(1).max(300)).max(500).default([]),
})
export type NodeRules = z.infer<typeof NodeRules>

/**
 * What a person wants, as they say it: an address of git or of an archive, `owner/repository`, an id of the registry, a
 * title, or a file of this machine; with `@` and a version, tag or commit behind it.
 */
export const NodeItem = z.string().trim().min(1).max(4000)
