import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router'
import {
  Activity,
  Blocks,
  Box,
  CloudUpload,
  Cpu,
  Download,
  Images,
  LayoutList,
  ListChecks,
  type LucideIcon,
  Pause,
  Play,
  Radar,
  Search,
  Send,
  Server,
  Settings as SettingsIcon,
  SlidersHorizontal,
  Table2,
  Workflow as WorkflowIcon,
} from 'lucide-react'
import { useCallback, useEffect, useState } from 'react'
import type { Batch } from '../core/contract/batch.ts'
import { useAsk, useDo } from './client/client.ts'
import { seedProgress, useBatchEnded, useConnection } from './client/use-live.ts'
import { chooseLanguage, saySentence, useWords } from './i18n.ts'
import { Intake } from './intake.tsx'
import { lastWorkflow, rememberWorkflow } from './last-workflow.ts'
import { Palette } from './palette.tsx'
import { Button, IconButton, ProgressBar, Tip } from './parts/basics.tsx'
import { say, sayFault } from './parts/overlays.tsx'
import { TrustDialog } from './parts/trust-models.tsx'
import { chooseTheme } from './theme.ts'

export function Shell() {
  const { t } = useWords()
  const connection = useConnection()
  const onForm = useRouterState({ select: ({ location }) => /^\/form\/[^/]+$/.test(location.pathname) })
  const settings = useAsk('settings.get', {}, { enabled: connection !== 'locked' })
  const language = settings.data?.language
  const theme = settings.data?.theme
  useEffect(() => {
    if (language) chooseLanguage(language)
  }, [language])
  useEffect(() => {
    if (theme) chooseTheme(theme)
  }, [theme])
  useTellEnd()

  if (connection === 'locked')
    return (
      <main className="grid h-full place-items-center p-8">
        <div className="card max-w-md p-6">
          <h1 className="text-lg">{t('shell.locked')}</h1>
          <p className="mt-1 text-soft">{t('shell.lockedRemedy')}</p>
        </div>
      </main>
    )
  return (
    <div className={`flex h-full ${onForm ? '' : 'min-w-[840px]'}`}>
      <button
        type="button"
        onClick={() => document.getElementById('main')?.focus()}
        className="btn btn-primary fixed top-2 left-2 z-50 -translate-y-16 focus:translate-y-0"
      >
        {t('shell.skip')}
      </button>
      <Rail />
      <div className="flex min-w-0 flex-1 flex-col">
        {connection === 'disconnected' && (
          <div role="alert" className="tone-warn flex items-center gap-2 px-5 py-2">
            <Activity size={15} aria-hidden />
            <strong className="font-semibold">{t('shell.disconnected')}</strong>
            <span>{t('shell.disconnectedRemedy')}</span>
          </div>
        )}
        <main id="main" tabIndex={-1} className="flex min-h-0 flex-1 flex-col outline-none">
          <Outlet />
        </main>
      </div>
      <Intake />
      <Palette />
      <TrustDialog />
    </div>
  )
}

/** A batch that ends is told of wherever the person is. */
function useTellEnd() {
  const { t } = useWords()
  const navigate = useNavigate()
  useBatchEnded(
    useCallback(
      ({ id, name, counts }) =>
        say(
          {
            title: t('shell.batchEnded', { name }),
            description:
              counts.failed > 0
                ? t('shell.batchEndedSome', { done: counts.done, failed: counts.failed })
                : t('shell.batchEndedAll', { count: counts.done }),
            action: {
              label: t('shell.seePictures'),
              run: () => void navigate({ to: '/gallery', search: { batch: id } }),
            },
          },
          counts.failed > 0 ? 'bad' : 'good',
        ),
      [t, navigate],
    ),
  )
}

