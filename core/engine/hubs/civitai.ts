import { AppError } from '../../contract/errors.ts'
import type { FileRef, HubFile } from '../../contract/hub.ts'
import { isJsonObject, type Json } from '../../contract/json.ts'
import { isPickleFile } from '../../contract/model-file.ts'
import { ask, HOURS, type HubNetwork, listIn, numberIn, sha256Of, sizeOf, textIn } from './ask.ts'

type CivitaiRef = Extract<FileRef, { hub: 'civitai' }>

/** Of a file that is no model of its own, its own type says the folder; else the model's. */
const byFileType: Record<string, string | null> = {
  VAE: 'vae',
  'Text Encoder': 'text_encoders',
  'Vision Encoder': 'clip_vision',
  CLIPVision: 'clip_vision',
  ControlNet: 'controlnet',
  UNet: 'diffusion_models',
  'Diffusion Model': 'diffusion_models',
  Upscaler: 'upscale_models',
  'Enhancement LoRA': 'loras',
  Negative: 'embeddings',
}
const byModelType: Record<string, string> = {
  Checkpoint: 'checkpoints',
  LORA: 'loras',
  LoCon: 'loras',
  DoRA: 'loras',
  TextualInversion: 'embeddings',
  Hypernetwork: 'hypernetworks',
  Controlnet: 'controlnet',
  ControlNet: 'controlnet',
  VAE: 'vae',
  Upscaler: 'upscale_models',
  MotionModule: 'animatediff_models',
  Detection: 'ultralytics',
  CLIPVision: 'clip_vision',
  UNet: 'diffusion_models',
  TextEncoder: 'text_encoders',
}
const NOT_MODELS = new Set(['Training Data', 'Config', 'Archive', 'Workflow'])

export const civitaiPath = ({ versionId, fileId }: CivitaiRef) =>
  `/api/download/models/${versionId}${fileId === null ? '' : `?fileId=${fileId}`}`

export interface CivitaiFile extends HubFile {
  readonly primary: boolean
  /** By the hub's names for them, lower case: AutoV1, AutoV2, AutoV3, CRC32, BLAKE3. */
  readonly hashes: Record<string, string>
}

/** Files of a version, the main one first. @throws AppError hub.* */
export async function civitaiVersion(network: HubNetwork, versionId: number, signal?: AbortSignal) {
  const { json } = await ask(network, 'civitai', `/api/v1/model-versions/${versionId}`, { signal, freshMs: 1 * HOURS })
  return readVersion(network, json)
}

/** Any hash it knows: SHA-256, AutoV1 to AutoV3, CRC32, BLAKE3. @throws AppError 'hub.not-found', hub.* */
export async function civitaiByHash(network: HubNetwork, hash: string, signal?: AbortSignal): Promise<CivitaiFile[]> {
  const path = `/api/v1/model-versions/by-hash/${encodeURIComponent(hash.toUpperCase())}`
  const { json } = await ask(network, 'civitai', path, { signal, freshMs: 24 * HOURS })
  const files = readVersion(network, json)
  const wanted = hash.toLowerCase()
  const exact = files.filter((file) => file.sha256 === wanted || Object.values(file.hashes).includes(wanted))
  return exact.length > 0 ? exact : files
}

/** The versions of a model, the newest first. @throws AppError hub.* */
export async function civitaiModel(network: HubNetwork, modelId: number, signal?: AbortSignal): Promise<CivitaiFile[]> {
  const { json } = await ask(network, 'civitai', `/api/v1/models/${modelId}`, { signal, freshMs: 1 * HOURS })
  return readModel(network, json)
}

/** @throws AppError hub.* */
export async function civitaiFind(network: HubNetwork, words: string, limit: number, signal?: AbortSignal) {
  const query = new URLSearchParams({ query: words, limit: String(limit) })
  const { json } = await ask(network, 'civitai', `/api/v1/models?${query}`, { signal, freshMs: 24 * HOURS })
  return listIn(json, 'items').map((model) => readModel(network, model))
}

function readModel(network: HubNetwork, json: Json): CivitaiFile[] {
  const name = textIn(json, 'name')
  const type = textIn(json, 'type')
  const modelId = numberIn(json, 'id')
  const downloads = isJsonObject(json) ? sizeOf(numberIn(json.stats, 'downloadCount')) : null
  return listIn(json, 'modelVersions').flatMap((version) =>
    isJsonObject(version)
      ? readVersion(network, { ...version, modelId, model: { name, type } }).map((file) => ({ ...file, downloads }))
      : [],
  )
}

function readVersion(network: HubNetwork, json: Json): CivitaiFile[] {
  const versionId = numberIn(json, 'id')
  if (!isJsonObject(json) || versionId === null || !Array.isArray(json.files))
    throw new AppError('hub.wrong-answer', { hub: 'Civitai', host: textIn(json, 'error') ?? String(versionId ?? '?') })
  const modelId = numberIn(json, 'modelId')
  const modelType = textIn(json.model, 'type') ?? ''
  const title = [textIn(json.model, 'name'), textIn(json, 'name')].filter(Boolean).join(' · ')
  const official = network.hosts().find((host) => host.hub === 'civitai' && host.official)
  const early = textIn(json, 'earlyAccessEndsAt')
  const closed =
    (early !== null && Date.parse(early) > network.now()) || textIn(json, 'usageControl') === 'InternalGeneration'
  return json.files
    .flatMap((file): CivitaiFile[] => {
      const name = textIn(file, 'name')
      const type = textIn(file, 'type') ?? 'Model'
      const fileId = numberIn(file, 'id')
      if (name === null || !isJsonObject(file) || NOT_MODELS.has(type)) return []
      const hashes = isJsonObject(file.hashes) ? file.hashes : {}
      const sizeKB = numberIn(file, 'sizeKB')
      return [
        {
          ref: { hub: 'civitai', versionId, fileId: fileId !== null && fileId > 0 ? fileId : null },
          name: name.replace(/^.*[\\/]/s, ''),
          sizeBytes: sizeKB === null ? null : sizeOf(sizeKB * 1024),
          sha256: sha256Of(textIn(hashes, 'SHA256')),
          gitSha1: null,
          title,
          page: official && modelId !== null ? `${official.base}/models/${modelId}?modelVersionId=${versionId}` : null,
          licence: null,
          gated: closed,
          folder: byFileType[type] ?? byModelType[modelType] ?? null,
          baseModel: textIn(json, 'baseModel'),
          pickle: textIn(file.metadata, 'format') === 'PickleTensor' || isPickleFile(name),
          downloads: null,
          primary: file.primary === true,
          hashes: Object.fromEntries(
            Object.entries(hashes).flatMap(([kind, value]) =>
              typeof value === 'string' && value !== '' ? [[kind, value.toLowerCase()]] : [],
            ),
          ),
        },
      ]
    })
    .toSorted((one, other) => Number(other.primary) - Number(one.primary))
}

/** @throws AppError hub.* */
export async function civitaiFile(network: HubNetwork, ref: CivitaiRef, signal?: AbortSignal): Promise<CivitaiFile> {
  const files = await civitaiVersion(network, ref.versionId, signal)
  const file =
    ref.fileId === null ? files[0] : files.find((each) => each.ref.hub === 'civitai' && each.ref.fileId === ref.fileId)
  if (!file) throw new AppError('hub.not-found', { hub: 'Civitai', what: String(ref.versionId), page: '' })
  return file
}
