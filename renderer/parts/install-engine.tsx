import { CircleAlert, CircleCheck, CircleDot, Download, Play, ScrollText, X } from 'lucide-react'
import { useState } from 'react'
import { type EngineView, GitRef, InstallChoices, type InstallView, type SpeedUp } from '../../core/contract/engine.ts'
import { bridge, refresh, useAsk, useDo } from '../client/client.ts'
import { saySentence, useWords } from '../i18n.ts'
import { Button, ErrorNotice, IconButton, ProgressBar, Skeleton } from './basics.tsx'
import { Told } from './finding.tsx'
import { Field, Select, Switch } from './forms.tsx'
import { InstallLog } from './install-log.tsx'
import { sayFault } from './overlays.tsx'
import { SpeedUps } from './speed-ups.tsx'

/** The first name that no engine has. */
function freeName(engines: readonly EngineView[]): string {
  for (let number = 1; ; number++) {
    const name = number === 1 ? 'local' : `local-${number}`
    if (!engines.some((engine) => engine.name === name)) return name
  }
}

const proxies = ['system', 'manual', 'none'] as const
/** Of one's own: programs, folders and addresses of this machine. */
const own = ['source', 'ref', 'python', 'torch', 'findLinks', 'index'] as const
type Own = Record<(typeof own)[number], string>
const nothing: Own = { source: '', ref: '', python: '', torch: '', findLinks: '', index: '' }

