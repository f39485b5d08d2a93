import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import {
  ArrowUpToLine,
  CalendarClock,
  Ellipsis,
  Images,
  ListChecks,
  Moon,
  Pause,
  Play,
  RotateCcw,
  Square,
  TriangleAlert,
  Workflow as WorkflowIcon,
  X,
} from 'lucide-react'
import { useRef, useState } from 'react'
import type { Batch, JobCounts } from '../../core/contract/batch.ts'
import type { Job, JobSelection, JobState } from '../../core/contract/job.ts'
import { previewUrl, refresh, thumbUrl, useAsk, useDo } from '../client/client.ts'
import { useProgress } from '../client/use-live.ts'
import { useNames } from '../client/use-names.ts'
import { usePages } from '../client/use-pages.ts'
import { saySentence, useWords } from '../i18n.ts'
import { useOpenEditor } from '../open-editor.ts'
import { Button, Empty, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { Facts } from '../parts/facts.tsx'
import { Field, SearchField } from '../parts/forms.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'
import { textOf } from '../parts/parameter-control.tsx'
import { StateBadge } from '../parts/state-badge.tsx'
import type { QueueSearch } from '../router.tsx'

const ROW_PX = 38
const states: readonly JobState[] = ['running', 'waiting', 'done', 'failed', 'parked', 'cancelled']
const sum = (counts: JobCounts) => states.reduce((total, state) => total + counts[state], 0)

function useFilter(): [QueueSearch, (change: QueueSearch) => void] {
  const search = useSearch({ from: '/queue' })
  const navigate = useNavigate({ from: '/queue' })
  return [search, (change) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true })]
}

/** Everything asked for and what became of it, as it happens. */
export function QueuePage() {
  const { t, format } = useWords()
  const [filter, setFilter] = useFilter()
  const queue = useAsk('queue.state', {})
  const batches = useAsk('batch.list', { limit: 200 })
  if (queue.error)
    return (
      <div className="p-6">
        <ErrorNotice cause={queue.error} onRetry={() => void queue.refetch()} />
      </div>
    )
  if (!queue.data || batches.isPending)
    return (
      <div className="p-6">
        <Skeleton rows={8} />
      </div>
    )
  const { counts, paused, stalled, etaSeconds } = queue.data
  const open = counts.waiting + counts.running
  const batch = batches.data?.rows.find(({ id }) => id === filter.batch)
  return (
    <>
      <PageHead
        title={t('nav.queue')}
        note={
          open > 0
            ? `${t('shell.left', { count: open, n: format.number(open) })}${etaSeconds === null ? '' : ` · ${t('shell.eta', { time: format.duration(etaSeconds) })}`}`
            : t('queue.idle')
        }
      >
        <QueueActions counts={counts} paused={paused} />
      </PageHead>
      {(stalled || paused !== 'no') && (
        <p role="status" className="tone-warn flex items-center gap-2 px-5 py-1.5 text-xs">
          <TriangleAlert size={14} aria-hidden />
          {stalled ? saySentence(stalled) : t('queue.paused')}
          {stalled?.code === 'queue.no-worker' && (
            <Link to="/workers" className="font-semibold underline">
              {t('queue.seeWorkers')}
            </Link>
          )}
        </p>
      )}
      {batches.data?.rows.length === 0 && !batches.isFetching && !filter.batch ? (
        <Empty
          icon={ListChecks}
          title={t('queue.empty')}
          action={
            <Link to="/" className="btn btn-primary">
              {t('queue.emptyAction')}
            </Link>
          }
        >
          {t('queue.emptyNote')}
        </Empty>
      ) : (
        <div className="grid min-h-0 flex-1 grid-cols-[216px_minmax(0,1fr)_auto] min-[1180px]:grid-cols-[272px_minmax(0,1fr)_auto]">
          <BatchList
            batches={batches.data?.rows ?? []}
            chosen={filter.batch}
            onChoose={(next) => setFilter({ batch: next, job: undefined })}
          />
          <section aria-label={t('queue.jobs')} className="flex min-h-0 min-w-0 flex-col">
            <Running batchId={filter.batch} />
            <Filters counts={batch?.counts ?? counts} filter={filter} onFilter={setFilter} />
            <JobList
              key={`${filter.batch} ${filter.state} ${filter.find}`}
              filter={filter}
              onOpen={(job) => setFilter({ job })}
              batchNames={new Map(batches.data?.rows.map(({ id, name }) => [id, name]))}
            />
          </section>
          {filter.job && <Detail key={filter.job} id={filter.job} onClose={() => setFilter({ job: undefined })} />}
        </div>
      )}
    </>
  )
}

