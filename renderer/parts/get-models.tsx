import { Check, Download, LockKeyhole, PackageSearch, SearchX, TriangleAlert } from 'lucide-react'
import { useState } from 'react'
import type { FoundModel } from '../../core/contract/hub.ts'
import { useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, Empty, ErrorNotice, Skeleton } from './basics.tsx'
import { SearchField, Segmented } from './forms.tsx'
import { askToGet, Silent } from './get-plan.tsx'
import { Outward } from './outward.tsx'

const WHERE = ['lists', 'huggingface', 'modelscope', 'civitai'] as const
type Where = (typeof WHERE)[number]

/** Finds models in the lists and at the hubs, and has them fetched. */
export function GetModels() {
  const { t, format } = useWords()
  const [search, setSearch] = useState('')
  const [where, setWhere] = useState<Where>('lists')
  const hubs = where === 'lists' ? [] : [where]
  const found = useAsk('catalogue.find', { search, hubs }, { placeholderData: (before) => before })
  // a link or hash is looked up, wherever one looks; what lists have comes before what a hub has
  const rows = (found.data?.rows ?? []).filter(
    ({ from }) => search.trim() === '' || hubs.length === 0 || from === where || from === 'link',
  )
  const { manager } = found.data ?? {}
  return (
    <section className="flex min-h-0 flex-1 flex-col gap-4 overflow-y-auto p-5" aria-label={t('get.tab')}>
      <div className="flex flex-wrap items-center gap-3">
        <div className="w-96 max-w-full">
          <SearchField value={search} onChange={setSearch} label={t('get.search')} />
        </div>
        <Segmented
          value={where}
          onChange={setWhere}
          label={t('get.where')}
          choices={WHERE.map((value) => ({ value, label: t(`get.whereIs.${value}`) }))}
        />
        <span className="num ml-auto text-xs text-faint" role="status">
          {found.isFetching ? t('common.loading') : found.data && t('get.found', { count: rows.length })}
        </span>
      </div>
      {found.error ? (
        <ErrorNotice cause={found.error} onRetry={() => void found.refetch()} />
      ) : !found.data ? (
        <Skeleton rows={6} height={92} />
      ) : (
        <>
          <Silent silent={found.data.silent} />
          {rows.length === 0 ? (
            where !== 'lists' && search.trim() === '' ? (
              <Empty icon={PackageSearch} title={t('get.searchHub', { hub: t(`get.whereIs.${where}`) })}>
                {t('get.searchHubNote')}
              </Empty>
            ) : (
              <Empty
                icon={SearchX}
                title={t('common.noMatch')}
                action={
                  where === 'lists' && (
                    <Button onClick={() => setWhere('huggingface')}>
                      {t('get.lookAt', { hub: t('get.whereIs.huggingface') })}
                    </Button>
                  )
                }
              >
                {t('get.noMatchNote')}
              </Empty>
            )
          ) : (
            <ul
              className="grid grid-cols-[repeat(auto-fill,minmax(min(340px,100%),1fr))] gap-3"
              aria-label={t('get.results')}
            >
              {rows.slice(0, MOST).map((model) => (
                <Card key={`${model.from} ${model.item}`} model={model} />
              ))}
            </ul>
          )}
          {rows.length > MOST && <p className="text-xs text-faint">{t('get.more', { count: rows.length - MOST })}</p>}
          {manager?.fetchedAt != null && (
            <p className="text-xs text-faint">
              {t('get.managerList', { when: format.stamp(manager.fetchedAt), licence: manager.licence })}
            </p>
          )}
        </>
      )}
    </section>
  )
}
const MOST = 120

function Card({ model }: { model: FoundModel }) {
  const { t, format } = useWords()
  const { from, item, title, page, licence, baseModel, gated, downloads, vramBytes, files } = model
  const lacking = files.filter(({ present }) => !present)
  const isHere = files.length > 0 && lacking.length === 0
  const queued = files.some(({ downloadId }) => downloadId !== null)
  const sizes = files.map(({ sizeBytes }) => sizeBytes)
  const size = sizes.length > 0 && !sizes.includes(null) ? sizes.reduce<number>((sum, each) => sum + each!, 0) : null
  const pickle = files.some((file) => file.pickle)
  return (
    <li className="card flex flex-col gap-2 p-3.5">
      <div className="flex items-start gap-2">
        <h3 className="min-w-0 flex-1 text-sm font-medium break-words">
          {page === null ? title : <Outward url={page}>{title}</Outward>}
        </h3>
        {isHere && (
          <span className="badge tone-good">
            <Check aria-hidden /> {t('get.here')}
          </span>
        )}
        {!isHere && queued && <span className="badge tone-accent">{t('get.isQueued')}</span>}
      </div>
      <div className="flex flex-wrap gap-1.5 text-xs">
        {baseModel && baseModel !== title && <span className="badge">{baseModel}</span>}
        {licence && (
          <span className="badge" title={t('get.licence')}>
            {licence}
          </span>
        )}
        {vramBytes !== null && <span className="badge">{t('get.vram', { size: format.bytes(vramBytes) })}</span>}
        {gated && (
          <span className="badge tone-warn">
            <LockKeyhole aria-hidden /> {t('get.gated')}
          </span>
        )}
        {pickle && (
          <span className="badge tone-warn" title={t('get.pickleNote')}>
            <TriangleAlert aria-hidden /> {t('get.pickle')}
          </span>
        )}
        {downloads !== null && <span className="badge num">{t('get.downloads', { n: format.number(downloads) })}</span>}
      </div>
      {files.length > 0 && (
        <ul className="flex flex-col gap-0.5 text-xs text-soft">
          {files.slice(0, 6).map((file) => (
            <li key={file.item + file.name} className="flex items-baseline gap-2">
              <span className="min-w-0 flex-1 truncate" title={`${file.folder ?? ''}/${file.name}`}>
                {file.folder && <span className="text-faint">{file.folder}/</span>}
                {file.name}
              </span>
              {file.present && (
                <Check size={12} className="shrink-0 self-center text-good" aria-label={t('get.here')} />
              )}
              {file.sizeBytes !== null && <span className="num text-faint">{format.bytes(file.sizeBytes)}</span>}
            </li>
          ))}
          {files.length > 6 && <li className="text-faint">{t('get.moreFiles', { count: files.length - 6 })}</li>}
        </ul>
      )}
      <div className="mt-auto flex items-center gap-3 pt-1">
        <span className="num flex-1 truncate text-xs text-faint">
          {[t(`get.from.${from}`), size !== null && format.bytes(size)].filter(Boolean).join(' · ')}
        </span>
        <Button
          size="sm"
          icon={Download}
          disabled={isHere}
          aria-label={t('get.getNamed', { name: title })}
          onClick={() => askToGet({ items: [item] })}
        >
          {t('get.getOne')}
        </Button>
      </div>
    </li>
  )
}
