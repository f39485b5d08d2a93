import { bundledDefinitions } from '../../core/engine/definitions.ts'

/** What ComfyUI 0.33 says of its own nodes. */
export const { definitions } = bundledDefinitions()
