import { Trash2, Undo2 } from 'lucide-react'
import type { LeftModel, ModelFilter } from '../../core/contract/model.ts'
import { call, refresh, useAsk, useDo } from '../client/client.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { useAsking } from './asking.tsx'
import { Button, Empty, ErrorNotice, IconButton, Skeleton } from './basics.tsx'
import { Modal, say, sayFault } from './overlays.tsx'

const PAGE = 200
const again = () => void refresh('model.page', 'model.state', 'model.trashed', 'model.duplicates')

function sayLeft(left: readonly LeftModel[]) {
  const [first] = left
  if (!first) return
  const { message, remedy } = sayFailure(first.failure)
  say({ title: message, description: remedy }, 'bad')
}

/** Puts models aside, with a way back as long as it is said. */
export function useTrash(onDone: () => void = () => {}) {
  const { t, format } = useWords()
  const restore = useDo('model.restore', {
    onError: sayFault,
    onSuccess({ changed, left }) {
      again()
      sayLeft(left)
      if (changed > 0) say({ title: t('models.restored', { count: changed }) })
    },
  })
  const trash = useDo('model.trash', {
    onError: sayFault,
    onSuccess({ rows, left }) {
      again()
      onDone()
      sayLeft(left)
      if (rows.length === 0) return
      const size = format.bytes(rows.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))
      const back = () => restore.mutate({ ids: rows.map(({ id }) => id) })
      const title = t('models.trashed', { count: rows.length, name: rows[0]!.name, size })
      say({ title, description: t('models.trashedNote'), action: { label: t('models.undo'), run: back } })
    },
  })
  return { trash, restore }
}

/** What nothing uses: how much that is, putting all of what is shown aside, and what lies there. */
export function UnusedBar({
  models,
  bytes,
  filter,
  shown,
  onTrash,
}: {
  models: number
  bytes: number
  filter: Partial<ModelFilter>
  /** How many of them match the filter. */
  shown: number
  onTrash: () => void
}) {
  const { t, format } = useWords()
  const [asked, ask] = useAsking()
  const { trash } = useTrash()
  const { data } = useAsk('model.trashed', {})
  const putAll = async () => {
    const ids: string[] = []
    for (let offset = 0; offset < Math.min(shown, 1000); offset += PAGE)
      ids.push(...(await call('model.page', { ...filter, offset, limit: PAGE })).rows.map(({ id }) => id))
    if (ids.length > 0) trash.mutate({ ids: ids.slice(0, 1000) })
  }
  return (
    <div className="num flex flex-wrap items-center gap-3 border-b border-line px-5 py-2 text-xs text-soft">
      {asked}
      <p className="mr-auto">
        {models > 0 && t('models.unusedSum', { count: models, n: format.number(models), size: format.bytes(bytes) })}
      </p>
      {shown > 0 && (
        <Button
          size="sm"
          icon={Trash2}
          busy={trash.isPending}
          onClick={() =>
            ask({
              title: t('models.trashTitle', { count: shown, n: format.number(shown) }),
              note: t('models.trashAllNote'),
              yes: t('models.trash'),
              run: () => void putAll().catch(sayFault),
            })
          }
        >
          {t('models.trashShown', { count: shown, n: format.number(shown) })}
        </Button>
      )}
      <Button size="sm" icon={Trash2} onClick={onTrash}>
        {t('models.trashOpen', { n: format.number(data?.rows.length ?? 0) })}
      </Button>
    </div>
  )
}

/** What was put aside: each put back or thrown away. */
export function Trash({ onClose }: { onClose: () => void }) {
  const { t, format } = useWords()
  const [asked, ask] = useAsking()
  const found = useAsk('model.trashed', {})
  const { restore } = useTrash()
  const empty = useDo('model.emptyTrash', {
    onError: sayFault,
    onSuccess({ changed, freedBytes, left }) {
      again()
      sayLeft(left)
      if (changed > 0) say({ title: t('models.emptied', { count: changed, size: format.bytes(freedBytes) }) })
    },
  })
  const rows = found.data?.rows ?? []
  const askToEmpty = (ids: string[] | null, freedBytes: number) =>
    ask({
      title: t('models.emptyTitle', { count: ids?.length ?? rows.length }),
      note: t('models.emptyAllNote', { size: format.bytes(freedBytes) }),
      yes: t('models.throwAway'),
      danger: true,
      run: () => empty.mutate({ ids }),
    })
  const freed = rows.reduce((sum, { freedBytes }) => sum + freedBytes, 0)
  return (
    <Modal
      open
      wide
      onClose={onClose}
      title={t('models.trashHead')}
      note={t('models.trashNote')}
      footer={
        rows.length > 0 && (
          <Button look="danger" icon={Trash2} busy={empty.isPending} onClick={() => askToEmpty(null, freed)}>
            {t('models.emptyTrash', { size: format.bytes(freed) })}
          </Button>
        )
      }
    >
      {asked}
      {found.error ? (
        <ErrorNotice cause={found.error} onRetry={() => void found.refetch()} />
      ) : !found.data ? (
        <Skeleton rows={3} />
      ) : rows.length === 0 ? (
        <Empty icon={Trash2} title={t('models.trashNone')}>
          {t('models.trashNoneNote')}
        </Empty>
      ) : (
        <ul className="flex flex-col divide-y divide-line">
          {rows.map(({ id, name, folder, at, sizeBytes, freedBytes, paths }) => (
            <li key={id} className="flex items-center gap-3 py-2">
              <span className="min-w-0 flex-1" title={paths.join('\n')}>
                <span className="block truncate">{name}</span>
                <span className="num block truncate text-xs text-faint">
                  {[folder, format.bytes(sizeBytes), format.stamp(at)].filter(Boolean).join(' · ')}
                </span>
              </span>
              <Button size="sm" icon={Undo2} busy={restore.isPending} onClick={() => restore.mutate({ ids: [id] })}>
                {t('models.putBack')}
              </Button>
              <IconButton
                label={t('models.throwAwayOne', { name })}
                icon={Trash2}
                size="sm"
                onClick={() => askToEmpty([id], freedBytes)}
              />
            </li>
          ))}
        </ul>
      )}
    </Modal>
  )
}
