// biome-ignore-all lint/a11y/useSemanticElements: only the rows in sight are drawn, which a table element cannot say
// biome-ignore-all lint/a11y/useFocusableInteractive: the grid has the focus and names its active cell
import { useVirtualizer } from '@tanstack/react-virtual'
import { X } from 'lucide-react'
import { useEffect, useId, useLayoutEffect, useRef, useState } from 'react'
import type { Parameter } from '../../core/contract/workflow.ts'
import type { Column } from '../draft.ts'
import { sayParameter, useWords } from '../i18n.ts'
import { readTsv, writeTsv } from '../tsv.ts'
import { IconButton } from './basics.tsx'
import { Combobox } from './forms.tsx'
import { isWide, textOf } from './parameter-control.tsx'

export interface Place {
  row: number
  column: number
}
/** From one corner to the other, both included. */
export interface Range {
  anchor: Place
  active: Place
}
export interface TableEdit {
  columns?: Column[]
  rows?: string[][]
}
const ROW_PX = 32
const NUMBERS_PX = 52

export const boundsOf = ({ anchor, active }: Range) => ({
  top: Math.min(anchor.row, active.row),
  bottom: Math.max(anchor.row, active.row),
  left: Math.min(anchor.column, active.column),
  right: Math.max(anchor.column, active.column),
})

