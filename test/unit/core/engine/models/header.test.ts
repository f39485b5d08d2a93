import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { modelSentences } from '../../../../../core/domain/model-faults.ts'
import { belongsIn, tellKind, tensorTable } from '../../../../../core/domain/model-kind.ts'
import { bytesSource } from '../../../../../core/engine/metadata/source.ts'
import { parametersOf, precisionOf, readHeader, trainedWords } from '../../../../../core/engine/models/header.ts'
import { aCheckpoint, aLora, safetensors } from '../../../../kit/model-files.ts'

const read = (bytes: Uint8Array, name = 'a.safetensors') => readHeader(bytesSource(bytes), name)
const kindOf = (shapes: Record<string, readonly number[]>, metadata = {}, name = 'a.safetensors') =>
  tellKind(tensorTable(new Map(Object.entries(shapes))), metadata, name)

test('a header tells kind, family, precision, count and words without its numbers being read', () => {
  const header = read(
    aLora(0, { ss_base_model_version: 'sdxl_base_v1-0', ss_tag_frequency: '{"a":{"cat":2,"dog":5}}' }),
  )
  expect(header.faults).toEqual([])
  expect(tellKind(tensorTable(header.shapes), header.metadata, 'x.safetensors')).toEqual({ kind: 'lora', base: 'SDXL' })
  expect([precisionOf(header), parametersOf(header)]).toEqual(['fp16', 4 * 2048 + 64 * 4])
  expect(trainedWords(header.metadata)).toEqual(['dog', 'cat'])
})

test.each<[string, (bytes: Buffer) => Buffer, string]>([
  ['cut short', (bytes) => bytes.subarray(0, -1), 'model.truncated'],
  ['too long', (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]), 'model.too-long'],
  ['cut inside its header', (bytes) => bytes.subarray(0, 20), 'model.damaged'],
  ['nothing', () => Buffer.alloc(0), 'model.empty'],
  ['an error page', () => Buffer.from('{"error":"Unauthorized","message":"log in"}'), 'model.not-a-model'],
  ['a pointer of git', () => Buffer.from('version https://git-lfs.github.com/spec/v1\noid x'), 'model.not-a-model'],
  [
    'a header that is no JSON',
    (bytes) => Buffer.concat([bytes.subarray(0, 9), Buffer.alloc(bytes.length - 9, 65)]),
    'model.damaged',
  ],
])('a file that is %s is found to be', (_, spoil, code) => {
  expect(read(spoil(aCheckpoint())).faults.map((fault) => fault.code)).toContain(code)
})

test('tensors that leave a gap, overlap or lie about their size are damage', () => {
  const whole = safetensors({ a: [4], b: [4] }).toString('latin1')
  for (const [from, to] of [
    ['[8,16]', '[9,17]'],
    ['[8,16]', '[4,12]'],
    ['"shape":[4]', '"shape":[5]'],
  ] as const)
    expect(read(Buffer.from(whole.replace(from, to), 'latin1')).faults[0]?.code).toMatch(
      /^model\.(damaged|too-long|truncated)$/,
    )
})

