import { Download, X } from 'lucide-react'
import { useState } from 'react'
import { type EngineView, InstallChoices, type InstallView } from '../../core/contract/engine.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { saySentence, useWords } from '../i18n.ts'
import { Button, ErrorNotice, ProgressBar, Skeleton } from './basics.tsx'
import { Field, Select, Switch } from './forms.tsx'
import { sayFault } from './overlays.tsx'

/** The first name that no engine has. */
function freeName(engines: readonly EngineView[]): string {
  for (let number = 1; ; number++) {
    const name = number === 1 ? 'local' : `local-${number}`
    if (!engines.some((engine) => engine.name === name)) return name
  }
}

/** What an installation would fetch and take, before it is begun. */
export function InstallEngine({ engines, onClose }: { engines: readonly EngineView[]; onClose: () => void }) {
  const { t, format } = useWords()
  const [cpu, setCpu] = useState(false)
  const [manager, setManager] = useState(false)
  const [mirrors, setMirrors] = useState<'auto' | 'first' | 'last' | 'none'>('auto')
  const name = freeName(engines)
  const choices = InstallChoices.parse({ cpu, manager, mirrors: mirrors === 'auto' ? null : mirrors })
  const plan = useAsk('engine.plan', { name, choices })
  const install = useDo('engine.install', {
    onError: sayFault,
    onSuccess() {
      void refresh('engine.installs')
      onClose()
    },
  })
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
                  <span>{format.bytes(downloadBytes)}</span>
                </li>
              ))}
          </ul>
          <p className="truncate text-xs text-faint" title={plan.data.home}>
            {plan.data.home}
          </p>
        </>
      )}
      <Switch label={t('engine.install.cpu')} checked={cpu} onChange={setCpu} />
      <Switch label={t('engine.install.manager')} checked={manager} onChange={setManager} />
      <Field label={t('engine.install.mirrors')}>
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
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>{t('engine.install.not')}</Button>
        <Button
          look="primary"
          icon={Download}
          busy={install.isPending}
          disabled={!plan.data}
          onClick={() => install.mutate({ name, choices })}
        >
          {t('engine.install.begin')}
        </Button>
      </div>
    </section>
  )
}

/** Installations, updates and repairs: those under way, and those that failed. */
export function Installs() {
  const installs = useAsk('engine.installs', {})
  const rows = installs.data?.rows.filter((view) => view.is !== 'done') ?? []
  return rows.map((view) => <Install key={view.name} view={view} />)
}

function Install({ view }: { view: InstallView }) {
  const { t, format } = useWords()
  const { name, is, steps, failure, switched, findings } = view
  const cancel = useDo('engine.cancelInstall', { onError: sayFault, onSettled: () => refresh('engine.installs') })
  const running = steps.find((step) => step.is === 'running')
  const done = steps.filter((step) => step.is === 'done').length
  const part = running?.totalBytes ? running.bytes / running.totalBytes : 0
  const label = t('engine.install.label', { name })
  return (
    <section className="card flex flex-col gap-3 p-4" aria-label={label}>
      <div className="flex items-center gap-3">
        <h2 className="min-w-0 flex-1 truncate text-base">{label}</h2>
        {is === 'running' && (
          <Button size="sm" icon={X} busy={cancel.isPending} onClick={() => cancel.mutate({ name })}>
            {t('engine.install.cancel')}
          </Button>
        )}
      </div>
      {is === 'running' && (
        <>
          <ProgressBar value={(done + part) / Math.max(1, steps.length)} label={label} />
          <p className="text-xs text-soft" aria-live="polite">
            {running && t(`engine.install.steps.${running.id}`)}
            {running && running.bytes > 0 && ` · ${format.bytes(running.bytes)}`}
            {running?.totalBytes ? ` / ${format.bytes(running.totalBytes)}` : ''}
          </p>
        </>
      )}
      {is === 'cancelled' && <p className="text-soft">{t('engine.install.cancelled')}</p>}
      {failure && <ErrorNotice cause={failure} />}
      {findings.map((found) => (
        <p key={found.message} className="text-xs text-soft">
          {saySentence(found)}
        </p>
      ))}
      {switched.map((each) => (
        <p key={each.from + each.reason} className="text-xs text-soft">
          {t('engine.install.switched', { from: each.from, to: each.to })}
        </p>
      ))}
    </section>
  )
}
