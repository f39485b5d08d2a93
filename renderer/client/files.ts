import type { z } from 'zod'
import type { ImportResult, InputFile } from '../../core/contract/app.ts'
import type { Envelope, Failure } from '../../core/contract/errors.ts'
import { FailureError } from '../../core/contract/errors.ts'
import { parseJson } from '../../core/contract/json.ts'
import { workflowExtensions } from '../../core/contract/workflow.ts'
import type { Incoming } from '../importing.tsx'
import { bridge, call } from './client.ts'

const MiB = 1024 * 1024
const LIMIT_MIB = 64

const failure = (code: string, message: string, remedy: string, facts: Failure['facts']) =>
  new FailureError({ code, message, remedy, facts })

function checkSize(file: File) {
  if (file.size <= LIMIT_MIB * MiB) return
  const sizeMiB = Math.ceil(file.size / MiB)
  throw failure(
    'import.too-large',
    `${file.name} is ${sizeMiB} MiB; workflows up to ${LIMIT_MIB} MiB are read.`,
    'Drop the workflow itself, not a model or an archive.',
    { name: file.name, sizeMiB, limitMiB: LIMIT_MIB },
  )
}

/** The file's bytes for a procedure; refused by size before anything is read. */
export async function bytesOf(file: File): Promise<{ name: string; base64: string }> {
  checkSize(file)
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

/** Sends a file as it is. @throws FailureError with what the host said */
async function send<T>(
  route: string,
  file: File,
  query: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<T> {
  const response = await fetch(`/files/${route}?${new URLSearchParams({ name: file.name, ...query })}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: file,
    signal,
  })
  const reply = parseJson(await response.text()) as unknown as Envelope<T>
  if (reply.ok) return reply.value
  throw new FailureError(reply.failure)
}

/** Keeps a file for LoadImage and its relatives: by its path where we may know it, else by sending it. */
export async function addInput(file: File): Promise<z.infer<typeof InputFile>> {
  const path = bridge?.pathForFile(file)
  return path ? call('input.addPath', { path }) : send('input', file)
}

/** A file to import: by its path where we may know it, else by sending it. */
export const incomingFile = (file: File): Incoming => ({
  name: file.name,
  async run(cameWith, signal) {
    const path = bridge?.pathForFile(file)
    if (path) return (await call('workflow.importMany', { sources: [{ path }], cameWith: [...cameWith] })).results
    if (/\.(json|txt)$/i.test(file.name)) checkSize(file)
    return (await send<{ results: ImportResult[] }>('workflow', file, { with: cameWith.join() }, signal)).results
  },
})
/** An address to import; the host fetches it. */
export const incomingAddress = (url: string): Incoming => ({
  name: url.slice(0, 200),
  run: async (cameWith) => (await call('workflow.importMany', { sources: [{ url }], cameWith: [...cameWith] })).results,
})

/** The addresses something dragged from another page carries. */
export const addressesIn = (transfer: DataTransfer): string[] =>
  transfer
    .getData('text/uri-list')
    .split(/\r?\n/)
    .filter((line) => /^(https?:|data:)/i.test(line))

export const isTable = (name: string) => /\.(csv|tsv|tab|xlsx)$/i.test(name)
export const isMedia = (name: string) =>
  /\.(png|webp|jpe?g|gif|bmp|tiff?|avif|mp4|webm|mov|mkv|wav|mp3|flac|ogg|m4a)$/i.test(name)

export const WORKFLOW_FILES = workflowExtensions.map((ext) => `.${ext}`).join()
/** Of a folder only these are taken. */
const WORTH_TAKING = new RegExp(`\\.(${[...workflowExtensions, 'csv', 'tsv', 'tab', 'xlsx'].join('|')})$`, 'i')

const orderly = new Intl.Collator(undefined, { numeric: true })
const DEEPEST_FOLDER = 8

/** Everything dropped, in the order people expect; of folders, and those within, what can hold a workflow. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].map((item) => (item.kind === 'file' ? item.webkitGetAsEntry() : null))
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files]
  const found = await Promise.all(
    entries.map((entry) => (entry?.isDirectory ? filesIn(entry, DEEPEST_FOLDER) : entry ? [fileOf(entry)] : [])),
  )
  return Promise.all(found.flat())
}
const fileOf = (entry: FileSystemEntry) => new Promise<File>((yes, no) => (entry as FileSystemFileEntry).file(yes, no))

async function filesIn(folder: FileSystemEntry, depth: number): Promise<Promise<File>[]> {
  const reader = (folder as FileSystemDirectoryEntry).createReader()
  const inside: FileSystemEntry[] = []
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((yes, no) => reader.readEntries(yes, no))
    if (some.length === 0) break
    inside.push(...some.filter(({ name }) => !name.startsWith('.')))
  }
  inside.sort((one, other) => orderly.compare(one.name, other.name))
  const files = inside.filter(({ isFile, name }) => isFile && WORTH_TAKING.test(name)).map(fileOf)
  const folders = depth > 0 ? inside.filter(({ isDirectory }) => isDirectory) : []
  const deeper = await Promise.all(folders.map((each) => filesIn(each, depth - 1)))
  return [...files, ...deeper.flat()]
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
