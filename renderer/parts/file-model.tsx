import { useEffect, useState, useSyncExternalStore } from 'react'
import type { Envelope } from '../../core/contract/errors.ts'
import { FailureError } from '../../core/contract/errors.ts'
import type { StagedModel } from '../../core/contract/hub.ts'
import { parseJson } from '../../core/contract/json.ts'
import type { ImportHow } from '../../core/contract/model.ts'
import { bridge, call, refresh, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, ProgressBar } from './basics.tsx'
import { Segmented } from './forms.tsx'
import { FolderChoice } from './get-plan.tsx'
import { Modal, say, sayFault } from './overlays.tsx'

const HEADER_LIMIT_BYTES = 32 * 1024 * 1024
/** A safetensors file may carry the workflow it was saved by. */
export async function holdsWorkflow(file: File): Promise<boolean> {
  if (!/\.(safetensors|sft)$/i.test(file.name) || file.size < 10) return false
  const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true))
  if (length > HEADER_LIMIT_BYTES || length > file.size) return false
  const head = await file.slice(8, 8 + length).text()
  return /"__metadata__"\s*:\s*\{[^}]*"(workflow|prompt)"\s*:/.test(head)
}

let waiting: readonly File[] = []
const listeners = new Set<() => void>()
const tell = (next: readonly File[]) => {
  waiting = next
  for (const listener of listeners) listener()
}
const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}
/** Puts model files where they belong, one after the other; asked where a file does not say what it is. */
export const fileModels = (files: readonly File[]) => tell([...waiting, ...files])

export function FileModels() {
  const [file] = useSyncExternalStore(subscribe, () => waiting)
  if (!file) return null
  const next = () => tell(waiting.slice(1))
  const path = bridge?.pathForFile(file)
  return path ? <ByPath key={path} path={path} onEnd={next} /> : <BySending key={file.name} file={file} onEnd={next} />
}

const KEPT_HOW = 'nightshift.model-how'
const hows = ['move', 'copy', 'link'] as const satisfies readonly ImportHow[]

function ByPath({ path, onEnd }: { path: string; onEnd: () => void }) {
  const { t } = useWords()
  const [looked, setLooked] = useState<{ name: string; folder: string | null; sizeBytes: number } | null>(null)
  const [folder, setFolder] = useState<string | null>(null)
  const [how, setHow] = useState<ImportHow>(
    () => hows.find((each) => each === localStorage.getItem(KEPT_HOW)) ?? 'copy',
  )
  useEffect(() => {
    let away = false
    call('model.inspect', { path }).then(
      (found) => {
        if (away) return
        setLooked(found)
        setFolder(found.folder)
      },
      (cause: unknown) => {
        if (away) return
        sayFault(cause)
        onEnd()
      },
    )
    return () => {
      away = true
    }
  }, [path, onEnd])
  const put = useDo('model.import', {
    onError: sayFault,
    onSuccess: ({ name, folder: into }) => filed(name, into, t),
    onSettled: onEnd,
  })
  if (!looked) return null
  return (
    <WhereDialog
      name={looked.name}
      sizeBytes={looked.sizeBytes}
      knows={looked.folder !== null}
      folder={folder}
      onFolder={setFolder}
      busy={put.isPending}
      onClose={onEnd}
      onPut={() => {
        localStorage.setItem(KEPT_HOW, how)
        put.mutate({ path, how, ...(folder !== null && { folder }) })
      }}
    >
      <Segmented
        label={t('get.how')}
        value={how}
        onChange={setHow}
        choices={hows.map((value) => ({ value, label: t(`get.hows.${value}`) }))}
      />
    </WhereDialog>
  )
}

function BySending({ file, onEnd }: { file: File; onEnd: () => void }) {
  const { t } = useWords()
  const [part, setPart] = useState(0)
  const [staged, setStaged] = useState<StagedModel | null>(null)
  const [folder, setFolder] = useState<string | null>(null)
  useEffect(() => {
    const stop = new AbortController()
    sendModel(file, setPart, stop.signal).then(
      (found) => {
        if (found.model) {
          filed(found.model.name, found.model.folder, t)
          onEnd()
        } else setStaged(found)
      },
      (cause: unknown) => {
        if (stop.signal.aborted) return
        sayFault(cause)
        onEnd()
      },
    )
    return () => stop.abort()
  }, [file, onEnd, t])
  const put = useDo('catalogue.file', {
    onError: sayFault,
    onSuccess: ({ name, folder: into }) => filed(name, into, t),
    onSettled: onEnd,
  })
  if (staged?.staged)
    return (
      <WhereDialog
        name={file.name}
        sizeBytes={file.size}
        knows={false}
        folder={folder}
        onFolder={setFolder}
        busy={put.isPending}
        onClose={onEnd}
        onPut={() => put.mutate({ staged: staged.staged!, folder: folder! })}
      />
    )
  return (
    <section
      aria-label={t('get.copying', { name: file.name })}
      className="pop rise fixed right-4 bottom-4 z-40 flex w-[360px] max-w-[calc(100vw-32px)] flex-col gap-2.5 p-3.5"
    >
      <p className="truncate font-medium">{t('get.copying', { name: file.name })}</p>
      <ProgressBar value={part} label={file.name} />
      <Button size="sm" className="self-end" onClick={onEnd}>
        {t('common.cancel')}
      </Button>
    </section>
  )
}

function WhereDialog(props: {
  name: string
  sizeBytes: number
  knows: boolean
  folder: string | null
  onFolder: (folder: string) => void
  busy: boolean
  onClose: () => void
  onPut: () => void
  children?: React.ReactNode
}) {
  const { t, format } = useWords()
  const { name, sizeBytes, knows, folder } = props
  return (
    <Modal
      open
      onClose={props.onClose}
      title={t('get.filing')}
      note={`${name} · ${format.bytes(sizeBytes)}`}
      footer={
        <>
          <Button onClick={props.onClose}>{t('common.cancel')}</Button>
          <Button look="primary" busy={props.busy} disabled={folder === null} onClick={props.onPut}>
            {t('get.file')}
          </Button>
        </>
      }
    >
      <div className="flex flex-col items-start gap-3 pb-2">
        {!knows && <p className="text-warn">{t('get.filingNote', { name })}</p>}
        <FolderChoice value={folder} onChange={props.onFolder} />
        {props.children}
      </div>
    </Modal>
  )
}

function filed(name: string, folder: string, t: ReturnType<typeof useWords>['t']) {
  say({ title: t('get.filed', { name, folder }) })
  void refresh('model.page', 'model.state', 'workflow.needs', 'catalogue.find')
}

/** Sends it as it is, telling how far that is. @throws FailureError with what the host said */
function sendModel(file: File, onPart: (part: number) => void, signal: AbortSignal): Promise<StagedModel> {
  const request = new XMLHttpRequest()
  request.open('POST', `/files/model?${new URLSearchParams({ name: file.name })}`)
  request.setRequestHeader('content-type', 'application/octet-stream')
  request.upload.onprogress = ({ loaded, total }) => onPart(total > 0 ? loaded / total : 0)
  signal.addEventListener('abort', () => request.abort())
  return new Promise((resolve, reject) => {
    request.onerror = () => reject(new Error('the connection ended'))
    request.onload = () => {
      const reply = parseJson(request.responseText) as unknown as Envelope<StagedModel>
      if (reply.ok) resolve(reply.value)
      else reject(new FailureError(reply.failure))
    }
    request.send(file)
  })
}
