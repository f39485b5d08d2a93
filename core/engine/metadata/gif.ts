import { type ByteSource, begins } from './source.ts'
import { type Texts, textOf } from './text.ts'
import { readXmp } from './xml.ts'

const IMAGE = 0x2c
const EXTENSION = 0x21
const END = 0x3b
const COMMENT = 0xfe
const APPLICATION = 0xff

/** GIF: comments, and XMP in an application's block, anywhere between the pictures. */
export function readGif(source: ByteSource, texts: Texts): string | null {
  const cut = 'it ends before its last picture'
  const screen = source.read(0, 13)
  if (screen.length < 13) return cut
  let at = 13 + paletteBytes(screen[10]!)
  for (;;) {
    const [kind, label] = source.read(at, 2)
    if (kind === undefined) return cut
    if (kind === END) return null
    if (kind === IMAGE) {
      const descriptor = source.read(at, 10)
      if (descriptor.length < 10) return cut
      at = endOfBlocks(source, at + 11 + paletteBytes(descriptor[9]!))
    } else if (kind === EXTENSION) {
      const end = endOfBlocks(source, at + 2)
      if (label === COMMENT && end - at <= texts.room)
        texts.putBytes('comment', joined(source.read(at + 2, end - at - 2)))
      else if (label === APPLICATION && begins(source.read(at + 3, 11), 'XMP DataXMP') && texts.take(end - at)) {
        // the packet lies there whole, not in blocks; a ramp of 258 bytes after it leads a reader of blocks to its end
        readXmp(textOf(source.read(at + 14, end - at - 14 - 258)), texts)
      }
      at = end
    } else return 'a block is not where it should be'
    if (at > source.sizeBytes) return cut
  }
}

const paletteBytes = (flags: number) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0)

/** After blocks of a size byte and that many bytes, the last of them empty; beyond the file when it was cut. */
function endOfBlocks(source: ByteSource, from: number): number {
  for (let at = from; ; ) {
    const [size] = source.read(at, 1)
    if (size === undefined) return source.sizeBytes + 1
    at += size + 1
    if (size === 0) return at
  }
}

function joined(blocks: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  for (let at = 0; at < blocks.length && blocks[at]! > 0; at += blocks[at]! + 1)
    parts.push(blocks.subarray(at + 1, at + 1 + blocks[at]!))
  return Buffer.concat(parts)
}
