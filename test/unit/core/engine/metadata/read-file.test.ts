import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { AppError } from '../../../../../core/contract/errors.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import {
  checkWorkflowSize,
  maxWorkflowBytes,
  readWorkflowFile,
  readWorkflowFiles,
} from '../../../../../core/engine/metadata/read-file.ts'
import { bytesSource, openFile } from '../../../../../core/engine/metadata/source.ts'
import {
  ASCII,
  box,
  commentFrame,
  commentMeta,
  commentSegment,
  everyContainer,
  exifSegment,
  gif,
  gifXmp,
  glb,
  heif,
  id3,
  infoList,
  jpeg,
  jxl,
  longBox,
  matroska,
  mdtaMeta,
  mp3,
  mp4,
  ogg,
  riff,
  safetensors,
  svg,
  textFrame,
  tiff,
  userComment,
  wav,
  xmp,
  xmpParts,
  xmpSegment,
  zip,
} from '../../../../kit/containers.ts'
import { internationalChunk, png, textChunk, webp, zippedChunk } from '../../../../kit/pictures.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const prompt = '{"1":{"class_type":"EmptyImage","inputs":{"width":64,"text":"猫 ÿ"}}}'
const workflow = '{"nodes":[{"id":1,"type":"EmptyImage"}],"links":[],"version":0.4}'
const both = { prompt, workflow }
const combined = JSON.stringify({ prompt: JSON.parse(prompt), workflow: JSON.parse(workflow) })
const parameters = 'a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64'
const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (cause) {
    if (cause instanceof AppError) return cause.code
    throw cause
  }
  return 'no error'
}
const textsIn = (file: Uint8Array) => readWorkflowFile('x', file).texts

describe.each(Object.entries(everyContainer))('%s', (_, { container, make }) => {
  test('gives the prompt and the workflow it holds, however it is read', () => {
    const file = make(both)
    const read = readWorkflowFile('x', file)
    expect(read.container).toBe(container)
    expect(readWorkflow('x', read.texts)).toMatchObject({
      prompt: JSON.parse(prompt),
      editor: JSON.parse(workflow),
    })
    const [found] = [...readWorkflowFiles('x', onDisk(file))]
    expect(found).toMatchObject({ file: read })
  })

  test('without a workflow says so, or what is wrong with it', () => {
    const none = codeOf(() => readWorkflow('x', textsIn(make({}))))
    expect(['import.no-workflow', 'import.unknown-format']).toContain(none)
  })

  test('cut short at any place gives its workflow or an error of ours', () => {
    const file = make(both)
    for (let size = 0; size < file.length; size += Math.max(1, Math.floor(file.length / 300)))
      expect(codeOf(() => readWorkflow('x', textsIn(file.subarray(0, size))))).toMatch(/^(no error|import\.)/)
  })
})

/** As a file that is read where it is asked. */
function onDisk(file: Uint8Array) {
  const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-'))
  writeFileSync(path.join(dir, 'file'), file)
  const source = openFile(path.join(dir, 'file'))
  onTestFinished(() => {
    source.close()
    rmSync(dir, { recursive: true })
  })
  return source
}

