import { useNavigate } from '@tanstack/react-router'
import { FileArchive, RefreshCw, SearchCheck, Wrench } from 'lucide-react'
import { useEffect } from 'react'
import type { EngineView } from '../../core/contract/engine.ts'
import { refresh, useDo } from '../client/client.ts'
import { save } from '../client/files.ts'
import { useWords } from '../i18n.ts'
import type { Question } from './asking.tsx'
import { Button, ErrorNotice, Skeleton } from './basics.tsx'
import { Told } from './finding.tsx'
import { NodeBisect } from './node-bisect.tsx'
import { say, sayFault } from './overlays.tsx'

/** What is wrong with an engine, and what can be done about it with a press. */
export function EngineDoctor({
  engine: { name },
  stopping,
  ask,
}: {
  engine: EngineView
  stopping: number
  ask: (question: Question) => void
}) {
  const { t } = useWords()
  const navigate = useNavigate()
  const doctor = useDo('engine.doctor', {})
  const bisect = useDo('nodes.bisect', { onError: sayFault, onSuccess: () => refresh('nodes.bisects') })
  const bundle = useDo('engine.diagnostics', {
    onError: sayFault,
    onSuccess(file) {
      save(file)
      say({ title: t('engine.doctor.bundled', { name: file.name }), description: t('engine.doctor.bundledNote') })
    },
  })
  const { mutate } = doctor
  useEffect(() => mutate({ name }), [mutate, name])
  const findings = doctor.data?.findings ?? []
  const mends = new Set(findings.flatMap(({ mend }) => (mend && mend !== 'bisect' ? [mend] : [])))
  const mend = () =>
    ask({
      title: t('engine.doctor.mendAsk', { name }),
      note: (
        <>
          {mends.has('permissions') && <p>{t('engine.doctor.mendPermissions')}</p>}
          {(mends.has('repair') || mends.has('torch')) && <p>{t('engine.doctor.mendRepair')}</p>}
          {stopping > 0 && <p>{t('engine.waitsForJobs', { count: stopping })}</p>}
        </>
      ),
      yes: t('engine.doctor.mend'),
      run: () => doctor.mutate({ name, mend: true }, { onSettled: () => void refresh('engine.installs') }),
    })
  return (
    <section className="mt-3 flex flex-col gap-3 border-t border-line pt-3" aria-label={t('engine.doctor.title')}>
      {doctor.error ? (
        <ErrorNotice compact cause={doctor.error} onRetry={() => mutate({ name })} />
      ) : doctor.isPending && !doctor.data ? (
        <>
          <p className="text-xs text-faint" role="status">
            {t('engine.doctor.looking')}
          </p>
          <Skeleton rows={2} height={22} />
        </>
      ) : (
        <ul className="flex flex-col gap-1.5">
          {findings.map((finding) => (
            <Told key={finding.code + finding.message} finding={finding}>
              {finding.mend === 'bisect' && (
                <Button
                  className="ml-2"
                  size="sm"
                  icon={SearchCheck}
                  busy={bisect.isPending}
                  onClick={() => bisect.mutate({ engine: name, check: { is: 'start' } })}
                >
                  {t('engine.doctor.bisect')}
                </Button>
              )}
            </Told>
          ))}
        </ul>
      )}
      {doctor.data?.mending && <p className="text-xs text-soft">{t('engine.doctor.mending')}</p>}
      <NodeBisect
        engine={name}
        rows={[]}
        open={false}
        onClose={() => {}}
        onChange={() => void navigate({ to: '/custom-nodes', search: { engine: name } as never })}
      />
      <div className="flex flex-wrap gap-2">
        {mends.size > 0 && !doctor.data?.mending && (
          <Button size="sm" look="primary" icon={Wrench} busy={doctor.isPending} onClick={mend}>
            {t('engine.doctor.mend')}
          </Button>
        )}
        <Button size="sm" icon={RefreshCw} busy={doctor.isPending} onClick={() => mutate({ name })}>
          {t('engine.doctor.again')}
        </Button>
        <Button size="sm" icon={FileArchive} busy={bundle.isPending} onClick={() => bundle.mutate({ name })}>
          {t('engine.doctor.bundle')}
        </Button>
      </div>
    </section>
  )
}