/** An address with a name and a password that may hold any letter. */
function proxyOf(is: (typeof proxies)[number], address: string, user: string, password: string): string | null {
  if (is !== 'manual') return is === 'none' ? 'none' : null
  const url = URL.parse(/^[a-z][a-z\d+.-]*:\/\//i.test(address) ? address : `http://${address}`)
  if (!url || address.trim() === '') return null
  if (user !== '') {
    url.username = encodeURIComponent(user)
    url.password = encodeURIComponent(password)
  }
  return url.href.replace(/\/$/, '')
}

/** What an installation would fetch and take, before it is begun. */
export function InstallEngine({ engines, onClose }: { engines: readonly EngineView[]; onClose: () => void }) {
  const { t, format } = useWords()
  const [cpu, setCpu] = useState(false)
  const [manager, setManager] = useState(false)
  const [speedUps, setSpeedUps] = useState<SpeedUp[]>([])
  const [mirrors, setMirrors] = useState<'auto' | 'first' | 'last' | 'none'>('auto')
  const [given, setGiven] = useState(nothing)
  const [proxy, setProxy] = useState<(typeof proxies)[number]>('system')
  const [way, setWay] = useState({ address: '', user: '', password: '' })
  const name = freeName(engines)
  const said = Object.fromEntries(own.map((key) => [key, given[key].trim() || null]))
  const badRef = given.ref.trim() !== '' && !GitRef.safeParse(given.ref.trim()).success
  if (badRef) said.ref = null
  const choices = InstallChoices.parse({
    ...(bridge && said),
    cpu,
    manager,
    speedUps,
    mirrors: mirrors === 'auto' ? null : mirrors,
    proxy: bridge ? proxyOf(proxy, way.address, way.user, way.password) : null,
  })
  // what is typed as a password does not change the plan, and is not kept with its answer
  const plan = useAsk('engine.plan', { name, choices: { ...choices, proxy: null } })
  const install = useDo('engine.install', {
    onError: sayFault,
    onSuccess() {
      void refresh('engine.installs')
      onClose()
    },
  })
  const incomplete = badRef || (proxy === 'manual' && choices.proxy === null)
  return (
    <section className="card flex flex-col gap-4 p-4" aria-label={t('engine.install.title')}>
      <h2 className="text-base">{t('engine.install.title')}</h2>
      {plan.error ? (
        <ErrorNotice cause={plan.error} onRetry={() => void plan.refetch()} />
      ) : !plan.data ? (
        <Skeleton rows={2} />
      ) : (
        <>
          <p>
            {t('engine.install.sum', {
              download: format.bytes(plan.data.downloadBytes),
              disk: format.bytes(plan.data.diskBytes),
              minutes: Math.ceil(plan.data.seconds / 60),
            })}
          </p>
          <ul className="flex flex-col gap-1 text-xs text-soft">
            {plan.data.steps
              .filter(({ downloadBytes }) => downloadBytes > 0)
              .map(({ id, what, from, downloadBytes }) => (
                <li key={id} className="flex gap-2">
                  <span className="min-w-0 flex-1 truncate" title={from.join('\n')}>
                    {what}
                  </span>
                  <span className="num">{format.bytes(downloadBytes)}</span>
                </li>
              ))}
          </ul>
          {plan.data.findings.some(({ level }) => level !== 'good') && (
            <ul className="flex flex-col gap-1.5 text-xs">
              {plan.data.findings
                .filter(({ level }) => level !== 'good')
                .map((finding) => (
                  <Told key={finding.code + finding.message} finding={finding} />
                ))}
            </ul>
          )}
          <p className="truncate text-xs text-faint" title={plan.data.home}>
            {plan.data.home}
          </p>
        </>
      )}
      <Switch label={t('engine.install.cpu')} checked={cpu} onChange={setCpu} />
      <Switch
        label={t('engine.install.manager')}
        help={t('engine.install.managerNote')}
        checked={manager}
        onChange={setManager}
      />
      {plan.data && <SpeedUps offers={plan.data.speedUps} chosen={speedUps} onChange={setSpeedUps} />}
      <div className="grid grid-cols-[repeat(auto-fit,minmax(220px,1fr))] gap-4">
        <Field label={t('engine.install.mirrors')} help={t('engine.install.mirrorsNote')}>
          {(ids) => (
            <Select
              {...ids}
              value={mirrors}
              onChange={(value) => setMirrors(value as typeof mirrors)}
              choices={(['auto', 'first', 'last', 'none'] as const).map((value) => ({
                value,
                label: t(`engine.install.mirror.${value}`),
              }))}
            />
          )}
        </Field>
        {bridge && (
          <Field label={t('engine.install.proxy')} help={t('engine.install.proxyNote')}>
            {(ids) => (
              <Select
                {...ids}
                value={proxy}
                onChange={(value) => setProxy(value as typeof proxy)}
                choices={proxies.map((value) => ({ value, label: t(`engine.install.proxies.${value}`) }))}
              />
            )}
          </Field>
        )}
      </div>
      {bridge && proxy === 'manual' && (
        <div className="grid grid-cols-[2fr_1fr_1fr] gap-4">
          {(['address', 'user', 'password'] as const).map((key) => (
            <Field key={key} label={t(`engine.install.proxyIs.${key}`)}>
              {(ids) => (
                <input
                  {...ids}
                  type={key === 'password' ? 'password' : 'text'}
                  value={way[key]}
                  spellCheck={false}
                  autoComplete="off"
                  placeholder={key === 'address' ? 'http://192.168.1.2:7890' : undefined}
                  onChange={({ target }) => setWay({ ...way, [key]: target.value })}
                  className="field"
                />
              )}
            </Field>
          ))}
        </div>
      )}
      {bridge && (
        <details>
          <summary className="cursor-pointer text-soft">{t('engine.install.more')}</summary>
          <div className="mt-3 grid grid-cols-2 gap-4">
            {own.map((key) => (
              <Field
                key={key}
                label={t(`engine.install.own.${key}`)}
                help={t(`engine.install.ownNote.${key}`)}
                fault={key === 'ref' && badRef ? t('engine.install.ownNote.ref') : null}
              >
                {(ids) => (
                  <input
                    {...ids}
                    value={given[key]}
                    spellCheck={false}
                    autoComplete="off"
                    onChange={({ target }) => setGiven({ ...given, [key]: target.value })}
                    className="field font-mono"
                  />
                )}
              </Field>
            ))}
          </div>
        </details>
      )}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>{t('engine.install.not')}</Button>
        <Button
          look="primary"
          icon={Download}
          busy={install.isPending}
          disabled={!plan.data || incomplete}
          onClick={() => install.mutate({ name, choices })}
        >
          {t('engine.install.begin')}
        </Button>
      </div>
    </section>
  )
}

/** Installations, updates and repairs: those under way, and those that did not end well. */
export function Installs() {
  const installs = useAsk('engine.installs', {})
  const [hidden, setHidden] = useState<readonly string[]>([])
  const rows = installs.data?.rows.filter((view) => view.is !== 'done' && !hidden.includes(view.generation)) ?? []
  return rows.map((view) => (
    <Install key={view.name} view={view} onHide={() => setHidden([...hidden, view.generation])} />
  ))
}

function Install({ view, onHide }: { view: InstallView; onHide: () => void }) {
  const { t, format } = useWords()
  const { name, purpose, is, steps, failure, switched, findings, generation } = view
  const [log, setLog] = useState(false)
  const again = () => refresh('engine.installs')
  const cancel = useDo('engine.cancelInstall', { onError: sayFault, onSettled: again })
  const resume = useDo('engine.resumeInstall', { onError: sayFault, onSettled: again })
  const running = steps.find((step) => step.is === 'running')
  const done = steps.filter((step) => step.is === 'done').length
  const part = running?.totalBytes ? running.bytes / running.totalBytes : 0
  const label = t(`engine.install.labels.${purpose}`, { name })
  return (
    <section className="card flex flex-col gap-3 p-4" aria-label={label}>
      <div className="flex flex-wrap items-center gap-2">
        <h2 className="min-w-0 flex-1 truncate text-base">{label}</h2>
        <Button size="sm" look="quiet" icon={ScrollText} aria-pressed={log} onClick={() => setLog(!log)}>
          {t('engine.log')}
        </Button>
        {is === 'running' ? (
          <Button size="sm" icon={X} busy={cancel.isPending} onClick={() => cancel.mutate({ name })}>
            {t('engine.install.cancel')}
          </Button>
        ) : (
          <>
            <Button
              size="sm"
              look="primary"
              icon={Play}
              busy={resume.isPending}
              onClick={() => resume.mutate({ name })}
            >
              {t('engine.install.resume')}
            </Button>
            <IconButton size="sm" icon={X} label={t('common.close')} onClick={onHide} />
          </>
        )}
      </div>
      {is === 'running' && (
        <>
          <ProgressBar value={(done + part) / Math.max(1, steps.length)} label={label} />
          <p className="num text-xs text-soft" aria-live="polite">
            {running &&
              [
                t(`engine.install.steps.${running.id}`),
                running.bytes > 0 &&
                  format.bytes(running.bytes) + (running.totalBytes ? ` / ${format.bytes(running.totalBytes)}` : ''),
                running.etaSeconds !== null && t('engine.install.left', { time: format.duration(running.etaSeconds) }),
                running.id === 'switch' && t('engine.install.waits'),
              ]
                .filter(Boolean)
                .join(' · ')}
          </p>
        </>
      )}
      <ol className="flex flex-wrap gap-x-4 gap-y-1 text-xs" aria-label={t('engine.install.stepsName')}>
        {steps.map((step) => (
          <li
            key={step.id}
            aria-current={step.is === 'running' ? 'step' : undefined}
            className={`flex items-center gap-1.5 ${step.is === 'waiting' ? 'text-faint' : step.is === 'running' ? 'font-medium' : 'text-soft'}`}
          >
            {step.is === 'done' ? (
              <CircleCheck size={13} className="text-good" aria-hidden />
            ) : step.is === 'failed' ? (
              <CircleAlert size={13} className="text-bad" aria-hidden />
            ) : (
              <CircleDot size={13} className={step.is === 'running' ? 'text-accent-ink' : 'text-faint'} aria-hidden />
            )}
            {t(`engine.install.steps.${step.id}`)}
          </li>
        ))}
      </ol>
      {is === 'cancelled' && <p className="text-soft">{t('engine.install.cancelled')}</p>}
      {failure && <ErrorNotice compact cause={failure} />}
      {findings.length > 0 && (
        <ul className="flex flex-col gap-1.5 text-xs">
          {findings.map((found) => (
            <Told key={found.code + saySentence(found)} finding={found} />
          ))}
        </ul>
      )}
      {switched.map((each) => (
        <p key={each.from + each.reason} className="text-xs text-soft" title={each.reason}>
          {t('engine.install.switched', { from: each.from, to: each.to })}
        </p>
      ))}
      {log && <InstallLog name={name} generation={generation} />}
    </section>
  )
}