const again = () => refresh('queue.state', 'job.page', 'job.get', 'batch.list', 'batch.get')
const acting = { onError: sayFault, onSuccess: again }

function QueueActions({ counts, paused }: { counts: JobCounts; paused: string }) {
  const { t, format } = useWords()
  const pause = useDo('queue.pause', acting)
  const resume = useDo('queue.resume', acting)
  const retry = useDo('job.retry', acting)
  const cancel = useCancel()
  const failed = counts.failed + counts.parked
  return (
    <>
      {failed > 0 && (
        <Button
          icon={RotateCcw}
          busy={retry.isPending}
          onClick={() => retry.mutate({ all: true, states: ['failed', 'parked'] })}
        >
          {t('queue.retryFailed', { n: format.number(failed) })}
        </Button>
      )}
      {paused === 'no' ? (
        <Menu
          trigger={
            <Button icon={Pause} busy={pause.isPending}>
              {t('queue.pause')}
            </Button>
          }
          items={[
            { label: t('queue.pauseAfter'), icon: Pause, onSelect: () => pause.mutate({ how: 'after-current' }) },
            { label: t('queue.pauseNow'), icon: Square, onSelect: () => pause.mutate({ how: 'now' }) },
          ]}
        />
      ) : (
        <Button look="primary" icon={Play} busy={resume.isPending} onClick={() => resume.mutate({})}>
          {t('queue.resume')}
        </Button>
      )}
      <Menu
        trigger={<IconButton label={t('common.more')} icon={Ellipsis} look="plain" />}
        items={[
          {
            label: t('queue.cancelWaiting'),
            icon: X,
            danger: true,
            disabled: counts.waiting === 0,
            onSelect: () => cancel({ all: true, states: ['waiting'] }),
          },
          {
            label: t('queue.cancelAll'),
            icon: X,
            danger: true,
            disabled: counts.waiting + counts.running === 0,
            onSelect: () => cancel({ all: true, states: ['waiting', 'running'] }),
          },
        ]}
      />
    </>
  )
}

/** Cancels, and says how to undo it: cancelled jobs can wait again. */
function useCancel() {
  const { t, format } = useWords()
  const retry = useDo('job.retry', acting)
  const cancel = useDo('job.cancel', { onError: sayFault })
  return (jobs: JobSelection) =>
    cancel.mutate(jobs, {
      onSuccess({ changed }) {
        void again()
        say({
          title: t('queue.cancelled', { count: changed, n: format.number(changed) }),
          // only a list of ids names exactly what was cancelled just now
          ...('ids' in jobs && { action: { label: t('common.undo'), run: () => retry.mutate(jobs) } }),
        })
      },
    })
}

function BatchList({
  batches,
  chosen,
  onChoose,
}: {
  batches: readonly Batch[]
  chosen?: string
  onChoose: (id: string | undefined) => void
}) {
  const { t } = useWords()
  return (
    <section aria-label={t('queue.batches')} className="min-h-0 overflow-y-auto border-r border-line bg-surface p-2">
      <button
        type="button"
        aria-pressed={!chosen}
        onClick={() => onChoose(undefined)}
        className="flex h-8 w-full items-center rounded-md px-2.5 text-left font-medium hover:bg-hover aria-pressed:bg-accent-soft aria-pressed:text-accent-ink"
      >
        {t('queue.allBatches')}
      </button>
      <ul className="mt-1 flex flex-col gap-0.5">
        {batches.map((batch) => (
          <BatchRow key={batch.id} batch={batch} chosen={batch.id === chosen} onChoose={() => onChoose(batch.id)} />
        ))}
      </ul>
    </section>
  )
}

