import { Link } from '@tanstack/react-router'
import {
  ArrowDown,
  ArrowUp,
  Box,
  ChevronDown,
  ChevronRight,
  Clock,
  Download,
  Ellipsis,
  ExternalLink,
  Gauge,
  HardDrive,
  KeyRound,
  MoveUp,
  Network,
  Pause,
  Play,
  Radar,
  RotateCcw,
  Trash2,
  X,
} from 'lucide-react'
import { type KeyboardEvent, useState } from 'react'
import type { DownloadRemedy, DownloadSettings, DownloadTotals, DownloadView } from '../../core/contract/download.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { sayFailure, sayReason, saySentence, useWords } from '../i18n.ts'
import { useAsking } from '../parts/asking.tsx'
import { Button, Empty, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { Field, SearchField } from '../parts/forms.tsx'
import { Menu, Modal, sayFault } from '../parts/overlays.tsx'

const OPEN: DownloadView['state'][] = ['waiting', 'running', 'paused', 'failed']
const ENDED: DownloadView['state'][] = ['done', 'cancelled']
const again = () => refresh('download.list')

/** The files on their way, how each does, and those that came. */
export function DownloadsPage() {
  const { t, format } = useWords()
  const [find, setFind] = useState('')
  const [limits, setLimits] = useState(false)
  const open = useAsk('download.list', { states: OPEN, search: find, limit: 200 })
  const ended = useAsk('download.list', { states: ENDED, search: find, limit: 200 })
  const hold = useDo('download.hold', { onError: sayFault, onSettled: again })
  const clear = useDo('download.clear', { onError: sayFault, onSettled: again })
  const retry = useDo('download.retry', { onError: sayFault, onSettled: again })
  const totals = open.data?.totals
  const rows = open.data?.rows ?? []
  const none = totals && Object.values(totals.counts).every((count) => count === 0)
  return (
    <>
      <PageHead title={t('nav.downloads')} note={totals && !none ? <Totals totals={totals} /> : undefined}>
        {totals && !none && (
          <div className="w-52">
            <SearchField value={find} onChange={setFind} label={t('downloads.find')} />
          </div>
        )}
        {totals && totals.counts.failed > 1 && (
          <Button icon={RotateCcw} onClick={() => retry.mutate({ all: true, states: ['failed'] })}>
            {t('downloads.retryAll')}
          </Button>
        )}
        <Button icon={Gauge} onClick={() => setLimits(true)}>
          {t('downloads.limits')}
        </Button>
        {totals && !none && (
          <Button
            look={totals.held ? 'primary' : 'plain'}
            icon={totals.held ? Play : Pause}
            onClick={() => hold.mutate({ held: !totals.held })}
          >
            {totals.held ? t('downloads.letGo') : t('downloads.holdAll')}
          </Button>
        )}
      </PageHead>
      <div className="flex min-h-0 flex-1 flex-col overflow-y-auto">
        {open.isPending ? (
          <div className="p-6">
            <Skeleton rows={3} height={84} />
          </div>
        ) : open.error ? (
          <div className="p-6">
            <ErrorNotice cause={open.error} onRetry={() => void open.refetch()} />
          </div>
        ) : none ? (
          <Empty
            icon={Download}
            title={t('downloads.none')}
            action={
              <>
                <Link to="/models" search={{ tab: 'get' }} className="btn btn-primary">
                  <Box aria-hidden />
                  {t('get.title')}
                </Link>
                <Link to="/mirrors" className="btn">
                  <Radar aria-hidden />
                  {t('downloads.toMirrors')}
                </Link>
              </>
            }
          >
            {t('downloads.noneNote')}
          </Empty>
        ) : (
          <div className="mx-auto flex w-full max-w-[980px] flex-col gap-3 p-6">
            {totals?.held && (
              <p role="status" className="tone-warn rounded-md px-3 py-2">
                {t('downloads.held')}
              </p>
            )}
            {rows.length > 0 && (
              <ul aria-label={t('downloads.toDo')} className="flex flex-col gap-3">
                {rows.map((download, place) => (
                  <Card key={download.id} download={download} place={place} count={rows.length} />
                ))}
              </ul>
            )}
            {ended.data && ended.data.rows.length > 0 && (
              <section aria-label={t('downloads.ended')} className="mt-2">
                <div className="mb-1.5 flex items-center">
                  <h2 className="mr-auto text-base">{t('downloads.ended')}</h2>
                  <Button
                    size="sm"
                    look="quiet"
                    icon={Trash2}
                    onClick={() => clear.mutate({ all: true, states: ENDED })}
                  >
                    {t('downloads.clear')}
                  </Button>
                </div>
                <ul className="card divide-y divide-line">
                  {ended.data.rows.map((download) => (
                    <EndedRow key={download.id} download={download} />
                  ))}
                </ul>
              </section>
            )}
            {find !== '' && rows.length === 0 && ended.data?.rows.length === 0 && (
              <p className="p-6 text-center text-soft">{t('downloads.notFound', { find })}</p>
            )}
            <p className="text-xs text-faint">
              {t('downloads.keys')} {totals && t('downloads.left', { size: format.bytes(totals.leftBytes) })}
            </p>
          </div>
        )}
      </div>
      {limits && <LimitsDialog onClose={() => setLimits(false)} />}
    </>
  )
}

function Totals({ totals }: { totals: DownloadTotals }) {
  const { t, format } = useWords()
  const { counts, bytesPerSecond, etaSeconds } = totals
  const parts = [
    counts.running > 0 && `${format.bytes(bytesPerSecond)}/s`,
    counts.running > 0 && etaSeconds !== null && t('downloads.eta', { time: format.duration(etaSeconds) }),
    counts.waiting > 0 && t('downloads.waitingCount', { count: counts.waiting }),
    counts.failed > 0 && t('downloads.failedCount', { count: counts.failed }),
  ]
  return <>{parts.filter(Boolean).join(' · ')}</>
}

const tones = { running: 'tone-accent', failed: 'tone-bad', done: 'tone-good', paused: 'tone-warn' } as Record<
  string,
  string
>

function Card({ download, place, count }: { download: DownloadView; place: number; count: number }) {
  const { t, format } = useWords()
  const { id, name, state, sizeBytes, doneBytes, bytesPerSecond, etaSeconds, failure, phase, waitsFor, opensAt } =
    download
  const [open, setOpen] = useState(false)
  const [asked, ask] = useAsking()
  const options = { onError: sayFault, onSettled: again }
  const pause = useDo('download.pause', options)
  const resume = useDo('download.resume', options)
  const retry = useDo('download.retry', options)
  const cancel = useDo('download.cancel', options)
  const move = useDo('download.move', options)
  const schedule = useDo('download.schedule', options)
  const of = { ids: [id] }
  const to = (position: number) => {
    if (position >= 0 && position < count) move.mutate({ id, position })
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget) return
    const act = {
      ArrowUp: event.altKey ? () => to(place - 1) : () => step(event, -1),
      ArrowDown: event.altKey ? () => to(place + 1) : () => step(event, 1),
      ' ': () => (state === 'running' || state === 'waiting' ? pause.mutate(of) : goOn()),
      Enter: () => setOpen(!open),
      Delete: giveUp,
    }[event.key]
    if (!act) return
    event.preventDefault()
    act()
  }
  // the bytes that came are thrown away
  const giveUp = () =>
    doneBytes === 0
      ? cancel.mutate(of)
      : ask({
          title: t('downloads.cancelAsk', { name }),
          note: t('downloads.cancelNote', { size: format.bytes(doneBytes) }),
          yes: t('downloads.cancelYes'),
          danger: true,
          run: () => cancel.mutate(of),
        })
  const goOn = () => (state === 'failed' ? retry.mutate(of) : resume.mutate(of))
  const when = () => {
    if (state !== 'waiting') return null
    if (waitsFor === 'retry' && opensAt) return t('downloads.waits.retry', { time: format.time(opensAt) })
    if (waitsFor === 'hours' && opensAt) return t('downloads.waits.hours', { time: format.time(opensAt) })
    return t(`downloads.waits.${waitsFor === 'hold' ? 'hold' : 'turn'}`)
  }
  const facts = [
    sizeBytes === null
      ? format.bytes(doneBytes)
      : t('downloads.of', { done: format.bytes(doneBytes), size: format.bytes(sizeBytes) }),
    state === 'running' && bytesPerSecond !== null && `${format.bytes(bytesPerSecond)}/s`,
    state === 'running' && etaSeconds !== null && t('downloads.eta', { time: format.duration(etaSeconds) }),
    state === 'running' && phase !== null && phase !== 'fetching' && t(`downloads.phases.${phase}`),
    when(),
  ]
  const value = sizeBytes ? doneBytes / sizeBytes : state === 'running' ? null : 0
  return (
    <li
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a row of a list that is moved by keys, as the page says
      tabIndex={0}
      onKeyDown={onKeyDown}
      data-download
      aria-label={name}
      className="card p-4 outline-offset-2 focus-visible:outline-2 focus-visible:outline-accent"
    >
      <div className="flex items-start gap-2">
        <div className="min-w-0 flex-1">
          <div className="flex items-center gap-2">
            <h2 className="truncate text-base" title={name}>
              {name}
            </h2>
            <span className={`badge ${tones[state] ?? ''}`}>{t(`downloads.states.${state}`)}</span>
            {download.startAt && (
              <span className="badge">
                <Clock aria-hidden />
                {download.startAt}–{download.stopAt}
              </span>
            )}
          </div>
          <p className="truncate text-xs text-faint" title={download.to}>
            {download.to}
          </p>
        </div>
        {state === 'running' || state === 'waiting' ? (
          <IconButton size="sm" icon={Pause} label={t('downloads.pause', { name })} onClick={() => pause.mutate(of)} />
        ) : (
          <IconButton
            size="sm"
            icon={state === 'failed' ? RotateCcw : Play}
            label={t(state === 'failed' ? 'downloads.retry' : 'downloads.resume', { name })}
            onClick={goOn}
          />
        )}
        <IconButton size="sm" icon={X} label={t('downloads.cancel', { name })} onClick={giveUp} />
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('downloads.actions', { name })} />}
          items={[
            { label: t('downloads.first'), icon: MoveUp, onSelect: () => to(0), disabled: place === 0 },
            {
              label: t('downloads.up'),
              icon: ArrowUp,
              onSelect: () => to(place - 1),
              disabled: place === 0,
              keys: 'Alt ↑',
            },
            {
              label: t('downloads.down'),
              icon: ArrowDown,
              onSelect: () => to(place + 1),
              disabled: place === count - 1,
              keys: 'Alt ↓',
            },
            null,
            ...(waitsFor === 'retry'
              ? [{ label: t('downloads.now'), icon: Play, onSelect: () => resume.mutate(of) }]
              : []),
            download.startAt
              ? {
                  label: t('downloads.anyTime'),
                  icon: Clock,
                  onSelect: () => schedule.mutate({ downloads: of, startAt: null, stopAt: null }),
                }
              : {
                  label: t('downloads.byNight'),
                  icon: Clock,
                  onSelect: () => schedule.mutate({ downloads: of, startAt: NIGHT[0], stopAt: NIGHT[1] }),
                },
          ]}
        />
      </div>
      <div className="mt-2.5">
        <ProgressBar
          value={value}
          label={t('downloads.progress', { name })}
          tone={state === 'failed' ? 'bad' : state === 'running' ? 'accent' : 'line-strong'}
        />
      </div>
      <div className="num mt-1.5 flex flex-wrap items-center gap-x-3 text-xs text-soft">
        {facts.filter(Boolean).map((fact) => (
          <span key={String(fact)}>{fact}</span>
        ))}
        {(download.sources.length > 0 || download.switched.length > 0) && (
          <button
            type="button"
            aria-expanded={open}
            onClick={() => setOpen(!open)}
            className="ml-auto inline-flex items-center gap-1 text-accent hover:underline"
          >
            {open ? <ChevronDown size={13} aria-hidden /> : <ChevronRight size={13} aria-hidden />}
            {t('downloads.sourcesCount', { count: download.sources.length })}
            {download.connections.length > 0 &&
              ` · ${t('downloads.connectionsCount', { count: download.connections.length })}`}
          </button>
        )}
      </div>
      {open && <Sources download={download} />}
      {failure && <Fault download={download} onRetry={() => retry.mutate(of)} />}
      {asked}
    </li>
  )
}
const NIGHT = ['23:00', '07:00'] as const

