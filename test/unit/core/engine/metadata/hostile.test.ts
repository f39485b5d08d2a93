import { expect, test } from 'vitest'
import { AppError } from '../../../../../core/contract/errors.ts'
import { readWorkflow } from '../../../../../core/domain/workflow/read.ts'
import { readWorkflowFiles } from '../../../../../core/engine/metadata/read-file.ts'
import { bytesSource } from '../../../../../core/engine/metadata/source.ts'
import {
  box,
  commentSegment,
  element,
  exifSegment,
  gif,
  gifComment,
  id3,
  infoList,
  jpeg,
  mp3,
  mp4,
  ogg,
  safetensors,
  textFrame,
  vorbisComments,
  wav,
  zip,
} from '../../../../kit/containers.ts'
import { png, textChunk } from '../../../../kit/pictures.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'

const SIZE = 1_000_000
const text = (piece: string, size = SIZE) => Buffer.from(piece.repeat(Math.ceil(size / piece.length)))
const many = <T>(count: number, make: (at: number) => T) => Array.from({ length: count }, (_, at) => make(at))

/** Directories that overlap, each pointing at all others, each entry at the whole block. */
function overlappingTiff() {
  const block = Buffer.alloc(60_000, 0)
  block.write('II*\0')
  block.writeUInt32LE(8, 4)
  for (let at = 8; at + 14 < block.length; at += 14) {
    block.writeUInt16LE(65_535, at)
    block.writeUInt16LE(at % 3 === 0 ? 0x8769 : 0x010e, at + 2)
    block.writeUInt16LE(2, at + 4)
    block.writeUInt32LE(40_000, at + 6)
    block.writeUInt32LE(at % 3 === 0 ? (at * 31) % 60_000 : 8, at + 10)
  }
  return block
}
function nested(type: string, depth: number): Buffer {
  const file = Buffer.alloc(depth * 8)
  for (let at = 0; at < depth; at++) {
    file.writeUInt32BE((depth - at) * 8, at * 8)
    file.write(type, at * 8 + 4)
  }
  return file
}
/** Many entries of one archive that are the same packed bytes: small, and endless unpacked. */
function overlappingZip() {
  const one = zip([['a.json', new Uint8Array(60 * 1024 * 1024)]])
  const directoryAt = one.lastIndexOf('PK\x01\x02')
  const end = one.lastIndexOf('PK\x05\x06')
  const entry = one.subarray(directoryAt, end)
  const tail = Buffer.from(one.subarray(end))
  tail.writeUInt16LE(2000, 8)
  tail.writeUInt16LE(2000, 10)
  tail.writeUInt32LE(entry.length * 2000, 12)
  return Buffer.concat([one.subarray(0, directoryAt), ...many(2000, () => entry), tail])
}

test.each<[string, () => Uint8Array]>([
  ['a PNG of tiny texts', () => png(many(20_000, (at) => textChunk(`k${at}`, '{')))],
  ['a PNG of the same text', () => png(many(20_000, () => textChunk('comment', '{"a":1}')))],
  ['a JPEG of empty comments', () => jpeg(many(30_000, () => commentSegment('')))],
  ['a JPEG of full comments', () => jpeg(many(60, () => commentSegment('{'.repeat(65_533))))],
  ['EXIF whose directories overlap', () => jpeg([exifSegment(overlappingTiff())])],
  ['a GIF of tiny blocks', () => gif([Buffer.concat([Buffer.from([0x21, 0xfe]), text('\x01x'), Buffer.from([0])])])],
  ['a GIF of many comments', () => gif(many(30_000, () => gifComment('{')))],
  ['an SVG of open tags', () => Buffer.concat([Buffer.from('<svg>'), text('<a>')])],
  ['an SVG of tags that never end', () => Buffer.concat([Buffer.from('<svg '), text('<a b="')])],
  ['an SVG of attributes', () => Buffer.concat([Buffer.from('<svg {'), text('aaaa '), text('a=')])],
  ['an SVG of entities', () => Buffer.concat([Buffer.from('<svg>{'), text('&amp;')])],
  ['an SVG of comments and CDATA that never end', () => Buffer.concat([Buffer.from('<svg>'), text('<!--<![CDATA[')])],
  ['an SVG of words for parameters', () => Buffer.concat([Buffer.from('<svg>Steps: '), text('\n \n')])],
  ['an MP4 of nested boxes', () => Buffer.concat([mp4([]), nested('moov', 30_000)])],
  ['an MP4 of tiny boxes', () => mp4(many(30_000, () => box('free')))],
  ['an MP4 of metadata in metadata', () => Buffer.concat([mp4([]), nested('meta', 30_000)])],
  [
    'a WebM of tiny elements',
    () =>
      Buffer.concat([
        element(0x1a45dfa3, []),
        element(
          0x18538067,
          many(30_000, () => element(0xec, [])),
        ),
      ]),
  ],
  [
    'a WebM of tags that are all sought',
    () => {
      const seek = element(0x4dbb, [
        element(0x53ab, [Buffer.from('1254c367', 'hex')]),
        element(0x53ac, [Buffer.from([0])]),
      ])
      const tags = element(
        0x1254c367,
        many(2000, () => element(0x7373, [element(0x67c8, [])])),
      )
      const heads = many(200, () =>
        element(
          0x114d9b74,
          many(100, () => seek),
        ),
      )
      return Buffer.concat([element(0x1a45dfa3, []), element(0x18538067, [...heads, tags, element(0x1f43b675, [])])])
    },
  ],
  ['an Ogg of tiny pages', () => ogg({ workflow: '{'.repeat(1_000_000) }, { pageBytes: 255 })],
  ['comments that say they are endless', () => ogg({}, {}).fill(0xff, 60, 70)],
  ['an ID3 tag of tiny frames', () => mp3(id3(many(20_000, (at) => textFrame(`k${at}`, '{'))))],
  [
    'an ID3 tag of padding to undo',
    () => mp3(id3([textFrame('x', '\xff'.repeat(1_000_000), 0)], { unsynchronised: true })),
  ],
  ['a WAV of tiny texts', () => wav(many(20_000, () => infoList({ ICMT: '{' })))],
  ['a model with many names', () => safetensors(Object.fromEntries(many(20_000, (at) => [`k${at}`, '{'])))],
  ['an archive of tiny files', () => zip(many(3000, (at) => [`${at}.json`, Buffer.from('{}')]))],
  ['an archive whose files are one', overlappingZip],
  [
    'comments in FLAC beyond count',
    () => Buffer.concat([Buffer.from('fLaC'), Buffer.from([0x84, 0, 0, 60]), vorbisComments({}).fill(0xff, 8)]),
  ],
  ['JSON that is all brackets', () => text('[')],
  ['JSON of too many values', () => Buffer.from(`[${'{},'.repeat(5_000_000)}0]`)],
  ['JSON whose comments hide comments', () => text('/', 20_000)],
  ['JSON of escapes', () => text('"\\')],
  ['a text of line breaks before parameters', () => Buffer.concat([text('\n'), Buffer.from('Steps: 1')])],
])('%s is read or refused soon', (_, make) => {
  const file = make()
  const took = stopwatch()
  try {
    for (const found of readWorkflowFiles('hostile', bytesSource(file))) {
      if ('file' in found) readWorkflow(found.name, found.file.texts)
    }
  } catch (cause) {
    expect(cause).toBeInstanceOf(AppError)
  }
  expect(took()).toBeLessThan(1000)
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(600 * 1024 * 1024)
})