function BatchRow({ batch, chosen, onChoose }: { batch: Batch; chosen: boolean; onChoose: () => void }) {
  const { t, format } = useWords()
  const { id, name, counts, paused, startAt, stopAt, etaSeconds, createdAt } = batch
  const [windowOpen, setWindowOpen] = useState(false)
  const pause = useDo('batch.pause', acting)
  const resume = useDo('batch.resume', acting)
  const retry = useDo('job.retry', acting)
  const prioritise = useDo('job.prioritise', acting)
  const cancel = useCancel()
  const total = sum(counts)
  const open = counts.waiting + counts.running
  const failed = counts.failed + counts.parked
  const navigate = useNavigate()
  return (
    <li className={`group relative rounded-md ${chosen ? 'bg-accent-soft' : 'hover:bg-hover'}`}>
      <button
        type="button"
        aria-pressed={chosen}
        onClick={onChoose}
        className="block w-full rounded-md px-2.5 py-2 pr-9 text-left"
      >
        <span className="flex items-center gap-1.5">
          <span className="min-w-0 flex-1 truncate font-medium">{name}</span>
          {paused && open > 0 && <Pause size={12} className="text-warn" aria-label={t('queue.paused')} />}
        </span>
        <span className="my-1.5 block">
          <ProgressBar
            value={total === 0 ? 0 : (total - open) / total}
            label={t('queue.progressOf', { label: name })}
            tone={failed > 0 ? 'bad' : open === 0 ? 'good' : 'accent'}
          />
        </span>
        <span className="num flex flex-wrap gap-x-2 text-2xs whitespace-nowrap text-faint">
          <span>{t('queue.doneOf', { done: format.number(counts.done), total: format.number(total) })}</span>
          {failed > 0 && <span className="text-bad">{t('queue.failedCount', { n: format.number(failed) })}</span>}
          <span className="ml-auto">
            {open > 0 ? (etaSeconds === null ? '' : format.duration(etaSeconds)) : format.ago(createdAt)}
          </span>
        </span>
        {(startAt || stopAt) && (
          <span className="num mt-0.5 flex items-center gap-1 text-2xs text-faint">
            <CalendarClock size={11} aria-hidden />
            {t('queue.window', { start: startAt ?? '…', stop: stopAt ?? '…' })}
          </span>
        )}
      </button>
      <div className="absolute top-1.5 right-1.5">
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('queue.batchActions', { name })} />}
          items={[
            {
              label: t('queue.seePictures'),
              icon: Images,
              onSelect: () => void navigate({ to: '/gallery', search: { batch: id } }),
            },
            ...(open > 0
              ? [
                  paused
                    ? { label: t('queue.resumeBatch'), icon: Play, onSelect: () => resume.mutate({ id }) }
                    : {
                        label: t('queue.pauseAfter'),
                        icon: Pause,
                        onSelect: () => pause.mutate({ id, how: 'after-current' as const }),
                      },
                  ...(paused
                    ? []
                    : [
                        {
                          label: t('queue.pauseNow'),
                          icon: Square,
                          onSelect: () => pause.mutate({ id, how: 'now' as const }),
                        },
                      ]),
                  {
                    label: t('queue.first'),
                    icon: ArrowUpToLine,
                    onSelect: () => prioritise.mutate({ jobs: { batchId: id, states: ['waiting'] }, priority: 100 }),
                  },
                  { label: t('queue.setWindow'), icon: CalendarClock, onSelect: () => setWindowOpen(true) },
                ]
              : []),
            ...(failed > 0
              ? [
                  {
                    label: t('queue.retryFailed', { n: format.number(failed) }),
                    icon: RotateCcw,
                    onSelect: () => retry.mutate({ batchId: id, states: ['failed', 'parked'] }),
                  },
                ]
              : []),
            ...(open > 0
              ? [
                  null,
                  {
                    label: t('queue.cancelBatch'),
                    icon: X,
                    danger: true,
                    onSelect: () => cancel({ batchId: id, states: ['waiting', 'running'] }),
                  },
                ]
              : []),
          ]}
        />
      </div>
      {windowOpen && <WindowModal batch={batch} onClose={() => setWindowOpen(false)} />}
    </li>
  )
}

