import type { z } from 'zod'
import type { InputFile } from '../../core/contract/app.ts'
import type { Envelope, Failure } from '../../core/contract/errors.ts'
import { FailureError } from '../../core/contract/errors.ts'
import { parseJson } from '../../core/contract/json.ts'
import { bridge, call } from './client.ts'

const MiB = 1024 * 1024
const LIMIT_MIB = 64

const failure = (code: string, message: string, remedy: string, facts: Failure['facts']) =>
  new FailureError({ code, message, remedy, facts })

/** The file's bytes for a procedure; refused by size before anything is read. */
export async function bytesOf(file: File): Promise<{ name: string; base64: string }> {
  if (file.size > LIMIT_MIB * MiB) {
    const sizeMiB = Math.ceil(file.size / MiB)
    throw failure(
      'import.too-large',
      `${file.name} is ${sizeMiB} MiB; workflows up to ${LIMIT_MIB} MiB are read.`,
      'Drop the workflow itself, not a model or an archive.',
      { name: file.name, sizeMiB, limitMiB: LIMIT_MIB },
    )
  }
  const url = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(String(reader.result))
    reader.onerror = () =>
      reject(
        failure('input.missing', `The input file ${file.name} is not there.`, 'Choose the file again.', {
          name: file.name,
        }),
      )
    reader.readAsDataURL(file)
  })
  return { name: file.name, base64: url.slice(url.indexOf(',') + 1) }
}

/** Keeps a file for LoadImage and its relatives: by its path where we may know it, else by sending it. */
export async function addInput(file: File): Promise<z.infer<typeof InputFile>> {
  const path = bridge?.pathForFile(file)
  if (path) return call('input.addPath', { path })
  const response = await fetch(`/files/input?name=${encodeURIComponent(file.name)}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: file,
  })
  const reply = parseJson(await response.text()) as unknown as Envelope<z.infer<typeof InputFile>>
  if (reply.ok) return reply.value
  throw new FailureError(reply.failure)
}

export const isTable = (name: string) => /\.(csv|tsv|tab|xlsx)$/i.test(name)
export const isMedia = (name: string) =>
  /\.(png|webp|jpe?g|gif|bmp|tiff?|avif|mp4|webm|mov|mkv|wav|mp3|flac|ogg|m4a)$/i.test(name)

const orderly = new Intl.Collator(undefined, { numeric: true })
/** Everything dropped, folders opened one level deep, in the order people expect. */
export async function filesOf(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => (item.kind === 'file' ? item.webkitGetAsEntry() : null))
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files]
  const found = await Promise.all(entries.map((entry) => (entry ? filesIn(entry) : [])))
  return found.flat()
}
async function filesIn(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) return [await new Promise<File>((yes, no) => (entry as FileSystemFileEntry).file(yes, no))]
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  const inside: FileSystemEntry[] = []
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((yes, no) => reader.readEntries(yes, no))
    if (some.length === 0) break
    inside.push(...some)
  }
  const files = await Promise.all(inside.filter(({ isFile }) => isFile).map(filesIn))
  return files.flat().sort((one, other) => orderly.compare(one.name, other.name))
}

/** Lets the person choose files; empty: none chosen. */
export function chooseFiles(accept: string, options: { many?: boolean; folder?: boolean } = {}): Promise<File[]> {
  const input = document.createElement('input')
  input.type = 'file'
  input.accept = accept
  input.multiple = options.many ?? false
  input.webkitdirectory = options.folder ?? false
  return new Promise((resolve) => {
    input.onchange = () =>
      resolve(
        [...(input.files ?? [])]
          // of a folder, the media directly in it
          .filter(
            ({ name, webkitRelativePath }) =>
              !options.folder || (isMedia(name) && webkitRelativePath.split('/').length === 2),
          )
          .sort((one, other) => orderly.compare(one.name, other.name)),
      )
    input.oncancel = () => resolve([])
    input.click()
  })
}

/** Gives the person a text or picture the host made, as a file. */
export function save({ name, mediaType, base64 }: { name: string; mediaType: string; base64: string }) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
  const url = URL.createObjectURL(new Blob([bytes], { type: mediaType }))
  download(url, name)
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
export function download(url: string, name: string) {
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
}
