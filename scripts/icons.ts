// Draws every icon from resources/icons/icon.svg; the results are committed.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'

const dir = path.resolve(import.meta.dirname, '../resources/icons')
const SIZES = [16, 24, 32, 48, 64, 128, 256, 512, 1024]

const draw = (svg: string | Buffer, size: number) =>
  sharp(Buffer.from(svg), { density: (72 * size) / 16 })
    .resize(size, size)
    .png({ compressionLevel: 9, palette: false })
    .toBuffer()

/** Windows: a directory of PNG pictures (allowed since Vista). */
function encodeIco(pictures: ReadonlyMap<number, Buffer>): Buffer {
  const ENTRY = 16
  const header = Buffer.alloc(6 + ENTRY * pictures.size)
  header.writeUInt16LE(1, 2) // an icon, not a cursor
  header.writeUInt16LE(pictures.size, 4)
  let offset = header.length
  for (const [at, [size, png]] of [...pictures].entries()) {
    const entry = 6 + ENTRY * at
    header.writeUInt8(size === 256 ? 0 : size, entry)
    header.writeUInt8(size === 256 ? 0 : size, entry + 1)
    header.writeUInt16LE(1, entry + 4) // planes
    header.writeUInt16LE(32, entry + 6) // bits a pixel
    header.writeUInt32LE(png.length, entry + 8)
    header.writeUInt32LE(offset, entry + 12)
    offset += png.length
  }
  return Buffer.concat([header, ...pictures.values()])
}

/** macOS: typed chunks, each a PNG picture; the @2x types repeat a size for screens with small pixels. */
const ICNS_TYPES = { ic11: 32, ic12: 64, ic07: 128, ic13: 256, ic08: 256, ic14: 512, ic09: 512, ic10: 1024 }
function encodeIcns(pictures: ReadonlyMap<number, Buffer>): Buffer {
  const chunks = Object.entries(ICNS_TYPES).map(([type, size]) => chunk(type, pictures.get(size) as Buffer))
  return chunk('icns', Buffer.concat(chunks))
}
function chunk(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.write(type, 'latin1')
  head.writeUInt32BE(8 + body.length, 4)
  return Buffer.concat([head, body])
}

const CRESCENT = 'M11.1 10.2A4.6 4.6 0 0 1 6 3.9a4.6 4.6 0 1 0 5.1 6.3Z'
/** The tray's: a bare crescent, and a mark that tells states apart by shape as well as by colour. */
const TRAY = {
  idle: '',
  running: '<circle cx="12" cy="4" r="3" fill="#4cc38a"/>',
  paused: '<path d="M10 1.5h1.6v5H10zM12.9 1.5h1.6v5h-1.6z" fill="#e5a53a"/>',
  error: '<path d="M12 .8l3.4 6H8.6z" fill="#f2645f"/>',
}
const trayIcon = (mark: string, moon: string, halo: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path transform="matrix(1.25 0 0 1.25 -2 -.6)" d="${CRESCENT}" fill="${moon}" stroke="${halo}" stroke-width=".5" paint-order="stroke"/>${mark}</svg>`

await mkdir(path.join(dir, 'app'), { recursive: true })
const svg = await readFile(path.join(dir, 'icon.svg'))
const pictures = new Map<number, Buffer>()
for (const size of SIZES) pictures.set(size, await draw(svg, size))
for (const [size, png] of pictures) await writeFile(path.join(dir, 'app', `${size}x${size}.png`), png)
await writeFile(path.join(dir, 'icon.ico'), encodeIco(new Map([...pictures].filter(([size]) => size <= 256))))
await writeFile(path.join(dir, 'icon.icns'), encodeIcns(pictures))
for (const [name, scale] of [
  ['', 1],
  ['@2x', 2],
] as const) {
  // light, with a dark edge: it must show on bars of either kind
  for (const [state, mark] of Object.entries(TRAY))
    await writeFile(
      path.join(dir, `tray-${state}${name}.png`),
      await draw(trayIcon(mark, '#eef1ff', '#1b2a5e'), 16 * scale),
    )
  await writeFile(path.join(dir, `trayTemplate${name}.png`), await draw(trayIcon('', '#000', 'none'), 16 * scale))
}
