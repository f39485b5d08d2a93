import { Link } from '@tanstack/react-router'
import { Dices, Download, ImagePlus, RotateCcw, X } from 'lucide-react'
import type { Artifact } from '../../core/contract/artifact.ts'
import type { Batch } from '../../core/contract/batch.ts'
import { artifactUrl, previewUrl, refresh, thumbUrl, useAsk, useDo } from '../client/client.ts'
import { download } from '../client/files.ts'
import { useOverall, useProgress } from '../client/use-live.ts'
import { saySentence, useWords } from '../i18n.ts'
import { Button, Empty, ErrorNotice, IconButton, ProgressBar, Skeleton } from './basics.tsx'
import { sayFault } from './overlays.tsx'

const MOST_BATCHES = 6

/** What a form made lately, newest first, with what can be done with each picture. */
export function FormResults({ workflowId }: { workflowId: string }) {
  const { t } = useWords()
  const batches = useAsk('batch.list', { workflowId, limit: MOST_BATCHES })
  const state = useAsk('queue.state', {})
  const own = batches.data?.rows ?? []
  if (batches.isPending) return <Skeleton rows={1} height={180} />
  if (own.length === 0)
    return (
      <Empty icon={ImagePlus} title={t('form.noPictures')}>
        {t('form.noPicturesNote')}
      </Empty>
    )
  const stalled = own.some((batch) => openOf(batch) > 0) ? state.data?.stalled : null
  return (
    <div className="flex flex-col gap-5">
      {stalled && (
        <p role="status" className="tone-warn rounded-md px-3 py-2">
          {saySentence(stalled)}
        </p>
      )}
      {own.map((batch) => (
        <Made key={batch.id} batch={batch} />
      ))}
    </div>
  )
}

const openOf = ({ counts }: Batch) => counts.waiting + counts.running

function Made({ batch }: { batch: Batch }) {
  const { t, format } = useWords()
  const { id, counts, etaSeconds, createdAt } = batch
  const open = openOf(batch)
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const pictures = useAsk('artifact.page', { batchId: id, limit: 24 })
  const running = useAsk('job.page', { batchId: id, states: ['running'], limit: 4 }, { enabled: open > 0 })
  const failed = useAsk(
    'job.page',
    { batchId: id, states: ['failed', 'parked'], limit: 1 },
    { enabled: counts.failed + counts.parked > 0 },
  )
  const jobs = open > 0 ? (running.data?.rows ?? []) : []
  const underWay = useOverall(jobs.map((job) => job.id))
  const part = total === 0 ? 0 : (total - open + underWay) / total
  const cancel = useDo('job.cancel', { onError: sayFault })
  const retry = useDo('job.retry', { onError: sayFault })
  const failure = failed.data?.rows[0]?.failure
  const rows = pictures.data?.rows ?? []
  return (
    <article aria-label={t('form.madeAt', { time: format.ago(createdAt) })} className="rise">
      <div className="mb-2 flex min-h-[26px] items-center gap-2">
        <h3 className="text-xs text-soft">{format.ago(createdAt)}</h3>
        <span className="num text-xs text-faint" aria-live="polite">
          {t('queue.doneOf', { done: format.number(counts.done), total: format.number(total) })}
          {open > 0 && etaSeconds !== null && ` · ${t('shell.eta', { time: format.duration(etaSeconds) })}`}
        </span>
        {open > 0 && (
          <Button
            size="sm"
            icon={X}
            className="ml-auto"
            busy={cancel.isPending}
            onClick={() => cancel.mutate({ batchId: id, states: ['waiting', 'running'] })}
          >
            {t('common.cancel')}
          </Button>
        )}
      </div>
      {open > 0 && (
        <div className="mb-2.5">
          <ProgressBar value={part} label={t('form.progress')} />
        </div>
      )}
      {failure && counts.failed + counts.parked > 0 && (
        <div className="mb-2.5">
          <ErrorNotice
            compact
            cause={failure}
            onRetry={() => retry.mutate({ batchId: id, states: ['failed', 'parked'] })}
          />
        </div>
      )}
      {counts.cancelled > 0 && open === 0 && rows.length === 0 && <p className="text-faint">{t('form.cancelled')}</p>}
      <ul className="grid grid-cols-[repeat(auto-fill,minmax(min(220px,100%),1fr))] gap-3">
        {jobs.map((job) => (
          <li key={job.id}>
            <UnderWay jobId={job.id} />
          </li>
        ))}
        {rows.map((artifact) => (
          <li key={artifact.id}>
            <Result artifact={artifact} />
          </li>
        ))}
      </ul>
    </article>
  )
}

function UnderWay({ jobId }: { jobId: string }) {
  const { t, format } = useWords()
  const progress = useProgress(jobId)
  return (
    <div className="relative grid aspect-square place-items-center overflow-hidden rounded-lg border border-line bg-sunken">
      {progress && progress.preview > 0 && (
        <img
          src={previewUrl(jobId, progress.preview)}
          alt={t('form.preview')}
          className="absolute size-full object-cover"
        />
      )}
      <p className="num absolute inset-x-2 bottom-2 truncate rounded-sm bg-surface/85 px-1.5 py-0.5 text-xs text-soft">
        {format.percent(progress?.overall ?? 0)} {progress?.nodeTitle}
      </p>
    </div>
  )
}

function Result({ artifact }: { artifact: Artifact }) {
  const { t } = useWords()
  const { id, batchId, name, kind, mediaType, rehearsal, width, height } = artifact
  const file = name.split('/').at(-1)!
  const again = useDo('artifact.rerun', { onError: sayFault, onSuccess: () => refresh('batch.list') })
  return (
    <figure className="overflow-hidden rounded-lg border border-line bg-surface">
      <Link
        to="/gallery"
        search={{ batch: batchId, open: id }}
        aria-label={t('workflow.open', { name: file })}
        className="relative block max-h-[640px] bg-sunken -outline-offset-2"
        style={{ aspectRatio: width && height ? `${width} / ${height}` : '1' }}
      >
        {kind === 'image' ? (
          <img src={thumbUrl(id, 512)} alt="" className="size-full object-contain" />
        ) : (
          <span className="grid size-full place-items-center text-faint">{mediaType}</span>
        )}
        {rehearsal && <span className="badge absolute top-2 left-2">{t('form.sketch')}</span>}
      </Link>
      <figcaption className="flex items-center gap-0.5 p-1">
        <Button
          size="sm"
          look="quiet"
          icon={Dices}
          busy={again.isPending}
          onClick={() => again.mutate({ id, newSeed: true })}
        >
          {t('form.variation')}
        </Button>
        <IconButton
          size="sm"
          className="ml-auto"
          icon={RotateCcw}
          label={t('form.again')}
          busy={again.isPending}
          onClick={() => again.mutate({ id, newSeed: false })}
        />
        <IconButton
          size="sm"
          icon={Download}
          label={t('form.download', { name: file })}
          onClick={() => download(`${artifactUrl(id)}?download`, file)}
        />
      </figcaption>
    </figure>
  )
}
