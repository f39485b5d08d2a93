import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'

type Tensors = Record<string, readonly number[]>

/** A safetensors file of half-precision numbers, as the format's own description lays it out. */
export function safetensors(tensors: Tensors, metadata: Record<string, string> = {}, fill = 0): Buffer {
  let at = 0
  const header: Record<string, unknown> = Object.keys(metadata).length > 0 ? { __metadata__: metadata } : {}
  for (const [name, shape] of Object.entries(tensors)) {
    const bytes = 2 * shape.reduce((product, side) => product * side, 1)
    header[name] = { dtype: 'F16', shape, data_offsets: [at, at + bytes] }
    at += bytes
  }
  const json = Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([size, json, Buffer.alloc(at, fill)])
}

export const aLora = (fill = 0, metadata: Record<string, string> = {}) =>
  safetensors(
    {
      'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight': [4, 2048],
      'lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight': [64, 4],
    },
    metadata,
    fill,
  )
export const aCheckpoint = (fill = 0, context = 768) =>
  safetensors(
    {
      'model.diffusion_model.input_blocks.0.0.weight': [4, 4, 3, 3],
      'model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight': [4, context],
      'first_stage_model.decoder.conv_in.weight': [4, 4, 3, 3],
      'cond_stage_model.transformer.text_model.embeddings.position_ids': [1, 77],
    },
    {},
    fill,
  )

/** A pickle of protocol 2 that loads `module.name` and calls it with a text. */
export const aPickle = (module: string, name: string) =>
  Buffer.from(`\x80\x02c${module}\n${name}\nX\x02\x00\x00\x00hi\x85R.`, 'latin1')

/** Puts files where a test wants them. */
export function put(dir: string, files: Record<string, Buffer | string>) {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(dir, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
}
