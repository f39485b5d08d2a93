import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import {
  Box,
  CircleAlert,
  Copy,
  FolderPlus,
  Hash,
  LayoutGrid,
  List,
  MoreHorizontal,
  Pause,
  Play,
  RefreshCw,
  Search,
  ShieldCheck,
  Trash2,
  X,
} from 'lucide-react'
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react'
import type { Model, ModelFlag, ModelProgress, ModelState } from '../../core/contract/model.ts'
import { bridge, call, modelPictureUrl, refresh, useAsk, useDo } from '../client/client.ts'
import { useModelProgress } from '../client/use-live.ts'
import { usePages } from '../client/use-pages.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { Button, Empty, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { Field, SearchField, Segmented, Select } from '../parts/forms.tsx'
import { GetModels } from '../parts/get-models.tsx'
import { ModelDetails } from '../parts/model-details.tsx'
import { ModelDuplicates } from '../parts/model-duplicates.tsx'
import { Trash, UnusedBar } from '../parts/model-trash.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'
import type { ModelsSearch } from '../router.tsx'

const VIEW_KEPT = 'nightshift.models-view'
const GAP_PX = 12
const TILE_PX = 176
const LINE_PX = 60
const flags: readonly ModelFlag[] = ['damaged', 'unsafe', 'unknown-code', 'wrong-folder', 'duplicate', 'trusted']
const modelTabs = ['library', 'get', 'duplicates', 'unused'] as const
const sorts = ['name', 'newest', 'largest', 'last-used'] as const

/** The models of this computer: what is there, what can be had, what is there twice, what nothing uses. */
export function ModelsPage() {
  const { t, format } = useWords()
  const filter = useSearch({ from: '/models' })
  const navigate = useNavigate({ from: '/models' })
  const setFilter = useCallback(
    (change: ModelsSearch) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true }),
    [navigate],
  )
  const state = useAsk('model.state', {})
  const progress = useModelProgress() ?? state.data?.progress ?? []
  const [folders, setFolders] = useState(false)
  const [trash, setTrash] = useState(false)
  const tab = filter.tab ?? 'library'
  const scan = useDo('model.scan', { onError: sayFault, onSuccess: () => void refresh('model.state', 'model.page') })
  const verify = useDo('model.verify', {
    onError: sayFault,
    onSuccess({ rows }) {
      const bad = rows.filter(({ is }) => !['good', 'new', 'changed'].includes(is))
      const description = bad.map(({ name }) => name).join(', ')
      if (bad.length > 0) say({ title: t('models.someBad', { count: bad.length }), description }, 'bad')
      else say({ title: t('models.allGood', { count: rows.length }) })
    },
  })
  const scanning = progress.some(({ what }) => what === 'scan')
  const { models = 0, bytes = 0 } = state.data ?? {}
  return (
    <>
      <PageHead
        title={t('nav.models')}
        note={models > 0 && t('models.count', { count: models, n: format.number(models), size: format.bytes(bytes) })}
      >
        <Segmented
          label={t('models.tabs')}
          value={tab}
          onChange={(next) => setFilter({ tab: next === 'library' ? undefined : next, open: undefined })}
          choices={modelTabs.map((value) => ({ value, label: t(`models.${value}`) }))}
        />
        <Button icon={RefreshCw} busy={scanning || scan.isPending} onClick={() => scan.mutate({})}>
          {t('models.look')}
        </Button>
        <Menu
          trigger={<IconButton label={t('models.more')} icon={MoreHorizontal} look="plain" />}
          items={[
            { label: t('models.folders'), icon: FolderPlus, onSelect: () => setFolders(true) },
            { label: t('models.trashHead'), icon: Trash2, onSelect: () => setTrash(true) },
            {
              label: t('models.hashAll'),
              icon: Hash,
              disabled: (state.data?.unhashed ?? 0) === 0,
              onSelect: () => void call('model.hash', {}).catch(sayFault),
            },
            {
              label: t('models.verifyAll'),
              icon: ShieldCheck,
              disabled: models === 0,
              onSelect: () => verify.mutate({ ids: null }),
            },
          ]}
        />
      </PageHead>
      {progress.map((one) => (
        <Progress key={one.what} progress={one} />
      ))}
      {(state.data?.faults.length ?? 0) > 0 && <Faults faults={state.data!.faults} />}
      {tab === 'get' ? (
        <GetModels />
      ) : tab === 'duplicates' ? (
        <ModelDuplicates />
      ) : state.error ? (
        <div className="p-6">
          <ErrorNotice cause={state.error} onRetry={() => void state.refetch()} />
        </div>
      ) : !state.data ? (
        <div className="p-6">
          <Skeleton rows={6} />
        </div>
      ) : models === 0 ? (
        <NoModels scanning={scanning || state.data.scannedAt === null} onAdd={() => setFolders(true)} />
      ) : (
        <Library
          filter={filter}
          setFilter={setFilter}
          state={state.data}
          unused={tab === 'unused'}
          onTrash={() => setTrash(true)}
        />
      )}
      {trash && <Trash onClose={() => setTrash(false)} />}
      {folders && state.data && <Folders state={state.data} onClose={() => setFolders(false)} />}
    </>
  )
}

