import { Copy, KeyRound, type LucideIcon, Plus, Share2, Webhook } from 'lucide-react'
import { type ReactNode, useState } from 'react'
import type { Failure } from '../../core/contract/errors.ts'
import type { ShareSettings, TaskDoorSettings } from '../../core/contract/key.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { useAsking } from './asking.tsx'
import { Button, ErrorNotice, Skeleton } from './basics.tsx'
import { BareSwitch, Field, Select } from './forms.tsx'
import { Modal, say, sayFault } from './overlays.tsx'

/** Other machines may use the ComfyUIs of this one: whether, where, and who. */
export function Share() {
  const { t } = useWords()
  const share = useAsk('share.state', {})
  const set = useDo('settings.set', { onError: sayFault, onSettled: () => refresh('share.state', 'settings.get') })
  if (share.isPending) return <Skeleton rows={1} height={80} />
  if (share.error) return <ErrorNotice cause={share.error} onRetry={() => void share.refetch()} />
  const { on, host, port, names, places } = share.data
  const ready = places.filter((place) => place.ready)
  return (
    <Door
      icon={Share2}
      state={share.data}
      words={{ title: t('share.title'), note: t('share.note'), given: t('share.given'), at: t('share.at') }}
      summary={
        places.length === 0
          ? t('share.nothing')
          : t('share.places', { count: ready.length, names: ready.map(({ id }) => id).join(', ') })
      }
      busy={set.isPending}
      onChange={(more) => set.mutateAsync({ share: { on, host, port, names, ...more } })}
    >
      <Keys scope="comfyui" />
    </Door>
  )
}

/** Other programs may send workflows: whether, where, and which. */
export function TaskDoor() {
  const { t } = useWords()
  const door = useAsk('taskDoor.state', {})
  const set = useDo('settings.set', { onError: sayFault, onSettled: () => refresh('taskDoor.state', 'settings.get') })
  if (door.isPending) return <Skeleton rows={1} height={80} />
  if (door.error) return <ErrorNotice cause={door.error} onRetry={() => void door.refetch()} />
  const { on, host, port, names, origins, places, url } = door.data
  return (
    <Door
      icon={Webhook}
      state={door.data}
      words={{
        title: t('taskDoor.title'),
        note: t('taskDoor.note'),
        given: t('taskDoor.given'),
        at: t('taskDoor.at'),
      }}
      summary={places.length === 0 ? t('taskDoor.nothing') : t('taskDoor.places', { names: places.join(', ') })}
      busy={set.isPending}
      onChange={(more) => set.mutateAsync({ taskDoor: { on, host, port, names, origins, ...more } })}
    >
      <Keys scope="run" />
      {url !== null && <Example url={url} />}
    </Door>
  )
}

/** A first request, to be tried at once. */
function Example({ url }: { url: string }) {
  const { t } = useWords()
  const text = `curl ${url}/api/run -H "Authorization: Bearer $KEY" --data-binary @workflow-api.json`
  return (
    <section aria-label={t('taskDoor.example')}>
      <h3 className="eyebrow mb-1.5">{t('taskDoor.example')}</h3>
      <div className="flex items-start gap-2">
        <code className="min-w-0 flex-1 rounded-md bg-sunken px-3 py-2 text-xs break-all select-all">{text}</code>
        {navigator.clipboard && (
          <Button
            size="sm"
            icon={Copy}
            onClick={() =>
              void navigator.clipboard.writeText(text).then(() => say({ title: t('taskDoor.copied') }), sayFault)
            }
          >
            {t('share.copy')}
          </Button>
        )}
      </div>
      <p className="mt-1.5 text-xs text-faint">{t('taskDoor.exampleNote')}</p>
    </section>
  )
}

type DoorSettings = ShareSettings & Partial<Pick<TaskDoorSettings, 'origins'>>
interface DoorProps {
  icon: LucideIcon
  state: DoorSettings & { url: string | null; given: boolean; failure: Failure | null }
  words: { title: string; note: string; given: string; at: string }
  summary: string
  busy: boolean
  onChange: (more: Partial<DoorSettings>) => Promise<unknown>
  children: ReactNode
}

