import { expect, test } from 'vitest'
import { mediaOf } from '../../../../core/domain/media.ts'

const head = (characters: string) => Uint8Array.from(characters, (sign) => sign.charCodeAt(0))

test.each([
  ['\x89PNG\r\n\x1a\n', 'a.png', 'image/png', 'image', 'png'],
  ['\x89PNG\r\n\x1a\n', 'a.mp4', 'image/png', 'image', 'png'],
  ['\xff\xd8\xff\xe0', 'photo.JPEG', 'image/jpeg', 'image', 'jpeg'],
  ['RIFF\0\0\0\0WEBPVP8 ', 'a', 'image/webp', 'image', 'webp'],
  ['RIFF\0\0\0\0WAVEfmt ', 'a.wav', 'audio/wav', 'audio', 'wav'],
  ['\0\0\0\x20ftypavif', 'a.avif', 'image/avif', 'image', 'avif'],
  ['\0\0\0\x20ftypisom', 'a.mp4', 'video/mp4', 'video', 'mp4'],
  ['\0\0\0\x20ftypmp42', 'a.m4a', 'audio/mp4', 'audio', 'm4a'],
  ['\0\0\0\x14ftypqt  ', 'a.mov', 'video/quicktime', 'video', 'mov'],
  ['\x1aE\xdf\xa3\x01\0\0\0B\x82\x88matroska', 'a.mkv', 'video/x-matroska', 'video', 'mkv'],
  ['\x1aE\xdf\xa3\x01\0\0\0B\x82\x84webm', 'a', 'video/webm', 'video', 'webm'],
  ['OggS\0\x02', 'a.opus', 'audio/ogg', 'audio', 'opus'],
  ['glTF\x02\0\0\0', 'a.glb', 'model/gltf-binary', '3d', 'glb'],
  ['# a comment\nv 0 0 0', 'mesh.obj', 'model/obj', '3d', 'obj'],
  ['<svg xmlns', 'a.svg', 'image/svg+xml', 'image', 'svg'],
  ['hello', 'a.txt', 'text/plain', 'text', 'txt'],
  ['{}', 'a.json', 'application/json', 'text', 'json'],
  ['\x10\0\0\0\0\0\0\0{"', 'a.latent', 'application/octet-stream', 'other', 'latent'],
  ['??', 'constructor', 'application/octet-stream', 'other', ''],
  ['??', 'a.constructor', 'application/octet-stream', 'other', 'constructor'],
  ['', '', 'application/octet-stream', 'other', ''],
] as const)('%j named %s is %s', (bytes, name, mediaType, kind, ext) => {
  expect(mediaOf(head(bytes), name)).toEqual({ mediaType, kind, ext })
})