function WindowModal({ batch: { id, startAt, stopAt, name }, onClose }: { batch: Batch; onClose: () => void }) {
  const { t } = useWords()
  const [start, setStart] = useState(startAt ?? '')
  const [stop, setStop] = useState(stopAt ?? '')
  const set = useDo('batch.window', {
    onError: sayFault,
    onSuccess() {
      void again()
      onClose()
    },
  })
  return (
    <Modal
      open
      onClose={onClose}
      title={t('queue.setWindow')}
      note={t('queue.windowNote', { name })}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button
            look="primary"
            busy={set.isPending}
            onClick={() => set.mutate({ id, startAt: start || null, stopAt: stop || null })}
          >
            {t('common.save')}
          </Button>
        </>
      }
    >
      <div className="grid grid-cols-2 gap-3">
        <Field label={t('batch.startAt')}>
          {(ids) => (
            <input
              {...ids}
              type="time"
              value={start}
              onChange={({ target }) => setStart(target.value)}
              className="field num"
            />
          )}
        </Field>
        <Field label={t('batch.stopAt')}>
          {(ids) => (
            <input
              {...ids}
              type="time"
              value={stop}
              onChange={({ target }) => setStop(target.value)}
              className="field num"
            />
          )}
        </Field>
      </div>
    </Modal>
  )
}

/** What the workers are making at this moment. */
function Running({ batchId }: { batchId?: string }) {
  const { t } = useWords()
  const running = useAsk('job.page', { batchId, states: ['running'], limit: 12 })
  const rows = running.data?.rows ?? []
  if (rows.length === 0) return null
  return (
    <ul aria-label={t('queue.now')} className="flex shrink-0 gap-3 overflow-x-auto border-b border-line px-4 py-3">
      {rows.map((job) => (
        <RunningJob key={job.id} job={job} />
      ))}
    </ul>
  )
}

function RunningJob({ job }: { job: Job }) {
  const { t, format } = useWords()
  const { id, workerId } = job
  const label = job.label || `${t('queue.row', { row: format.number(job.row) })} · #${format.number(job.index + 1)}`
  const progress = useProgress(id)
  const cancel = useCancel()
  return (
    <li className="card flex w-[340px] shrink-0 gap-3 p-2.5">
      <div className="checker grid size-[76px] shrink-0 place-items-center overflow-hidden rounded-md bg-sunken">
        {progress && progress.preview > 0 ? (
          <img
            src={previewUrl(id, progress.preview)}
            alt={t('queue.preview', { label })}
            className="size-full object-cover"
          />
        ) : (
          <Moon size={20} className="text-faint" aria-hidden />
        )}
      </div>
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex items-start gap-1">
          <p className="line-clamp-1 min-w-0 flex-1 font-medium" title={label}>
            {label}
          </p>
          <IconButton
            size="sm"
            icon={X}
            label={t('queue.cancelJob', { label })}
            className="-my-1 -mr-1"
            onClick={() => cancel({ ids: [id] })}
          />
        </div>
        <p className="num truncate text-xs text-faint">
          {progress?.nodeTitle || t('queue.starting')}
          {progress && progress.max > 1 && ` · ${format.number(progress.value)}/${format.number(progress.max)}`}
        </p>
        <div className="mt-auto flex items-center gap-2">
          <ProgressBar value={progress?.overall ?? 0} label={t('queue.progressOf', { label })} />
          <span className="num w-9 shrink-0 text-right text-2xs text-soft">
            {format.percent(progress?.overall ?? 0)}
          </span>
        </div>
        <p className="mt-1 truncate text-2xs text-faint">{workerId}</p>
      </div>
    </li>
  )
}