describe('a PNG', () => {
  test.each([
    ['tEXt', textChunk('prompt', prompt)],
    ['zTXt', zippedChunk('prompt', prompt)],
    ['iTXt', internationalChunk('prompt', prompt)],
    ['compressed iTXt', internationalChunk('prompt', prompt, true)],
    ['comf', textChunk('prompt', prompt, 'comf')],
    ['eXIf', ['eXIf', tiff([[0x0110, ASCII, Buffer.from(`prompt:${prompt}\0`)]])] as [string, Uint8Array]],
  ])('gives the text of a %s chunk, before or after the pixels', (_, chunk) => {
    expect(readWorkflowFile('a.png', png([chunk]))).toEqual({ container: 'png', texts: { prompt } })
    expect(readWorkflowFile('a.png', png([], [chunk]))).toEqual({ container: 'png', texts: { prompt } })
  })

  test('gives text in UTF-8, else in Latin-1, and the texts of other programs', () => {
    const latin: [string, Uint8Array] = ['tEXt', new Uint8Array([...bytes('prompt\0'), 0x63, 0x61, 0x66, 0xe9])]
    const others = [textChunk('Parameters', parameters), textChunk('invokeai_metadata', '{}')]
    expect(textsIn(png([textChunk('Workflow', '猫'), latin, ...others]))).toEqual({
      workflow: '猫',
      prompt: 'café',
      parameters,
      invokeai_metadata: '{}',
    })
  })

  test('cut short is damaged, unless its workflow was read whole', () => {
    const whole = png([textChunk('workflow', workflow)])
    const cut = (size: number) => readWorkflowFile('a.png', whole.subarray(0, size))
    expect(codeOf(() => cut(60))).toBe('import.damaged')
    expect(cut(whole.length - 12).texts).toEqual({ workflow })
  })

  test('whose text was changed in a single bit is damaged, unless another text tells as much', () => {
    const changed = png([textChunk('prompt', prompt)])
    changed[60]! ^= 1
    expect(codeOf(() => textsIn(changed))).toBe('import.damaged')
    const one = png([textChunk('workflow', workflow), textChunk('prompt', prompt)])
    one[60]! ^= 1
    expect(textsIn(one)).toEqual({ prompt })
  })

  test('that unpacks to more than memory allows is left unread', () => {
    const bomb = png([zippedChunk('prompt', ' '.repeat(70 * 1024 * 1024))])
    expect(codeOf(() => textsIn(bomb))).toBe('import.no-workflow')
  })
})

test.each([{}, { prefix: true }, { big: true }, { prefix: true, big: true }])(
  'a WebP gives its EXIF texts (%o)',
  (form) => expect(readWorkflowFile('a.webp', webp(both, form))).toEqual({ container: 'webp', texts: both }),
)

test('a WebP cut short is damaged', () => {
  const whole = webp({ prompt })
  expect(codeOf(() => readWorkflowFile('a.webp', whole.subarray(0, whole.length - 20)))).toBe('import.damaged')
})

test('a WebP, and a PNG, give what their XMP holds', () => {
  const packet = xmp({ workflow, UserComment: combined })
  expect(textsIn(riff('WEBP', [['XMP ', Buffer.from(packet)]]))).toEqual({ workflow, UserComment: combined })
  expect(textsIn(png([internationalChunk('XML:com.adobe.xmp', packet, true)]))).toMatchObject({ workflow })
})

describe('a JPEG', () => {
  const ascii = (tag: number, text: string) => tiff([[tag, ASCII, Buffer.from(`${text}\0`)]])
  const long = `{"nodes":[${' '.repeat(200_000)}],"links":[],"version":0.4}`
  test.each<[string, Buffer, Record<string, string>]>([
    [
      'Make and Model',
      jpeg([exifSegment(tiff([[0x010f, ASCII, Buffer.from(`Workflow: ${workflow}\0`)]]))]),
      { workflow },
    ],
    ['ImageDescription', jpeg([exifSegment(ascii(0x010e, combined))]), { ImageDescription: combined }],
    ['UserComment in UTF-16', jpeg([exifSegment(tiff([], [userComment(combined)]))]), { UserComment: combined }],
    [
      'UserComment in UTF-16, the other way round',
      jpeg([
        exifSegment(
          tiff([], [[0x9286, 7, Buffer.concat([Buffer.from('UNICODE\0'), Buffer.from(combined, 'utf16le')])]]),
        ),
      ]),
      { UserComment: combined },
    ],
    [
      'UserComment in ASCII',
      jpeg([exifSegment(tiff([], [[0x9286, 7, Buffer.from(`ASCII\0\0\0${parameters}`)]]))]),
      { parameters },
    ],
    ['a comment', jpeg([commentSegment(combined)]), { comment: combined }],
    [
      'comments that go on',
      jpeg([
        commentSegment(long.slice(0, 65_533)),
        commentSegment(long.slice(65_533, 131_066)),
        commentSegment(long.slice(131_066, 196_599)),
        commentSegment(long.slice(196_599)),
      ]),
      { comment: long },
    ],
    ['XMP', jpeg([xmpSegment(xmp({ workflow }))]), { workflow }],
    ['XMP in parts', jpeg([xmpSegment(xmp({})), ...xmpParts(xmp({ workflow: long }))]), { workflow: long }],
  ])('gives %s', (_, file, texts) => expect(readWorkflowFile('x.jpg', file)).toEqual({ container: 'jpeg', texts }))

  test('whose EXIF has directories that lead to one another ends', () => {
    const block = tiff([[0x0110, ASCII, Buffer.from(`prompt:${prompt}\0`)]], [userComment('x')])
    const looping = Buffer.from(block)
    looping.writeUInt32LE(8, looping.indexOf(Buffer.from([0x69, 0x87])) + 8)
    expect(textsIn(jpeg([exifSegment(looping)]))).toEqual({ prompt })
  })
})