function Rail() {
  const { t, format } = useWords()
  const path = useRouterState({ select: ({ location }) => location.pathname })
  const [, kind, id] = /^\/(workflow|form|batch)\/([^/]+)/.exec(path) ?? []
  const [remembered, remember] = useState(lastWorkflow)
  useEffect(() => {
    if (!id) return remember(lastWorkflow())
    rememberWorkflow(id)
    remember(id)
  }, [id])
  const current = useAsk(
    'workflow.list',
    { limit: 200 },
    { select: ({ rows }) => rows.find((row) => row.id === remembered) },
  )
  const queue = useAsk('queue.state', {})
  const workers = useAsk('worker.list', {})
  const dead =
    workers.data?.rows.filter(
      ({ health }) => health.is === 'unreachable' && health.because.code !== 'engine.not-running',
    ).length ?? 0
  const downloads = useAsk('download.list', { states: ['running'], limit: 1 })
  const counts = downloads.data?.totals.counts
  const coming = counts ? counts.waiting + counts.running : 0
  const open = queue.data ? queue.data.counts.waiting + queue.data.counts.running : 0
  return (
    <nav
      aria-label={t('shell.pages')}
      className="flex w-[60px] shrink-0 flex-col border-r border-line bg-[var(--rail)] px-2 py-3 min-[1180px]:w-[212px]"
    >
      <Link to="/" className="mb-3 flex items-center gap-2.5 rounded-md px-2 py-1" aria-label={t('shell.home')}>
        <img src="./icon.svg" alt="" className="size-7" />
        <span className="hidden text-lg font-semibold tracking-tight min-[1180px]:inline">{t('app.name')}</span>
      </Link>
      <ul className="flex flex-col gap-0.5">
        <Stop to="/" icon={WorkflowIcon} label={t('nav.start')} exact />
        {remembered && current.data && (
          <li>
            <p className="eyebrow hidden truncate px-2.5 pt-3 pb-1 min-[1180px]:block" title={current.data.name}>
              {current.data.name}
            </p>
            <ul className="flex flex-col gap-0.5">
              {current.data.panelCount > 0 && (
                <Stop to="/form/$id" id={remembered} icon={LayoutList} label={t('nav.form')} here={kind === 'form'} />
              )}
              <Stop
                to="/workflow/$id"
                id={remembered}
                icon={SlidersHorizontal}
                label={t('nav.workflow')}
                here={kind === 'workflow'}
              />
              <Stop to="/batch/$id" id={remembered} icon={Table2} label={t('nav.batch')} here={kind === 'batch'} />
            </ul>
          </li>
        )}
        <li aria-hidden className="mx-2.5 my-2 h-px bg-line" />
        <Stop to="/queue" icon={ListChecks} label={t('nav.queue')} count={open > 0 ? format.number(open) : undefined} />
        <Stop to="/gallery" icon={Images} label={t('nav.gallery')} />
        <Stop
          to="/workers"
          icon={Server}
          label={t('nav.workers')}
          alert={dead > 0 ? t('nav.deadWorkers', { count: dead }) : undefined}
        />
        <Stop to="/endpoints" icon={CloudUpload} label={t('nav.endpoints')} />
        <Stop to="/publish" icon={Send} label={t('nav.publish')} />
        <Stop to="/engine" icon={Cpu} label={t('nav.engine')} />
        <Stop to="/models" icon={Box} label={t('nav.models')} />
        <Stop to="/custom-nodes" icon={Blocks} label={t('nav.nodes')} />
        <Stop
          to="/downloads"
          icon={Download}
          label={t('nav.downloads')}
          count={coming > 0 ? format.number(coming) : undefined}
        />
        <Stop to="/mirrors" icon={Radar} label={t('nav.mirrors')} />
        <Stop to="/settings" icon={SettingsIcon} label={t('nav.settings')} />
      </ul>
      <div className="mt-auto flex flex-col gap-2">
        <QueueStatus />
        <button
          type="button"
          onClick={() => window.dispatchEvent(new Event('nightshift:palette'))}
          className="btn btn-quiet justify-start px-2.5"
        >
          <Search aria-hidden />
          <span className="sr-only min-[1180px]:not-sr-only min-[1180px]:flex-1 min-[1180px]:text-left">
            {t('palette.short')}
          </span>
          <kbd aria-hidden className="hidden min-[1180px]:inline">
            {modifier}K
          </kbd>
        </button>
      </div>
    </nav>
  )
}
const modifier = /mac/i.test(navigator.platform) ? '⌘' : 'Ctrl '

