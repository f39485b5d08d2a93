import { z } from 'zod'

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
