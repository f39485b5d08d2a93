/** What a file is: by its first bytes when they say so, else by its extension. */
export interface Media {
  readonly mediaType: string
  readonly kind: 'image' | 'video' | 'audio' | 'text' | '3d' | 'other'
  /** Without the dot; empty when nothing is known. */
  readonly ext: string
}

/** Bytes of a file's head that `mediaOf` looks at. */
export const HEAD_BYTES = 4096

const TYPES: Record<string, readonly [mediaType: string, kind: Media['kind']]> = {
  png: ['image/png', 'image'],
  jpg: ['image/jpeg', 'image'],
  jpeg: ['image/jpeg', 'image'],
  webp: ['image/webp', 'image'],
  gif: ['image/gif', 'image'],
  avif: ['image/avif', 'image'],
  heic: ['image/heic', 'image'],
  jxl: ['image/jxl', 'image'],
  tif: ['image/tiff', 'image'],
  tiff: ['image/tiff', 'image'],
  bmp: ['image/bmp', 'image'],
  exr: ['image/x-exr', 'image'],
  hdr: ['image/vnd.radiance', 'image'],
  psd: ['image/vnd.adobe.photoshop', 'image'],
  svg: ['image/svg+xml', 'image'],
  mp4: ['video/mp4', 'video'],
  m4v: ['video/mp4', 'video'],
  mov: ['video/quicktime', 'video'],
  webm: ['video/webm', 'video'],
  mkv: ['video/x-matroska', 'video'],
  avi: ['video/x-msvideo', 'video'],
  flac: ['audio/flac', 'audio'],
  mp3: ['audio/mpeg', 'audio'],
  wav: ['audio/wav', 'audio'],
  ogg: ['audio/ogg', 'audio'],
  opus: ['audio/ogg', 'audio'],
  m4a: ['audio/mp4', 'audio'],
  aac: ['audio/aac', 'audio'],
  txt: ['text/plain', 'text'],
  md: ['text/markdown', 'text'],
  csv: ['text/csv', 'text'],
  srt: ['text/plain', 'text'],
  vtt: ['text/vtt', 'text'],
  json: ['application/json', 'text'],
  glb: ['model/gltf-binary', '3d'],
  gltf: ['model/gltf+json', '3d'],
  obj: ['model/obj', '3d'],
  stl: ['model/stl', '3d'],
  ply: ['model/ply', '3d'],
  fbx: ['model/vnd.fbx', '3d'],
  usdz: ['model/vnd.usdz+zip', '3d'],
  spz: ['application/octet-stream', '3d'],
  splat: ['application/octet-stream', '3d'],
  ksplat: ['application/octet-stream', '3d'],
  zip: ['application/zip', 'other'],
  pdf: ['application/pdf', 'other'],
}

/** Signatures: at an offset, these characters (latin-1). The first that fits wins. */
const SIGNATURES: readonly (readonly [ext: string, ...places: (readonly [offset: number, characters: string])[]])[] = [
  ['png', [0, '\x89PNG\r\n\x1a\n']],
  ['jpg', [0, '\xff\xd8\xff']],
  ['webp', [0, 'RIFF'], [8, 'WEBP']],
  ['wav', [0, 'RIFF'], [8, 'WAVE']],
  ['avi', [0, 'RIFF'], [8, 'AVI ']],
  ['gif', [0, 'GIF8']],
  ['avif', [4, 'ftypavi']],
  ['heic', [4, 'ftyphei']],
  ['m4a', [4, 'ftypM4A']],
  ['mov', [4, 'ftypqt']],
  ['mp4', [4, 'ftyp']],
  ['jxl', [0, '\0\0\0\x0cJXL ']],
  ['tif', [0, 'II*\0']],
  ['tif', [0, 'MM\0*']],
  ['exr', [0, 'v/1\x01']],
  ['hdr', [0, '#?RADIANCE']],
  ['psd', [0, '8BPS']],
  ['flac', [0, 'fLaC']],
  ['ogg', [0, 'OggS']],
  ['mp3', [0, 'ID3']],
  ['glb', [0, 'glTF']],
  ['pdf', [0, '%PDF-']],
  ['fbx', [0, 'Kaydara FBX']],
  ['ply', [0, 'ply\n']],
  ['ply', [0, 'ply\r\n']],
]
const EBML = '\x1aE\xdf\xa3'

/** Extensions that name the same bytes more closely than the signature can. */
const CLOSER: Record<string, readonly string[]> = {
  jpg: ['jpeg'],
  tif: ['tiff', 'dng'],
  ogg: ['opus', 'oga'],
  mp4: ['m4v', 'm4a', '3gp'],
  mov: ['qt'],
  webm: ['mkv'],
  mkv: ['webm'],
}

export function mediaOf(head: Uint8Array, name: string): Media {
  const given = /\.([a-z0-9]{1,12})$/i.exec(name)?.[1]?.toLowerCase() ?? ''
  const sniffed = sniff(head)
  const ext = !sniffed || CLOSER[sniffed]?.includes(given) ? given : sniffed
  const [mediaType, kind] = (Object.hasOwn(TYPES, ext) ? TYPES[ext] : undefined) ?? [
    'application/octet-stream',
    'other',
  ]
  return { mediaType, kind, ext }
}

function sniff(head: Uint8Array): string | null {
  const text = latin1(head.subarray(0, 64))
  for (const [ext, ...places] of SIGNATURES) {
    if (places.every(([offset, characters]) => text.startsWith(characters, offset))) return ext
  }
  if (text.startsWith(EBML)) return latin1(head).includes('matroska') ? 'mkv' : 'webm'
  return null
}

function latin1(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}
