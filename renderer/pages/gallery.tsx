import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import {
  Check,
  Download,
  FileDown,
  FileSpreadsheet,
  Grid3x3,
  Images,
  Search,
  SquareSplitHorizontal,
  X,
} from 'lucide-react'
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react'
import type { Artifact } from '../../core/contract/artifact.ts'
import { artifactUrl, bridge, call, thumbUrl, useAsk } from '../client/client.ts'
import { download, save } from '../client/files.ts'
import { usePages } from '../client/use-pages.ts'
import { useWords } from '../i18n.ts'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { Combobox, SearchField, Segmented, Select } from '../parts/forms.tsx'
import { Menu, sayFault } from '../parts/overlays.tsx'
import { Viewer } from '../parts/viewer.tsx'
import type { GallerySearch } from '../router.tsx'

const GAP_PX = 12
const CAPTION_PX = 40
const SIZE_KEPT = 'nightshift.tile'
const sizes = { small: 132, medium: 196, large: 296 } as const
type Size = keyof typeof sizes
const kinds = ['image', 'video', 'audio', 'text', '3d', 'other'] as const

/** Every picture kept, newest first. */
export function GalleryPage() {
  const { t, format } = useWords()
  const filter = useSearch({ from: '/gallery' })
  const navigate = useNavigate({ from: '/gallery' })
  const setFilter = useCallback(
    (change: GallerySearch) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true }),
    [navigate],
  )
  const [size, setSize] = useState<Size>(() => {
    const kept = localStorage.getItem(SIZE_KEPT)
    return kept && kept in sizes ? (kept as Size) : 'medium'
  })
  const [selected, setSelected] = useState<ReadonlyMap<string, Artifact>>(new Map())
  const [shown, setShown] = useState({ first: 0, last: 40 })
  const batches = useAsk('batch.list', { limit: 200 })
  const query = { batchId: filter.batch, row: filter.row, jobId: filter.job, kind: filter.kind, search: filter.find }
  const pages = usePages('artifact.page', query, shown.first, shown.last)
  const anyFilter = Object.values(query).some((value) => value !== undefined)
  const toggle = (artifact: Artifact) =>
    setSelected((was) => {
      const next = new Map(was)
      if (!next.delete(artifact.id)) next.set(artifact.id, artifact)
      return next
    })
  const chosen = [...selected.values()]
  const reveal = useRef<((index: number) => void) | null>(null)
  const openIndex = filter.open ? indexOf(filter.open, pages.row, shown) : null
  return (
    <>
      <PageHead
        title={t('nav.gallery')}
        note={t('gallery.count', { count: pages.total, n: format.number(pages.total) })}
      >
        <div className="w-40 min-[1180px]:w-48">
          <SearchField
            label={t('gallery.find')}
            value={filter.find ?? ''}
            onChange={(find) => setFilter({ find: find || undefined })}
          />
        </div>
        <div className="w-36 min-[1180px]:w-48">
          <Combobox
            aria-label={t('gallery.batch')}
            value={filter.batch ?? ''}
            choices={[
              { value: '', label: t('queue.allBatches') },
              ...(batches.data?.rows ?? []).map(({ id, name, createdAt }) => ({
                value: id,
                label: name,
                note: format.ago(createdAt),
              })),
            ]}
            onChange={(batch) => setFilter({ batch: batch || undefined, row: undefined, job: undefined })}
          />
        </div>
        {filter.batch && (
          <input
            key={filter.batch}
            inputMode="numeric"
            defaultValue={filter.row ?? ''}
            aria-label={t('gallery.row')}
            placeholder={t('gallery.row')}
            onChange={({ target }) => setFilter({ row: /^\d+$/.test(target.value) ? Number(target.value) : undefined })}
            className="field num w-14"
          />
        )}
        <div className="w-26">
          <Select
            aria-label={t('gallery.kind')}
            value={filter.kind ?? 'all'}
            choices={[
              { value: 'all', label: t('gallery.anyKind') },
              ...kinds.map((kind) => ({ value: kind, label: t(`kind.${kind}`) })),
            ]}
            onChange={(kind) => setFilter({ kind: kind === 'all' ? undefined : (kind as GallerySearch['kind']) })}
          />
        </div>
        <Segmented
          label={t('gallery.size')}
          value={size}
          onChange={(next) => {
            localStorage.setItem(SIZE_KEPT, next)
            setSize(next)
          }}
          choices={(['small', 'medium', 'large'] as const).map((one) => ({
            value: one,
            name: t(`gallery.${one}`),
            label: (
              <span
                className={`rounded-[2px] border-2 border-current ${{ small: 'size-2', medium: 'size-3', large: 'size-4' }[one]}`}
              />
            ),
          }))}
        />
        {filter.batch && <BatchFiles id={filter.batch} />}
      </PageHead>
      {pages.loading ? (
        <div className="p-6">
          <Skeleton rows={4} height={140} />
        </div>
      ) : pages.error ? (
        <div className="p-6">
          <ErrorNotice cause={pages.error} onRetry={pages.retry} />
        </div>
      ) : pages.total === 0 ? (
        anyFilter ? (
          <Empty
            icon={Search}
            title={t('gallery.nothing')}
            action={
              <Button
                onClick={() =>
                  setFilter({ batch: undefined, row: undefined, job: undefined, kind: undefined, find: undefined })
                }
              >
                {t('gallery.clear')}
              </Button>
            }
          />
        ) : (
          <Empty
            icon={Images}
            title={t('gallery.empty')}
            action={
              <Link to="/" className="btn btn-primary">
                {t('queue.emptyAction')}
              </Link>
            }
          >
            {t('gallery.emptyNote')}
          </Empty>
        )
      ) : (
        <TileGrid
          key={JSON.stringify(query)}
          total={pages.total}
          row={pages.row}
          tilePx={sizes[size]}
          selected={selected}
          onRange={setShown}
          onToggle={toggle}
          onOpen={(open) => setFilter({ open })}
          reveal={reveal}
        />
      )}
      {chosen.length > 0 && (
        <div
          role="toolbar"
          aria-label={t('gallery.selection')}
          className="rise flex items-center gap-2 border-t border-line bg-surface px-5 py-2"
        >
          <span className="num mr-auto font-medium">{t('gallery.selected', { count: chosen.length })}</span>
          <Button
            size="sm"
            icon={SquareSplitHorizontal}
            disabled={chosen.length !== 2}
            title={t('gallery.compareNote')}
            onClick={() => setFilter({ open: chosen[0]!.id, compare: chosen[1]!.id })}
          >
            {t('gallery.compare')}
          </Button>
          <Button
            size="sm"
            icon={Download}
            onClick={() => {
              for (const { id, name } of chosen) download(`${artifactUrl(id)}?download`, name.split('/').at(-1)!)
            }}
          >
            {t('gallery.download')}
          </Button>
          <Button size="sm" look="quiet" icon={X} onClick={() => setSelected(new Map())}>
            {t('gallery.clearSelection')}
          </Button>
        </div>
      )}
      {filter.open && (
        <Viewer
          id={filter.open}
          compare={filter.compare ?? null}
          previous={openIndex === null ? null : (pages.row(openIndex - 1)?.id ?? null)}
          next={openIndex === null ? null : (pages.row(openIndex + 1)?.id ?? null)}
          onGo={(open, step) => {
            if (openIndex !== null) reveal.current?.(openIndex + step)
            setFilter({ open, compare: undefined })
          }}
          onClose={() => setFilter({ open: undefined, compare: undefined })}
        />
      )}
    </>
  )
}

