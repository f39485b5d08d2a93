import { Copy, KeyRound, Plus, Share2 } from 'lucide-react'
import { useState } from 'react'
import type { ShareSettings } from '../../core/contract/key.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { useAsking } from './asking.tsx'
import { Button, ErrorNotice, Skeleton } from './basics.tsx'
import { BareSwitch, Field } from './forms.tsx'
import { Modal, say, sayFault } from './overlays.tsx'

/** Other machines may use the ComfyUIs of this one: whether, where, and who. */
export function Share() {
  const { t } = useWords()
  const share = useAsk('share.state', {})
  const [editing, setEditing] = useState(false)
  const set = useDo('settings.set', { onError: sayFault, onSettled: () => refresh('share.state', 'settings.get') })
  if (share.isPending) return <Skeleton rows={1} height={80} />
  if (share.error) return <ErrorNotice cause={share.error} onRetry={() => void share.refetch()} />
  const { on, host, port, names, url, given, failure, places } = share.data
  const change = (more: Partial<ShareSettings>) => set.mutateAsync({ share: { on, host, port, names, ...more } })
  const ready = places.filter((place) => place.ready)
  return (
    <section className="card p-4" aria-label={t('share.title')}>
      <div className="flex items-start gap-3">
        <div className="grid size-9 shrink-0 place-items-center rounded-lg bg-sunken text-soft">
          <Share2 size={17} aria-hidden />
        </div>
        <div className="min-w-0 flex-1">
          <h2 className="text-base">{t('share.title')}</h2>
          <p className="text-xs text-faint">{t(given ? 'share.given' : 'share.note')}</p>
        </div>
        <BareSwitch
          aria-label={t('share.title')}
          checked={on}
          disabled={given || set.isPending}
          onChange={(next) => void change({ on: next }).catch(() => {})}
        />
      </div>
      {failure && (
        <div className="mt-3">
          <ErrorNotice compact cause={failure} onRetry={() => void change({ on: true }).catch(() => {})} />
        </div>
      )}
      {on && (
        <div className="mt-3 flex flex-col gap-3 border-t border-line pt-3">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
            {url !== null && (
              <>
                <span className="text-faint">{t('share.at')}</span>
                <code className="rounded-md bg-sunken px-2 py-0.5 select-all">{url}</code>
              </>
            )}
            <span className="text-soft">
              {places.length === 0
                ? t('share.nothing')
                : t('share.places', { count: ready.length, names: ready.map(({ id }) => id).join(', ') })}
            </span>
            {!given && (
              <Button size="sm" className="ml-auto" onClick={() => setEditing(true)}>
                {t('share.change')}
              </Button>
            )}
          </div>
          <p className="text-xs text-faint">{t('share.plain')}</p>
          <Keys />
        </div>
      )}
      {editing && (
        <Where
          share={{ on, host, port, names }}
          onSave={(next) =>
            void change(next).then(
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

function Where({
  share,
  onSave,
  onClose,
}: {
  share: ShareSettings
  onSave: (next: ShareSettings) => void
  onClose: () => void
}) {
  const { t } = useWords()
  const [host, setHost] = useState(share.host)
  const [port, setPort] = useState(String(share.port))
  const [names, setNames] = useState(share.names.join(', '))
  const listed = names.split(/[\s,，]+/).filter(Boolean)
  const faults = {
    host: /^[\w.:-]+$/.test(host.trim()) ? null : t('share.badHost'),
    port: /^\d{1,5}$/.test(port.trim()) && Number(port) < 65_536 ? null : t('workers.badPort'),
    names: listed.every((name) => /^[\w.-]+$/.test(name)) ? null : t('share.badNames'),
  }
  const good = Object.values(faults).every((fault) => fault === null)
  return (
    <Modal
      open
      onClose={onClose}
      title={t('share.where')}
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
          if (good) onSave({ ...share, host: host.trim(), port: Number(port), names: listed })
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
      </form>
    </Modal>
  )
}

function Keys() {
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
  const rows = keys.data?.rows.filter(({ revokedAt }) => revokedAt === null) ?? []
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
        <p className="text-xs text-faint">{t('share.noKeys')}</p>
      ) : (
        <ul className="flex flex-col divide-y divide-line">
          {rows.map((key) => (
            <li key={key.id} className="num flex items-center gap-3 py-1.5">
              <KeyRound size={15} className="shrink-0 text-faint" aria-hidden />
              <span className="min-w-0 truncate font-medium">{key.name}</span>
              <code className="text-xs text-faint">{key.start}…</code>
              <span className="ml-auto text-xs text-faint">
                {key.usedAt === null ? t('share.unused') : t('share.used', { date: format.stamp(key.usedAt) })}
              </span>
              <Button
                size="sm"
                onClick={() =>
                  ask({
                    title: t('share.revokeAsk', { name: key.name }),
                    note: t('share.revokeNote'),
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
      {making && <MakeKey onClose={() => setMaking(false)} />}
      {question}
    </section>
  )
}

function MakeKey({ onClose }: { onClose: () => void }) {
  const { t } = useWords()
  const [name, setName] = useState('')
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
      note={t(made ? 'share.onceNote' : 'share.makeNote')}
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
          onSubmit={(event) => {
            event.preventDefault()
            if (name.trim()) make.mutate({ name: name.trim(), scopes: ['comfyui'] })
          }}
        >
          <Field label={t('share.keyName')} help={t('share.keyNameNote')}>
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
          {make.error && <ErrorNotice compact cause={make.error} />}
        </form>
      )}
    </Modal>
  )
}