/** The focus goes to the row above or below. */
function step(event: KeyboardEvent, by: 1 | -1) {
  const rows = [...document.querySelectorAll<HTMLElement>('[data-download]')]
  rows[rows.indexOf(event.currentTarget as HTMLElement) + by]?.focus()
}

/** Where the bytes come from now, each connection where it is in the file, and what was switched. */
function Sources({ download }: { download: DownloadView }) {
  const { t, format } = useWords()
  const { sources, connections, sizeBytes, switched } = download
  const fastest = Math.max(1, ...sources.map(({ bytesPerSecond }) => bytesPerSecond))
  return (
    <div className="mt-3 flex flex-col gap-3 border-t border-line pt-3">
      {sizeBytes !== null && sizeBytes > 0 && connections.length > 0 && (
        <div>
          <h3 className="label mb-1">{t('downloads.map')}</h3>
          <div
            role="img"
            aria-label={t('downloads.mapLabel', { count: connections.length })}
            className="relative h-5 overflow-hidden rounded bg-sunken"
          >
            {connections.map((connection) => {
              const { from, to, doneBytes, source } = connection
              const percent = (bytes: number) => `${(bytes / sizeBytes) * 100}%`
              const shade = shades[sources.findIndex(({ id }) => id === source) % shades.length]
              return (
                <span
                  key={from}
                  title={`${source}: ${format.bytes(connection.bytesPerSecond)}/s`}
                  className="absolute inset-y-0 min-w-1" // of a large file a piece is less than a pixel
                  style={{
                    left: percent(from),
                    width: percent(to - from),
                    background: `color-mix(in srgb, ${shade} 45%, var(--line))`,
                  }}
                >
                  <span
                    className="block h-full"
                    style={{ width: `${(doneBytes / Math.max(1, to - from)) * 100}%`, background: shade }}
                  />
                </span>
              )
            })}
          </div>
        </div>
      )}
      <ul className="flex flex-col gap-1.5">
        {sources.map(({ id, host, is, connections: count, fetchedBytes, bytesPerSecond, reason, againAt }, place) => (
          <li key={id} className="num grid grid-cols-[minmax(0,1fr)_120px_88px_88px_112px] items-center gap-3 text-xs">
            <span className="flex min-w-0 items-center gap-2">
              <span
                aria-hidden
                className="size-2.5 shrink-0 rounded-full"
                style={{ background: shades[place % shades.length], opacity: is === 'passed-over' ? 0.3 : 1 }}
              />
              <span className="truncate" title={host}>
                {id}
                {host !== '' && host !== id && <span className="text-faint"> → {host}</span>}
              </span>
            </span>
            <ProgressBar value={bytesPerSecond / fastest} label={t('downloads.rateOf', { name: id })} tone="accent" />
            <span className="text-right">{is === 'active' ? `${format.bytes(bytesPerSecond)}/s` : ''}</span>
            <span className="text-right text-faint">{format.bytes(fetchedBytes)}</span>
            <span className="text-right text-faint" title={reason ?? undefined}>
              {is === 'active'
                ? t('downloads.connectionsCount', { count })
                : is === 'resting' && againAt
                  ? t('downloads.again', { time: format.time(againAt) })
                  : t(`downloads.sourceStates.${is}`)}
            </span>
            {reason && <span className="col-span-5 pl-4.5 text-bad">{sayReason(reason)}</span>}
          </li>
        ))}
      </ul>
      {switched.length > 0 && (
        <div>
          <h3 className="label mb-1">{t('downloads.switched')}</h3>
          <ul className="text-xs text-soft">
            {switched.slice(-8).map(({ from, to, reason }, place) => (
              <li key={`${from} ${String(place)}`}>
                {t('downloads.switchedOne', { from, to, reason: sayReason(reason) })}
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  )
}
const shades = ['var(--accent)', 'var(--good)', 'var(--warn)', '#a35bd6', '#2a9dc0', '#c75b8a']

function Fault({ download, onRetry }: { download: DownloadView; onRetry: () => void }) {
  const { t } = useWords()
  const { failure, remedies, page, state } = download
  if (!failure) return null
  const { message, remedy } = sayFailure(failure)
  const buttons: Record<DownloadRemedy, React.ReactNode> = {
    'open-page': page && (
      <a key="page" href={page} target="_blank" rel="noreferrer" className="btn btn-sm">
        <ExternalLink aria-hidden />
        {t('downloads.remedies.open-page')}
      </a>
    ),
    'add-token': (
      <Link key="token" to="/mirrors" hash="tokens" className="btn btn-sm">
        <KeyRound aria-hidden />
        {t('downloads.remedies.add-token')}
      </Link>
    ),
    'make-room': (
      <span key="room" className="badge">
        <HardDrive aria-hidden />
        {t('downloads.remedies.make-room')}
      </span>
    ),
    'test-mirrors': (
      <Link key="mirrors" to="/mirrors" className="btn btn-sm">
        <Radar aria-hidden />
        {t('downloads.remedies.test-mirrors')}
      </Link>
    ),
    'check-network': (
      <Link key="network" to="/mirrors" hash="network" className="btn btn-sm">
        <Network aria-hidden />
        {t('downloads.remedies.check-network')}
      </Link>
    ),
  }
  return (
    <div role={state === 'failed' ? 'alert' : 'status'} className="mt-3 rounded-md bg-bad-soft p-3">
      <p className="font-medium break-words">{saySentence({ ...failure, message })}</p>
      <p className="text-soft break-words">{remedy}</p>
      <div className="mt-2 flex flex-wrap gap-2">
        {state === 'failed' && (
          <Button size="sm" icon={RotateCcw} onClick={onRetry}>
            {t('common.retry')}
          </Button>
        )}
        {remedies.map((each) => buttons[each])}
      </div>
    </div>
  )
}

function EndedRow({ download }: { download: DownloadView }) {
  const { t, format } = useWords()
  const { id, name, state, sizeBytes, endedAt, startedAt, to } = download
  const options = { onError: sayFault, onSettled: again }
  const clear = useDo('download.clear', options)
  const retry = useDo('download.retry', options)
  const seconds = endedAt && startedAt ? (endedAt - startedAt) / 1000 : null
  const rate = state === 'done' && seconds && sizeBytes ? sizeBytes / seconds : null
  return (
    <li className="flex items-center gap-3 px-3 py-2" aria-label={name}>
      <span className={`badge ${tones[state] ?? ''}`}>{t(`downloads.states.${state}`)}</span>
      <span className="min-w-0 flex-1">
        <span className="block truncate font-medium">{name}</span>
        <span className="block truncate text-xs text-faint" title={to}>
          {to}
        </span>
      </span>
      <span className="num shrink-0 text-right text-xs text-faint">
        {[
          sizeBytes !== null && format.bytes(sizeBytes),
          rate && `${format.bytes(rate)}/s`,
          endedAt && format.ago(endedAt),
        ]
          .filter(Boolean)
          .join(' · ')}
      </span>
      {state === 'cancelled' && (
        <IconButton
          size="sm"
          icon={RotateCcw}
          label={t('downloads.retry', { name })}
          onClick={() => retry.mutate({ ids: [id] })}
        />
      )}
      <IconButton
        size="sm"
        icon={X}
        label={t('downloads.forget', { name })}
        onClick={() => clear.mutate({ ids: [id] })}
      />
    </li>
  )
}

const MB = 1_000_000

/** How fast, how many at once, and when. */
function LimitsDialog({ onClose }: { onClose: () => void }) {
  const { t } = useWords()
  const settings = useAsk('settings.get', {})
  return (
    <Modal open onClose={onClose} title={t('downloads.limits')} note={t('downloads.limitsNote')}>
      {settings.data ? <LimitsForm before={settings.data.downloads} onClose={onClose} /> : <Skeleton rows={4} />}
    </Modal>
  )
}

function LimitsForm({ before, onClose }: { before: DownloadSettings; onClose: () => void }) {
  const { t } = useWords()
  const rateOf = (bytes: number | null) => (bytes === null ? '' : String(bytes / MB))
  const [rate, setRate] = useState(rateOf(before.bytesPerSecond))
  const [hostRate, setHostRate] = useState(rateOf(before.bytesPerSecondPerHost))
  const [atOnce, setAtOnce] = useState(String(before.atOnce))
  const [connections, setConnections] = useState(String(before.connections))
  const [perHost, setPerHost] = useState(String(before.connectionsPerHost))
  const [hours, setHours] = useState([before.startAt ?? '', before.stopAt ?? ''] as const)
  const [full, setFull] = useState([before.fullSpeedFrom ?? '', before.fullSpeedTo ?? ''] as const)
  const set = useDo('settings.set', {
    onError: sayFault,
    onSuccess() {
      void refresh('settings.get', 'download.list')
      onClose()
    },
  })
  const bytesOf = (text: string) => (text.trim() === '' ? null : Math.round(Number(text.replace(',', '.')) * MB))
  const badRate = (text: string) => {
    const bytes = bytesOf(text)
    return bytes !== null && !(bytes >= 1024) ? t('downloads.badRate') : null
  }
  const countOf = (text: string, most: number) => {
    const count = Number(text)
    return Number.isInteger(count) && count >= 1 && count <= most ? null : t('downloads.badCount', { most })
  }
  const faults = [
    badRate(rate),
    badRate(hostRate),
    countOf(atOnce, 16),
    countOf(connections, 128),
    countOf(perHost, 32),
    halfOf(hours) || halfOf(full) ? t('downloads.badHours') : null,
  ]
  const save = () =>
    set.mutate({
      downloads: {
        ...before,
        bytesPerSecond: bytesOf(rate),
        bytesPerSecondPerHost: bytesOf(hostRate),
        atOnce: Number(atOnce),
        connections: Number(connections),
        connectionsPerHost: Number(perHost),
        startAt: hours[0] || null,
        stopAt: hours[1] || null,
        fullSpeedFrom: full[0] || null,
        fullSpeedTo: full[1] || null,
      },
    })
  const number = (
    label: string,
    value: string,
    onChange: (text: string) => void,
    fault: string | null,
    help?: string,
  ) => (
    <Field label={label} fault={fault} help={help}>
      {(ids) => (
        <input
          {...ids}
          inputMode="decimal"
          value={value}
          onChange={({ target }) => onChange(target.value)}
          className="field num"
        />
      )}
    </Field>
  )
  const span = (
    label: string,
    value: readonly [string, string],
    onChange: (next: readonly [string, string]) => void,
    help: string,
  ) => (
    <fieldset className="col-span-2">
      <legend className="label">{label}</legend>
      <div className="mt-1 flex items-center gap-2">
        <input
          type="time"
          aria-label={t('downloads.from', { what: label })}
          value={value[0]}
          onChange={({ target }) => onChange([target.value, value[1]])}
          className="field num w-32"
        />
        –
        <input
          type="time"
          aria-label={t('downloads.until', { what: label })}
          value={value[1]}
          onChange={({ target }) => onChange([value[0], target.value])}
          className="field num w-32"
        />
        {value.some((time) => time !== '') && (
          <Button size="sm" look="quiet" onClick={() => onChange(['', ''])}>
            {t('downloads.noHours')}
          </Button>
        )}
      </div>
      <p className={`mt-1 text-xs ${halfOf(value) ? 'text-bad' : 'text-faint'}`}>
        {halfOf(value) ? t('downloads.badHours') : help}
      </p>
    </fieldset>
  )
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        save()
      }}
      className="grid grid-cols-2 gap-x-4 gap-y-3 pb-2"
    >
      {number(t('downloads.rate'), rate, setRate, faults[0]!, t('downloads.rateHelp'))}
      {number(t('downloads.hostRate'), hostRate, setHostRate, faults[1]!, t('downloads.rateHelp'))}
      {number(t('downloads.atOnce'), atOnce, setAtOnce, faults[2]!)}
      {number(t('downloads.connections'), connections, setConnections, faults[3]!)}
      {number(t('downloads.perHost'), perHost, setPerHost, faults[4]!)}
      {span(t('downloads.hours'), hours, setHours, t('downloads.hoursHelp'))}
      {span(t('downloads.full'), full, setFull, t('downloads.fullHelp'))}
      <div className="col-span-2 flex justify-end gap-2 pt-1">
        <Button onClick={onClose}>{t('common.cancel')}</Button>
        <Button look="primary" type="submit" busy={set.isPending} disabled={faults.some((fault) => fault !== null)}>
          {t('common.save')}
        </Button>
      </div>
    </form>
  )
}
const halfOf = ([from, to]: readonly [string, string]) => (from === '') !== (to === '') || (from !== '' && from === to)
