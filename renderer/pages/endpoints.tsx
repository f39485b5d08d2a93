import { Link } from '@tanstack/react-router'
import {
  CircleAlert,
  CloudUpload,
  Code,
  Copy,
  Ellipsis,
  History,
  KeyRound,
  LayoutList,
  type LucideIcon,
  Plus,
  Power,
  PowerOff,
  RefreshCw,
  ScrollText,
  Send,
  Settings2,
  Trash2,
} from 'lucide-react'
import { useState } from 'react'
import { type Endpoint, type EndpointState, MOST_IN_FLIGHT } from '../../core/contract/endpoint.ts'
import { isJsonObject, tryJson, writeJson } from '../../core/contract/json.ts'
import { type ReleaseState, type ReleaseView, releasePhases } from '../../core/contract/release.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { sayDevice, sayFailure, useWords } from '../i18n.ts'
import { AddEndpoint, sayPhase } from '../parts/add-endpoint.tsx'
import { useAsking } from '../parts/asking.tsx'
import { Button, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { EndpointForms } from '../parts/endpoint-forms.tsx'
import { EndpointSnippets } from '../parts/endpoint-snippets.tsx'
import { Fact } from '../parts/facts.tsx'
import { Field, Stepper } from '../parts/forms.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'
import { useNow } from '../parts/use-now.ts'

/** GPUs elsewhere that run what was published to them. */
export function EndpointsPage() {
  const { t } = useWords()
  const endpoints = useAsk('endpoint.list', {}, { refetchInterval: 5_000 })
  const [adding, setAdding] = useState(false)
  return (
    <>
      <PageHead title={t('nav.endpoints')} note={t('endpoints.note')}>
        <Button look="primary" icon={Plus} onClick={() => setAdding(true)}>
          {t('endpoints.add')}
        </Button>
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[900px] flex-col gap-3 p-6">
          {endpoints.isPending ? (
            <Skeleton rows={2} height={130} />
          ) : endpoints.error ? (
            <ErrorNotice cause={endpoints.error} onRetry={() => void endpoints.refetch()} />
          ) : endpoints.data.rows.length === 0 ? (
            <None onAdd={() => setAdding(true)} />
          ) : (
            <ul className="flex flex-col gap-3">
              {endpoints.data.rows.map((endpoint) => (
                <EndpointCard key={endpoint.name} endpoint={endpoint} />
              ))}
            </ul>
          )}
        </div>
      </div>
      {adding && <AddEndpoint onClose={() => setAdding(false)} />}
    </>
  )
}

const START = 'npm run -s cli -- agent --host 0.0.0.0 --port 9000 --store ./agent'

function None({ onAdd }: { onAdd: () => void }) {
  const { t } = useWords()
  return (
    <div className="flex flex-col items-center rounded-lg border-2 border-dashed border-line px-6 py-8 text-center">
      <CloudUpload size={22} className="mb-2 text-faint" aria-hidden />
      <h2>{t('endpoints.none')}</h2>
      <p className="max-w-[60ch] text-soft">{t('endpoints.noneNote')}</p>
      <div className="mt-3 flex items-center gap-2">
        <code className="rounded-md bg-sunken px-2.5 py-1 text-xs select-all">{START}</code>
        {navigator.clipboard && (
          <IconButton
            size="sm"
            icon={Copy}
            label={t('endpoints.copy')}
            onClick={() =>
              void navigator.clipboard.writeText(START).then(() => say({ title: t('endpoints.copied') }), sayFault)
            }
          />
        )}
      </div>
      <p className="mt-1 text-xs text-faint">{t('endpoints.startNote')}</p>
      <Button className="mt-4" icon={Plus} onClick={onAdd}>
        {t('endpoints.add')}
      </Button>
    </div>
  )
}

const PARTS = { forms: LayoutList, releases: History, log: ScrollText, snippets: Code } satisfies Record<
  string,
  LucideIcon
>
type Part = keyof typeof PARTS

function EndpointCard({ endpoint }: { endpoint: Endpoint }) {
  const { t, format } = useWords()
  const { name, url, state, enabled, capacity, inFlight, pace, devices, live, checkpoints, hasKey } = endpoint
  const [open, setOpen] = useState<Part | null>(null)
  const [changing, setChanging] = useState<'settings' | 'key' | null>(null)
  const [question, ask] = useAsking()
  const again = () => refresh('endpoint.list', 'worker.list')
  const set = useDo('endpoint.set', { onError: sayFault, onSettled: again })
  const look = useDo('endpoint.look', { onError: sayFault, onSettled: again })
  const remove = useDo('endpoint.remove', {
    onError: sayFault,
    onSuccess: () => say({ title: t('endpoints.removed', { name }) }),
    onSettled: again,
  })
  const seconds = (value: number | null) => (value === null ? t('endpoints.notKnown') : format.duration(value))
  return (
    <li className="card p-4" aria-label={name}>
      <div className="flex items-start gap-3">
        <div className="grid size-9 shrink-0 place-items-center rounded-lg bg-sunken text-soft">
          <CloudUpload size={17} aria-hidden />
        </div>
        <div className="min-w-0 flex-1">
          <div className="flex items-center gap-2">
            <h2 className="truncate text-base">{name}</h2>
            <StateBadge state={state} />
          </div>
          <p className="truncate text-xs text-faint">
            {url}
            {!hasKey && ` · ${t('endpoints.noKey')}`}
          </p>
          {checkpoints.length > 0 && (
            <p className="truncate text-xs text-soft" title={checkpoints.join('\n')}>
              {t('endpoints.onlyFor', { names: checkpoints.join(', ') })}
            </p>
          )}
        </div>
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('workers.actions', { name })} />}
          items={[
            { label: t('endpoints.settings'), icon: Settings2, onSelect: () => setChanging('settings') },
            { label: t('endpoints.otherKey'), icon: KeyRound, onSelect: () => setChanging('key') },
            {
              label: t(enabled ? 'workers.disable' : 'workers.enable'),
              icon: enabled ? PowerOff : Power,
              onSelect: () => set.mutate({ name, settings: { enabled: !enabled } }),
            },
            null,
            {
              label: t('common.remove'),
              icon: Trash2,
              danger: true,
              onSelect: () =>
                ask({
                  title: t('endpoints.removeTitle', { name }),
                  note: t(inFlight > 0 ? 'endpoints.removeBusy' : 'endpoints.removeNote', { count: inFlight }),
                  yes: t('common.remove'),
                  danger: true,
                  run: () => remove.mutate({ name }),
                }),
            },
          ]}
        />
      </div>
      <Trouble state={state} busy={look.isPending} onLook={() => look.mutate({ name })} />
      <dl className="num mt-3 grid grid-cols-[repeat(auto-fit,minmax(120px,1fr))] gap-3 border-t border-line pt-3 text-xs">
        <Fact name={t('endpoints.inFlight')} value={`${format.number(inFlight)} / ${format.number(capacity)}`} />
        <Fact name={t('endpoints.warm')} help={t('endpoints.warmNote')} value={seconds(pace.warmSeconds)} />
        <Fact name={t('endpoints.cold')} help={t('endpoints.coldNote')} value={seconds(pace.coldSeconds)} />
        {state.is === 'ready' && endpoint.latencyMs !== null && (
          <Fact name={t('workers.latency')} value={`${format.number(Math.round(endpoint.latencyMs))} ms`} />
        )}
        {endpoint.comfyuiVersion && <Fact name={t('workers.version')} value={endpoint.comfyuiVersion} />}
        <Fact
          name={t('endpoints.used')}
          value={
            inFlight > 0
              ? format.ago(Date.now())
              : endpoint.usedAt === null
                ? t('endpoints.never')
                : format.ago(endpoint.usedAt)
          }
        />
      </dl>
      {(devices.length > 0 || live) && (
        <div className="mt-3 flex flex-wrap gap-x-6 gap-y-1 text-xs text-soft">
          {devices.map((device, at) => (
            <span key={`${device.name} ${String(at)}`} className="truncate">
              {sayDevice(device.name)}
              {device.vramTotalBytes > 0 &&
                ` · ${t('workers.memoryFree', {
                  free: format.bytes(device.vramFreeBytes),
                  total: format.bytes(device.vramTotalBytes),
                })}`}
            </span>
          ))}
          {live && (
            <span className="num truncate">
              {t('endpoints.live', { version: live.version, snapshot: live.snapshotId.slice(0, 12) })}
            </span>
          )}
        </div>
      )}
      <div className="mt-3 flex flex-wrap gap-1 border-t border-line pt-2.5">
        {(Object.keys(PARTS) as Part[]).map((part) => (
          <Button
            key={part}
            size="sm"
            look="quiet"
            icon={PARTS[part]}
            aria-expanded={open === part}
            onClick={() => setOpen(open === part ? null : part)}
          >
            {t(`endpoints.parts.${part}`)}
          </Button>
        ))}
        <Link to="/publish" search={{ endpoint: name }} className="btn btn-sm ml-auto">
          <Send aria-hidden />
          {t('nav.publish')}
        </Link>
      </div>
      {open && (
        <section className="mt-2.5" aria-label={t(`endpoints.parts.${open}`)}>
          {open === 'forms' && <EndpointForms name={name} url={url} />}
          {open === 'releases' && <Releases name={name} />}
          {open === 'log' && <Log name={name} />}
          {open === 'snippets' && <EndpointSnippets endpoint={endpoint} />}
        </section>
      )}
      {changing === 'settings' && <ChangeSettings endpoint={endpoint} onClose={() => setChanging(null)} />}
      {changing === 'key' && <ChangeKey name={name} onClose={() => setChanging(null)} />}
      {question}
    </li>
  )
}