/** A small spreadsheet: arrows and typing, ranges, copy and paste, any number of rows. */
export function TableGrid({
  columns,
  rows,
  parameters,
  faults,
  range,
  onRange,
  onEdit,
  onPaste,
  onUndo,
  onRedo,
}: {
  columns: readonly Column[]
  rows: readonly string[][]
  parameters: readonly Parameter[]
  /** By `row:column` of the table. */
  faults: ReadonlyMap<string, string>
  range: Range
  onRange: (range: Range) => void
  onEdit: (edit: TableEdit) => void
  /** True: the paste was taken care of. */
  onPaste: (cells: string[][]) => boolean
  onUndo: () => void
  onRedo: () => void
}) {
  const { t, format } = useWords()
  const id = useId()
  const grid = useRef<HTMLDivElement>(null)
  const scroller = useRef<HTMLDivElement>(null)
  const [editing, setEditing] = useState<{ text: string } | null>(null)
  const dragging = useRef(false)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    scrollPaddingStart: 62,
    scrollPaddingEnd: 8,
  })
  const { active } = range
  const bounds = boundsOf(range)
  const parameterOf = (column: Column) => parameters.find(({ key }) => key === column.parameter)
  const template = [
    `${NUMBERS_PX}px`,
    ...columns.map((column) => {
      const parameter = parameterOf(column)
      return parameter && isWide(parameter) ? 'minmax(300px, 3fr)' : 'minmax(148px, 1fr)'
    }),
  ].join(' ')
  const minWidth = columns.reduce((sum, column) => {
    const parameter = parameterOf(column)
    return sum + (parameter && isWide(parameter) ? 300 : 148)
  }, NUMBERS_PX)

  useEffect(() => {
    if (active.row < rows.length) virtual.scrollToIndex(active.row)
    grid.current
      ?.querySelector(`[data-column="${active.column}"]`)
      ?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }, [active.row, active.column, rows.length, virtual])

  const clamp = ({ row, column }: Place): Place => ({
    row: Math.min(Math.max(0, row), rows.length - 1),
    column: Math.min(Math.max(0, column), columns.length - 1),
  })
  const go = (place: Place, extend = false) => {
    const next = clamp(place)
    onRange({ anchor: extend ? range.anchor : next, active: next })
  }
  const blank = () => columns.map(() => '')
  /** Writes a block of cells, adding the rows it needs; what goes past the last column is left out. */
  const write = (at: Place, block: readonly (readonly string[])[]) => {
    const next = [...rows]
    block.forEach((cells, down) => {
      const row = [...(next[at.row + down] ?? blank())]
      cells.forEach((cell, across) => {
        if (at.column + across < columns.length) row[at.column + across] = cell
      })
      next[at.row + down] = row
    })
    onEdit({ rows: next })
  }
  const edit = (text: string) => {
    virtual.scrollToIndex(active.row)
    setEditing({ text })
  }
  const commit = (down: number, across: number) => {
    if (!editing) return
    const { text } = editing
    setEditing(null)
    grid.current?.focus({ preventScroll: true })
    const needsRow = down > 0 && active.row === rows.length - 1
    if (text !== (rows[active.row]?.[active.column] ?? '') || needsRow) {
      const next = rows.map((row, place) => (place === active.row ? row.with(active.column, text) : row))
      onEdit({ rows: needsRow ? [...next, blank()] : next })
    }
    const to = { row: active.row + down, column: Math.min(Math.max(0, active.column + across), columns.length - 1) }
    onRange({ anchor: to, active: to })
  }
  const clear = () =>
    onEdit({
      rows: rows.map((row, at) =>
        at < bounds.top || at > bounds.bottom
          ? row
          : row.map((cell, column) => (column >= bounds.left && column <= bounds.right ? '' : cell)),
      ),
    })
  const selected = () =>
    rows.slice(bounds.top, bounds.bottom + 1).map((row) => row.slice(bounds.left, bounds.right + 1))

  function key(event: React.KeyboardEvent) {
    if (event.target !== grid.current) return
    // the editor may not be drawn yet when its row had to be scrolled into sight
    if (editing) {
      if (event.key === 'Enter') commit(1, 0)
      else if (event.key === 'Escape') setEditing(null)
      else if (event.key.length === 1) edit(editing.text + event.key)
      event.preventDefault()
      return
    }
    const command = event.ctrlKey || event.metaKey
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 320) / ROW_PX) - 2)
    const moves: Record<string, Place> = {
      ArrowUp: { row: command ? 0 : active.row - 1, column: active.column },
      ArrowDown: { row: command ? rows.length - 1 : active.row + 1, column: active.column },
      ArrowLeft: { row: active.row, column: command ? 0 : active.column - 1 },
      ArrowRight: { row: active.row, column: command ? columns.length - 1 : active.column + 1 },
      Home: { row: command ? 0 : active.row, column: 0 },
      End: { row: command ? rows.length - 1 : active.row, column: columns.length - 1 },
      PageUp: { row: active.row - page, column: active.column },
      PageDown: { row: active.row + page, column: active.column },
    }
    const move = moves[event.key]
    const letter = event.key.toLowerCase()
    if (move && !event.altKey) go(move, event.shiftKey)
    else if ((event.key === 'Enter' && !command) || event.key === 'F2') edit(rows[active.row]?.[active.column] ?? '')
    else if (event.key === 'Delete' || event.key === 'Backspace') clear()
    else if (command && letter === 'z') event.shiftKey ? onRedo() : onUndo()
    else if (command && letter === 'y') onRedo()
    else if (command && letter === 'a')
      onRange({ anchor: { row: 0, column: 0 }, active: clamp({ row: rows.length - 1, column: columns.length - 1 }) })
    else if (command && letter === 'd') {
      const first = rows[bounds.top]?.slice(bounds.left, bounds.right + 1) ?? []
      write(
        { row: bounds.top, column: bounds.left },
        Array.from({ length: bounds.bottom - bounds.top + 1 }, () => first),
      )
    } else if (event.key.length === 1 && !command && !event.altKey) edit(event.key)
    else return
    event.preventDefault()
  }

  const cellId = (row: number, column: number) => `${id}-${row}-${column}`
  const items = virtual.getVirtualItems()
  const activeShown = items.some(({ index }) => index === active.row)
  return (
    <div ref={scroller} className="min-h-0 flex-1 overflow-auto bg-surface">
      <div
        ref={grid}
        role="grid"
        tabIndex={0}
        aria-label={t('batch.table')}
        aria-rowcount={rows.length + 1}
        aria-colcount={columns.length + 1}
        aria-multiselectable
        aria-activedescendant={activeShown ? cellId(active.row, active.column) : undefined}
        onKeyDown={key}
        onCopy={(event) => {
          if (editing) return
          event.clipboardData.setData('text/plain', writeTsv(selected()))
          event.preventDefault()
        }}
        onCut={(event) => {
          if (editing) return
          event.clipboardData.setData('text/plain', writeTsv(selected()))
          event.preventDefault()
          clear()
        }}
        onPaste={(event) => {
          if (editing || event.target !== grid.current) return
          const text = event.clipboardData.getData('text/plain')
          if (!text) return
          event.preventDefault()
          const cells = readTsv(text)
          if (onPaste(cells)) return
          const single = cells.length === 1 && cells[0]!.length === 1
          const block = single
            ? Array.from({ length: bounds.bottom - bounds.top + 1 }, () =>
                Array.from({ length: bounds.right - bounds.left + 1 }, () => cells[0]![0]!),
              )
            : cells
          const at = { row: bounds.top, column: bounds.left }
          write(at, block)
          onRange({
            anchor: at,
            active: {
              row: at.row + block.length - 1,
              column: Math.min(columns.length - 1, at.column + Math.max(...block.map((row) => row.length)) - 1),
            },
          })
        }}
        className="group/grid relative outline-none"
        style={{ minWidth }}
      >
        <div
          role="row"
          aria-rowindex={1}
          className="sticky top-0 z-10 grid border-b border-line bg-sunken"
          style={{ gridTemplateColumns: template }}
        >
          <div role="columnheader" className="border-r border-line">
            <span className="sr-only">{t('batch.rowNumber')}</span>
          </div>
          {columns.map((column, place) => (
            <ColumnHead
              key={column.id}
              column={column}
              parameters={parameters}
              taken={new Set(columns.map(({ parameter }) => parameter))}
              onChange={(next) =>
                onEdit({
                  columns: columns.map((other, at) =>
                    at === place
                      ? next
                      : next.parameter && other.parameter === next.parameter
                        ? { ...other, parameter: null }
                        : other,
                  ),
                })
              }
              onRemove={() =>
                onEdit({ columns: columns.toSpliced(place, 1), rows: rows.map((row) => row.toSpliced(place, 1)) })
              }
            />
          ))}
        </div>
        <div style={{ height: virtual.getTotalSize(), position: 'relative' }} role="rowgroup">
          {items.map(({ index, start }) => {
            const row = rows[index] ?? []
            const inRange = index >= bounds.top && index <= bounds.bottom
            return (
              <div
                key={index}
                role="row"
                aria-rowindex={index + 2}
                className="absolute top-0 left-0 grid w-full"
                style={{ gridTemplateColumns: template, height: ROW_PX, transform: `translateY(${start}px)` }}
              >
                <div
                  role="rowheader"
                  onPointerDown={(event) => {
                    event.preventDefault()
                    grid.current?.focus({ preventScroll: true })
                    onRange({
                      anchor: { row: event.shiftKey ? range.anchor.row : index, column: 0 },
                      active: { row: index, column: columns.length - 1 },
                    })
                  }}
                  className={`num grid place-items-center border-r border-b border-line text-2xs ${inRange ? 'bg-accent-soft font-semibold text-accent-ink' : 'bg-sunken text-faint'}`}
                >
                  {format.number(index + 1)}
                </div>
                {columns.map((column, place) => {
                  const here = index === active.row && place === active.column
                  const chosen = inRange && place >= bounds.left && place <= bounds.right
                  const fault = faults.get(`${index}:${place}`)
                  const parameter = parameterOf(column)
                  return (
                    <div
                      key={column.id}
                      id={cellId(index, place)}
                      role="gridcell"
                      aria-colindex={place + 2}
                      aria-selected={chosen}
                      aria-invalid={fault ? true : undefined}
                      data-column={place}
                      title={fault}
                      onPointerDown={(event) => {
                        if (event.button !== 0 || (here && editing)) return
                        event.preventDefault()
                        if (editing) commit(0, 0)
                        grid.current?.focus({ preventScroll: true })
                        dragging.current = true
                        window.addEventListener('pointerup', () => (dragging.current = false), { once: true })
                        go({ row: index, column: place }, event.shiftKey)
                      }}
                      onPointerEnter={() => {
                        if (dragging.current) onRange({ anchor: range.anchor, active: { row: index, column: place } })
                      }}
                      onDoubleClick={() => setEditing({ text: row[place] ?? '' })}
                      className={`relative border-r border-b border-line ${fault ? 'bg-bad-soft text-bad' : chosen ? 'bg-accent-soft' : ''}`}
                    >
                      <span className="block truncate px-2 leading-[31px]">{textOf(row[place] ?? '')}</span>
                      {here && (
                        <span className="pointer-events-none absolute inset-[-1px] hidden border-2 border-accent group-focus-within/grid:block" />
                      )}
                      {here && editing && (
                        <CellEditor
                          text={editing.text}
                          parameter={parameter}
                          label={t('batch.cell', { row: index + 1, column: column.title })}
                          onText={(text) => setEditing({ text })}
                          onCommit={commit}
                          onCancel={() => {
                            setEditing(null)
                            grid.current?.focus({ preventScroll: true })
                          }}
                        />
                      )}
                    </div>
                  )
                })}
              </div>
            )
          })}
        </div>
      </div>
    </div>
  )
}