function NoModels({ scanning, onAdd }: { scanning: boolean; onAdd: () => void }) {
  const { t } = useWords()
  if (scanning)
    return (
      <div className="p-6">
        <p className="mb-3 text-soft">{t('models.looking')}</p>
        <Skeleton rows={5} />
      </div>
    )
  return (
    <Empty
      icon={Box}
      title={t('models.empty')}
      action={
        <>
          <Link to="/engine" className="btn btn-primary">
            {t('models.emptyAction')}
          </Link>
          <Button icon={FolderPlus} onClick={onAdd}>
            {t('models.addFolder')}
          </Button>
        </>
      }
    >
      {t('models.emptyNote')}
    </Empty>
  )
}

/** Work that goes on over many files, and how it is steered. */
function Progress({ progress }: { progress: ModelProgress }) {
  const { t, format } = useWords()
  const { what, file, doneFiles, files, doneBytes, bytes, bytesPerSecond, etaSeconds, paused } = progress
  const control = (how: 'pause' | 'resume' | 'stop') => void call('model.control', { what, how }).catch(sayFault)
  const share = bytes > 0 ? doneBytes / bytes : files > 0 ? doneFiles / files : null
  const name = t(`models.progress.${what}`)
  return (
    <section
      aria-label={name}
      className="flex flex-wrap items-center gap-x-4 gap-y-1 border-b border-line bg-surface px-5 py-2 text-xs"
    >
      <strong className="font-medium">{name}</strong>
      <div className="w-48">
        <ProgressBar value={share} label={name} tone={paused ? 'line-strong' : 'accent'} />
      </div>
      <span className="num min-w-0 flex-1 truncate text-soft">
        {[
          files > 0 && t('models.progressNote', { done: format.number(doneFiles), files: format.number(files), file }),
          bytesPerSecond !== null && !paused && t('models.rate', { rate: format.bytes(bytesPerSecond) }),
          etaSeconds !== null && !paused && t('models.left', { time: format.duration(etaSeconds) }),
        ]
          .filter(Boolean)
          .join(' · ')}
      </span>
      {(what === 'hash' || what === 'verify') && (
        <Button size="sm" icon={paused ? Play : Pause} onClick={() => control(paused ? 'resume' : 'pause')}>
          {t(paused ? 'models.resume' : 'models.pause')}
        </Button>
      )}
      <Button size="sm" look="quiet" icon={X} onClick={() => control('stop')}>
        {t('models.stop')}
      </Button>
    </section>
  )
}

function Faults({ faults }: { faults: ModelState['faults'] }) {
  const { t } = useWords()
  return (
    <details className="border-b border-line bg-surface px-5 py-2 text-xs">
      <summary className="cursor-pointer text-warn">
        <CircleAlert size={13} className="mr-1.5 inline" aria-hidden />
        {t('models.faults', { count: faults.length })}
      </summary>
      <ul className="mt-1.5 flex max-h-40 flex-col gap-1 overflow-y-auto">
        {faults.map(({ path, failure }) => {
          const { message, remedy } = sayFailure(failure)
          return (
            <li key={`${path} ${failure.code}`} className="break-words">
              {message} <span className="text-faint">{remedy}</span>
            </li>
          )
        })}
      </ul>
    </details>
  )
}