function Stop({
  to,
  id,
  icon: Icon,
  label,
  count,
  alert,
  here,
  exact,
}: {
  to:
    | '/'
    | '/workflow/$id'
    | '/form/$id'
    | '/batch/$id'
    | '/queue'
    | '/gallery'
    | '/workers'
    | '/endpoints'
    | '/publish'
    | '/engine'
    | '/models'
    | '/custom-nodes'
    | '/downloads'
    | '/mirrors'
    | '/settings'
  id?: string
  icon: LucideIcon
  label: string
  count?: string
  alert?: string
  here?: boolean
  exact?: boolean
}) {
  return (
    <li>
      <Link
        to={to}
        params={{ id } as never}
        activeOptions={{ exact: exact ?? false, includeSearch: false }}
        title={label}
        aria-current={here ? 'page' : undefined}
        className="relative flex h-8 items-center gap-2.5 rounded-md px-2.5 font-medium text-soft hover:bg-hover hover:text-text aria-[current=page]:bg-accent-soft aria-[current=page]:text-accent-ink"
      >
        <Icon size={17} className="shrink-0" aria-hidden />
        <span className="sr-only min-[1180px]:not-sr-only min-[1180px]:truncate">{label}</span>
        {count && <span className="badge ml-auto hidden min-[1180px]:inline-flex">{count}</span>}
        {alert && (
          <span className="ml-auto size-2 shrink-0 rounded-full bg-bad max-[1179px]:absolute max-[1179px]:top-1.5 max-[1179px]:right-2">
            <span className="sr-only">{alert}</span>
          </span>
        )}
      </Link>
    </li>
  )
}

function partDone({ rows }: { rows: readonly Batch[] }) {
  let done = 0
  let all = 0
  for (const { counts, endedAt } of rows) {
    if (endedAt !== null) continue
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
    all += total
    done += total - counts.waiting - counts.running
  }
  return all === 0 ? 0 : done / all
}

/** What the queue is doing, always in sight. */
function QueueStatus() {
  const { t, format } = useWords()
  const { data } = useAsk('queue.state', {})
  const pause = useDo('queue.pause', { onError: sayFault })
  const resume = useDo('queue.resume', { onError: sayFault })
  // of the batches that still have work: how far all of them are
  const part = useAsk('batch.list', { limit: 200 }, { select: partDone }).data ?? 0
  const running = data?.running
  useEffect(() => {
    if (running) seedProgress(running)
  }, [running])
  if (!data) return null
  const { counts, paused, etaSeconds, stalled } = data
  const open = counts.waiting + counts.running
  if (open === 0 && paused === 'no') return null
  const word = paused !== 'no' ? t('queue.paused') : stalled ? t('queue.stalled') : t('queue.working')
  return (
    <section aria-label={t('shell.queueStatus')} className="min-[1180px]:px-2.5">
      <div className="hidden flex-col gap-1.5 min-[1180px]:flex">
        <div className="flex items-center justify-between gap-2">
          <span className={`badge ${paused !== 'no' || stalled ? 'tone-warn' : 'tone-accent'}`}>{word}</span>
          <span className="num text-xs text-faint">{t('shell.left', { count: open, n: format.number(open) })}</span>
        </div>
        <ProgressBar
          value={part}
          label={t('shell.queueStatus')}
          tone={paused !== 'no' || stalled ? 'warn' : 'accent'}
        />
        <p className="truncate text-xs text-faint" title={stalled ? saySentence(stalled) : undefined}>
          {stalled
            ? saySentence(stalled)
            : etaSeconds === null
              ? t('shell.noEta')
              : t('shell.eta', { time: format.duration(etaSeconds) })}
        </p>
        {paused === 'no' ? (
          <Button size="sm" icon={Pause} onClick={() => pause.mutate({ how: 'after-current' })} busy={pause.isPending}>
            {t('queue.pauseAfter')}
          </Button>
        ) : (
          <Button size="sm" icon={Play} look="primary" onClick={() => resume.mutate({})} busy={resume.isPending}>
            {t('queue.resume')}
          </Button>
        )}
      </div>
      <div className="min-[1180px]:hidden">
        {paused === 'no' ? (
          <IconButton
            label={t('queue.pauseAfter')}
            icon={Pause}
            onClick={() => pause.mutate({ how: 'after-current' })}
            className="w-full"
          />
        ) : (
          <IconButton label={t('queue.resume')} icon={Play} onClick={() => resume.mutate({})} className="w-full" />
        )}
        <Tip text={word}>
          <p className="num text-center text-2xs text-faint">{format.number(open)}</p>
        </Tip>
      </div>
    </section>
  )
}
