import { expect, test } from 'vitest'
import type { ModelNeed } from '../../../../../core/contract/workflow.ts'
import { estimateVram } from '../../../../../core/domain/workflow/vram.ts'

const GIB = 1024 ** 3
const model = (folder: string, file: string, gib: number | null, node = file): ModelNeed => ({
  file,
  folder,
  node,
  present: null,
  sources: [],
  workers: [],
  sizeBytes: gib === null ? null : gib * GIB,
})
const latent = (inputs: object) => ({ '1': { class_type: 'EmptyLatentImage', inputs: inputs as never } })

test('the largest turn counts: a diffusion model with what guides it, or the text encoders of one loader', () => {
  const flux = [
    model('diffusion_models', 'flux', 12),
    model('controlnet', 'canny', 2),
    model('text_encoders', 't5', 9, 'clip'),
    model('text_encoders', 'clip-l', 0.5, 'clip'),
    model('loras', 'ink', null),
    model('vae', 'ae', null),
  ]
  const sampling = estimateVram(flux, {})
  expect(sampling.because.map(({ name }) => name)).toEqual(['flux', 'canny'])
  expect(sampling.aboutBytes).toBe(14 * GIB + 1.2 * GIB)
  const encoding = estimateVram([model('diffusion_models', 'small', 2), ...flux.slice(2)], {})
  expect(encoding.because.map(({ name }) => name)).toEqual(['t5', 'clip-l'])
})

test('a second diffusion model has its own turn; a larger picture, more frames and a batch want more', () => {
  const high = model('diffusion_models', 'high', 14)
  const low = model('diffusion_models', 'low', 14)
  expect(estimateVram([high, low], {}).aboutBytes).toBe(15.2 * GIB)
  const at = (inputs: object) => estimateVram([high], latent(inputs)).aboutBytes! - 15.2 * GIB
  const base = at({ width: 1024, height: 1024, batch_size: 1 })
  expect(base).toBeCloseTo(128 * 128 * 2 * 2 * 0.01 * 2 * 1024 ** 2, -3)
  expect(at({ width: 1024, height: 1024, batch_size: 4 })).toBeCloseTo(base * 4, -3)
  expect(at({ width: 1024, height: 1024, length: 81 })).toBeCloseTo(base * 21, -3)
})

test('one unknown size makes the whole unknown, and says which; nothing to load has no estimate', () => {
  expect(estimateVram([model('diffusion_models', 'a', null), model('text_encoders', 'b', 3)], {})).toEqual({
    aboutBytes: null,
    because: [{ what: 'unknown-size', name: 'a', bytes: null }],
  })
  expect(estimateVram([], {})).toEqual({ aboutBytes: null, because: [] })
})
