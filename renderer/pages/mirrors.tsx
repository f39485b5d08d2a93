import { useRouterState } from '@tanstack/react-router'
import { CircleAlert, CircleCheck, Ellipsis, KeyRound, Network, Pin, PinOff, Plus, Radar, Trash2 } from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import {
  type MirrorKind,
  type MirrorKindView,
  type MirrorView,
  type NetworkSettings,
  type NetworkView,
  TokenHost,
  type TokenView,
} from '../../core/contract/mirror.ts'
import { queries, refresh, useAsk, useDo } from '../client/client.ts'
import { sayReason, useWords } from '../i18n.ts'
import { Button, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { Field, Segmented, Select, Switch } from '../parts/forms.tsx'
import { Outward } from '../parts/outward.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'

const again = () => refresh('mirror.list')

/** Where things come from and how fast, who one is there, and how the internet is reached. */
export function MirrorsPage() {
  const { t } = useWords()
  const mirrors = useAsk('mirror.list', {})
  const network = useAsk('network.get', {})
  const test = useDo('mirror.test', { onError: sayFault, onSettled: again })
  const [adding, setAdding] = useState<MirrorKind | null>(null)
  const kinds = mirrors.data?.kinds ?? []
  const testing = kinds.some(({ places }) => places.some((place) => place.testing))
  const tried = kinds.some(({ places }) => places.some(({ measured }) => measured))
  return (
    <>
      <PageHead title={t('nav.mirrors')} note={t('mirrors.note')}>
        {network.data && <Policy view={network.data} />}
        <Button
          look={tried ? 'plain' : 'primary'}
          icon={Radar}
          busy={testing || test.isPending}
          onClick={() => test.mutate({})}
        >
          {testing ? t('mirrors.testing') : t('mirrors.testAll')}
        </Button>
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[980px] flex-col gap-4 p-6">
          {mirrors.isPending ? (
            <Skeleton rows={4} height={120} />
          ) : mirrors.error ? (
            <ErrorNotice cause={mirrors.error} onRetry={() => void mirrors.refetch()} />
          ) : (
            <>
              {!tried && !testing && <p className="tone-accent rounded-md px-3 py-2">{t('mirrors.untried')}</p>}
              {kinds.map((view) => (
                <Kind key={view.kind} view={view} network={network.data} onAdd={() => setAdding(view.kind)} />
              ))}
            </>
          )}
          {network.error && <ErrorNotice cause={network.error} onRetry={() => void network.refetch()} />}
          {network.data && (
            <>
              <Tokens view={network.data} />
              <Reach key={JSON.stringify(network.data.settings)} view={network.data} />
            </>
          )}
        </div>
      </div>
      {adding && <Add kind={adding} onClose={() => setAdding(null)} />}
    </>
  )
}

/** Scrolls to a part of the page that an address names. */
function useHere(id: string) {
  const here = useRef<HTMLElement>(null)
  const hash = useRouterState({ select: ({ location }) => location.hash })
  useEffect(() => {
    if (hash === id) here.current?.scrollIntoView({ block: 'start' })
  }, [hash, id])
  return here
}

const keep = (view: NetworkView) => {
  queries.setQueryData(['network.get', {}], view)
  void again()
}

function Policy({ view }: { view: NetworkView }) {
  const { t } = useWords()
  const set = useDo('network.set', { onError: sayFault, onSuccess: keep })
  const policies = ['auto', 'first', 'last', 'none'] as const
  return (
    <div className="w-56">
      <Select
        aria-label={t('mirrors.policy')}
        value={view.settings.mirrors}
        choices={policies.map((value) => ({ value, label: t(`mirrors.policies.${value}`) }))}
        onChange={(mirrors) => set.mutate({ settings: { mirrors: mirrors as NetworkSettings['mirrors'] } })}
      />
    </div>
  )
}

function Kind({
  view: { kind, choice, places },
  network,
  onAdd,
}: {
  view: MirrorKindView
  network: NetworkView | undefined
  onAdd: () => void
}) {
  const { t } = useWords()
  const options = { onError: sayFault, onSettled: again }
  const test = useDo('mirror.test', options)
  const choose = useDo('mirror.choose', options)
  const fastest = Math.max(1, ...places.map(({ measured }) => measured?.bytesPerSecond ?? 0))
  const testing = places.some((place) => place.testing)
  return (
    <section className="card" aria-label={t(`mirrors.kinds.${kind}`)}>
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-4 py-2.5">
        <div className="mr-auto min-w-0">
          <h2 className="text-base">{t(`mirrors.kinds.${kind}`)}</h2>
          <p className="text-xs text-faint">{t(`mirrors.about.${kind}`)}</p>
        </div>
        <div className="w-52">
          <Select
            small
            aria-label={t('mirrors.choice', { kind: t(`mirrors.kinds.${kind}`) })}
            value={choice}
            choices={[
              { value: 'auto', label: t('mirrors.automatic') },
              ...places.map(({ id, name }) => ({ value: id, label: name })),
            ]}
            onChange={(id) => choose.mutate({ kind, id: id === 'auto' ? null : id })}
          />
        </div>
        <Button size="sm" icon={Plus} onClick={onAdd}>
          {t('mirrors.add')}
        </Button>
        <Button size="sm" icon={Radar} busy={testing} onClick={() => test.mutate({ kinds: [kind] })}>
          {t('mirrors.test')}
        </Button>
      </div>
      <table className="num w-full table-fixed text-xs">
        <colgroup>
          <col className="w-[36%]" />
          <col className="w-[21%]" />
          <col className="w-[9%]" />
          <col />
          <col className="w-12" />
        </colgroup>
        <thead className="sr-only">
          <tr>
            {(['place', 'rate', 'latency', 'result', 'actions'] as const).map((column) => (
              <th key={column}>{t(`mirrors.columns.${column}`)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {places.map((place, at) => (
            <Place
              key={place.id}
              {...{ kind, place, fastest, network }}
              first={at === 0 && place.used}
              chosen={choice === place.id}
            />
          ))}
        </tbody>
      </table>
    </section>
  )
}

function Place({
  kind,
  place,
  fastest,
  first,
  chosen,
  network,
}: {
  kind: MirrorKind
  place: MirrorView
  fastest: number
  first: boolean
  chosen: boolean
  network: NetworkView | undefined
}) {
  const { t, format } = useWords()
  const { id, name, official, own, used, measured, testing, note, direct } = place
  const [giving, setGiving] = useState(false)
  const options = { onError: sayFault, onSettled: again }
  const test = useDo('mirror.test', options)
  const choose = useDo('mirror.choose', options)
  const remove = useDo('mirror.remove', options)
  const give = useDo('token.give', { onError: sayFault, onSuccess: keep })
  const account = TokenHost.safeParse(kind).data
  const token = network?.tokens.find(({ host }) => host === account)
  const isGiven = token?.given.includes(id) ?? false
  const tone = measured?.ok ? 'good' : 'bad'
  return (
    <tr className={`border-t border-line first:border-t-0 ${used ? '' : 'text-faint'}`} aria-label={name}>
      <td className="py-2 pl-4">
        <span className="flex min-w-0 items-center gap-1.5">
          <span className={`truncate ${first ? 'font-semibold' : ''}`} title={place.pattern}>
            {name}
          </span>
          {first && <span className="badge tone-accent">{t('mirrors.first')}</span>}
          {official && <span className="badge">{t('mirrors.official')}</span>}
          {own && <span className="badge">{t('mirrors.own')}</span>}
          {isGiven && (
            <span className="badge tone-warn">
              <KeyRound aria-hidden />
              {t('mirrors.hasToken')}
            </span>
          )}
        </span>
        <span className="block truncate text-faint">
          {[name !== id && id, direct && t('mirrors.direct'), note].filter(Boolean).join(' · ')}
        </span>
      </td>
      <td className="px-2">
        {measured?.bytesPerSecond != null && measured.ok && (
          <span className="flex items-center gap-2">
            <ProgressBar
              value={measured.bytesPerSecond / fastest}
              label={t('mirrors.rateOf', { name })}
              tone={first ? 'accent' : 'line-strong'}
            />
            <span className="w-20 shrink-0 text-right">{format.bytes(measured.bytesPerSecond)}/s</span>
          </span>
        )}
      </td>
      <td className="px-2 text-right">
        {measured?.latencyMs != null ? `${format.number(Math.round(measured.latencyMs))} ms` : ''}
      </td>
      <td className="px-2">
        {testing ? (
          <span className="text-accent">{t('mirrors.testing')}</span>
        ) : measured ? (
          <span className={`flex min-w-0 items-center gap-1.5 text-${tone}`} title={measured.reason ?? undefined}>
            {measured.ok ? (
              <CircleCheck size={14} className="shrink-0" aria-hidden />
            ) : (
              <CircleAlert size={14} className="shrink-0" aria-hidden />
            )}
            <span className="truncate">
              {measured.ok
                ? t('mirrors.good', { time: format.ago(measured.at) })
                : `${t(`mirrors.faults.${measured.fault ?? 'unreachable'}`)}${measured.reason ? `: ${sayReason(measured.reason)}` : ''}`}
            </span>
          </span>
        ) : (
          <span className="text-faint">{t('mirrors.notTried')}</span>
        )}
      </td>
      <td className="pr-3 text-right">
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('mirrors.actions', { name })} />}
          items={[
            { label: t('mirrors.testOne'), icon: Radar, onSelect: () => test.mutate({ kinds: [kind], id }) },
            chosen
              ? { label: t('mirrors.unpin'), icon: PinOff, onSelect: () => choose.mutate({ kind, id: null }) }
              : { label: t('mirrors.pin'), icon: Pin, onSelect: () => choose.mutate({ kind, id }) },
            ...(token && !official
              ? [
                  isGiven
                    ? {
                        label: t('mirrors.takeToken'),
                        icon: KeyRound,
                        onSelect: () => give.mutate({ host: token.host, mirror: id, given: false }),
                      }
                    : { label: t('mirrors.giveToken'), icon: KeyRound, onSelect: () => setGiving(true) },
                ]
              : []),
            ...(own
              ? [
                  null,
                  {
                    label: t('common.remove'),
                    icon: Trash2,
                    danger: true,
                    onSelect: () => remove.mutate({ kind, id }),
                  },
                ]
              : []),
          ]}
        />
        {giving && token && (
          <Modal
            open
            onClose={() => setGiving(false)}
            title={t('mirrors.giveTitle', { name })}
            footer={
              <>
                <Button onClick={() => setGiving(false)}>{t('common.cancel')}</Button>
                <Button
                  look="danger"
                  onClick={() => {
                    give.mutate({ host: token.host, mirror: id, given: true })
                    setGiving(false)
                  }}
                >
                  {t('mirrors.giveToken')}
                </Button>
              </>
            }
          >
            <p className="pb-2 text-left">{t('mirrors.giveNote', { name, hub: t(`mirrors.kinds.${token.host}`) })}</p>
          </Modal>
        )}
      </td>
    </tr>
  )
}

function Add({ kind, onClose }: { kind: MirrorKind; onClose: () => void }) {
  const { t } = useWords()
  const [address, setAddress] = useState('')
  const [name, setName] = useState('')
  const [prefix, setPrefix] = useState(false)
  const [direct, setDirect] = useState(false)
  const test = useDo('mirror.test', { onError: sayFault, onSettled: again })
  const add = useDo('mirror.add', {
    onError: sayFault,
    onSuccess({ id }) {
      void again()
      test.mutate({ kinds: [kind], id })
      onClose()
    },
  })
  return (
    <Modal
      open
      onClose={onClose}
      title={t('mirrors.addTitle', { kind: t(`mirrors.kinds.${kind}`) })}
      note={t('mirrors.addNote')}
    >
      <form
        className="flex flex-col gap-3 pb-3"
        onSubmit={(event) => {
          event.preventDefault()
          add.mutate({ kind, address, prefix, direct, ...(name && { name }) })
        }}
      >
        <Field label={t('mirrors.address')} help={t('mirrors.addressHelp')}>
          {(ids) => (
            <input
              {...ids}
              // biome-ignore lint/a11y/noAutofocus: the one thing to fill in
              autoFocus
              value={address}
              onChange={({ target }) => setAddress(target.value)}
              placeholder="https://"
              className="field font-mono"
            />
          )}
        </Field>
        <Field label={t('mirrors.name')}>
          {(ids) => <input {...ids} value={name} onChange={({ target }) => setName(target.value)} className="field" />}
        </Field>
        <Switch label={t('mirrors.prefix')} help={t('mirrors.prefixHelp')} checked={prefix} onChange={setPrefix} />
        <Switch label={t('mirrors.noProxy')} help={t('mirrors.noProxyHelp')} checked={direct} onChange={setDirect} />
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" type="submit" disabled={address.trim() === ''} busy={add.isPending}>
            {t('mirrors.addAndTest')}
          </Button>
        </div>
      </form>
    </Modal>
  )
}

function Tokens({ view }: { view: NetworkView }) {
  const { t } = useWords()
  const here = useHere('tokens')
  return (
    <section ref={here} className="card p-4" aria-label={t('mirrors.tokens')}>
      <h2 className="text-base">{t('mirrors.tokens')}</h2>
      <p className="mb-3 text-xs text-faint">{t('mirrors.tokensNote')}</p>
      <ul className="flex flex-col divide-y divide-line">
        {view.tokens.map((token) => (
          <Token key={token.host} token={token} />
        ))}
      </ul>
    </section>
  )
}

function Token({ token: { host, isSet, account, checkedAt, page } }: { token: TokenView }) {
  const { t } = useWords()
  const [text, setText] = useState('')
  const name = host === 'github' ? 'GitHub' : t(`mirrors.kinds.${host}`)
  const set = useDo('token.set', {
    onError: sayFault,
    onSuccess(next) {
      keep(next)
      setText('')
      const now = next.tokens.find((each) => each.host === host)
      say({ title: now?.account ? t('mirrors.tokenOf', { account: now.account }) : t('mirrors.tokenUnchecked') })
    },
  })
  const remove = useDo('token.remove', { onError: sayFault, onSuccess: keep })
  return (
    <li className="grid grid-cols-[150px_minmax(0,1fr)_auto] items-center gap-3 py-2.5" aria-label={name}>
      <span>
        <span className="block font-medium">{name}</span>
        <span className="text-xs">
          <Outward url={page}>{t('mirrors.makeToken')}</Outward>
        </span>
      </span>
      {isSet ? (
        <>
          <span className="badge tone-good justify-self-start">
            <KeyRound aria-hidden />
            {account
              ? t('mirrors.tokenOf', { account })
              : checkedAt === null
                ? t('mirrors.tokenUnchecked')
                : t('mirrors.tokenSet')}
          </span>
          <Button size="sm" icon={Trash2} onClick={() => remove.mutate({ host })}>
            {t('common.remove')}
          </Button>
        </>
      ) : (
        <form
          className="contents"
          onSubmit={(event) => {
            event.preventDefault()
            set.mutate({ host, token: text })
          }}
        >
          <input
            type="password"
            autoComplete="off"
            aria-label={t('mirrors.tokenFor', { name })}
            value={text}
            onChange={({ target }) => setText(target.value)}
            placeholder={t('mirrors.tokenFor', { name })}
            className="field field-sm"
          />
          <Button size="sm" type="submit" busy={set.isPending} disabled={text.trim().length < 8}>
            {t('mirrors.keepToken')}
          </Button>
        </form>
      )}
    </li>
  )
}

function Reach({ view }: { view: NetworkView }) {
  const { t } = useWords()
  const here = useHere('network')
  const info = useAsk('app.info', {})
  const [proxy, setProxy] = useState(view.settings.proxy)
  const [address, setAddress] = useState(view.settings.proxyAddress)
  const [user, setUser] = useState(view.proxyUser ?? '')
  const [password, setPassword] = useState('')
  const [bypass, setBypass] = useState(view.settings.bypass.join(', '))
  const [certificates, setCertificates] = useState(view.settings.certificates)
  const set = useDo('network.set', {
    onError: sayFault,
    onSuccess(next) {
      keep(next)
      say({ title: t('mirrors.saved') })
    },
  })
  const save = () =>
    set.mutate({
      settings: {
        proxy,
        proxyAddress: address.trim(),
        bypass: bypass.split(/[\s,]+/).filter((host) => host !== ''),
        ...(certificates !== view.settings.certificates && { certificates }),
      },
      ...(user === '' && view.proxyUser !== null && { credentials: null }),
      ...(user !== '' && password !== '' && { credentials: { user, password } }),
    })
  return (
    <section ref={here} className="card p-4" aria-label={t('mirrors.network')}>
      <h2 className="flex items-center gap-2 text-base">
        <Network size={15} aria-hidden />
        {t('mirrors.network')}
      </h2>
      <p className="mb-3 text-xs text-faint">
        {view.proxyInUse ? t('mirrors.proxyInUse', { address: view.proxyInUse }) : t('mirrors.noProxyInUse')}{' '}
        {t('mirrors.networkNote')}
      </p>
      <form
        className="grid grid-cols-2 gap-x-4 gap-y-3"
        onSubmit={(event) => {
          event.preventDefault()
          save()
        }}
      >
        <div className="col-span-2">
          <Segmented
            label={t('mirrors.proxy')}
            value={proxy}
            choices={(['system', 'manual', 'none'] as const).map((value) => ({
              value,
              label: t(`mirrors.proxies.${value}`),
            }))}
            onChange={setProxy}
          />
        </div>
        {proxy === 'manual' && (
          <>
            <div className="col-span-2">
              <Field label={t('mirrors.proxyAddress')} help={t('mirrors.proxyAddressHelp')}>
                {(ids) => (
                  <input
                    {...ids}
                    value={address}
                    onChange={({ target }) => setAddress(target.value)}
                    placeholder="http://127.0.0.1:7890"
                    className="field font-mono"
                  />
                )}
              </Field>
            </div>
            <Field label={t('mirrors.proxyUser')}>
              {(ids) => (
                <input
                  {...ids}
                  autoComplete="off"
                  value={user}
                  onChange={({ target }) => setUser(target.value)}
                  className="field"
                />
              )}
            </Field>
            <Field label={t('mirrors.proxyPassword')} help={view.proxyUser ? t('mirrors.passwordKept') : undefined}>
              {(ids) => (
                <input
                  {...ids}
                  type="password"
                  autoComplete="off"
                  value={password}
                  onChange={({ target }) => setPassword(target.value)}
                  className="field"
                />
              )}
            </Field>
          </>
        )}
        <Field label={t('mirrors.bypass')} help={t('mirrors.bypassHelp')}>
          {(ids) => (
            <input
              {...ids}
              value={bypass}
              onChange={({ target }) => setBypass(target.value)}
              className="field font-mono"
            />
          )}
        </Field>
        <Field
          label={t('mirrors.certificates')}
          help={info.data?.door === 'desktop' ? t('mirrors.certificatesHelp') : t('mirrors.certificatesThere')}
        >
          {(ids) => (
            <input
              {...ids}
              value={certificates}
              disabled={info.data?.door !== 'desktop'}
              onChange={({ target }) => setCertificates(target.value)}
              className="field font-mono"
            />
          )}
        </Field>
        <div className="col-span-2 flex justify-end">
          <Button
            look="primary"
            type="submit"
            busy={set.isPending}
            disabled={proxy === 'manual' && address.trim() === ''}
          >
            {t('common.save')}
          </Button>
        </div>
      </form>
    </section>
  )
}
