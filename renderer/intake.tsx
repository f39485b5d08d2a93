import { type AnyRouter, useRouter } from '@tanstack/react-router'
import { FileDown } from 'lucide-react'
import { useCallback, useEffect, useState } from 'react'
import { call, refresh } from './client/client.ts'
import { bytesOf, filesOf, isMedia, isTable } from './client/files.ts'
import { useWords } from './i18n.ts'
import { lastWorkflow } from './last-workflow.ts'
import { say, sayFault } from './parts/overlays.tsx'

/** A page that wants some of the files dropped on the window before they are taken as workflows. */
export interface Taker {
  table?: (file: File) => void
  media?: (files: File[]) => void
  /** The page itself shows where files can fall. */
  quiet?: boolean
}
let taker: Taker | null = null
/** A table dropped where no batch was open; the batch page takes it when it comes. */
let waitingTable: File | null = null

export function useTaker(next: Taker) {
  useEffect(() => {
    taker = next
    if (waitingTable && next.table) {
      next.table(waitingTable)
      waitingTable = null
    }
    return () => {
      if (taker === next) taker = null
    }
  }, [next])
}

/** Takes files wherever they come from: the drop, the clipboard, the file dialog. */
export function useTakeFiles() {
  const router = useRouter()
  const { t } = useWords()
  return useCallback((files: readonly File[]) => takeFiles(files, router, t('intake.noWorkflowYet')), [router, t])
}

async function takeFiles(files: readonly File[], router: AnyRouter, noWorkflowYet: string) {
  const tables = files.filter(({ name }) => isTable(name))
  const media = taker?.media ? files.filter(({ name }) => isMedia(name)) : []
  const workflows = files.filter((file) => !tables.includes(file) && !media.includes(file))
  const [table] = tables
  if (table) {
    const workflow = lastWorkflow()
    if (taker?.table) taker.table(table)
    else if (workflow) {
      waitingTable = table
      await router.navigate({ to: '/batch/$id', params: { id: workflow } })
    } else say({ title: noWorkflowYet }, 'bad')
  }
  if (media.length > 0) taker?.media?.(media)
  let last: string | null = null
  for (const file of workflows) {
    try {
      last = (await call('workflow.import', await bytesOf(file))).id
    } catch (cause) {
      sayFault(cause)
    }
  }
  if (!last) return
  void refresh('workflow.list')
  await router.navigate({ to: '/workflow/$id', params: { id: last } })
}

const carriesFiles = (transfer: DataTransfer | null) => transfer?.types.includes('Files') ?? false

/** The whole window takes files; while some hang over it, it says what will happen. */
export function Intake() {
  const { t } = useWords()
  const [hovering, setHovering] = useState(false)
  const take = useTakeFiles()
  useEffect(() => {
    let inside = 0
    const enter = (event: DragEvent) => {
      if (!carriesFiles(event.dataTransfer)) return
      inside += 1
      setHovering(true)
    }
    const leave = (event: DragEvent) => {
      if (!carriesFiles(event.dataTransfer)) return
      inside -= 1
      if (inside <= 0) setHovering(false)
    }
    const over = (event: DragEvent) => {
      if (carriesFiles(event.dataTransfer)) event.preventDefault()
    }
    const drop = (event: DragEvent) => {
      inside = 0
      setHovering(false)
      if (!event.dataTransfer || !carriesFiles(event.dataTransfer)) return
      event.preventDefault()
      void filesOf(event.dataTransfer).then(take)
    }
    const paste = (event: ClipboardEvent) => {
      const at = event.target as HTMLElement
      if (at.closest('input, textarea, [contenteditable], [role=grid]')) return
      const files = [...(event.clipboardData?.files ?? [])]
      const text = event.clipboardData?.getData('text/plain').trim() ?? ''
      if (files.length > 0) void take(files)
      else if (text.startsWith('{')) void take([new File([text], 'pasted.json')])
    }
    window.addEventListener('dragenter', enter)
    window.addEventListener('dragleave', leave)
    window.addEventListener('dragover', over)
    window.addEventListener('drop', drop)
    window.addEventListener('paste', paste)
    return () => {
      window.removeEventListener('dragenter', enter)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('dragover', over)
      window.removeEventListener('drop', drop)
      window.removeEventListener('paste', paste)
    }
  }, [take])
  if (!hovering || taker?.quiet) return null
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
