import type { Candidate, FileRef } from '../../contract/hub.ts'

/** A file as a list of models tells of it. */
export interface ListedFile {
  readonly name: string
  readonly folder: string
  readonly ref: FileRef
  readonly from: 'own' | 'manager'
  /** The model it belongs to, with its other files. */
  readonly title: string
  readonly base: string | null
  readonly licence: string | null
  readonly page: string | null
  readonly sha256: string | null
  /** As the list says; rounded in some. */
  readonly aboutBytes: number | null
}

const baseName = (file: string) => file.replaceAll('\\', '/').replace(/^.*\//s, '').toLowerCase()
/** ComfyUI's former names of folders. */
const formerly: Record<string, string> = { unet: 'diffusion_models', clip: 'text_encoders', t2i_adapter: 'controlnet' }
/** The kind a folder is of, whichever sub-folder of it is meant. */
export const folderKind = (folder: string) => {
  const [first = ''] = folder.replaceAll('\\', '/').split('/')
  return formerly[first] ?? first
}

/** Names that hundreds of different files have. */
const SAYS_NOTHING =
  /^((diffusion_)?pytorch_(model|lora_weights)|model|adapter_model|lora|checkpoint|unet|vae|clip|text_encoder|image_encoder|controlnet|control|ip-adapter|decoder|encoder|last|best|final|epoch[-_\d]*|new|test|default|weights|transformer|model[-_]?\d*)([-_.](fp16|bf16|fp32|fp8|safetensors|\d+-of-\d+|v\d+))*\.\w+$/i
/** Whether a name alone tells one file from all others. */
export const tellsApart = (name: string) => !SAYS_NOTHING.test(baseName(name))

/** Lists of models, to be asked for a file by its name. */
export class ListedFiles {
  readonly all: readonly ListedFile[]
  readonly #byName = new Map<string, ListedFile[]>()

  constructor(all: readonly ListedFile[]) {
    this.all = all
    for (const file of all) {
      const key = file.name.toLowerCase()
      const known = this.#byName.get(key)
      if (known) known.push(file)
      else this.#byName.set(key, [file])
    }
  }

  /**
   * Who lists a file of this name: `catalogue` where its folder is the same and the name tells it apart, else `name`. Of
   * several, those of the model whose other files are wanted as well go first; then our own list.
   */
  find(
    need: { file: string; folder: string },
    wantedWith: ReadonlySet<string> = new Set(),
  ): { file: ListedFile; sure: 'catalogue' | 'name' }[] {
    const found = this.#byName.get(baseName(need.file)) ?? []
    const company = ({ title, from }: ListedFile) =>
      this.all.filter(
        (other) => other.title === title && other.from === from && wantedWith.has(other.name.toLowerCase()),
      ).length
    const sure = (file: ListedFile) =>
      folderKind(file.folder) === folderKind(need.folder) && tellsApart(need.file) ? 'catalogue' : 'name'
    return found
      .map((file) => ({ file, sure: sure(file), company: company(file) }) as const)
      .toSorted(
        (one, other) =>
          Number(other.sure === 'catalogue') - Number(one.sure === 'catalogue') ||
          Number(other.file.from === 'own') - Number(one.file.from === 'own') ||
          other.company - one.company,
      )
      .map(({ file, sure: how }) => ({ file, sure: how }))
  }

  /** Files whose name, model or family holds all of these words. */
  search(text: string): ListedFile[] {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean)
    const spaced = (file: ListedFile) => {
      const said = `${file.title} ${file.name} ${file.base ?? ''} ${file.folder}`.toLowerCase()
      return `${said} ${said.replace(/[-_.]+/g, ' ')}`
    }
    return this.all.filter((file) => {
      const said = spaced(file)
      return words.every((word) => said.includes(word))
    })
  }
}

const order: readonly Candidate['sure'][] = ['hash', 'author', 'catalogue', 'official', 'name']

/** The surest first, each file once; and which of them may be taken without asking. */
export function rank<C extends Pick<Candidate, 'sure' | 'sha256' | 'ref'>>(
  candidates: readonly C[],
  same: (one: FileRef, other: FileRef) => boolean,
): { candidates: C[]; chosen: number | null } {
  const ranked = candidates
    .map((candidate, place) => ({ candidate, place }))
    .toSorted(
      (one, other) =>
        order.indexOf(one.candidate.sure) - order.indexOf(other.candidate.sure) || one.place - other.place,
    )
    .map(({ candidate }) => candidate)
  const kept = ranked.filter(
    (candidate, place) =>
      !ranked
        .slice(0, place)
        .some(
          (before) => same(before.ref, candidate.ref) || (before.sha256 !== null && before.sha256 === candidate.sha256),
        ),
  )
  const [first] = kept
  return { candidates: kept, chosen: first && first.sure !== 'name' ? 0 : null }
}

/** Which folder ComfyUI-Manager's list means: the path it gives, else what its type usually is. */
const byType: Record<string, string> = {
  checkpoint: 'checkpoints',
  unclip: 'checkpoints',
  zero123: 'checkpoints',
  diffusion_model: 'diffusion_models',
  unet: 'diffusion_models',
  lora: 'loras',
  clip: 'text_encoders',
  clip_vision: 'clip_vision',
  vae: 'vae',
  taesd: 'vae_approx',
  controlnet: 'controlnet',
  't2i-adapter': 'controlnet',
  't2i-style': 'controlnet',
  embedding: 'embeddings',
  upscale: 'upscale_models',
  gligen: 'gligen',
  'ip-adapter': 'ipadapter',
  photomaker: 'photomaker',
  model_patch: 'model_patches',
}
export function folderOfListed(savePath: string, type: string): string | null {
  const path = savePath.replaceAll('\\', '/')
  if (path !== '' && path !== 'default')
    return path.split('/').every((part) => /^[\w.][\w .+-]*$/.test(part) && part !== '..' && part !== '.') ? path : null
  return byType[type.toLowerCase()] ?? null
}

/** `7.8GB` → bytes, as that list rounds them. */
export function aboutBytes(size: string): number | null {
  const [, number, unit] = /^([\d.]+)\s*([KMG])i?B$/i.exec(size.trim()) ?? []
  const scale = { K: 1e3, M: 1e6, G: 1e9 }[(unit ?? '').toUpperCase()]
  return scale && Number.isFinite(Number(number)) ? Math.round(Number(number) * scale) : null
}
