import { Link } from '@tanstack/react-router'
import { ImageOff } from 'lucide-react'
import { previewUrl, thumbUrl, useAsk } from '../client/client.ts'
import { useProgress } from '../client/use-live.ts'
import { useWords } from '../i18n.ts'
import { ErrorNotice, ProgressBar } from './basics.tsx'

/** What the last press of Queue is making: progress, then the pictures. */
export function LastRun({ workflowId, batchId }: { workflowId: string; batchId: string | null }) {
  const { t, format } = useWords()
  const batches = useAsk('batch.list', { limit: 50 }, { enabled: batchId === null })
  const id = batchId ?? batches.data?.rows.find((batch) => batch.workflowId === workflowId)?.id
  const batch = useAsk('batch.get', { id: id ?? '' }, { enabled: id !== undefined })
  const pictures = useAsk('artifact.page', { batchId: id ?? '', limit: 12 }, { enabled: id !== undefined })
  const running = useAsk(
    'job.page',
    { batchId: id ?? '', states: ['running'], limit: 4 },
    { enabled: id !== undefined },
  )
  const failed = useAsk(
    'job.page',
    { batchId: id ?? '', states: ['failed', 'parked'], limit: 1 },
    { enabled: (batch.data?.counts.failed ?? 0) + (batch.data?.counts.parked ?? 0) > 0 },
  )
  if (!id || !batch.data) return null
  const { counts, etaSeconds } = batch.data
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const open = counts.waiting + counts.running
  const ended = total - open
  const failure = counts.failed + counts.parked > 0 ? failed.data?.rows[0]?.failure : null
  return (
    <section aria-label={t('workflow.lastRun')} className="border-b border-line bg-surface px-4 py-3">
      <div className="mb-2 flex items-center gap-3">
        <h2 className="truncate">{batch.data.name}</h2>
        <span className="num text-xs text-faint" aria-live="polite">
          {t('queue.doneOf', { done: format.number(counts.done), total: format.number(total) })}
          {open > 0 && etaSeconds !== null && ` · ${t('shell.eta', { time: format.duration(etaSeconds) })}`}
        </span>
        <Link
          to="/queue"
          search={{ batch: id }}
          className="ml-auto text-xs font-medium text-accent-ink hover:underline"
        >
          {t('workflow.openQueue')}
        </Link>
      </div>
      {open > 0 && <ProgressBar value={total === 0 ? 0 : ended / total} label={t('workflow.lastRun')} />}
      {failure && (
        <div className="mt-2">
          <ErrorNotice compact cause={failure} />
        </div>
      )}
      <ul className="mt-2.5 flex gap-2 overflow-x-auto pb-1">
        {running.data?.rows.map(({ id, label }) => (
          <li key={id}>
            <RunningTile jobId={id} label={label} />
          </li>
        ))}
        {pictures.data?.rows.map(({ id: picture, name, kind, mediaType }) => (
          <li key={picture}>
            <Link
              to="/gallery"
              search={{ batch: id, open: picture }}
              aria-label={t('workflow.open', { name })}
              className="rise block size-[104px] overflow-hidden rounded-md border border-line bg-sunken"
            >
              {kind === 'image' ? (
                <img src={thumbUrl(picture)} alt="" className="size-full object-cover" />
              ) : (
                <span className="grid size-full place-items-center text-xs text-faint">{mediaType}</span>
              )}
            </Link>
          </li>
        ))}
        {open === 0 && pictures.data?.rows.length === 0 && !failure && (
          <li className="flex items-center gap-2 py-2 text-faint">
            <ImageOff size={15} aria-hidden /> {t('workflow.noPictures')}
          </li>
        )}
      </ul>
    </section>
  )
}

function RunningTile({ jobId, label }: { jobId: string; label: string }) {
  const { t, format } = useWords()
  const progress = useProgress(jobId)
  const part = progress?.overall ?? 0
  return (
    <div className="relative grid size-[104px] place-items-center overflow-hidden rounded-md border border-line bg-sunken">
      {progress && progress.preview > 0 && (
        <img
          src={previewUrl(jobId, progress.preview)}
          alt={t('queue.preview', { label })}
          className="absolute size-full object-cover"
        />
      )}
      <div className="absolute inset-x-1.5 bottom-1.5">
        <p className="num mb-1 truncate rounded-sm bg-surface/85 px-1 text-2xs text-soft">
          {format.percent(part)} {progress?.nodeTitle}
        </p>
        <ProgressBar value={part} label={t('queue.progressOf', { label })} />
      </div>
    </div>
  )
}