function StateBadge({ state: { is } }: { state: EndpointState }) {
  const { t } = useWords()
  const tones = {
    ready: 'tone-good',
    unreachable: 'tone-bad',
    resting: 'tone-warn',
    starting: 'tone-accent',
    connecting: 'tone-accent',
    disabled: '',
  }
  return <span className={`badge ${tones[is]}`}>{t(`endpoints.states.${is}`)}</span>
}

/** What it does before it is ready, or what is wrong and when it is tried again by itself. */
function Trouble({ state, busy, onLook }: { state: EndpointState; busy: boolean; onLook: () => void }) {
  const { t, format } = useWords()
  const now = useNow()
  if (state.is === 'starting')
    return (
      <p className="tone-accent num mt-3 flex items-center gap-2 rounded-md px-3 py-2" role="status">
        <RefreshCw size={15} className="spin shrink-0" aria-hidden />
        {t('endpoints.starting', {
          phase: sayPhase(state.phase, t),
          time: format.duration(Math.max(0, (now - state.since) / 1000)),
        })}
      </p>
    )
  if (state.is !== 'unreachable' && state.is !== 'resting') return null
  const { message, remedy } = sayFailure(state.because)
  return (
    <div className="mt-3 flex gap-2.5 rounded-md bg-bad-soft p-3">
      <CircleAlert size={16} className="mt-0.5 shrink-0 text-bad" aria-hidden />
      <div className="min-w-0 flex-1">
        {state.is === 'resting' && <p className="text-soft">{t('endpoints.resting', { count: state.failures })}</p>}
        <p className="font-medium break-words">{message}</p>
        <p className="text-soft break-words">
          {state.because.code === 'worker.unreachable' ? t('endpoints.unreachable') : remedy}
        </p>
        <p className="num mt-1 text-xs text-soft">
          {t('workers.retryIn', { time: format.duration(Math.max(0, (state.retryAt - now) / 1000)) })}
        </p>
      </div>
      <Button size="sm" icon={RefreshCw} busy={busy} onClick={onLook}>
        {t('endpoints.look')}
      </Button>
    </div>
  )
}