describe('an MP4', () => {
  test.each<[string, Buffer, Record<string, string>]>([
    ['keys at its end', mp4([mdtaMeta(both)]), both],
    ['keys at its beginning', mp4([mdtaMeta(both)], { moovFirst: true }), both],
    ['sizes of 64 bits', mp4([mdtaMeta(both)], { make: longBox }), both],
    ['names with a domain', mp4([mdtaMeta({ 'com.apple.quicktime.comment': combined })]), { comment: combined }],
    ['iTunes’ comment', mp4([commentMeta(combined)]), { comment: combined }],
    [
      'XMP',
      Buffer.concat([
        mp4([]),
        box('uuid', Buffer.from('be7acfcb97a942e89c71999491e3afac', 'hex'), Buffer.from(xmp({ workflow }))),
      ]),
      { workflow },
    ],
  ])('gives its texts: %s', (_, file, texts) => expect(textsIn(file)).toEqual(texts))

  test('cut before its texts is damaged', () => {
    const whole = mp4([mdtaMeta(both)])
    expect(codeOf(() => textsIn(whole.subarray(0, 100)))).toBe('import.damaged')
  })
})

test.each([{}, { inIdat: true }, { version: 0 }, { version: 2 }])(
  'an AVIF gives the EXIF item its places lead to (%o)',
  (form) => {
    const exif = tiff([[0x0110, ASCII, Buffer.from(`Prompt:${prompt}\0`)]])
    expect(readWorkflowFile('x.avif', heif(exif, form))).toEqual({ container: 'avif', texts: { prompt } })
  },
)

test('a JPEG XL gives its EXIF, also where it is packed; without boxes it holds none', () => {
  const exif = tiff([[0x0110, ASCII, Buffer.from(`Prompt:${prompt}\0`)]])
  for (const packed of [false, true]) expect(textsIn(jxl(exif, packed))).toEqual({ prompt })
  expect(codeOf(() => textsIn(Buffer.from([0xff, 0x0a, 1, 2, 3])))).toBe('import.no-workflow')
})

test.each([
  { place: 'start' },
  { place: 'end' },
  { place: 'end', seek: true },
  { place: 'start', open: true },
  { place: 'end', open: true },
] as const)('a WebM gives its tags, wherever they are (%o)', (form) => {
  expect(readWorkflowFile('x.webm', matroska(both, form))).toEqual({ container: 'webm', texts: both })
})

test.each([{ kind: 'opus' }, { kind: 'vorbis' }, { kind: 'flac' }, { pageBytes: 255 }, { pageBytes: 60_000 }] as const)(
  'an Ogg gives comments that run over pages (%o)',
  (form) => expect(textsIn(ogg({ WORKFLOW: workflow, prompt }, form))).toEqual(both),
)

describe('an MP3', () => {
  const frames = (encoding: number) => [
    textFrame('prompt', prompt.replace('猫', ''), encoding),
    textFrame('workflow', workflow, encoding),
  ]
  const expected = { prompt: prompt.replace('猫', ''), workflow }
  test.each([0, 1, 2, 3])('gives texts in encoding %i, in every version of its tag', (encoding) => {
    for (const version of [2, 3, 4])
      for (const unsynchronised of [false, true])
        expect(textsIn(mp3(id3(frames(encoding), { version, unsynchronised })))).toEqual(expected)
  })
  test('gives comments, and the texts of a tag whose sizes are written the old way', () => {
    expect(textsIn(mp3(id3([commentFrame(combined)])))).toEqual({ comment: combined })
    const long = textFrame('prompt', `${prompt}${' '.repeat(300)}`)
    expect(textsIn(mp3(id3([long, textFrame('workflow', workflow)], { plainSizes: true })))).toMatchObject({ workflow })
  })
})

