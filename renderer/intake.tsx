import { type AnyRouter, useRouter } from '@tanstack/react-router'
import { FileDown } from 'lucide-react'
import { useCallback, useEffect, useLayoutEffect, useState } from 'react'
import { isModelFile } from '../core/contract/model-file.ts'
import { call } from './client/client.ts'
import { addressesIn, droppedFiles, incomingAddress, incomingFile, isMedia, isTable } from './client/files.ts'
import { useWords } from './i18n.ts'
import { ImportProgress, type ImportWords, type Incoming, importAll } from './importing.tsx'
import { lastWorkflow } from './last-workflow.ts'
import { FileModels, fileModels, holdsWorkflow } from './parts/file-model.tsx'
import { askToGet, GetDialog } from './parts/get-plan.tsx'
import { say } from './parts/overlays.tsx'

/** A page that wants some of the files dropped on the window before they are taken as workflows. */
export interface Taker {
  table?: (file: File) => void
  media?: (files: File[]) => void
  /** What ComfyUI-Manager wrote of custom nodes. */
  snapshot?: (file: File) => void
  /** The page itself shows where files can fall. */
  quiet?: boolean
}
let taker: Taker | null = null
/** A table dropped where no batch was open; the batch page takes it when it comes. */
let waitingTable: File | null = null
let waitingSnapshot: File | null = null

export function useTaker(next: Taker) {
  useEffect(() => {
    taker = next
    if (waitingTable && next.table) {
      next.table(waitingTable)
      waitingTable = null
    }
    if (waitingSnapshot && next.snapshot) {
      next.snapshot(waitingSnapshot)
      waitingSnapshot = null
    }
    return () => {
      if (taker === next) taker = null
    }
  }, [next])
}

/** Takes files, and addresses, wherever they come from: the drop, the clipboard, the file dialog. */
export function useTakeFiles() {
  const router = useRouter()
  const { t, format } = useWords()
  return useCallback(
    (files: readonly File[], addresses: readonly string[] = []) =>
      takeFiles(files, addresses, router, {
        noWorkflowYet: t('intake.noWorkflowYet'),
        all: (count) => t('intake.allImported', { count, n: format.number(count) }),
        forms: (titles, name) => t('intake.forms', { titles, name }),
        undo: t('common.undo'),
      }),
    [router, t, format],
  )
}
type Words = ImportWords & { noWorkflowYet: string }

async function takeFiles(files: readonly File[], addresses: readonly string[], router: AnyRouter, words: Words) {
  const tables = files.filter(({ name }) => isTable(name))
  const media = taker?.media ? files.filter(({ name }) => isMedia(name)) : []
  const others = files.filter((file) => !tables.includes(file) && !media.includes(file))
  const snapshot = others.length === 1 && (await isManagerSnapshot(others[0]!)) ? others[0]! : null
  const models: File[] = []
  for (const file of others) if (isModelFile(file.name) && !(await holdsWorkflow(file))) models.push(file)
  if (models.length > 0) fileModels(models)
  if (models.length === files.length && files.length > 0) return
  const workflows = others.filter((file) => file !== snapshot && !models.includes(file))
  if (files.length === 0 && addresses.length > 0) {
    const { models: means } = await call('catalogue.means', {
      texts: addresses.slice(0, 50).map((each) => each.slice(0, 4000)),
    })
    const links = addresses.filter((_, at) => means[at])
    if (links.length > 0) return askToGet({ items: links })
  }
  if (snapshot && taker?.snapshot) taker.snapshot(snapshot)
  else if (snapshot) {
    waitingSnapshot = snapshot
    await router.navigate({ to: '/custom-nodes', search: {} })
  }
  const [table] = tables
  if (table) {
    const workflow = lastWorkflow()
    if (taker?.table) taker.table(table)
    else if (workflow) {
      waitingTable = table
      await router.navigate({ to: '/batch/$id', params: { id: workflow } })
    } else say({ title: words.noWorkflowYet }, 'bad')
  }
  if (media.length > 0) taker?.media?.(media)
  if (snapshot && workflows.length === 0) return
  await importAll(
    workflows.length > 0 || addresses.length === 0 ? together(workflows, addresses) : addresses.map(incomingAddress),
    router,
    words,
  )
}