function CellEditor({
  text,
  parameter,
  label,
  onText,
  onCommit,
  onCancel,
}: {
  text: string
  parameter: Parameter | undefined
  label: string
  onText: (text: string) => void
  onCommit: (down: number, across: number) => void
  onCancel: () => void
}) {
  const list = useId()
  const control = useRef<HTMLInputElement & HTMLTextAreaElement>(null)
  useLayoutEffect(() => {
    const { current } = control
    current?.focus()
    current?.setSelectionRange(current.value.length, current.value.length)
  }, [])
  const shared = {
    ref: control,
    value: text,
    'aria-label': label,
    onChange: (event: { target: { value: string } }) => onText(event.target.value),
    onBlur: (event: React.FocusEvent) => {
      // focus going back to the grid is a commit or a cancel that has already happened
      if (!(event.relatedTarget as HTMLElement | null)?.matches('[role=grid]')) onCommit(0, 0)
    },
    onKeyDown: (event: React.KeyboardEvent) => {
      if (event.nativeEvent.isComposing) return
      event.stopPropagation()
      if (event.key === 'Enter' && !event.altKey && !event.shiftKey) {
        event.preventDefault()
        onCommit(1, 0)
      } else if (event.key === 'Tab') {
        event.preventDefault()
        onCommit(0, event.shiftKey ? -1 : 1)
      } else if (event.key === 'Escape') onCancel()
    },
  }
  if (parameter?.options)
    return (
      <>
        <input
          {...shared}
          list={list}
          className="absolute inset-[-1px] z-20 border-2 border-accent bg-surface px-[7px] text-text outline-none"
        />
        <datalist id={list}>
          {parameter.options.slice(0, 500).map((option) => (
            <option key={textOf(option)} value={textOf(option)} />
          ))}
        </datalist>
      </>
    )
  return (
    <textarea
      {...shared}
      rows={1}
      className="absolute top-[-1px] right-[-1px] left-[-1px] z-20 max-h-52 min-h-[34px] resize-none border-2 border-accent bg-surface px-[7px] py-[5px] leading-5 text-text shadow-high outline-none [field-sizing:content]"
    />
  )
}