function Filters({
  counts,
  filter,
  onFilter,
}: {
  counts: JobCounts
  filter: QueueSearch
  onFilter: (change: QueueSearch) => void
}) {
  const { t, format } = useWords()
  return (
    <div className="flex flex-wrap items-center gap-1 border-b border-line bg-surface px-3 py-1.5">
      <div role="toolbar" aria-label={t('queue.filter')} className="flex flex-wrap items-center gap-0.5">
        {[undefined, ...states].map((state) => {
          const count = state ? counts[state] : sum(counts)
          if (state && count === 0 && filter.state !== state) return null
          return (
            <button
              key={state ?? 'all'}
              type="button"
              aria-pressed={filter.state === state}
              onClick={() => onFilter({ state })}
              className="btn btn-quiet btn-sm"
            >
              {state ? t(`state.${state}`) : t('queue.all')}{' '}
              <span className="num text-2xs opacity-80">{format.number(count)}</span>
            </button>
          )
        })}
      </div>
      <div className="ml-auto w-44">
        <SearchField
          small
          label={t('queue.find')}
          value={filter.find ?? ''}
          onChange={(find) => onFilter({ find: find || undefined })}
        />
      </div>
    </div>
  )
}

/** As many rows as fit are drawn, and only their pages asked for, however long the queue. */
function JobList({
  filter,
  onOpen,
  batchNames,
}: {
  filter: QueueSearch
  onOpen: (id: string) => void
  batchNames: ReadonlyMap<string, string>
}) {
  const { t, format } = useWords()
  const scroller = useRef<HTMLDivElement>(null)
  const [shown, setShown] = useState({ first: 0, last: 40 })
  const [dragged, setDragged] = useState<{ id: string; over: number } | null>(null)
  const pages = usePages(
    'job.page',
    { batchId: filter.batch, states: filter.state ? [filter.state] : undefined, search: filter.find },
    shown.first,
    shown.last,
  )
  const virtual = useVirtualizer({
    count: pages.total,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 10,
    onChange({ range }) {
      if (range)
        setShown((was) =>
          was.first === range.startIndex && was.last === range.endIndex
            ? was
            : { first: range.startIndex, last: range.endIndex },
        )
    },
  })
  const move = useDo('job.move', { ...acting, scope: { id: 'job.move' } })
  /** The job that Alt and the arrows carry, and where to: the list may not show it there yet. */
  const carried = useRef<{ id: string; at: number } | null>(null)
  // only there is a place in the list also the place in the queue
  const mayMove = filter.state === 'waiting' && !filter.batch && !filter.find
  if (pages.loading)
    return (
      <div className="p-4">
        <Skeleton rows={10} height={30} />
      </div>
    )
  if (pages.error)
    return (
      <div className="p-4">
        <ErrorNotice cause={pages.error} onRetry={pages.retry} />
      </div>
    )
  if (pages.total === 0)
    return (
      <Empty icon={ListChecks} title={t('queue.nothing')}>
        {filter.find || filter.state ? t('queue.nothingNote') : null}
      </Empty>
    )
  return (
    <div
      ref={scroller}
      onPointerDown={() => {
        carried.current = null
      }}
      className="@container min-h-0 flex-1 overflow-y-auto bg-surface"
    >
      {mayMove && <p className="border-b border-line px-4 py-1.5 text-2xs text-faint">{t('queue.moveNote')}</p>}
      <ul aria-label={t('queue.jobs')} style={{ height: virtual.getTotalSize(), position: 'relative' }} className="num">
        {virtual.getVirtualItems().map(({ index, start }) => {
          const job = pages.row(index)
          return (
            <li
              key={index}
              aria-posinset={index + 1}
              aria-setsize={pages.total}
              style={{ height: ROW_PX, transform: `translateY(${start}px)` }}
              className={`absolute top-0 left-0 w-full border-b ${dragged?.over === index ? 'border-accent' : 'border-line'}`}
              draggable={mayMove && job !== undefined}
              onDragStart={(event) => {
                if (!job) return
                event.dataTransfer.effectAllowed = 'move'
                event.dataTransfer.setData('text/plain', job.label)
                setDragged({ id: job.id, over: index })
              }}
              onDragOver={(event) => {
                if (!dragged) return
                event.preventDefault()
                if (dragged.over !== index) setDragged({ ...dragged, over: index })
              }}
              onDrop={(event) => {
                event.preventDefault()
                if (dragged) move.mutate({ id: dragged.id, position: index })
                setDragged(null)
              }}
              onDragEnd={() => setDragged(null)}
            >
              {job ? (
                <JobRow
                  job={job}
                  chosen={job.id === filter.job}
                  batch={filter.batch ? undefined : batchNames.get(job.batchId)}
                  onOpen={() => onOpen(job.id)}
                  onKey={(event) => {
                    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
                      const to = Math.min(pages.total - 1, Math.max(0, index + (event.key === 'ArrowDown' ? 1 : -1)))
                      event.preventDefault()
                      if (event.altKey && mayMove) {
                        const { id } = carried.current?.at === index ? carried.current : job
                        carried.current = { id, at: to }
                        move.mutate({ id, position: to })
                      } else carried.current = null
                      virtual.scrollToIndex(to)
                      const focus = () => {
                        const there = scroller.current?.querySelector<HTMLElement>(`[aria-posinset="${to + 1}"] button`)
                        there?.focus()
                        return there
                      }
                      if (!focus()) requestAnimationFrame(focus) // drawn only now
                    }
                  }}
                />
              ) : (
                <div className="flex h-full items-center px-4">
                  <div className="skeleton h-3 w-2/3" />
                  <span className="sr-only">{format.number(index + 1)}</span>
                </div>
              )}
            </li>
          )
        })}
      </ul>
    </div>
  )
}