function Releases({ name }: { name: string }) {
  const { t } = useWords()
  const releases = useAsk('endpoint.releases', { name }, { refetchInterval: 3_000, retry: false })
  if (releases.isPending) return <Skeleton rows={2} height={44} />
  if (releases.error) return <ErrorNotice compact cause={releases.error} onRetry={() => void releases.refetch()} />
  if (releases.data.rows.length === 0) return <p className="text-soft">{t('endpoints.noReleases')}</p>
  return (
    <ul className="flex flex-col divide-y divide-line">
      {releases.data.rows.map((release) => (
        <ReleaseRow key={release.version} release={release} />
      ))}
    </ul>
  )
}

function ReleaseRow({ release }: { release: ReleaseView }) {
  const { t, format } = useWords()
  const { version, snapshotId, createdAt, note, workflows, models, state, seconds } = release
  const took = releasePhases.flatMap((phase) =>
    seconds[phase] === undefined ? [] : [`${t(`endpoints.phases.${phase}`)} ${format.duration(seconds[phase])}`],
  )
  return (
    <li className="py-2.5" aria-label={t('endpoints.release', { version })}>
      <div className="num flex flex-wrap items-center gap-2">
        <span className="font-medium">{t('endpoints.release', { version })}</span>
        <span className={`badge ${toneOf(state)}`}>{t(`endpoints.releaseStates.${state.is}`)}</span>
        <span className="text-xs text-faint">{format.stamp(createdAt)}</span>
        <code className="ml-auto text-xs text-faint" title={snapshotId}>
          {snapshotId.slice(0, 12)}
        </code>
      </div>
      {note && <p className="text-soft break-words">{note}</p>}
      <p className="num text-xs text-faint">
        {[
          workflows.map((workflow) => workflow.name).join(', '),
          t('endpoints.models', { count: models }),
          took.join(' · '),
        ]
          .filter(Boolean)
          .join(' — ')}
      </p>
      {state.is === 'preparing' && (
        <div className="mt-1.5 flex items-center gap-3 text-xs">
          <span className="num shrink-0 text-soft">
            {t(`endpoints.phases.${state.phase}`)}
            {state.totalBytes > 0 && ` · ${format.bytes(state.bytes)} / ${format.bytes(state.totalBytes)}`}
          </span>
          <ProgressBar
            value={state.totalBytes > 0 ? state.bytes / state.totalBytes : null}
            label={t('endpoints.release', { version })}
          />
        </div>
      )}
      {state.is === 'refused' && (
        <div className="mt-1.5">
          <ErrorNotice compact cause={state.failure} />
        </div>
      )}
    </li>
  )
}
const toneOf = ({ is }: ReleaseState) =>
  ({ live: 'tone-good', ready: 'tone-accent', preparing: 'tone-accent', refused: 'tone-bad', retired: '' })[is]

