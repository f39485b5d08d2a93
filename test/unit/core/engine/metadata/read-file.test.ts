import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../../../../core/contract/errors.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { checkWorkflowSize, maxWorkflowBytes, readWorkflowFile } from '../../../../../core/engine/metadata/read-file.ts'
import { internationalChunk, png, textChunk, webp, zippedChunk } from '../../../../kit/pictures.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const prompt = '{"1":{"class_type":"EmptyImage","inputs":{"width":64}}}'
const workflow = '{"nodes":[{"id":1,"type":"EmptyImage"}],"links":[],"version":0.4}'
const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (cause) {
    if (cause instanceof AppError) return cause.code
    throw cause
  }
  return 'no error'
}

describe('a PNG', () => {
  test.each([
    ['tEXt', textChunk('prompt', prompt)],
    ['zTXt', zippedChunk('prompt', prompt)],
    ['iTXt', internationalChunk('prompt', prompt)],
    ['compressed iTXt', internationalChunk('prompt', prompt, true)],
    ['comf', textChunk('prompt', prompt, 'comf')],
  ])('gives the text of a %s chunk, before or after the pixels', (_, chunk) => {
    expect(readWorkflowFile('a.png', png([chunk]))).toEqual({ container: 'png', texts: { prompt } })
    expect(readWorkflowFile('a.png', png([], [chunk]))).toEqual({ container: 'png', texts: { prompt } })
  })

  test('gives text in UTF-8, else in Latin-1', () => {
    const latin: [string, Uint8Array] = ['tEXt', new Uint8Array([...bytes('prompt\0'), 0x63, 0x61, 0x66, 0xe9])]
    expect(readWorkflowFile('a.png', png([textChunk('workflow', '猫'), latin])).texts).toEqual({
      workflow: '猫',
      prompt: 'café',
    })
  })

  test('cut short is damaged, unless its workflow was read whole', () => {
    const whole = png([textChunk('workflow', workflow)])
    const cut = (size: number) => readWorkflowFile('a.png', whole.subarray(0, size))
    expect(codeOf(() => cut(60))).toBe('import.damaged')
    expect(cut(whole.length - 12).texts).toEqual({ workflow })
  })

  test('whose text was changed in a single bit is damaged', () => {
    const changed = png([textChunk('prompt', prompt)])
    changed[60]! ^= 1
    expect(codeOf(() => readWorkflowFile('a.png', changed))).toBe('import.damaged')
  })

  test('that unpacks to more than memory allows is left unread', () => {
    const bomb = png([zippedChunk('prompt', ' '.repeat(70 * 1024 * 1024))])
    expect(readWorkflowFile('a.png', bomb).texts).toEqual({})
  })
})

test.each([{}, { prefix: true }, { big: true }, { prefix: true, big: true }])(
  'a WebP gives its EXIF texts (%o)',
  (form) => {
    expect(readWorkflowFile('a.webp', webp({ prompt, workflow }, form))).toEqual({
      container: 'webp',
      texts: { prompt, workflow },
    })
  },
)

test('a WebP cut short is damaged', () => {
  const whole = webp({ prompt })
  expect(codeOf(() => readWorkflowFile('a.webp', whole.subarray(0, whole.length - 20)))).toBe('import.damaged')
})

test.each([
  ['UTF-8 with a mark', new Uint8Array([0xef, 0xbb, 0xbf, ...bytes(prompt)])],
  ['UTF-16 with a mark', new Uint8Array(Buffer.from(`\uFEFF${prompt}`, 'utf16le'))],
  ['UTF-16 without one', new Uint8Array(Buffer.from(prompt, 'utf16le'))],
  ['UTF-16, big end first', new Uint8Array(Buffer.from(`\uFEFF${prompt}`, 'utf16le').swap16())],
])('JSON in %s is read', (_, file) => {
  expect(readWorkflow('a.json', readWorkflowFile('a.json', file).texts).prompt).toEqual(JSON.parse(prompt))
})

test.each([
  ['nothing', new Uint8Array(), 'import.empty'],
  ['only spaces', bytes(' \n'), 'import.empty'],
  ['a ZIP', new Uint8Array([0x50, 0x4b, 3, 4, 20, 0]), 'import.unsupported-file'],
  ['a JPEG', new Uint8Array([0xff, 0xd8, 0xff, 0xe0]), 'import.unsupported-file'],
  ['a model', new Uint8Array([0x60, 1, 0, 0, 0, 0, 0, 0, 0x7b, 0x22]), 'import.unsupported-file'],
  ['bytes that are no text', new Uint8Array([0xc3, 0x28, 0xa0, 0xa1]), 'import.not-json'],
])('a .json that holds %s is refused', (_, file, code) => {
  expect(codeOf(() => readWorkflowFile('a.json', file))).toBe(code)
})

test('a ZIP renamed .json is called a ZIP', () => {
  expect(() => readWorkflowFile('a.json', new Uint8Array([0x50, 0x4b, 3, 4]))).toThrow('a.json is a ZIP archive')
})

test('a file above the limit is refused by its size alone', () => {
  expect(() => checkWorkflowSize('big.json', 200 * 1024 * 1024)).toThrow(
    'big.json is 200 MiB; workflows up to 64 MiB are read.',
  )
  expect(() => checkWorkflowSize('fits.json', maxWorkflowBytes)).not.toThrow()
})

/** A good file with some bytes changed, some cut off. */
const mutated = (whole: Uint8Array) =>
  fc
    .tuple(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.oneof({ weight: 3, arbitrary: fc.constant(whole.length) }, { weight: 1, arbitrary: fc.nat(whole.length) }),
    )
    .map(([changes, size]) => {
      const file = whole.slice(0, size)
      for (const [at, byte] of changes) if (at < file.length) file[at] = byte
      return file
    })

test.each([
  ['PNG', png([textChunk('prompt', prompt), zippedChunk('workflow', workflow), internationalChunk('x', 'y', true)])],
  ['WebP', webp({ prompt, workflow })],
  ['JSON', bytes(`{"workflow":${workflow},"prompt":${JSON.stringify(prompt)}}`)],
])('a %s with damaged bytes gives a workflow or one of our errors', (_, whole) => {
  fc.assert(
    fc.property(mutated(whole), (file) => {
      try {
        readWorkflow('x', readWorkflowFile('x', file).texts)
      } catch (cause) {
        expect(cause).toBeInstanceOf(AppError)
      }
    }),
    { numRuns: 2000, seed: 1 },
  )
})