function JobRow({
  job,
  chosen,
  batch,
  onOpen,
  onKey,
}: {
  job: Job
  chosen: boolean
  batch?: string
  onOpen: () => void
  onKey: (event: React.KeyboardEvent) => void
}) {
  const { t, format } = useWords()
  const progress = useProgress(job.id)
  const seconds = job.startedAt && job.endedAt ? (job.endedAt - job.startedAt) / 1000 : null
  return (
    <button
      type="button"
      aria-pressed={chosen}
      onClick={onOpen}
      onKeyDown={onKey}
      className="flex size-full items-center gap-3 px-4 text-left -outline-offset-2 hover:bg-hover aria-pressed:bg-accent-soft"
    >
      <span className="w-[92px] shrink-0">
        <StateBadge state={job.state} />
      </span>
      <span className="w-14 shrink-0 truncate text-right text-xs text-faint">
        {t('queue.row', { row: format.number(job.row) })}
      </span>
      <span className={`min-w-0 flex-1 truncate ${job.label ? '' : 'text-faint'}`} title={job.label}>
        {job.label || `#${format.number(job.index + 1)}`}
      </span>
      {batch && <span className="hidden w-36 shrink-0 truncate text-xs text-faint @3xl:block">{batch}</span>}
      <span className="w-24 shrink-0 truncate text-right text-xs text-faint">
        {job.state === 'running' && progress
          ? format.percent(progress.overall)
          : seconds !== null
            ? format.duration(seconds)
            : (job.workerId ?? '')}
      </span>
    </button>
  )
}