/** `event {"fact":…}` as the agent writes it, without the marks of JSON. */
function readable(line: string): string {
  const [, event = '', facts = ''] = /^(\S+) (\{.*\})$/.exec(line) ?? []
  const read = tryJson(facts)
  if (!isJsonObject(read)) return line
  const told = Object.entries(read).map(
    ([key, value]) => `${key} ${typeof value === 'string' ? value : writeJson(value)}`,
  )
  return [event, ...told].join(' · ')
}

function Log({ name }: { name: string }) {
  const { t, format } = useWords()
  const log = useAsk('endpoint.log', { name }, { refetchInterval: 3_000 })
  if (log.isPending) return <Skeleton rows={3} height={20} />
  if (log.error) return <ErrorNotice compact cause={log.error} onRetry={() => void log.refetch()} />
  if (log.data.rows.length === 0) return <p className="text-soft">{t('endpoints.noLog')}</p>
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard
    <ol tabIndex={0} className="num flex max-h-72 flex-col overflow-auto rounded-md bg-sunken p-3 text-xs">
      {log.data.rows.map(({ at, from, text }, place) => (
        <li key={String(place)} className="flex gap-2">
          <span className="shrink-0 text-faint">{format.stamp(at)}</span>
          <span className="shrink-0 text-soft">{t(`endpoints.from.${from}`)}</span>
          <span className="min-w-0 break-words whitespace-pre-wrap">{readable(text)}</span>
        </li>
      ))}
    </ol>
  )
}