function indexOf(
  id: string,
  row: (index: number) => Artifact | undefined,
  { first, last }: { first: number; last: number },
) {
  const from = Math.floor(first / 100) * 100
  const to = Math.floor(last / 100) * 100 + 100
  for (let index = from; index < to; index += 1) if (row(index)?.id === id) return index
  return null
}

/** What a whole batch can be taken away as. */
function BatchFiles({ id }: { id: string }) {
  const { t } = useWords()
  const [busy, setBusy] = useState(false)
  const fetching = async (file: ReturnType<typeof call<'batch.report'>>) => {
    setBusy(true)
    try {
      save(await file)
    } catch (cause) {
      sayFault(cause)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Menu
      trigger={
        <Button icon={FileDown} busy={busy}>
          {t('gallery.export')}
        </Button>
      }
      items={[
        {
          label: t('gallery.reportCsv'),
          icon: FileSpreadsheet,
          onSelect: () => void fetching(call('batch.report', { id, as: 'csv' })),
        },
        {
          label: t('gallery.reportJson'),
          icon: FileSpreadsheet,
          onSelect: () => void fetching(call('batch.report', { id, as: 'json' })),
        },
        {
          label: t('gallery.contactSheet'),
          icon: Grid3x3,
          onSelect: () => void fetching(call('batch.contactSheet', { id })),
        },
      ]}
    />
  )
}

function TileGrid({
  total,
  row,
  tilePx,
  selected,
  onRange,
  onToggle,
  onOpen,
  reveal,
}: {
  total: number
  row: (index: number) => Artifact | undefined
  tilePx: number
  selected: ReadonlyMap<string, Artifact>
  onRange: (range: { first: number; last: number }) => void
  onToggle: (artifact: Artifact) => void
  onOpen: (id: string) => void
  reveal: React.RefObject<((index: number) => void) | null>
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
  const inner = Math.max(tilePx, width - 40)
  const across = Math.max(1, Math.floor((inner + GAP_PX) / (tilePx + GAP_PX)))
  const side = Math.floor((inner - GAP_PX * (across - 1)) / across)
  const rowPx = side + CAPTION_PX + GAP_PX
  const virtual = useVirtualizer({
    count: Math.ceil(total / across),
    getScrollElement: () => scroller.current,
    estimateSize: () => rowPx,
    overscan: 2,
    paddingStart: 20,
    paddingEnd: 20,
  })
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows are measured anew when their height changes
  useEffect(() => virtual.measure(), [rowPx, virtual])
  const lines = virtual.getVirtualItems()
  const first = (lines[0]?.index ?? 0) * across
  const last = Math.min(total - 1, ((lines.at(-1)?.index ?? 0) + 1) * across - 1)
  useEffect(() => onRange({ first, last: Math.max(first, last) }), [first, last, onRange])
  reveal.current = (index) => virtual.scrollToIndex(Math.floor(index / across))
  const focus = (index: number) => {
    if (index < 0 || index >= total) return
    virtual.scrollToIndex(Math.floor(index / across))
    requestAnimationFrame(() => scroller.current?.querySelector<HTMLElement>(`[data-index="${index}"]`)?.focus())
  }
  return (
    <div ref={scroller} className="min-h-0 flex-1 overflow-y-auto px-5">
      <ul aria-label={t('gallery.pictures')} style={{ height: virtual.getTotalSize(), position: 'relative' }}>
        {lines.flatMap(({ index: line, start }) =>
          Array.from({ length: Math.min(across, total - line * across) }, (_, column) => {
            const index = line * across + column
            const artifact = row(index)
            return (
              <li
                key={index}
                aria-posinset={index + 1}
                aria-setsize={total}
                className="absolute top-0 left-0"
                style={{ width: side, transform: `translate(${column * (side + GAP_PX)}px, ${start}px)` }}
              >
                {artifact ? (
                  <Tile
                    artifact={artifact}
                    index={index}
                    side={side}
                    selected={selected.has(artifact.id)}
                    selection={selected}
                    onToggle={() => onToggle(artifact)}
                    onOpen={() => onOpen(artifact.id)}
                    onKey={(event) => {
                      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key]
                      if (step !== undefined) {
                        event.preventDefault()
                        focus(index + step)
                      } else if (event.key === ' ') {
                        event.preventDefault()
                        onToggle(artifact)
                      }
                    }}
                  />
                ) : (
                  <div className="skeleton" style={{ height: side }} />
                )}
              </li>
            )
          }),
        )}
      </ul>
    </div>
  )
}

function Tile({
  artifact: { id, name, kind, mediaType, rehearsal },
  index,
  side,
  selected,
  selection,
  onToggle,
  onOpen,
  onKey,
}: {
  artifact: Artifact
  index: number
  side: number
  selected: boolean
  selection: ReadonlyMap<string, Artifact>
  onToggle: () => void
  onOpen: () => void
  onKey: (event: React.KeyboardEvent) => void
}) {
  const { t } = useWords()
  const file = name.split('/').at(-1)!
  return (
    <div className="group relative">
      <button
        type="button"
        data-index={index}
        onClick={onOpen}
        onKeyDown={onKey}
        draggable={bridge !== undefined}
        onDragStart={(event) => {
          if (!bridge) return
          event.preventDefault()
          bridge.startDrag(selected ? [...selection.keys()] : [id])
        }}
        className={`block w-full overflow-hidden rounded-lg border bg-sunken ${selected ? 'border-accent outline-2 outline-accent' : 'border-line'}`}
        style={{ height: side }}
        aria-label={t('workflow.open', { name: file })}
      >
        {kind === 'image' ? (
          <img
            src={thumbUrl(id, side > 240 ? 512 : 320)}
            alt=""
            draggable={false}
            loading="lazy"
            decoding="async"
            className="size-full object-contain"
          />
        ) : (
          <span className="grid size-full place-items-center text-xs text-faint">{mediaType}</span>
        )}
      </button>
      <IconButton
        size="sm"
        look={selected ? 'primary' : 'plain'}
        icon={Check}
        label={t('gallery.select', { name: file })}
        aria-pressed={selected}
        onClick={onToggle}
        className={`absolute top-1.5 left-1.5 ${selected ? '' : 'opacity-0 group-focus-within:opacity-100 group-hover:opacity-100'}`}
      />
      {rehearsal && <span className="badge absolute top-1.5 right-1.5 opacity-95">{t('gallery.rehearsal')}</span>}
      <p className="mt-1 truncate px-0.5 text-xs text-soft" title={name}>
        {file}
      </p>
    </div>
  )
}