/** One job: its pictures, its values, what went wrong and what to do about it. */
function Detail({ id, onClose }: { id: string; onClose: () => void }) {
  const { t, format } = useWords()
  const job = useAsk('job.get', { id })
  const pictures = useAsk('artifact.page', { jobId: id, limit: 12 })
  const progress = useProgress(id)
  const nameOf = useNames(job.data?.batchId)
  const retry = useDo('job.retry', acting)
  const move = useDo('job.move', acting)
  const prioritise = useDo('job.prioritise', acting)
  const cancel = useCancel()
  const editor = useOpenEditor()
  return (
    <aside
      aria-label={t('queue.detail')}
      className="rise flex min-h-0 w-[316px] flex-col overflow-y-auto border-l border-line bg-surface min-[1180px]:w-[356px]"
    >
      <div className="flex items-center gap-2 border-b border-line px-4 py-2">
        {job.data && <StateBadge state={job.data.state} />}
        <h2 className="num min-w-0 flex-1 truncate">
          {job.data ? t('queue.row', { row: format.number(job.data.row) }) : t('common.loading')}
        </h2>
        <IconButton size="sm" icon={X} label={t('common.close')} onClick={onClose} />
      </div>
      <div className="flex flex-col gap-4 p-4">
        {job.error && <ErrorNotice cause={job.error} onRetry={() => void job.refetch()} compact />}
        {!job.data && !job.error && <Skeleton rows={4} />}
        {job.data && (
          <>
            {job.data.label && <p className="break-words">{job.data.label}</p>}
            {job.data.failure && <ErrorNotice compact cause={job.data.failure} />}
            <div className="flex flex-wrap gap-2">
              {['failed', 'cancelled', 'parked'].includes(job.data.state) && (
                <Button
                  size="sm"
                  look="primary"
                  icon={RotateCcw}
                  busy={retry.isPending}
                  onClick={() => retry.mutate({ ids: [id] })}
                >
                  {t('queue.retry')}
                </Button>
              )}
              {job.data.state === 'waiting' && (
                <Button
                  size="sm"
                  icon={ArrowUpToLine}
                  busy={move.isPending}
                  onClick={() => move.mutate({ id, position: 0 })}
                >
                  {t('queue.next')}
                </Button>
              )}
              <Button
                size="sm"
                icon={WorkflowIcon}
                busy={editor.isPending}
                onClick={() => editor.mutate({ jobId: id })}
              >
                {t('editor.open')}
              </Button>
              {['waiting', 'running', 'parked'].includes(job.data.state) && (
                <Button size="sm" look="danger" icon={X} onClick={() => cancel({ ids: [id] })}>
                  {t('common.cancelJob')}
                </Button>
              )}
            </div>
            {job.data.state === 'running' && progress && (
              <div>
                {progress.preview > 0 && (
                  <img
                    src={previewUrl(id, progress.preview)}
                    alt={t('queue.preview', { label: job.data.label })}
                    className="checker mb-2 w-full rounded-md"
                  />
                )}
                <ProgressBar value={progress.overall} label={t('queue.progressOf', { label: job.data.label })} />
                <p className="num mt-1 text-xs text-faint">
                  {progress.nodeTitle} · {format.number(progress.value)}/{format.number(progress.max)}
                </p>
              </div>
            )}
            {(pictures.data?.rows.length ?? 0) > 0 && (
              <ul className="grid grid-cols-2 gap-2">
                {pictures.data?.rows.map(({ id: picture, name, kind, mediaType, batchId }) => (
                  <li key={picture}>
                    <Link
                      to="/gallery"
                      search={{ batch: batchId, open: picture }}
                      aria-label={t('workflow.open', { name })}
                      className="checker block aspect-square overflow-hidden rounded-md border border-line"
                    >
                      {kind === 'image' ? (
                        <img src={thumbUrl(picture)} alt="" className="size-full object-cover" />
                      ) : (
                        <span className="grid size-full place-items-center text-xs text-faint">{mediaType}</span>
                      )}
                    </Link>
                  </li>
                ))}
              </ul>
            )}
            {job.data.state === 'waiting' && (
              <Field label={t('batch.priority')} help={t('batch.priorityNote')}>
                {(ids) => (
                  <input
                    {...ids}
                    type="number"
                    min={-1000}
                    max={1000}
                    defaultValue={job.data?.priority}
                    onBlur={({ target }) => {
                      const priority = Math.min(1000, Math.max(-1000, Math.trunc(Number(target.value)) || 0))
                      if (priority !== job.data?.priority) prioritise.mutate({ jobs: { ids: [id] }, priority })
                    }}
                    className="field num"
                  />
                )}
              </Field>
            )}
            <Facts
              title={t('queue.values')}
              facts={Object.entries(job.data.overrides).map(([key, value]) => [nameOf(key), textOf(value)])}
            />
            <Facts
              title={t('queue.tries')}
              facts={job.data.tries.map(({ workerId, startedAt, endedAt, ended }) => [
                format.stamp(startedAt),
                `${workerId} · ${ended ? t(`ended.${ended}`) : t('state.running')}${endedAt ? ` · ${format.duration((endedAt - startedAt) / 1000)}` : ''}`,
              ])}
            />
            <Facts
              title={t('queue.times')}
              facts={[
                [t('queue.createdAt'), format.stamp(job.data.createdAt)],
                ...(job.data.startedAt
                  ? [[t('queue.startedAt'), format.stamp(job.data.startedAt)] as [string, string]]
                  : []),
                ...(job.data.endedAt ? [[t('queue.endedAt'), format.stamp(job.data.endedAt)] as [string, string]] : []),
              ]}
            />
          </>
        )}
      </div>
    </aside>
  )
}