function ChangeSettings({ endpoint, onClose }: { endpoint: Endpoint; onClose: () => void }) {
  const { t } = useWords()
  const { name } = endpoint
  const [capacity, setCapacity] = useState(endpoint.capacity)
  const [checkpoints, setCheckpoints] = useState(endpoint.checkpoints.join('\n'))
  const set = useDo('endpoint.set', {
    onError: sayFault,
    onSuccess: onClose,
    onSettled: () => refresh('endpoint.list', 'worker.list'),
  })
  const listed = checkpoints
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  return (
    <Modal
      open
      onClose={onClose}
      title={t('endpoints.settingsOf', { name })}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" type="submit" form="endpoint-settings" busy={set.isPending}>
            {t('common.save')}
          </Button>
        </>
      }
    >
      <form
        id="endpoint-settings"
        className="flex flex-col gap-3.5"
        onSubmit={(event) => {
          event.preventDefault()
          set.mutate({ name, settings: { capacity, checkpoints: listed } })
        }}
      >
        <div>
          <p className="label mb-1">{t('endpoints.atOnce')}</p>
          <div className="flex items-center gap-3">
            <Stepper label={t('endpoints.atOnce')} value={capacity} most={MOST_IN_FLIGHT} onChange={setCapacity} />
            <span className="text-xs text-faint">{t('endpoints.atOnceNote')}</span>
          </div>
        </div>
        <Field label={t('endpoints.checkpoints')} help={t('endpoints.checkpointsNote')}>
          {(ids) => (
            <textarea
              {...ids}
              rows={4}
              value={checkpoints}
              spellCheck={false}
              placeholder="sd_xl_base_1.0.safetensors"
              onChange={({ target }) => setCheckpoints(target.value)}
              className="field"
            />
          )}
        </Field>
      </form>
    </Modal>
  )
}

function ChangeKey({ name, onClose }: { name: string; onClose: () => void }) {
  const { t } = useWords()
  const [key, setKey] = useState('')
  const set = useDo('endpoint.setKey', {
    onSuccess() {
      say({ title: t('endpoints.keyKept', { name }) })
      onClose()
    },
    onSettled: () => refresh('endpoint.list', 'endpoint.releases', 'worker.list'),
  })
  const good = /^[\x21-\x7e]{8,500}$/.test(key.trim())
  return (
    <Modal
      open
      onClose={onClose}
      title={t('endpoints.keyOf', { name })}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" type="submit" form="endpoint-key" disabled={!good} busy={set.isPending}>
            {t('common.save')}
          </Button>
        </>
      }
    >
      <form
        id="endpoint-key"
        className="flex flex-col gap-3.5"
        onSubmit={(event) => {
          event.preventDefault()
          if (good) set.mutate({ name, key: key.trim() })
        }}
      >
        <Field
          label={t('endpoints.key')}
          help={t('endpoints.keyNote')}
          fault={key !== '' && !good ? t('workers.badToken') : null}
        >
          {(ids) => (
            <input
              {...ids}
              type="password"
              autoComplete="off"
              value={key}
              onChange={({ target }) => setKey(target.value)}
              className="field"
            />
          )}
        </Field>
        {set.error && <ErrorNotice compact cause={set.error} />}
      </form>
    </Modal>
  )
}
