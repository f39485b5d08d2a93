import { useState } from 'react'
import { useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { ErrorNotice, Skeleton } from './basics.tsx'
import { SearchField } from './forms.tsx'

/** The models and custom nodes of a worker, as it says itself. */
export function WorkerContents({ id }: { id: string }) {
  const { t, format } = useWords()
  const [search, setSearch] = useState('')
  const contents = useAsk('worker.contents', { id }, { staleTime: 60_000 })
  if (contents.isPending) return <Skeleton rows={3} height={28} />
  if (contents.error) return <ErrorNotice compact cause={contents.error} onRetry={() => void contents.refetch()} />
  const { models, customNodes, classes, cachedAt } = contents.data
  const fits = (text: string) => text.toLowerCase().includes(search.trim().toLowerCase())
  const folders = models
    .map(({ folder, files }) => ({ folder, files: fits(folder) ? files : files.filter(({ name }) => fits(name)) }))
    .filter(({ files }) => files.length > 0)
  const packs = customNodes.filter(({ folder }) => fits(folder))
  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center gap-3">
        <p className="num mr-auto text-xs text-faint">
          {t('workers.classes', { count: classes })}
          {cachedAt !== null && ` · ${t('workers.asOf', { date: format.stamp(cachedAt) })}`}
        </p>
        <div className="w-60">
          <SearchField small value={search} onChange={setSearch} label={t('workers.searchContents')} />
        </div>
      </div>
      <div className="grid gap-4 md:grid-cols-2">
        <section aria-label={t('workers.models')} className="min-w-0">
          <h3 className="eyebrow mb-1.5">{t('workers.models')}</h3>
          {folders.length === 0 ? (
            <p className="text-xs text-faint">
              {t(
                models.length > 0 ? 'common.noMatch' : cachedAt === null ? 'workers.noModels' : 'workers.modelsUnknown',
              )}
            </p>
          ) : (
            <div className="flex max-h-72 flex-col gap-1 overflow-y-auto">
              {folders.map(({ folder, files }) => (
                <details key={folder} open={search !== '' || folders.length === 1}>
                  <summary className="num cursor-pointer text-xs font-medium">
                    {folder} <span className="font-normal text-faint">{format.number(files.length)}</span>
                  </summary>
                  <ul className="num my-1 ml-3 flex flex-col gap-0.5 text-xs">
                    {files.map(({ name, sizeBytes }) => (
                      <li key={name} className="flex gap-3">
                        <span className="min-w-0 flex-1 truncate" title={name}>
                          {name}
                        </span>
                        {sizeBytes !== null && <span className="text-faint">{format.bytes(sizeBytes)}</span>}
                      </li>
                    ))}
                  </ul>
                </details>
              ))}
            </div>
          )}
        </section>
        <section aria-label={t('workers.customNodes')} className="min-w-0">
          <h3 className="eyebrow mb-1.5">{t('workers.customNodes')}</h3>
          {packs.length === 0 ? (
            <p className="text-xs text-faint">
              {t(customNodes.length === 0 ? 'workers.noCustomNodes' : 'common.noMatch')}
            </p>
          ) : (
            <ul className="num flex max-h-72 flex-col gap-0.5 overflow-y-auto text-xs">
              {packs.map(({ folder, classes }) => (
                <li key={folder} className="flex gap-3">
                  <span className="min-w-0 flex-1 truncate" title={folder}>
                    {folder}
                  </span>
                  <span className="text-faint">{t('workers.classes', { count: classes })}</span>
                </li>
              ))}
            </ul>
          )}
        </section>
      </div>
    </div>
  )
}