test.each<[string | null, string | null, Record<string, readonly number[]>]>([
  [
    'checkpoint',
    'SD 1.5',
    {
      'model.diffusion_model.input_blocks.0.0.weight': [320, 4, 3, 3],
      'model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight': [320, 768],
      'first_stage_model.x': [1],
    },
  ],
  [
    'checkpoint',
    'SDXL',
    {
      'model.diffusion_model.input_blocks.0.0.weight': [320, 4, 3, 3],
      'model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight': [640, 2048],
      'conditioner.x': [1],
    },
  ],
  [
    'diffusion-model',
    'FLUX.1 dev',
    {
      'double_blocks.0.img_attn.norm.key_norm.scale': [128],
      'img_in.weight': [3072, 64],
      'guidance_in.in_layer.weight': [1, 1],
    },
  ],
  [
    'diffusion-model',
    'FLUX.1 schnell',
    { 'double_blocks.0.img_attn.norm.key_norm.scale': [128], 'img_in.weight': [3072, 64] },
  ],
  ['diffusion-model', 'Wan 2.1', { 'head.modulation': [1], 'patch_embedding.weight': [5120, 16, 1, 2, 2] }],
  [
    'diffusion-model',
    'Wan 2.2 5B',
    {
      'model.diffusion_model.head.modulation': [1],
      'model.diffusion_model.patch_embedding.weight': [3072, 48, 1, 2, 2],
    },
  ],
  ['diffusion-model', 'Qwen-Image', { 'txt_norm.weight': [3584], 'transformer_blocks.0.attn.to_q.weight': [1] }],
  [
    'diffusion-model',
    'Z-Image',
    { 'cap_embedder.1.weight': [3840, 2560], 'noise_refiner.0.attention.k_norm.weight': [1] },
  ],
  ['diffusion-model', 'HunyuanVideo', { 'txt_in.individual_token_refiner.blocks.0.norm1.weight': [1] }],
  ['diffusion-model', 'LTX-Video', { 'adaln_single.emb.timestep_embedder.linear_1.bias': [1] }],
  [
    'diffusion-model',
    'SD 3.5 Large',
    { 'joint_blocks.0.context_block.attn.qkv.weight': [1], 'context_embedder.weight': [2432, 4096] },
  ],
  ['lora', 'FLUX.1 dev', { 'transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight': [16, 3072] }],
  ['lora', 'Wan 2.1', { 'diffusion_model.blocks.0.self_attn.q.lora_A.weight': [32, 5120] }],
  ['lora', 'Qwen-Image', { 'transformer_blocks.0.img_mod.1.lora_down.weight': [4, 3072] }],
  [
    'lora',
    'SD 1.5',
    { 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight': [4, 768] },
  ],
  [
    'text-encoder',
    'UMT5-XXL',
    { 'shared.weight': [256384, 4096], 'encoder.block.0.layer.0.SelfAttention.q.weight': [1] },
  ],
  [
    'text-encoder',
    'CLIP-L',
    { 'text_model.embeddings.token_embedding.weight': [49408, 768], 'text_model.encoder.layers.0.x': [1] },
  ],
  ['vae', null, { 'decoder.conv_in.weight': [512, 4, 3, 3], 'encoder.conv_in.weight': [128, 3, 3, 3] }],
  ['vae', 'FLUX.1', { 'decoder.conv_in.weight': [512, 16, 3, 3], 'encoder.conv_in.weight': [128, 3, 3, 3] }],
  ['controlnet', 'SD 1.5', { 'control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight': [320, 768] }],
  ['upscaler', null, { 'conv_first.weight': [64, 3, 3, 3], 'body.0.rdb1.conv1.weight': [1] }],
  ['clip-vision', null, { 'vision_model.encoder.layers.0.x': [1] }],
  ['embedding', 'SDXL', { clip_g: [8, 1280], clip_l: [8, 768] }],
  [null, null, { something: [1], else: [2] }],
])('tensors tell a %s of %s', (kind, base, shapes) => {
  expect(kindOf(shapes)).toEqual({ kind, base })
})

test('families that are alike inside are told apart by the name', () => {
  const wan = { 'head.modulation': [1], 'patch_embedding.weight': [5120, 16, 1, 2, 2] }
  expect(kindOf(wan, {}, 'wan2.2_t2v_high_noise_14B.safetensors').base).toBe('Wan 2.2')
  expect(kindOf(wan, {}, 'wan2.1_t2v_14B.safetensors').base).toBe('Wan 2.1')
})

test('a file in a folder whose loader cannot use it is told with the right one; what nobody can tell is not judged', () => {
  expect(belongsIn('checkpoints', 'lora')).toBe('loras')
  expect(belongsIn('diffusion_models', 'checkpoint')).toBeNull()
  expect(belongsIn('checkpoints', null)).toBeNull()
  expect(belongsIn('a-folder-of-a-pack', 'lora')).toBeNull()
})

/** A GGUF as its description lays it out: one text, one number, one list of texts, one tensor. */
function gguf(spoil: { cut?: number } = {}) {
  const u32 = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value)
    return bytes
  }
  const u64 = (value: number) => Buffer.concat([u32(value), u32(0)])
  const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
  const head = Buffer.concat([
    ...[Buffer.from('GGUF'), u32(3), u64(1), u64(3)],
    ...[text('general.architecture'), u32(8), text('flux')],
    ...[text('general.alignment'), u32(4), u32(32)],
    ...[text('tokenizer.tokens'), u32(9), u32(8), u64(2), text('a'), text('b')],
    ...[text('double_blocks.0.img_attn.norm.key_norm.scale'), u32(1), u64(256), u32(12), u64(0)],
  ])
  const padded = Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32)])
  return Buffer.concat([padded, Buffer.alloc(144 - (spoil.cut ?? 0))])
}

test('a GGUF tells what it is; one cut short is found by where its last tensor should end', () => {
  const whole = read(gguf(), 'flux-Q4_K.gguf')
  expect(whole).toMatchObject({ format: 'gguf', faults: [], metadata: { 'general.architecture': 'flux' } })
  expect([precisionOf(whole), parametersOf(whole)]).toEqual(['Q4_K', 256])
  expect(tellKind(tensorTable(whole.shapes), whole.metadata, 'flux-Q4_K.gguf').kind).toBe('diffusion-model')
  expect(read(gguf({ cut: 1 }), 'a.gguf').faults[0]?.code).toBe('model.truncated')
  expect(read(gguf().subarray(0, 60), 'a.gguf').faults[0]?.code).toBe('model.damaged')
})

test('what is told of a file can be said by every door in the same words', () => {
  const file = path.resolve(import.meta.dirname, '../../../../../resources/locales/en/problems.json')
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject(modelSentences)
})
