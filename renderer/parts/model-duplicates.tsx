import { Copy, Hash, Merge, Undo2 } from 'lucide-react'
import { useState } from 'react'
import type { DuplicateGroup } from '../../core/contract/model.ts'
import { call, refresh, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { useAsking } from './asking.tsx'
import { Button, Empty, ErrorNotice, Skeleton } from './basics.tsx'
import { say, sayFault } from './overlays.tsx'

const PAGE = 50

/** What is there twice, what merging gives back, and the way back. */
export function ModelDuplicates() {
  const { t, format } = useWords()
  const [asked, ask] = useAsking()
  const [pages, setPages] = useState(1)
  const found = useAsk(
    'model.duplicates',
    { limit: Math.min(200, PAGE * pages) },
    { placeholderData: (before) => before, staleTime: 0 },
  )
  const again = () => void refresh('model.duplicates', 'model.state', 'model.page', 'model.get')
  const undo = useDo('model.undoMerge', {
    onError: sayFault,
    onSuccess({ files }) {
      again()
      const undone = files.filter(({ outcome }) => outcome === 'undone').length
      say({ title: t('models.undone', { count: undone }) })
    },
  })
  const merge = useDo('model.merge', {
    onError: sayFault,
    onSuccess({ id, files, freedBytes }) {
      again()
      const merged = files.filter(({ outcome }) => outcome === 'merged').length
      const left = files.length - merged
      say({
        title: t('models.merged', { count: merged, size: format.bytes(freedBytes) }),
        description: left > 0 ? t('models.mergedSome', { left }) : undefined,
        action: merged > 0 ? { label: t('models.undo'), run: () => undo.mutate({ id }) } : undefined,
      })
    },
  })
  if (found.error)
    return (
      <div className="p-6">
        <ErrorNotice cause={found.error} onRetry={() => void found.refetch()} />
      </div>
    )
  if (!found.data)
    return (
      <div className="p-6">
        <Skeleton rows={5} />
      </div>
    )
  const { groups, total, freed, merges, unhashed } = found.data
  const sum = freed.reduce((all, { bytes }) => all + bytes, 0)
  const askToMerge = (hashes: string[] | null) =>
    ask({
      title: t('models.mergeTitle'),
      note: t('models.mergeNote'),
      yes: t('models.merge'),
      run: () => merge.mutate({ hashes }),
    })
  return (
    <div className="flex min-h-0 flex-1 flex-col overflow-y-auto">
      {asked}
      {unhashed > 0 && (
        <div className="flex flex-wrap items-center gap-3 border-b border-line px-5 py-2.5">
          <span className="mr-auto text-soft">{t('models.dupUnhashed', { count: unhashed })}</span>
          <Button size="sm" icon={Hash} onClick={() => void call('model.hash', { likely: true }).catch(sayFault)}>
            {t('models.dupHash')}
          </Button>
        </div>
      )}
      {sum > 0 && (
        <div className="flex flex-wrap items-center gap-3 border-b border-line px-5 py-3">
          <div className="mr-auto min-w-0">
            <p className="font-medium">{t('models.dupSum', { size: format.bytes(sum) })}</p>
            <p className="num text-xs text-faint">
              {freed.map(({ mount, bytes }) => t('models.dupFreed', { mount, size: format.bytes(bytes) })).join(' · ')}
            </p>
          </div>
          <Button look="primary" icon={Merge} busy={merge.isPending} onClick={() => askToMerge(null)}>
            {t('models.mergeAll')}
          </Button>
        </div>
      )}
      {groups.length === 0 ? (
        <Empty icon={Copy} title={t(unhashed > 0 ? 'models.dupUnknown' : 'models.dupNone')}>
          {t(unhashed > 0 ? 'models.dupUnknownNote' : 'models.dupNoneNote')}
        </Empty>
      ) : (
        <ul className="flex flex-col gap-3 p-5">
          {groups.map((group) => (
            <Group key={group.sha256} group={group} busy={merge.isPending} onMerge={() => askToMerge([group.sha256])} />
          ))}
          {total > groups.length && (
            <li>
              <Button onClick={() => setPages(pages + 1)}>
                {t('models.dupMore', { n: format.number(total - groups.length) })}
              </Button>
            </li>
          )}
        </ul>
      )}
      {merges.length > 0 && (
        <section aria-label={t('models.history')} className="border-t border-line px-5 py-4">
          <h2 className="eyebrow mb-2">{t('models.history')}</h2>
          <ul className="flex flex-col gap-1.5">
            {merges.map(({ id, at, files, freedBytes, undone }) => (
              <li key={id} className="num flex items-center gap-3 text-sm">
                <span className="w-44 text-soft">{format.stamp(at)}</span>
                <span className="mr-auto">
                  {t('models.historyRow', { count: files, size: format.bytes(freedBytes) })}
                </span>
                {undone ? (
                  <span className="text-faint">{t('models.undoneAlready')}</span>
                ) : (
                  <Button size="sm" icon={Undo2} busy={undo.isPending} onClick={() => undo.mutate({ id })}>
                    {t('models.undoMerge')}
                  </Button>
                )}
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  )
}

function Group({ group, busy, onMerge }: { group: DuplicateGroup; busy: boolean; onMerge: () => void }) {
  const { t, format } = useWords()
  const freed = group.volumes.reduce((sum, { freedBytes }) => sum + freedBytes, 0)
  const because = (code: string) => t(`models.because.${code as 'in-use'}`)
  return (
    <li className="card p-3">
      <div className="mb-1.5 flex items-center gap-3">
        <span className="min-w-0 flex-1 truncate font-medium">{group.name.split('/').at(-1)}</span>
        <span className="badge">{t(`models.kinds.${group.kind}`)}</span>
        <span className="num text-xs text-faint">{format.bytes(group.sizeBytes)}</span>
        {freed > 0 && (
          <Button size="sm" icon={Merge} busy={busy} onClick={onMerge}>
            {t('models.frees', { size: format.bytes(freed) })}
          </Button>
        )}
      </div>
      {group.volumes.map(({ mount, how, files }) => (
        <ul key={mount} aria-label={mount} className="text-xs">
          {files.map((file) => (
            <li key={file.path} className="flex gap-3 border-t border-line py-1">
              <span className="min-w-0 flex-1 break-all">{file.path}</span>
              <span className="shrink-0 text-faint">
                {file.because
                  ? because(file.because)
                  : file.will === 'merge'
                    ? `${t('models.will.merge')} (${t(`models.how.${how}`)})`
                    : t(`models.will.${file.will}`)}
              </span>
            </li>
          ))}
        </ul>
      ))}
    </li>
  )
}
