import { Link } from '@tanstack/react-router'
import {
  Boxes,
  CircleAlert,
  Ellipsis,
  Moon,
  Plus,
  Power,
  PowerOff,
  RotateCcw,
  Server,
  Trash2,
  TriangleAlert,
  X,
} from 'lucide-react'
import { useState } from 'react'
import type { WorkerHealth, WorkerView } from '../../core/contract/worker.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { sayDevice, sayFailure, useWords } from '../i18n.ts'
import { AddWorker } from '../parts/add-worker.tsx'
import { Button, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { Fact } from '../parts/facts.tsx'
import { Menu, say, sayFault } from '../parts/overlays.tsx'
import { Share, TaskDoor } from '../parts/share.tsx'
import { useNow } from '../parts/use-now.ts'
import { WorkerContents } from '../parts/worker-contents.tsx'

/** The places that make pictures, and how they are. */
export function WorkersPage() {
  const { t } = useWords()
  const workers = useAsk('worker.list', {}, { refetchInterval: 5_000 })
  const [adding, setAdding] = useState(false)
  const rows = workers.data?.rows ?? []
  const remote = rows.filter(({ kind }) => kind !== 'rehearsal')
  return (
    <>
      <PageHead title={t('nav.workers')} note={t('workers.note')}>
        <Button look="primary" icon={Plus} onClick={() => setAdding(true)}>
          {t('workers.add')}
        </Button>
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[900px] flex-col gap-3 p-6">
          {workers.isPending ? (
            <Skeleton rows={2} height={110} />
          ) : workers.error ? (
            <ErrorNotice cause={workers.error} onRetry={() => void workers.refetch()} />
          ) : (
            <>
              <ul className="flex flex-col gap-3">
                {rows.map((worker) => (
                  <WorkerCard key={worker.id} worker={worker} />
                ))}
              </ul>
              {remote.length === 0 && (
                <div className="flex flex-col items-center rounded-lg border-2 border-dashed border-line px-6 py-8 text-center">
                  <Server size={22} className="mb-2 text-faint" aria-hidden />
                  <h2>{t('workers.none')}</h2>
                  <p className="max-w-[56ch] text-soft">{t('workers.noneNote')}</p>
                  <Button className="mt-4" icon={Plus} onClick={() => setAdding(true)}>
                    {t('workers.add')}
                  </Button>
                </div>
              )}
            </>
          )}
          <Share />
          <TaskDoor />
        </div>
      </div>
      {adding && <AddWorker onClose={() => setAdding(false)} />}
    </>
  )
}

function WorkerCard({ worker }: { worker: WorkerView }) {
  const { t, format } = useWords()
  const { id, kind, url, enabled, capacity, inFlight, health, hasHeader, quiet } = worker
  const [open, setOpen] = useState(false)
  const rehearsal = kind === 'rehearsal'
  const enable = useDo('worker.enable', { onError: sayFault, onSuccess: () => refresh('worker.list') })
  const add = useDo('worker.add', { onError: sayFault, onSuccess: () => refresh('worker.list') })
  const remove = useDo('worker.remove', {
    onError: sayFault,
    onSuccess() {
      void refresh('worker.list')
      say({
        title: t('workers.removed', { name: id }),
        // its secret header is gone with it, so only an open one can simply come back
        ...(url && !hasHeader && { action: { label: t('common.undo'), run: () => add.mutate({ url, name: id }) } }),
      })
    },
  })
  return (
    <li className="card p-4" aria-label={rehearsal ? t('workers.rehearsal') : id}>
      <div className="flex items-start gap-3">
        <div
          className={`grid size-9 shrink-0 place-items-center rounded-lg ${rehearsal ? 'tone-accent' : 'bg-sunken text-soft'}`}
        >
          {rehearsal ? <Moon size={17} aria-hidden /> : <Server size={17} aria-hidden />}
        </div>
        <div className="min-w-0 flex-1">
          <div className="flex items-center gap-2">
            <h2 className="truncate text-base">{rehearsal ? t('workers.rehearsal') : id}</h2>
            <Health health={health} />
          </div>
          <p className="truncate text-xs text-faint">
            {kind === 'remote' ? whereOf(url ?? '', t) : t(`workers.${kind}Note`)}
            {kind === 'remote' && hasHeader && ` · ${t('workers.withHeader')}`}
          </p>
          {kind === 'remote' && <p className="text-xs text-faint">{t('workers.notOurs')}</p>}
        </div>
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('workers.actions', { name: id })} />}
          items={[
            enabled
              ? { label: t('workers.disable'), icon: PowerOff, onSelect: () => enable.mutate({ id, enabled: false }) }
              : { label: t('workers.enable'), icon: Power, onSelect: () => enable.mutate({ id, enabled: true }) },
            ...(kind === 'remote'
              ? [null, { label: t('common.remove'), icon: Trash2, danger: true, onSelect: () => remove.mutate({ id }) }]
              : []),
          ]}
        />
      </div>
      {health.is === 'ready' && (
        <dl className="num mt-3 grid grid-cols-[repeat(auto-fit,minmax(120px,1fr))] gap-3 border-t border-line pt-3 text-xs">
          {health.comfyuiVersion && <Fact name={t('workers.version')} value={health.comfyuiVersion} />}
          <Fact name={t('workers.queueLength')} value={format.number(health.queueLength)} />
          <Fact name={t('workers.inFlight')} value={`${format.number(inFlight)} / ${format.number(capacity)}`} />
          <Fact name={t('workers.latency')} value={`${format.number(Math.round(health.latencyMs))} ms`} />
        </dl>
      )}
      {health.is === 'ready' && health.devices.length > 0 && (
        <ul className="mt-3 flex flex-col gap-2">
          {health.devices.map(({ name, type, vramTotalBytes, vramFreeBytes }, place) => (
            <li key={`${name} ${String(place)}`} className="num flex items-center gap-3 text-xs">
              <span className="min-w-0 flex-1 truncate" title={name}>
                {sayDevice(name)} {type !== name && <span className="text-faint">({type})</span>}
              </span>
              {vramTotalBytes > 0 && (
                <>
                  <span className="w-36">
                    <ProgressBar value={1 - vramFreeBytes / vramTotalBytes} label={t('workers.memory', { name })} />
                  </span>
                  <span className="w-40 text-right text-faint">
                    {t('workers.memoryFree', {
                      free: format.bytes(vramFreeBytes),
                      total: format.bytes(vramTotalBytes),
                    })}
                  </span>
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {health.is === 'unreachable' && notRunning(health) && (
        <p className="mt-3 flex flex-wrap items-center gap-3 text-soft">
          {t('workers.notStarted')}
          <Link to="/engine" className="btn btn-sm">
            {t('workers.toEngine')}
          </Link>
        </p>
      )}
      {health.is === 'unreachable' && !notRunning(health) && <Unreachable health={health} retries={kind !== 'local'} />}
      {quiet && <Silent worker={worker} quiet={quiet} />}
      {!rehearsal && enabled && (
        <div className="mt-3 border-t border-line pt-2.5">
          <Button size="sm" look="quiet" icon={Boxes} aria-expanded={open} onClick={() => setOpen(!open)}>
            {t('workers.contents')}
          </Button>
          {open && (
            <div className="mt-2.5">
              <WorkerContents id={id} />
            </div>
          )}
        </div>
      )}
    </li>
  )
}

/** Where it is, in words: an ssh address says more than a person wants to read. */
function whereOf(url: string, t: ReturnType<typeof useWords>['t']): string {
  const read = URL.parse(url)
  if (read?.protocol === 'ssh:') {
    const who = read.username ? `${decodeURIComponent(read.username)}@${read.host}` : read.host
    return t('workers.overSsh', { host: who, port: read.searchParams.get('comfyui') ?? '' })
  }
  const [, shared] = /^\/gpu\/([^/]+)\/$/.exec(read?.pathname ?? '') ?? []
  return shared === undefined ? url : t('workers.sharedBy', { host: read!.host, name: decodeURIComponent(shared) })
}

/** A prompt runs there and tells nothing any more; whether it hangs is the person's to say. */
function Silent({ worker: { id, kind }, quiet }: { worker: WorkerView; quiet: NonNullable<WorkerView['quiet']> }) {
  const { t, format } = useWords()
  const now = useNow()
  const engines = useAsk('engine.list', {}, { enabled: kind === 'local' })
  const engine = engines.data?.rows.find(({ processes }) => processes.some((process) => process.id === id))
  const again = () => refresh('worker.list', 'engine.list', 'job.page')
  const cancel = useDo('job.cancel', { onError: sayFault, onSettled: again })
  const restart = useDo('engine.restart', { onError: sayFault, onSettled: again })
  const time = format.duration(Math.max(0, (now - quiet.since) / 1000))
  const seen = quiet.idle === null ? 'unseen' : quiet.idle ? 'idle' : 'works'
  return (
    <div className="tone-warn mt-3 flex gap-2.5 rounded-md p-3" role="status">
      <TriangleAlert size={16} className="mt-0.5 shrink-0" aria-hidden />
      <div className="min-w-0">
        <p className="num font-medium">{t('workers.quiet', { job: quiet.jobId, time })}</p>
        <p>{t(`workers.quietSeen.${seen}`)}</p>
        <div className="mt-2 flex flex-wrap gap-2">
          <Button size="sm" icon={X} busy={cancel.isPending} onClick={() => cancel.mutate({ ids: [quiet.jobId] })}>
            {t('workers.quietCancel')}
          </Button>
          {engine && (
            <Button
              size="sm"
              icon={RotateCcw}
              busy={restart.isPending}
              onClick={() => restart.mutate({ name: engine.name, process: id })}
            >
              {t('workers.quietRestart')}
            </Button>
          )}
        </div>
      </div>
    </div>
  )
}

/** A ComfyUI of this machine that is not started: nothing is wrong. */
const notRunning = (health: WorkerHealth) => health.is === 'unreachable' && health.because.code === 'engine.not-running'

function Health({ health }: { health: WorkerHealth }) {
  const { t } = useWords()
  if (notRunning(health)) return <span className="badge">{t('engine.states.stopped')}</span>
  const tone = { ready: 'tone-good', unreachable: 'tone-bad', connecting: 'tone-accent', disabled: '' }[health.is]
  return <span className={`badge ${tone}`}>{t(`workers.${health.is}`)}</span>
}

/** What happened, what to do, and when it is tried again by itself. */
function Unreachable({ health, retries }: { health: Extract<WorkerHealth, { is: 'unreachable' }>; retries: boolean }) {
  const { t, format } = useWords()
  const now = useNow()
  const { message, remedy } = sayFailure(health.because)
  return (
    <div className="mt-3 flex gap-2.5 rounded-md bg-bad-soft p-3">
      <CircleAlert size={16} className="mt-0.5 shrink-0 text-bad" aria-hidden />
      <div className="min-w-0">
        <p className="font-medium break-words">{message}</p>
        <p className="text-soft break-words">{remedy}</p>
        {retries && (
          <p className="num mt-1 text-xs text-soft">
            {t('workers.retryIn', { time: format.duration(Math.max(0, (health.retryAt - now) / 1000)) })}
          </p>
        )}
      </div>
    </div>
  )
}
