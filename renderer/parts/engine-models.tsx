import { FolderOpen, FolderSymlink, Undo2 } from 'lucide-react'
import { useState } from 'react'
import type { EngineView, FoundInstall } from '../../core/contract/engine.ts'
import { bridge, refresh, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, ErrorNotice, Skeleton } from './basics.tsx'
import { Modal, say, sayFault } from './overlays.tsx'

/** The models of other ComfyUIs that an engine uses where they lie, and those it could use. */
export function EngineModels({
  engine,
  installs,
  stopping,
}: {
  engine: EngineView
  installs: readonly FoundInstall[]
  stopping: number
}) {
  const { t } = useWords()
  const { name, dir: own, settings } = engine
  const [looking, setLooking] = useState<string | null>(null)
  const share = useDo('engine.shareModels', {
    onError: sayFault,
    onSuccess(_, { dir, use }) {
      setLooking(null)
      void refresh('engine.list')
      say({
        title: use ? t('engine.models.used', { name }) : t('engine.models.unused', { name }),
        ...(use && {
          action: { label: t('common.undo'), run: () => share.mutate({ name, dir, use: false }) },
        }),
      })
    },
  })
  const used = settings.modelsOf
  const others = installs
    .map(({ dir, baseDir }) => baseDir ?? dir)
    .filter((dir) => dir !== (settings.baseDir ?? own) && dir !== own && !used.includes(dir))
  return (
    <section className="mt-3 flex flex-col gap-3 border-t border-line pt-3" aria-label={t('engine.models.title')}>
      <p className="text-xs text-soft">{t('engine.models.note')}</p>
      <ul className="flex flex-col gap-1">
        {used.map((dir) => (
          <li key={dir} className="flex items-center gap-2">
            <FolderSymlink size={15} className="shrink-0 text-good" aria-hidden />
            <span className="min-w-0 flex-1 truncate" title={dir}>
              {dir}
            </span>
            <Button
              size="sm"
              icon={Undo2}
              busy={share.isPending && share.variables?.dir === dir}
              onClick={() => share.mutate({ name, dir, use: false })}
            >
              {t('engine.models.stop')}
            </Button>
          </li>
        ))}
        {others.map((dir) => (
          <li key={dir} className="flex items-center gap-2">
            <FolderOpen size={15} className="shrink-0 text-faint" aria-hidden />
            <span className="min-w-0 flex-1 truncate" title={dir}>
              {dir}
            </span>
            <Button size="sm" onClick={() => setLooking(dir)}>
              {t('engine.models.look')}
            </Button>
          </li>
        ))}
      </ul>
      {used.length + others.length === 0 && <p className="text-xs text-faint">{t('engine.models.none')}</p>}
      {bridge && (
        <div>
          <Button
            size="sm"
            icon={FolderOpen}
            onClick={() => void bridge?.chooseFolder().then((dir) => dir && setLooking(dir))}
          >
            {t('engine.models.choose')}
          </Button>
        </div>
      )}
      {looking !== null && (
        <Preview
          dir={looking}
          busy={share.isPending}
          stopping={stopping}
          onClose={() => setLooking(null)}
          onUse={() => share.mutate({ name, dir: looking, use: true })}
        />
      )}
    </section>
  )
}

/** What would be used, before it is. */
function Preview({
  dir,
  busy,
  stopping,
  onClose,
  onUse,
}: {
  dir: string
  busy: boolean
  stopping: number
  onClose: () => void
  onUse: () => void
}) {
  const { t, format } = useWords()
  const look = useAsk('engine.lookAtModels', { dir })
  const folders = look.data?.folders ?? []
  const files = folders.reduce((sum, folder) => sum + folder.files, 0)
  const sizeBytes = folders.reduce((sum, folder) => sum + folder.sizeBytes, 0)
  return (
    <Modal
      open
      onClose={onClose}
      title={t('engine.models.ask')}
      note={dir}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" icon={FolderSymlink} busy={busy} disabled={!look.data} onClick={onUse}>
            {t('engine.models.use')}
          </Button>
        </>
      }
    >
      {look.error ? (
        <ErrorNotice compact cause={look.error} onRetry={() => void look.refetch()} />
      ) : !look.data ? (
        <Skeleton rows={3} height={20} />
      ) : (
        <div className="flex flex-col gap-3">
          <p>{t('engine.models.sum', { count: files, size: format.bytes(sizeBytes) })}</p>
          <ul className="num flex max-h-56 flex-col gap-1 overflow-y-auto text-xs text-soft">
            {folders.map((each) => (
              <li key={each.folder} className="flex gap-3">
                <span className="min-w-0 flex-1 truncate">{each.folder}</span>
                <span className="w-16 text-right">{format.number(each.files)}</span>
                <span className="w-24 text-right">{format.bytes(each.sizeBytes)}</span>
              </li>
            ))}
          </ul>
          <p className="text-xs text-soft">{t('engine.models.how')}</p>
          {stopping > 0 && <p className="text-xs text-warn">{t('engine.stopsJobs', { count: stopping })}</p>}
        </div>
      )}
    </Modal>
  )
}