function Library({
  filter,
  setFilter,
  state,
  unused,
  onTrash,
}: {
  filter: ModelsSearch
  setFilter: (change: ModelsSearch) => void
  state: ModelState
  unused: boolean
  onTrash: () => void
}) {
  const { t, format } = useWords()
  const [view, setView] = useState<'grid' | 'list'>(() =>
    localStorage.getItem(VIEW_KEPT) === 'grid' ? 'grid' : 'list',
  )
  const [shown, setShown] = useState({ first: 0, last: 40 })
  const { find, kind, base, flag, root } = filter
  const sort = filter.sort ?? (unused ? 'largest' : 'name')
  const query = { search: find ?? '', kind, base, flag, root, sort, ...(unused && { unused }) }
  const pages = usePages('model.page', query, shown.first, shown.last)
  const count = (name: string, n: number) => `${name} (${format.number(n)})`
  const openAt = filter.open ?? null
  const order = useRef<(step: number) => void>(() => {})
  order.current = (step) => {
    for (let at = shown.first; at <= shown.last; at++)
      if (pages.row(at)?.id === openAt) {
        const next = pages.row(at + step)
        if (next) setFilter({ open: next.id })
        return
      }
  }
  return (
    <div className="flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div
          role="toolbar"
          aria-label={t('models.find')}
          className="flex flex-wrap items-center gap-2 border-b border-line px-5 py-2"
        >
          <div className="w-48 min-w-32 flex-1">
            <SearchField
              label={t('models.find')}
              value={find ?? ''}
              onChange={(text) => setFilter({ find: text || undefined })}
            />
          </div>
          <div className="w-36">
            <Select
              aria-label={t('models.kind')}
              value={kind ?? 'all'}
              choices={[
                { value: 'all', label: t('models.anyKind') },
                ...state.kinds.map((one) => ({
                  value: one.kind,
                  label: count(t(`models.kinds.${one.kind}`), one.count),
                })),
              ]}
              onChange={(next) => setFilter({ kind: next === 'all' ? undefined : (next as ModelsSearch['kind']) })}
            />
          </div>
          <div className="w-36">
            <Select
              aria-label={t('models.base')}
              value={base ?? 'all'}
              choices={[
                { value: 'all', label: t('models.anyBase') },
                ...state.bases.map((one) => ({ value: one.base, label: count(one.base, one.count) })),
              ]}
              onChange={(next) => setFilter({ base: next === 'all' ? undefined : next })}
            />
          </div>
          {state.flags.length > 0 && (
            <div className="w-32">
              <Select
                aria-label={t('models.flag')}
                value={flag ?? 'all'}
                choices={[
                  { value: 'all', label: t('models.anyFlag') },
                  ...flags.flatMap((one) => {
                    const n = state.flags.find((each) => each.flag === one)?.count ?? 0
                    return n === 0 ? [] : [{ value: one, label: count(t(`models.flags.${one}`), n) }]
                  }),
                ]}
                onChange={(next) => setFilter({ flag: next === 'all' ? undefined : (next as ModelFlag) })}
              />
            </div>
          )}
          <div className="w-32">
            <Select
              aria-label={t('models.sort')}
              value={sort}
              choices={sorts.map((value) => ({ value, label: t(`models.sorts.${value}`) }))}
              onChange={(next) => setFilter({ sort: next as ModelsSearch['sort'] })}
            />
          </div>
          <Segmented
            label={t('models.view')}
            value={view}
            onChange={(next) => {
              localStorage.setItem(VIEW_KEPT, next)
              setView(next)
            }}
            choices={[
              { value: 'list', name: t('models.list'), label: <List size={15} aria-hidden /> },
              { value: 'grid', name: t('models.grid'), label: <LayoutGrid size={15} aria-hidden /> },
            ]}
          />
        </div>
        {unused && <UnusedBar {...state.unused} filter={query} shown={pages.total} onTrash={onTrash} />}
        {pages.loading ? (
          <div className="p-6">
            <Skeleton rows={6} />
          </div>
        ) : pages.error ? (
          <div className="p-6">
            <ErrorNotice cause={pages.error} onRetry={pages.retry} />
          </div>
        ) : pages.total === 0 ? (
          unused && state.unused.models === 0 ? (
            <Empty icon={Box} title={t('models.unusedNone')}>
              {t('models.unusedNoneNote')}
            </Empty>
          ) : (
            <Empty
              icon={Search}
              title={t('models.nothing')}
              action={
                <Button
                  onClick={() =>
                    setFilter({ find: undefined, kind: undefined, base: undefined, flag: undefined, root: undefined })
                  }
                >
                  {t('models.clear')}
                </Button>
              }
            />
          )
        ) : (
          <Cells
            key={`${view} ${JSON.stringify(query)}`}
            total={pages.total}
            row={pages.row}
            view={view}
            open={openAt}
            onRange={setShown}
            onOpen={(open) => setFilter({ open })}
          />
        )}
      </div>
      {openAt !== null && (
        <ModelDetails
          key={openAt}
          id={openAt}
          onGo={(open) => setFilter({ open })}
          onStep={(step) => order.current(step)}
          onClose={() => setFilter({ open: undefined })}
        />
      )}
    </div>
  )
}

