import { CircleCheck, CircleX, SearchCheck } from 'lucide-react'
import { useState } from 'react'
import type { BisectCheck, BisectView, CustomNode, NodeChange, NodeRemedy } from '../../core/contract/custom-node.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { Button, ErrorNotice, ProgressBar } from './basics.tsx'
import { Field, Select } from './forms.tsx'
import { Modal, sayFault } from './overlays.tsx'

/** Looks for the custom nodes that break something: asks once what must work, then goes by itself. */
export function NodeBisect({
  engine,
  rows,
  open,
  onClose,
  onChange,
}: {
  engine: string
  rows: readonly CustomNode[]
  open: boolean
  onClose: () => void
  onChange: (changes: NodeChange[]) => void
}) {
  const bisects = useAsk('nodes.bisects', {})
  const view = bisects.data?.rows.find((row) => row.engine === engine)
  return (
    <>
      {view && <Story view={view} rows={rows} onChange={onChange} />}
      {open && (
        <Ask
          engine={engine}
          count={rows.filter(({ enabled }) => enabled).length}
          running={view?.is === 'running'}
          onClose={onClose}
        />
      )}
    </>
  )
}

function Ask({
  engine,
  count,
  running,
  onClose,
}: {
  engine: string
  count: number
  running: boolean
  onClose: () => void
}) {
  const { t } = useWords()
  const [is, setIs] = useState<BisectCheck['is']>('start')
  const [classType, setClassType] = useState('')
  const bisect = useDo('nodes.bisect', {
    onError: sayFault,
    onSuccess() {
      void refresh('nodes.bisects')
      onClose()
    },
  })
  const check: BisectCheck = is === 'class' ? { is, classType: classType.trim() } : { is }
  return (
    <Modal
      open
      onClose={onClose}
      title={t('nodes.bisect.open')}
      note={t('nodes.bisect.note', { count, boots: Math.ceil(Math.log2(Math.max(2, count))) + 1 })}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button
            look="primary"
            icon={SearchCheck}
            busy={bisect.isPending}
            disabled={running || count === 0 || (is === 'class' && classType.trim() === '')}
            onClick={() => bisect.mutate({ engine, check })}
          >
            {t('nodes.bisect.begin')}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-4">
        <Field label={t('nodes.bisect.must')}>
          {(ids) => (
            <Select
              {...ids}
              value={is}
              onChange={(next) => setIs(next as BisectCheck['is'])}
              choices={(['start', 'picture', 'loads', 'class'] as const).map((value) => ({
                value,
                label: t(`nodes.bisect.checks.${value}`),
              }))}
            />
          )}
        </Field>
        {is === 'class' && (
          <Field label={t('nodes.bisect.className')}>
            {(ids) => (
              <input
                {...ids}
                value={classType}
                spellCheck={false}
                onChange={({ target }) => setClassType(target.value)}
                className="field"
              />
            )}
          </Field>
        )}
        {count === 0 && <p className="text-soft">{t('nodes.bisect.noNodes')}</p>}
      </div>
    </Modal>
  )
}

function Story({
  view,
  rows,
  onChange,
}: {
  view: BisectView
  rows: readonly CustomNode[]
  onChange: (changes: NodeChange[]) => void
}) {
  const { t, format } = useWords()
  const { engine, is, boots, suspects, folders, culprits, because, remedies, failure, check } = view
  const again = () => refresh('nodes.bisects')
  const cancel = useDo('nodes.cancelBisect', { onError: sayFault, onSettled: again })
  const back = useDo('nodes.rollback', {
    onError: sayFault,
    onSuccess: () => refresh('nodes.list', 'engine.list', 'engine.generations'),
  })
  const left = Math.log2(Math.max(1, suspects.length)) / Math.log2(Math.max(2, folders.length))
  const stillOn = culprits.every((folder) => rows.some((row) => row.folder === folder && row.enabled))
  const mend: Record<NodeRemedy, () => void> = {
    disable: () => onChange(culprits.map((folder) => ({ is: 'disable', folder }))),
    update: () => onChange(culprits.map((folder) => ({ is: 'update', folder, from: null }))),
    'roll-back': () => back.mutate({ engine }),
  }
  const title = t(`nodes.bisect.title.${is === 'done' ? (culprits.length > 0 || because ? 'found' : 'well') : is}`)
  return (
    <section className="card flex flex-col gap-3 p-4" aria-label={title}>
      <div className="flex items-center gap-3">
        <h2 className="min-w-0 flex-1 truncate text-base">{title}</h2>
        {is === 'running' ? (
          <Button size="sm" busy={cancel.isPending} onClick={() => cancel.mutate({ engine })}>
            {t('nodes.change.stop')}
          </Button>
        ) : (
          <Button size="sm" busy={cancel.isPending} onClick={() => cancel.mutate({ engine })}>
            {t('common.close')}
          </Button>
        )}
      </div>
      {is === 'running' && (
        <>
          <ProgressBar value={boots.length === 0 ? null : 1 - left} label={title} />
          <p className="text-xs text-soft" aria-live="polite">
            {t('nodes.bisect.progress', { boots: boots.length, count: suspects.length })}
          </p>
        </>
      )}
      {culprits.length > 0 && (
        <>
          <p>
            {t(culprits.length > 1 ? 'nodes.bisect.together' : 'nodes.bisect.one')}{' '}
            <strong className="font-semibold">{culprits.join(', ')}</strong>
          </p>
          {because && <p className="text-xs text-soft break-words">{sayFailure(because).message}</p>}
          <div className="flex flex-wrap gap-2">
            {(stillOn ? remedies : []).map((remedy, at) => (
              <Button key={remedy} size="sm" look={at === 0 ? 'primary' : 'plain'} onClick={mend[remedy]}>
                {t(`nodes.bisect.remedies.${remedy}`)}
              </Button>
            ))}
          </div>
        </>
      )}
      {is === 'done' && culprits.length === 0 && (
        <p className="text-soft break-words">
          {because
            ? `${t('nodes.bisect.illNote')} ${sayFailure(because).message}`
            : t('nodes.bisect.wellNote', { check: t(`nodes.bisect.checks.${check.is}`) })}
        </p>
      )}
      {failure && <ErrorNotice compact cause={failure} />}
      {boots.length > 0 && (
        <details className="text-xs text-soft">
          <summary className="cursor-pointer">{t('nodes.bisect.boots', { count: boots.length })}</summary>
          <ol className="num mt-1.5 flex flex-col gap-1">
            {boots.map((boot, at) => (
              <li key={String(at)} className="flex gap-2">
                {boot.failure ? (
                  <CircleX size={14} className="mt-0.5 shrink-0 text-bad" aria-label={t('nodes.bisect.bad')} />
                ) : (
                  <CircleCheck size={14} className="mt-0.5 shrink-0 text-good" aria-label={t('nodes.bisect.good')} />
                )}
                <span className="min-w-0 flex-1 truncate" title={boot.folders.join(', ')}>
                  {t('nodes.bisect.boot', { count: boot.folders.length })} {boot.folders.join(', ')}
                </span>
                <span>{format.duration(boot.seconds)}</span>
              </li>
            ))}
          </ol>
        </details>
      )}
    </section>
  )
}