function Door({ icon: Icon, state, words, summary, busy, onChange, children }: DoorProps) {
  const { t } = useWords()
  const { on, host, port, names, origins, url, given, failure } = state
  const [editing, setEditing] = useState(false)
  const change = (more: Partial<DoorSettings>) => void onChange(more).catch(() => {}) // said where it is asked
  return (
    <section className="card p-4" aria-label={words.title}>
      <div className="flex items-start gap-3">
        <div className="grid size-9 shrink-0 place-items-center rounded-lg bg-sunken text-soft">
          <Icon size={17} aria-hidden />
        </div>
        <div className="min-w-0 flex-1">
          <h2 className="text-base">{words.title}</h2>
          <p className="text-xs text-faint">{given ? words.given : words.note}</p>
        </div>
        <BareSwitch
          aria-label={words.title}
          checked={on}
          disabled={given || busy}
          onChange={(next) => change({ on: next })}
        />
      </div>
      {failure && (
        <div className="mt-3">
          <ErrorNotice compact cause={failure} onRetry={() => change({ on: true })} />
        </div>
      )}
      {on && (
        <div className="mt-3 flex flex-col gap-3 border-t border-line pt-3">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
            {url !== null && (
              <>
                <span className="text-faint">{words.at}</span>
                <code className="rounded-md bg-sunken px-2 py-0.5 select-all">{url}</code>
              </>
            )}
            <span className="text-soft">{summary}</span>
            {!given && (
              <Button size="sm" className="ml-auto" onClick={() => setEditing(true)}>
                {t('share.change')}
              </Button>
            )}
          </div>
          {!isLoopback(host) && <p className="text-xs text-faint">{t('share.plain')}</p>}
          {children}
        </div>
      )}
      {editing && (
        <Where
          title={words.at}
          door={{ on, host, port, names, origins }}
          onSave={(next) =>
            void onChange(next).then(
              () => setEditing(false),
              () => {},
            )
          }
          onClose={() => setEditing(false)}
        />
      )}
    </section>
  )
}
const isLoopback = (host: string) => ['127.0.0.1', 'localhost', '::1'].includes(host)

function Where({
  title,
  door,
  onSave,
  onClose,
}: {
  title: string
  door: DoorSettings
  onSave: (next: DoorSettings) => void
  onClose: () => void
}) {
  const { t } = useWords()
  const [host, setHost] = useState(door.host)
  const [port, setPort] = useState(String(door.port))
  const [names, setNames] = useState(door.names.join(', '))
  const [origins, setOrigins] = useState(door.origins?.join(' ') ?? '')
  const pages = origins.split(/[\s,，]+/).filter(Boolean)
  const listed = names.split(/[\s,，]+/).filter(Boolean)
  const faults = {
    host: /^[\w.:-]+$/.test(host.trim()) ? null : t('share.badHost'),
    port: /^\d{1,5}$/.test(port.trim()) && Number(port) < 65_536 ? null : t('workers.badPort'),
    names: listed.every((name) => /^[\w.-]+$/.test(name)) ? null : t('share.badNames'),
    origins: pages.every((page) => /^https?:\/\/[\w.:[\]-]+$/.test(page)) ? null : t('taskDoor.badOrigins'),
  }
  const good = Object.values(faults).every((fault) => fault === null)
  return (
    <Modal
      open
      onClose={onClose}
      title={title}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" type="submit" form="share" disabled={!good}>
            {t('common.save')}
          </Button>
        </>
      }
    >
      <form
        id="share"
        className="flex flex-col gap-3.5"
        onSubmit={(event) => {
          event.preventDefault()
          if (!good) return
          onSave({
            ...door,
            host: host.trim(),
            port: Number(port),
            names: listed,
            ...(door.origins && { origins: pages }),
          })
        }}
      >
        <div className="grid grid-cols-[1fr_7rem] gap-3">
          <Field label={t('share.host')} help={t('share.hostNote')} fault={faults.host}>
            {(ids) => (
              <input {...ids} value={host} onChange={({ target }) => setHost(target.value)} className="field" />
            )}
          </Field>
          <Field label={t('share.port')} fault={faults.port}>
            {(ids) => (
              <input
                {...ids}
                inputMode="numeric"
                value={port}
                onChange={({ target }) => setPort(target.value)}
                className="field num"
              />
            )}
          </Field>
        </div>
        <Field label={t('share.names')} help={t('share.namesNote')} fault={faults.names}>
          {(ids) => (
            <input
              {...ids}
              value={names}
              spellCheck={false}
              placeholder="gpu.example"
              onChange={({ target }) => setNames(target.value)}
              className="field"
            />
          )}
        </Field>
        {door.origins && (
          <Field label={t('taskDoor.origins')} help={t('taskDoor.originsNote')} fault={faults.origins}>
            {(ids) => (
              <input
                {...ids}
                value={origins}
                spellCheck={false}
                placeholder="https://page.example"
                onChange={({ target }) => setOrigins(target.value)}
                className="field"
              />
            )}
          </Field>
        )}
      </form>
    </Modal>
  )
}