/** Only the cells in sight; arrow keys go from one to the next. */
function Cells({
  total,
  row,
  view,
  open,
  onRange,
  onOpen,
}: {
  total: number
  row: (index: number) => Model | undefined
  view: 'grid' | 'list'
  open: string | null
  onRange: (range: { first: number; last: number }) => void
  onOpen: (id: string) => void
}) {
  const { t } = useWords()
  const scroller = useRef<HTMLDivElement>(null)
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const { current } = scroller
    if (!current) return
    const observer = new ResizeObserver(() => setWidth(current.clientWidth))
    observer.observe(current)
    return () => observer.disconnect()
  }, [])
  const inner = Math.max(TILE_PX, width - 40)
  const across = view === 'list' ? 1 : Math.max(1, Math.floor((inner + GAP_PX) / (TILE_PX + GAP_PX)))
  const side = Math.floor((inner - GAP_PX * (across - 1)) / across)
  const linePx = view === 'list' ? LINE_PX : side + 64 + GAP_PX
  const virtual = useVirtualizer({
    count: Math.ceil(total / across),
    getScrollElement: () => scroller.current,
    estimateSize: () => linePx,
    overscan: 4,
    paddingStart: view === 'list' ? 4 : 16,
    paddingEnd: 16,
  })
  // biome-ignore lint/correctness/useExhaustiveDependencies: lines are measured anew when their height changes
  useEffect(() => virtual.measure(), [linePx, virtual])
  const lines = virtual.getVirtualItems()
  const first = (lines[0]?.index ?? 0) * across
  const last = Math.min(total - 1, ((lines.at(-1)?.index ?? 0) + 1) * across - 1)
  useEffect(() => onRange({ first, last: Math.max(first, last) }), [first, last, onRange])
  const focus = (index: number) => {
    if (index < 0 || index >= total) return
    virtual.scrollToIndex(Math.floor(index / across))
    requestAnimationFrame(() => scroller.current?.querySelector<HTMLElement>(`[data-index="${index}"]`)?.focus())
  }
  return (
    <div ref={scroller} className="@container min-h-0 flex-1 overflow-y-auto">
      <ul aria-label={t('models.library')} className="relative" style={{ height: virtual.getTotalSize() }}>
        {lines.flatMap((line) =>
          Array.from({ length: Math.min(across, total - line.index * across) }, (_, column) => {
            const index = line.index * across + column
            const model = row(index)
            return (
              <li
                key={index}
                className="absolute"
                style={{
                  top: line.start,
                  left: view === 'list' ? 0 : 20 + column * (side + GAP_PX),
                  width: view === 'list' ? '100%' : side,
                  height: linePx - (view === 'list' ? 0 : GAP_PX),
                }}
              >
                {model ? (
                  <button
                    type="button"
                    data-index={index}
                    aria-current={model.id === open || undefined}
                    onClick={() => onOpen(model.id)}
                    onKeyDown={(event) => {
                      const step = { ArrowDown: across, ArrowUp: -across, ArrowRight: 1, ArrowLeft: -1 }[event.key]
                      if (step === undefined) return
                      event.preventDefault()
                      focus(index + step)
                    }}
                    className={
                      view === 'list'
                        ? `flex size-full items-center gap-3 border-b border-line px-5 text-left hover:bg-[var(--hover)] ${model.id === open ? 'bg-accent-soft' : ''}`
                        : `card flex size-full flex-col overflow-hidden text-left hover:border-line-strong ${model.id === open ? 'ring-2 ring-accent' : ''}`
                    }
                  >
                    {view === 'list' ? <Line model={model} /> : <Tile model={model} side={side} />}
                  </button>
                ) : (
                  <div className="skeleton m-2" style={{ height: linePx - 20 }} />
                )}
              </li>
            )
          }),
        )}
      </ul>
    </div>
  )
}

function Line({ model }: { model: Model }) {
  const { t, format } = useWords()
  const { name, sizeBytes, kind, base, precision, places, usedBy } = model
  const used = usedBy.workflows + usedBy.artifacts
  return (
    <>
      <Picture model={model} className="size-10 shrink-0 rounded-md" />
      <span className="min-w-0 flex-1">
        <span className="flex items-center gap-2">
          <span className="truncate font-medium" title={name}>
            {name}
          </span>
          <Flags model={model} />
        </span>
        <span className="block truncate text-xs text-faint" title={places[0]?.path}>
          {places[0]?.path}
        </span>
      </span>
      <span className="hidden w-28 shrink-0 truncate text-xs text-soft @2xl:block">{t(`models.kinds.${kind}`)}</span>
      <span className="hidden w-28 shrink-0 truncate text-xs text-soft @4xl:block">
        {[base, precision].filter(Boolean).join(' · ')}
      </span>
      <span className="num hidden w-24 shrink-0 truncate text-right text-xs text-faint @2xl:block">
        {used > 0 ? t('models.used', { count: used }) : t('models.neverUsed')}
      </span>
      <span className="num w-20 shrink-0 text-right text-xs">{format.bytes(sizeBytes)}</span>
    </>
  )
}