/** The column as it was called, and the parameter it fills. */
function ColumnHead({
  column,
  parameters,
  taken,
  onChange,
  onRemove,
}: {
  column: Column
  parameters: readonly Parameter[]
  taken: ReadonlySet<string | null>
  onChange: (column: Column) => void
  onRemove: () => void
}) {
  const { t } = useWords()
  return (
    <div role="columnheader" className="flex min-w-0 flex-col gap-1 border-r border-line px-1.5 py-1">
      <div className="flex items-center gap-1">
        <span className="min-w-0 flex-1 truncate px-1 text-xs font-semibold" title={column.title}>
          {column.title}
        </span>
        <IconButton
          size="sm"
          icon={X}
          label={t('batch.removeColumn', { name: column.title })}
          onClick={onRemove}
          className="-my-1"
        />
      </div>
      <Combobox
        small
        clearable
        aria-label={t('batch.mapColumn', { name: column.title })}
        placeholder={t('batch.onlyName')}
        value={column.parameter ?? ''}
        choices={[
          { value: '', label: t('batch.onlyName') },
          ...parameters.map((parameter) => ({
            value: parameter.key,
            label: sayParameter(parameter),
            note:
              taken.has(parameter.key) && parameter.key !== column.parameter ? t('batch.taken') : parameter.nodeTitle,
          })),
        ]}
        onChange={(next) => onChange({ ...column, parameter: next || null })}
      />
    </div>
  )
}
