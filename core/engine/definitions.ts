import { readFileSync } from 'node:fs'
import type { ObjectInfo } from '../contract/comfyui.ts'
import { parseJsonWithFloats } from '../contract/json.ts'

export interface BundledDefinitions {
  definitions: ObjectInfo
  /** The ComfyUI they were captured from. */
  version: string
}

let bundled: BundledDefinitions | undefined

/** ComfyUI's own nodes, captured by scripts/capture-definitions.ts; the lists of model files are empty. */
export function bundledDefinitions(): BundledDefinitions {
  bundled ??= parseJsonWithFloats(
    readFileSync(new URL('../../resources/object-info.json', import.meta.url), 'utf8'),
  ) as unknown as BundledDefinitions
  return bundled
}
