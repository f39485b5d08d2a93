import { ArrowUpCircle, RotateCcw, ScrollText } from 'lucide-react'
import { useState } from 'react'
import type { EngineView, InstallView, SpeedUp } from '../../core/contract/engine.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import type { Question } from './asking.tsx'
import { Button, ErrorNotice, Skeleton } from './basics.tsx'
import { Field } from './forms.tsx'
import { InstallLog } from './install-log.tsx'
import { say, sayFault } from './overlays.tsx'
import { SpeedUps } from './speed-ups.tsx'

/** What an installed engine was and is, and where it goes from here: other versions, back, and what was done to it. */
export function EngineVersions({
  engine: { name },
  stopping,
  ask,
}: {
  engine: EngineView
  /** How many jobs run there, which a restart would stop. */
  stopping: number
  ask: (question: Question) => void
}) {
  const { t, format } = useWords()
  const generations = useAsk('engine.generations', { name })
  const installs = useAsk('engine.installs', { name })
  const offers = useAsk('engine.speedUps', { name })
  const rows = generations.data?.rows ?? []
  const current = rows.find((row) => row.current)
  const [ref, setRef] = useState('')
  const [chosen, setChosen] = useState<SpeedUp[] | null>(null)
  const [log, setLog] = useState<string | null>(null)
  const again = () => refresh('engine.installs', 'engine.generations', 'engine.list')
  const update = useDo('engine.update', { onError: sayFault, onSuccess: again })
  const rollback = useDo('engine.rollback', {
    onError: sayFault,
    onSuccess({ rows }) {
      void again()
      say({ title: t('engine.versions.back', { name, version: rows.find((row) => row.current)?.version ?? '?' }) })
    },
  })
  const running = installs.data?.rows.some((view) => view.is === 'running') ?? false
  const speedUps = chosen ?? current?.speedUps ?? []

  function goBack(version: string) {
    ask({
      title: t('engine.versions.backAsk', { version }),
      note: (
        <>
          <p>{t('engine.versions.backNote')}</p>
          {stopping > 0 && <p className="text-warn">{t('engine.stopsJobs', { count: stopping })}</p>}
        </>
      ),
      yes: t('engine.versions.toThis'),
      run: () => rollback.mutate({ name }),
    })
  }

  return (
    <section className="mt-3 flex flex-col gap-4 border-t border-line pt-3" aria-label={t('engine.versions.title')}>
      {generations.error ? (
        <ErrorNotice compact cause={generations.error} onRetry={() => void generations.refetch()} />
      ) : !generations.data ? (
        <Skeleton rows={2} />
      ) : (
        <div className="overflow-x-auto">
          <table className="num w-full text-xs">
            <thead>
              <tr className="text-left text-faint">
                {(['version', 'commit', 'torch', 'made', 'size'] as const).map((head) => (
                  <th key={head} className="py-1 pr-3 font-normal">
                    {t(`engine.versions.${head}`)}
                  </th>
                ))}
                <th />
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.id} className="border-t border-line" aria-current={row.current || undefined}>
                  <td className="py-1.5 pr-3 font-medium">{row.version ?? '?'}</td>
                  <td className="py-1.5 pr-3 font-mono" title={row.commit ?? undefined}>
                    {row.commit?.slice(0, 10) ?? '–'}
                  </td>
                  <td className="py-1.5 pr-3">{row.torch ?? '–'}</td>
                  <td className="py-1.5 pr-3 whitespace-nowrap">{format.stamp(row.createdAt)}</td>
                  <td className="py-1.5 pr-3 whitespace-nowrap">
                    {row.sizeBytes === null ? '–' : format.bytes(row.sizeBytes)}
                  </td>
                  <td className="py-1 text-right">
                    {row.current ? (
                      <span className="badge tone-good">{t('engine.versions.current')}</span>
                    ) : (
                      <Button
                        size="sm"
                        icon={RotateCcw}
                        busy={rollback.isPending}
                        disabled={running}
                        onClick={() => goBack(row.version ?? '?')}
                      >
                        {t('engine.versions.toThis')}
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <form
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault()
          update.mutate({ name, ref: ref.trim() || null, ...(chosen && { speedUps: chosen }) })
        }}
      >
        <Field label={t('engine.versions.to')} help={t('engine.versions.toNote')}>
          {(ids) => (
            <div className="flex gap-2">
              <input
                {...ids}
                value={ref}
                spellCheck={false}
                autoComplete="off"
                placeholder={t('engine.versions.newest')}
                onChange={({ target }) => setRef(target.value)}
                className="field min-w-0 flex-1 font-mono"
              />
              <Button look="primary" type="submit" icon={ArrowUpCircle} busy={update.isPending} disabled={running}>
                {t('engine.versions.update')}
              </Button>
            </div>
          )}
        </Field>
        {offers.data && <SpeedUps offers={offers.data.rows} chosen={speedUps} onChange={setChosen} />}
      </form>
      {(installs.data?.rows.length ?? 0) > 0 && (
        <div>
          <h3 className="eyebrow mb-1">{t('engine.versions.history')}</h3>
          <ul className="flex flex-col">
            {installs.data!.rows.map((view) => (
              <Past
                key={view.generation}
                view={view}
                open={log === view.generation}
                onLog={() => setLog(log === view.generation ? null : view.generation)}
              />
            ))}
          </ul>
        </div>
      )}
    </section>
  )
}

const tones = { running: 'tone-accent', done: 'tone-good', failed: 'tone-bad', cancelled: 'tone-warn' }

function Past({ view, open, onLog }: { view: InstallView; open: boolean; onLog: () => void }) {
  const { t, format } = useWords()
  const { name, generation, purpose, is, startedAt } = view
  return (
    <li className="border-t border-line py-1 first:border-0">
      <div className="flex items-center gap-3 text-xs">
        <span className="num w-40 shrink-0 text-soft">{format.stamp(startedAt)}</span>
        <span className="min-w-0 flex-1 truncate">{t(`engine.install.purposes.${purpose}`)}</span>
        <span className={`badge ${tones[is]}`}>{t(`engine.install.is.${is}`)}</span>
        <Button size="sm" look="quiet" icon={ScrollText} aria-pressed={open} onClick={onLog}>
          {t('engine.log')}
        </Button>
      </div>
      {open && <InstallLog name={name} generation={generation} />}
    </li>
  )
}
