import { Dialog } from '@base-ui/react/dialog'
import { Link, useNavigate } from '@tanstack/react-router'
import {
  ChevronLeft,
  ChevronRight,
  Columns2,
  Copy,
  Dices,
  Download,
  ExternalLink,
  FolderSearch,
  RotateCcw,
  SlidersHorizontal,
  SquareSplitHorizontal,
  Workflow as WorkflowIcon,
  X,
} from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import type { Artifact, Sidecar } from '../../core/contract/artifact.ts'
import { writeJson } from '../../core/contract/json.ts'
import { artifactUrl, bridge, call, useAsk, useDo } from '../client/client.ts'
import { download } from '../client/files.ts'
import { useNames } from '../client/use-names.ts'
import { useDraft } from '../draft.ts'
import { useWords } from '../i18n.ts'
import { useOpenEditor } from '../open-editor.ts'
import { Button, ErrorNotice, IconButton, Skeleton } from './basics.tsx'
import { Facts } from './facts.tsx'
import { Segmented } from './forms.tsx'
import { say, sayFault } from './overlays.tsx'
import { textOf } from './parameter-control.tsx'

/** One picture over the whole window, or two to compare; with what made it. */
export function Viewer({
  id,
  compare,
  previous,
  next,
  onGo,
  onClose,
}: {
  id: string
  compare: string | null
  previous: string | null
  next: string | null
  onGo: (id: string, step: -1 | 1) => void
  onClose: () => void
}) {
  const { t } = useWords()
  const picture = useAsk('artifact.get', { id })
  const other = useAsk('artifact.get', { id: compare ?? '' }, { enabled: compare !== null })
  const [mode, setMode] = useState<'slider' | 'side'>('slider')
  const popup = useRef<HTMLDivElement>(null)
  const file = picture.data?.artifact.name.split('/').at(-1) ?? ''
  return (
    <Dialog.Root open onOpenChange={(open) => !open && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop z-30" />
        <Dialog.Popup
          ref={popup}
          initialFocus={popup}
          tabIndex={-1}
          className="fixed inset-3 z-30 flex overflow-hidden rounded-xl border border-line bg-bg shadow-high outline-none"
          onKeyDown={(event) => {
            if ((event.target as HTMLElement).closest('input, textarea, video, audio')) return
            if (event.key === 'ArrowLeft' && previous) onGo(previous, -1)
            if (event.key === 'ArrowRight' && next) onGo(next, 1)
          }}
        >
          <div className="flex min-w-0 flex-1 flex-col">
            <div className="flex items-center gap-2 border-b border-line bg-surface px-4 py-2">
              <Dialog.Title className="min-w-0 flex-1 truncate">
                {compare ? t('viewer.comparing') : file || t('common.loading')}
              </Dialog.Title>
              {compare && (
                <Segmented
                  label={t('viewer.mode')}
                  value={mode}
                  onChange={setMode}
                  choices={[
                    {
                      value: 'slider',
                      label: (
                        <>
                          <SquareSplitHorizontal size={14} aria-hidden /> {t('viewer.slider')}
                        </>
                      ),
                    },
                    {
                      value: 'side',
                      label: (
                        <>
                          <Columns2 size={14} aria-hidden /> {t('viewer.side')}
                        </>
                      ),
                    },
                  ]}
                />
              )}
              {!compare && (
                <>
                  <IconButton
                    size="sm"
                    icon={ChevronLeft}
                    label={t('viewer.previous')}
                    keys="←"
                    disabled={!previous}
                    onClick={() => previous && onGo(previous, -1)}
                  />
                  <IconButton
                    size="sm"
                    icon={ChevronRight}
                    label={t('viewer.next')}
                    keys="→"
                    disabled={!next}
                    onClick={() => next && onGo(next, 1)}
                  />
                </>
              )}
              <Dialog.Close render={<IconButton size="sm" icon={X} label={t('common.close')} />} />
            </div>
            <div className="relative min-h-0 flex-1">
              {picture.error ? (
                <div className="p-6">
                  <ErrorNotice cause={picture.error} onRetry={() => void picture.refetch()} />
                </div>
              ) : !picture.data ? (
                <div className="p-6">
                  <Skeleton rows={1} height={320} />
                </div>
              ) : compare && other.data ? (
                mode === 'slider' ? (
                  <Slider one={picture.data.artifact} other={other.data.artifact} />
                ) : (
                  <div className="grid size-full grid-cols-2 gap-px bg-line">
                    {[picture.data.artifact, other.data.artifact].map((artifact) => (
                      <figure key={artifact.id} className="relative min-h-0 bg-bg">
                        <Shown artifact={artifact} />
                        <figcaption className="badge absolute bottom-3 left-3 block max-w-[80%] truncate leading-5">
                          {artifact.name.split('/').at(-1)}
                        </figcaption>
                      </figure>
                    ))}
                  </div>
                )
              ) : (
                <Shown key={id} artifact={picture.data.artifact} />
              )}
            </div>
          </div>
          {picture.data && !compare && (
            <About artifact={picture.data.artifact} sidecar={picture.data.sidecar} onClose={onClose} />
          )}
          {picture.data && other.data && compare && (
            <Differences one={picture.data.sidecar} other={other.data.sidecar} />
          )}
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  )
}

function Shown({ artifact: { id, kind, name } }: { artifact: Artifact }) {
  const { t } = useWords()
  const [actual, setActual] = useState(false)
  const url = artifactUrl(id)
  const file = name.split('/').at(-1)!
  if (kind === 'image')
    return (
      <div className={`checker size-full ${actual ? 'overflow-auto' : 'overflow-hidden p-4'}`}>
        <button
          type="button"
          aria-pressed={actual}
          aria-label={actual ? t('viewer.fit') : t('viewer.actual')}
          onClick={() => setActual(!actual)}
          className={
            actual ? 'block min-h-full min-w-full cursor-zoom-out' : 'grid size-full cursor-zoom-in place-items-center'
          }
        >
          <img
            src={url}
            alt={file}
            draggable={false}
            className={actual ? 'm-auto max-w-none' : 'max-h-full max-w-full min-h-0 min-w-0 object-contain'}
          />
        </button>
      </div>
    )
  if (kind === 'video')
    // biome-ignore lint/a11y/useMediaCaption: made by a model; there are no captions
    return <video src={url} controls loop className="size-full bg-black object-contain" />
  if (kind === 'audio')
    return (
      <div className="grid size-full place-items-center p-8">
        {/* biome-ignore lint/a11y/useMediaCaption: made by a model; there are no captions */}
        <audio src={url} controls className="w-full max-w-xl" />
      </div>
    )
  if (kind === 'text') return <TextShown url={url} />
  return (
    <div className="grid size-full place-items-center p-8 text-center text-soft">
      <div>
        <p>{t('viewer.noPreview')}</p>
        <Button className="mt-3" icon={Download} onClick={() => download(`${url}?download`, file)}>
          {t('gallery.download')}
        </Button>
      </div>
    </div>
  )
}

function TextShown({ url }: { url: string }) {
  const [text, setText] = useState('')
  useEffect(() => {
    const leaving = new AbortController()
    fetch(url, { signal: leaving.signal })
      .then((response) => response.text())
      .then(setText, () => setText(''))
    return () => leaving.abort()
  }, [url])
  return <pre className="size-full overflow-auto p-5 font-mono text-xs whitespace-pre-wrap">{text}</pre>
}

/** The second picture lies over the first, as far as the handle says. */
function Slider({ one, other }: { one: Artifact; other: Artifact }) {
  const { t } = useWords()
  const [part, setPart] = useState(50)
  return (
    <div className="checker relative size-full p-4">
      <img
        src={artifactUrl(one.id)}
        alt={one.name}
        className="absolute inset-4 size-[calc(100%-32px)] object-contain"
        draggable={false}
      />
      <img
        src={artifactUrl(other.id)}
        alt={other.name}
        draggable={false}
        className="absolute inset-4 size-[calc(100%-32px)] object-contain"
        style={{ clipPath: `inset(0 0 0 ${part}%)` }}
      />
      <div className="pointer-events-none absolute inset-y-4 right-4 left-4">
        <div className="absolute inset-y-0 w-0.5 -translate-x-1/2 bg-accent" style={{ left: `${part}%` }} />
        <div
          className="absolute top-1/2 grid size-8 -translate-1/2 place-items-center rounded-full border-2 border-accent bg-surface shadow-high"
          style={{ left: `${part}%` }}
        >
          <SquareSplitHorizontal size={14} aria-hidden />
        </div>
      </div>
      <input
        type="range"
        min={0}
        max={100}
        step={0.5}
        value={part}
        aria-label={t('viewer.slider')}
        onChange={({ target }) => setPart(Number(target.value))}
        className="absolute inset-4 size-[calc(100%-32px)] cursor-ew-resize opacity-0"
      />
      <span className="badge absolute bottom-6 left-6 block max-w-[40%] truncate leading-5">
        {one.name.split('/').at(-1)}
      </span>
      <span className="badge absolute right-6 bottom-6 block max-w-[40%] truncate leading-5">
        {other.name.split('/').at(-1)}
      </span>
    </div>
  )
}

const settingsOf = ({ overrides, seeds, chosenText }: Sidecar) => ({ ...overrides, ...seeds, ...chosenText })

function About({ artifact, sidecar, onClose }: { artifact: Artifact; sidecar: Sidecar; onClose: () => void }) {
  const { t, format } = useWords()
  const { id, name, batchId, width, height, sizeBytes, rehearsal } = artifact
  const navigate = useNavigate()
  const batch = useAsk('batch.get', { id: batchId })
  const workflowId = batch.data?.workflowId
  const rerun = useDo('artifact.rerun', {
    onError: sayFault,
    onSuccess: ({ batchId: batch }) =>
      say({
        title: t('viewer.rerunQueued'),
        action: { label: t('workflow.openQueue'), run: () => void navigate({ to: '/queue', search: { batch } }) },
      }),
  })
  const editor = useOpenEditor()
  const nameOf = useNames(batchId)
  const settings = settingsOf(sidecar)
  async function copy() {
    await navigator.clipboard.writeText(writeJson(settings, 2)).then(() => say({ title: t('viewer.copied') }), sayFault)
  }
  const act = (doing: Promise<{ ok: boolean }>) =>
    void doing.then((reply) => {
      if (!reply.ok) sayFault((reply as unknown as { failure: unknown }).failure)
    }, sayFault)
  return (
    <aside
      aria-label={t('viewer.about')}
      className="flex w-[320px] shrink-0 flex-col gap-4 overflow-y-auto border-l border-line bg-surface p-4"
    >
      {rehearsal && <p className="tone-accent rounded-md px-3 py-2 text-xs">{t('viewer.rehearsal')}</p>}
      <div className="grid grid-cols-2 gap-2">
        {bridge ? (
          <>
            <Button icon={ExternalLink} onClick={() => act(bridge!.openArtifact(id))}>
              {t('viewer.open')}
            </Button>
            <Button icon={FolderSearch} onClick={() => act(bridge!.revealArtifact(id))}>
              {t('viewer.reveal')}
            </Button>
          </>
        ) : (
          <>
            <a href={artifactUrl(id)} target="_blank" rel="noreferrer" className="btn">
              <ExternalLink aria-hidden /> {t('viewer.open')}
            </a>
            <Button icon={Download} onClick={() => download(`${artifactUrl(id)}?download`, name.split('/').at(-1)!)}>
              {t('gallery.download')}
            </Button>
          </>
        )}
        <Button icon={RotateCcw} busy={rerun.isPending} onClick={() => rerun.mutate({ id, newSeed: false })}>
          {t('viewer.again')}
        </Button>
        <Button icon={Dices} busy={rerun.isPending} onClick={() => rerun.mutate({ id, newSeed: true })}>
          {t('viewer.newSeed')}
        </Button>
        <Button icon={Copy} onClick={() => void copy()}>
          {t('viewer.copy')}
        </Button>
        {workflowId && <UseOnForm workflowId={workflowId} settings={settings} />}
        <Button
          icon={WorkflowIcon}
          busy={editor.isPending}
          onClick={() => editor.mutate({ artifactId: id })}
          className="col-span-2"
        >
          {t('editor.open')}
        </Button>
      </div>
      <Facts
        title={t('viewer.values')}
        facts={Object.entries(settings).map(([key, value]) => [nameOf(key), textOf(value)])}
      />
      <Facts
        title={t('viewer.file')}
        facts={[
          [t('viewer.name'), name],
          ...(width && height ? [[t('viewer.size'), `${width} × ${height}`] as const] : []),
          [t('viewer.bytes'), format.bytes(sizeBytes)],
          [t('viewer.made'), format.stamp(sidecar.createdAt)],
          [t('viewer.took'), format.duration(sidecar.seconds)],
          [
            t('viewer.worker'),
            [sidecar.worker.id, sidecar.worker.comfyuiVersion && `ComfyUI ${sidecar.worker.comfyuiVersion}`]
              .filter(Boolean)
              .join(' · '),
          ],
          [t('viewer.row'), format.number(sidecar.row)],
        ]}
      />
      <Link
        to="/queue"
        search={{ batch: batchId, job: artifact.jobId }}
        onClick={onClose}
        className="text-xs font-medium text-accent-ink hover:underline"
      >
        {t('viewer.seeJob')}
      </Link>
    </aside>
  )
}

function UseOnForm({ workflowId, settings }: { workflowId: string; settings: Sidecar['overrides'] }) {
  const { t } = useWords()
  const navigate = useNavigate()
  const [, change] = useDraft(workflowId)
  async function use() {
    // only what the form knows; a job may hold values of inputs that were renamed away since
    const { inspection } = await call('workflow.get', { id: workflowId })
    const known = new Set(inspection.parameters.map(({ key }) => key))
    change(({ sets }) => ({
      sets: { ...sets, ...Object.fromEntries(Object.entries(settings).filter(([key]) => known.has(key))) },
    }))
    await navigate({ to: '/workflow/$id', params: { id: workflowId } })
  }
  return (
    <Button icon={SlidersHorizontal} onClick={() => void use().catch(sayFault)}>
      {t('viewer.use')}
    </Button>
  )
}

/** Two pictures differ in these values. */
function Differences({ one, other }: { one: Sidecar; other: Sidecar }) {
  const { t } = useWords()
  const nameOf = useNames(one.batchId)
  const [left, right] = [settingsOf(one), settingsOf(other)]
  const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])].filter(
    (key) => writeJson(left[key] ?? null) !== writeJson(right[key] ?? null),
  )
  return (
    <aside
      aria-label={t('viewer.differences')}
      className="w-[300px] shrink-0 overflow-y-auto border-l border-line bg-surface p-4"
    >
      <h3 className="mb-2">{t('viewer.differences')}</h3>
      {keys.length === 0 && <p className="text-soft">{t('viewer.noDifferences')}</p>}
      <dl className="flex flex-col gap-3 text-xs">
        {keys.map((key) => (
          <div key={key}>
            <dt className="eyebrow">{nameOf(key)}</dt>
            <dd className="break-words">{textOf(left[key] ?? null) || '–'}</dd>
            <dd className="break-words text-accent-ink">{textOf(right[key] ?? null) || '–'}</dd>
          </div>
        ))}
      </dl>
    </aside>
  )
}