function Keys({ scope }: { scope: 'comfyui' | 'run' }) {
  const { t, format } = useWords()
  const keys = useAsk('key.list', {})
  const [making, setMaking] = useState(false)
  const [question, ask] = useAsking()
  const again = () => refresh('key.list')
  const revoke = useDo('key.revoke', {
    onError: sayFault,
    onSuccess({ name }) {
      void again()
      say({ title: t('share.revokedNow', { name }) })
    },
  })
  const rows = keys.data?.rows.filter(({ revokedAt, scopes }) => revokedAt === null && scopes.includes(scope)) ?? []
  return (
    <section aria-label={t('share.keys')}>
      <div className="mb-1.5 flex items-center gap-3">
        <h3 className="eyebrow mr-auto">{t('share.keys')}</h3>
        <Button size="sm" icon={Plus} look={rows.length === 0 ? 'primary' : 'plain'} onClick={() => setMaking(true)}>
          {t('share.makeKey')}
        </Button>
      </div>
      {keys.error ? (
        <ErrorNotice compact cause={keys.error} onRetry={() => void keys.refetch()} />
      ) : keys.isPending ? (
        <Skeleton rows={1} height={32} />
      ) : rows.length === 0 ? (
        <p className="text-xs text-faint">{t(scope === 'run' ? 'taskDoor.noKeys' : 'share.noKeys')}</p>
      ) : (
        <ul className="flex flex-col divide-y divide-line">
          {rows.map((key) => (
            <li key={key.id} className="num flex items-center gap-3 py-1.5">
              <KeyRound size={15} className="shrink-0 text-faint" aria-hidden />
              <span className="min-w-0 truncate font-medium">{key.name}</span>
              <code className="text-xs text-faint">{key.start}…</code>
              <span className="ml-auto text-xs text-faint">
                {key.usedAt === null ? t('share.unused') : t('share.used', { date: format.stamp(key.usedAt) })}
                {key.expiresAt !== null && ` · ${t('share.until', { date: format.stamp(key.expiresAt) })}`}
              </span>
              <Button
                size="sm"
                onClick={() =>
                  ask({
                    title: t('share.revokeAsk', { name: key.name }),
                    note: t(scope === 'run' ? 'taskDoor.revokeNote' : 'share.revokeNote'),
                    yes: t('share.revoke'),
                    danger: true,
                    run: () => revoke.mutate({ id: key.id }),
                  })
                }
              >
                {t('share.revoke')}
              </Button>
            </li>
          ))}
        </ul>
      )}
      {making && <MakeKey scope={scope} onClose={() => setMaking(false)} />}
      {question}
    </section>
  )
}

function MakeKey({ scope, onClose }: { scope: 'comfyui' | 'run'; onClose: () => void }) {
  const { t } = useWords()
  const [name, setName] = useState('')
  const [days, setDays] = useState('0')
  const run = scope === 'run'
  const make = useDo('key.make', { onSuccess: () => void refresh('key.list') })
  const made = make.data
  const copy = async (token: string) => {
    // a page that is not from this machine has no clipboard; the words can be chosen by hand
    if (navigator.clipboard)
      await navigator.clipboard.writeText(token).then(() => say({ title: t('share.copied') }), sayFault)
  }
  return (
    <Modal
      open
      onClose={onClose}
      title={made ? t('share.keyOf', { name: made.key.name }) : t('share.makeKey')}
      note={t(made ? (run ? 'taskDoor.onceNote' : 'share.onceNote') : run ? 'taskDoor.makeNote' : 'share.makeNote')}
      footer={
        made ? (
          <Button look="primary" onClick={onClose}>
            {t('common.close')}
          </Button>
        ) : (
          <>
            <Button onClick={onClose}>{t('common.cancel')}</Button>
            <Button look="primary" type="submit" form="make-key" disabled={!name.trim()} busy={make.isPending}>
              {t('share.make')}
            </Button>
          </>
        )
      }
    >
      {made ? (
        <div className="flex items-center gap-2">
          <code className="min-w-0 flex-1 rounded-md bg-sunken px-3 py-2 break-all select-all">{made.token}</code>
          {navigator.clipboard && (
            <Button icon={Copy} onClick={() => void copy(made.token)}>
              {t('share.copy')}
            </Button>
          )}
        </div>
      ) : (
        <form
          id="make-key"
          className="flex flex-col gap-3.5"
          onSubmit={(event) => {
            event.preventDefault()
            const expiresAt = days === '0' ? null : Date.now() + Number(days) * 86_400_000
            if (name.trim()) make.mutate({ name: name.trim(), scopes: [scope], expiresAt })
          }}
        >
          <Field label={t('share.keyName')} help={t(run ? 'taskDoor.keyNameNote' : 'share.keyNameNote')}>
            {(ids) => (
              <input
                {...ids}
                value={name}
                maxLength={60}
                autoComplete="off"
                onChange={({ target }) => setName(target.value)}
                className="field"
              />
            )}
          </Field>
          <Field label={t('share.opens')}>
            {(ids) => (
              <Select
                {...ids}
                value={days}
                onChange={setDays}
                choices={KEY_DAYS.map((value) => ({
                  value,
                  label: value === '0' ? t('share.always') : t('share.days', { count: Number(value) }),
                }))}
              />
            )}
          </Field>
          {make.error && <ErrorNotice compact cause={make.error} />}
        </form>
      )}
    </Modal>
  )
}

const KEY_DAYS = ['0', '1', '7', '30', '90', '365'] as const