const SNAPSHOT_LIMIT_BYTES = 4 * 1024 * 1024
/** A list of custom nodes is told from a workflow by its own words. */
async function isManagerSnapshot(file: File): Promise<boolean> {
  if (!/\.(json|ya?ml)$/i.test(file.name) || file.size > SNAPSHOT_LIMIT_BYTES) return false
  return /(^|[\s{,])["']?(git|cnr)_custom_nodes["']?\s*:/.test(await file.text())
}

/** A picture dragged out of another page comes as a file and as an address; the file may have lost its workflow. */
function together(files: readonly File[], [address]: readonly string[]): Incoming[] {
  const [only, ...others] = files
  if (!only || others.length > 0 || address === undefined) return files.map(incomingFile)
  const file = incomingFile(only)
  return [
    {
      name: file.name,
      async run(cameWith, signal) {
        const results = await file.run(cameWith, signal)
        return results.every(({ ok }) => ok) ? results : incomingAddress(address).run(cameWith, signal)
      },
    },
  ]
}

/** What the clipboard holds as text, as a file or an address; null: nothing that can be a workflow. */
export function pastedText(text: string): { files: File[]; addresses: string[] } | null {
  const trimmed = text.trim()
  if (/^(https?:\/\/|urn:air:)\S+$/.test(trimmed)) return { files: [], addresses: [trimmed] }
  if (/^[{["`]/.test(trimmed)) return { files: [new File([trimmed], 'pasted.json')], addresses: [] }
  if (/(^|[\s.,;])Steps: \d+,/.test(trimmed)) return { files: [new File([trimmed], 'pasted.txt')], addresses: [] }
  return null
}

/** Files anywhere; addresses and texts where nothing is that takes them itself. */
function carriesGift({ dataTransfer, target }: DragEvent): boolean {
  const types = dataTransfer?.types ?? []
  if (types.includes('Files')) return true
  const isField = target instanceof Element && target.closest('input, textarea, [contenteditable]') !== null
  return !isField && (types.includes('text/uri-list') || types.includes('text/plain'))
}

/** The whole window takes files; while some hang over it, it says what will happen. */
export function Intake() {
  const { t } = useWords()
  const [hovering, setHovering] = useState(false)
  const take = useTakeFiles()
  const router = useRouter()
  // as soon as the page can be seen it listens
  useLayoutEffect(() => {
    let inside = 0
    /** A link or picture of this very page is no gift. */
    let isOurs = false
    const begin = () => {
      isOurs = true
    }
    const end = () => {
      isOurs = false
    }
    const isGift = (event: DragEvent) => !isOurs && carriesGift(event)
    const enter = (event: DragEvent) => {
      if (!isGift(event)) return
      inside += 1
      setHovering(true)
    }
    const leave = (event: DragEvent) => {
      if (!isGift(event)) return
      inside -= 1
      if (inside <= 0) setHovering(false)
    }
    const over = (event: DragEvent) => {
      if (isGift(event)) event.preventDefault()
    }
    const drop = (event: DragEvent) => {
      inside = 0
      setHovering(false)
      if (!event.dataTransfer || !isGift(event)) return
      event.preventDefault()
      const addresses = addressesIn(event.dataTransfer)
      const text = addresses.length > 0 ? null : pastedText(event.dataTransfer.getData('text/plain'))
      void droppedFiles(event.dataTransfer).then((files) =>
        files.length === 0 && text ? take(text.files, text.addresses) : take(files, addresses),
      )
    }
    const paste = (event: ClipboardEvent) => {
      const at = event.target as HTMLElement
      if (at.closest('input, textarea, [contenteditable], [role=grid]')) return
      const files = [...(event.clipboardData?.files ?? [])]
      const pasted = pastedText(event.clipboardData?.getData('text/plain') ?? '')
      if (files.length > 0) void take(files)
      else if (pasted) void take(pasted.files, pasted.addresses)
    }
    window.addEventListener('dragstart', begin)
    window.addEventListener('dragend', end)
    window.addEventListener('dragenter', enter)
    window.addEventListener('dragleave', leave)
    window.addEventListener('dragover', over)
    window.addEventListener('drop', drop)
    window.addEventListener('paste', paste)
    return () => {
      window.removeEventListener('dragstart', begin)
      window.removeEventListener('dragend', end)
      window.removeEventListener('dragenter', enter)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('dragover', over)
      window.removeEventListener('drop', drop)
      window.removeEventListener('paste', paste)
    }
  }, [take])
  if (!hovering || taker?.quiet)
    return (
      <>
        <ImportProgress router={router} />
        <GetDialog />
        <FileModels />
      </>
    )
  return (
    <div className="pointer-events-none fixed inset-0 z-50 grid place-items-center bg-bg/85 p-6 backdrop-blur-sm">
      <div className="grid size-full place-items-center rounded-xl border-2 border-dashed border-accent">
        <div className="flex flex-col items-center gap-2 text-center">
          <FileDown size={30} className="text-accent" aria-hidden />
          <p className="text-lg font-semibold">{t('intake.drop')}</p>
          <p className="text-soft">{taker?.media ? t('intake.dropOnBatch') : t('intake.dropKinds')}</p>
        </div>
      </div>
    </div>
  )
}