test('a FLAC behind an MP3’s tag gives the texts of both', () => {
  const file = Buffer.concat([id3([textFrame('prompt', prompt)]), everyContainer.flac!.make({ workflow })])
  expect(readWorkflowFile('x.flac', file)).toEqual({ container: 'flac', texts: both })
})

describe('a WAV', () => {
  test.each<[string, Buffer, Record<string, string>]>([
    ['a list of texts', wav([infoList({ ICMT: combined })]), { comment: combined }],
    ['an ID3 tag', wav([['id3 ', id3([textFrame('prompt', prompt)])]]), { prompt }],
    [
      'a broadcast extension',
      wav([['bext', Buffer.concat([Buffer.alloc(602), Buffer.from(workflow)])]]),
      { history: workflow },
    ],
    ['iXML', wav([['iXML', Buffer.from(`<BWFXML><NOTE>${workflow}</NOTE></BWFXML>`)]]), { NOTE: workflow }],
  ])('gives %s', (_, file, texts) => expect(textsIn(file)).toMatchObject(texts))

  test('longer than 4 GiB says its size elsewhere', () => {
    const long = Buffer.alloc(28)
    long.writeBigUInt64LE(40n, 8)
    const file = riff('WAVE', [['ds64', long], ['data', Buffer.alloc(40)], infoList({ ICMT: combined })], 'RF64')
    file.writeUInt32LE(0xffffffff, file.indexOf('data') + 4)
    expect(textsIn(file)).toEqual({ comment: combined })
  })
})

test('a GIF gives its XMP', () => expect(textsIn(gif([gifXmp(xmp({ workflow }))]))).toEqual({ workflow }))

test('an SVG gives JSON in its metadata, in CDATA or escaped', () => {
  expect(textsIn(svg(both))).toEqual({ metadata: expect.stringContaining('"prompt"') })
  const inside = combined.replaceAll('"', '&quot;')
  expect(textsIn(Buffer.from(`<svg><metadata>${inside}</metadata></svg>`))).toEqual({ metadata: combined })
})

test('a GLB gives its extras, be they text or objects', () => {
  expect(textsIn(glb(both))).toEqual(both)
  expect(textsIn(glb({ workflow: JSON.parse(workflow) }, false))).toEqual({ workflow })
})

test('of a model of gigabytes only the header is read', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const file = path.join(dir, 'model.safetensors')
  writeFileSync(file, safetensors(both))
  truncateSync(file, 3 * 1024 ** 3)
  let readBytes = 0
  const source = openFile(file)
  onTestFinished(() => source.close())
  const counted = {
    sizeBytes: source.sizeBytes,
    read(at: number, length: number) {
      readBytes += length
      return source.read(at, length)
    },
  }
  const [found] = [...readWorkflowFiles('model.safetensors', counted)]
  expect(found).toMatchObject({ file: { container: 'safetensors', texts: both } })
  expect(readBytes).toBeLessThan(10_000)
})