function Tile({ model, side }: { model: Model; side: number }) {
  const { t, format } = useWords()
  return (
    <>
      <span className="relative block w-full shrink-0" style={{ height: side }}>
        <Picture model={model} className="size-full" />
        <span className="absolute top-1.5 left-1.5 flex flex-wrap gap-1">
          <Flags model={model} />
        </span>
      </span>
      <span className="block min-w-0 px-2.5 py-2">
        <span className="block truncate text-sm font-medium" title={model.name}>
          {model.name.split('/').at(-1)}
        </span>
        <span className="num block truncate text-xs text-faint">
          {[t(`models.kinds.${model.kind}`), model.base, format.bytes(model.sizeBytes)].filter(Boolean).join(' · ')}
        </span>
      </span>
    </>
  )
}

function Picture({ model, className }: { model: Model; className: string }) {
  const [failed, setFailed] = useState(false)
  if (!model.hasPreview || failed)
    return (
      <span className={`grid place-items-center bg-[var(--hover)] text-faint ${className}`} aria-hidden>
        <Box size={18} />
      </span>
    )
  return (
    <img
      src={modelPictureUrl(model.id, 256)}
      alt=""
      loading="lazy"
      onError={() => setFailed(true)}
      className={`bg-[var(--hover)] object-cover ${className}`}
    />
  )
}

function Flags({ model }: { model: Model }) {
  const { t } = useWords()
  const tones: Record<ModelFlag, string> = {
    damaged: 'tone-bad',
    unsafe: 'tone-bad',
    'unknown-code': 'tone-warn',
    'wrong-folder': 'tone-warn',
    duplicate: '',
    trusted: 'tone-good',
  }
  return model.flags.map((flag) => (
    <span key={flag} className={`badge shrink-0 ${tones[flag]}`}>
      {flag === 'duplicate' && <Copy aria-hidden />}
      {t(`models.flags.${flag}`)}
    </span>
  ))
}

/** Where models are looked for; the person's own folders come and go. */
function Folders({ state, onClose }: { state: ModelState; onClose: () => void }) {
  const { t, format } = useWords()
  const [dir, setDir] = useState('')
  const done = () => void refresh('model.state', 'model.page')
  const add = useDo('model.addFolder', {
    onSuccess() {
      setDir('')
      done()
    },
  })
  const remove = useDo('model.removeFolder', { onError: sayFault, onSuccess: done })
  return (
    <Modal open onClose={onClose} title={t('models.folderTitle')} note={t('models.folderNote')} wide>
      <ul className="flex flex-col divide-y divide-line">
        {state.roots.map((root) => (
          <li key={root.id} className="flex items-center gap-3 py-2">
            <span className="min-w-0 flex-1">
              <span className="block truncate" title={root.dir}>
                {root.dir}
              </span>
              <span className="num block text-xs text-faint">
                {[
                  root.engine ?? t(`models.rootKinds.${root.kind}`),
                  t('models.folderModels', {
                    count: root.models,
                    n: format.number(root.models),
                    size: format.bytes(root.bytes),
                  }),
                ].join(' · ')}
              </span>
            </span>
            {(root.kind === 'added' || root.kind === 'a1111') && (
              <IconButton
                label={t('models.folderRemove')}
                icon={X}
                size="sm"
                onClick={() => remove.mutate({ id: root.id })}
              />
            )}
          </li>
        ))}
      </ul>
      {bridge ? (
        <form
          className="mt-3 flex flex-col gap-2"
          onSubmit={(event) => {
            event.preventDefault()
            if (dir.trim() !== '') add.mutate({ dir: dir.trim() })
          }}
        >
          <Field label={t('models.folderPath')} help={t('models.folderPathHelp')}>
            {(ids) => (
              <div className="flex gap-2">
                <input {...ids} className="field flex-1" value={dir} onChange={({ target }) => setDir(target.value)} />
                <Button type="submit" icon={FolderPlus} busy={add.isPending} disabled={dir.trim() === ''}>
                  {t('models.folderAdd')}
                </Button>
              </div>
            )}
          </Field>
          {add.error && <ErrorNotice cause={add.error} compact />}
        </form>
      ) : (
        <p className="mt-3 text-xs text-soft">{t('models.folderLocal')}</p>
      )}
    </Modal>
  )
}