describe('a ZIP', () => {
  const found = (file: Uint8Array) =>
    [...readWorkflowFiles('all.zip', bytesSource(file))].map((each) =>
      'fault' in each ? `${each.name}: ${each.fault.code}` : `${each.name}: ${each.file.container}`,
    )
  test.each([{}, { stored: true }, { zip64: true }, { before: Buffer.from('a program that unpacks itself') }])(
    'gives every file that holds something, and leaves what is beside (%o)',
    (form) => {
      const file = zip(
        [
          ['flows/', new Uint8Array()],
          ['flows/one.json', bytes(workflow)],
          ['flows/图.png', png([textChunk('prompt', prompt)])],
          ['README.md', bytes('# read me')],
          ['__MACOSX/._one.json', bytes('x')],
          ['flows/broken.json', bytes('{"nodes":')],
          ['plain.png', png([])],
        ],
        form,
      )
      expect(found(file)).toEqual([
        'flows/one.json: json',
        'flows/图.png: png',
        'flows/broken.json: json',
        'plain.png: import.no-workflow',
      ])
    },
  )

  test('in a ZIP is opened, one in that no more', () => {
    const once = zip([['once.zip', zip([['deep.json', bytes(workflow)]])]])
    expect(found(once)).toEqual(['deep.json: json'])
    expect(found(zip([['twice.zip', once]]))).toEqual(['twice.zip: import.empty-archive'])
  })

  test('names from a Chinese Windows are read as they were written', () => {
    expect(
      found(zip([[Buffer.from([0xb9, 0xa4, 0xd7, 0xf7, 0x2e, 0x6a, 0x73, 0x6f, 0x6e]), bytes(workflow)]])),
    ).toEqual(['工作.json: json'])
  })

  test('that would unpack to more than memory allows is given up, and what was stored is still read', () => {
    const zeros = new Uint8Array(65 * 1024 * 1024)
    const lying = zip([['bomb.json', zeros]])
    const size = lying.lastIndexOf('PK\x01\x02') + 24
    expect(found(lying)).toEqual(['bomb.json: import.too-large'])
    lying.writeUInt32LE(100, size) // says it is small
    expect(found(lying)).toEqual(['bomb.json: import.too-large'])
  })

  test('protected by a password, cut short, or empty, says so', () => {
    const one: [string, Uint8Array][] = [['a.json', bytes(workflow)]]
    expect(found(zip(one, { encrypted: true }))).toEqual(['a.json: import.locked'])
    expect(found(zip(one).subarray(0, 60))).toEqual(['all.zip: import.damaged'])
    expect(found(zip([]))).toEqual(['all.zip: import.empty-archive'])
  })
})

test('a gzip gives what is in it; a bomb is refused', () => {
  expect(textsIn(gzipSync(png([textChunk('prompt', prompt)])))).toEqual({ prompt })
  expect(codeOf(() => textsIn(gzipSync(new Uint8Array(70 * 1024 * 1024))))).toBe('import.too-large')
})

test.each([
  ['UTF-8 with a mark', new Uint8Array([0xef, 0xbb, 0xbf, ...bytes(prompt)])],
  ['UTF-16 with a mark', new Uint8Array(Buffer.from(`\uFEFF${prompt}`, 'utf16le'))],
  ['UTF-16 without one', new Uint8Array(Buffer.from(prompt, 'utf16le'))],
  ['UTF-16, big end first', new Uint8Array(Buffer.from(`\uFEFF${prompt}`, 'utf16le').swap16())],
])('JSON in %s is read', (_, file) => {
  expect(readWorkflow('a.json', readWorkflowFile('a.json', file).texts).prompt).toEqual(JSON.parse(prompt))
})

test('text that tells how A1111 made a picture is taken as such', () => {
  for (const text of [parameters, `<lora:cat:0.8> ${parameters}`])
    expect(readWorkflowFile('pasted.txt', bytes(text))).toEqual({ container: 'json', texts: { parameters: text } })
})

test.each([
  ['nothing', new Uint8Array(), 'import.empty'],
  ['only spaces', bytes(' \n'), 'import.empty'],
  ['a PDF', bytes('%PDF-1.7'), 'import.unsupported-file'],
  ['a web page', bytes('<!DOCTYPE html><html></html>'), 'import.unsupported-file'],
  ['a model without metadata', safetensors({}), 'import.no-workflow'],
  ['bytes that are no text', new Uint8Array([0xc3, 0x28, 0xa0, 0xa1]), 'import.not-json'],
])('a .json that holds %s is refused', (_, file, code) => {
  expect(codeOf(() => readWorkflowFile('a.json', file))).toBe(code)
})

test('a file above the limit is refused by its size alone', () => {
  expect(() => checkWorkflowSize('big.json', 200 * 1024 * 1024)).toThrow(
    'big.json is 200 MiB; workflows up to 64 MiB are read.',
  )
  expect(() => checkWorkflowSize('fits.json', maxWorkflowBytes)).not.toThrow()
})
