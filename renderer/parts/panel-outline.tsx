import {
  ArrowDown,
  ArrowLeft,
  ArrowRight,
  ArrowUp,
  EyeOff,
  FolderPlus,
  GripVertical,
  LayoutList,
  Trash2,
  TriangleAlert,
} from 'lucide-react'
import { type DragEvent, useRef, useState } from 'react'
import { flushSync } from 'react-dom'
import {
  isGroup,
  itemFor,
  itemsOf,
  keyOfItem,
  type Panel,
  type PanelItem,
  UNREADABLE,
} from '../../core/contract/panel.ts'
import type { Parameter } from '../../core/contract/workflow.ts'
import { sayParameter, useWords } from '../i18n.ts'
import { inserted, itemAt, moved, type Path, removed, rowsOf, stepped, typeOf } from '../panel-tree.ts'
import { Empty, IconButton } from './basics.tsx'
import { Combobox, Field, Select } from './forms.tsx'

export interface Edited {
  readonly panels: readonly Panel[]
  /** Of the form now open. */
  readonly at: number
  readonly chosen: Path | null
}
type Drop = { path: Path; where: 'before' | 'after' | 'in' }
/** What is dropped there goes before this row, after it, or into the group that it is. */
function whereIn({ currentTarget, clientY }: DragEvent, item: PanelItem): Drop['where'] {
  const { top, height } = currentTarget.getBoundingClientRect()
  const part = (clientY - top) / height
  return isGroup(item) && part > 0.3 ? 'in' : part < 0.5 ? 'before' : 'after'
}

/** What is on a form, in order: chosen, moved, added and taken out. */
export function Outline({
  edited,
  panel,
  parameters,
  onLook,
  onChange,
  onTitle,
}: {
  edited: Edited
  panel: Panel
  parameters: readonly Parameter[]
  onLook: (next: Pick<Partial<Edited>, 'at' | 'chosen'>) => void
  onChange: (params: PanelItem[], chosen: Path | null) => void
  onTitle: (title: string) => void
}) {
  const { t } = useWords()
  const { panels, at, chosen } = edited
  const [dragged, setDragged] = useState<Path | null>(null)
  const [drop, setDrop] = useState<Drop | null>(null)
  const list = useRef<HTMLUListElement>(null)
  const items = panel.params
  const rows = rowsOf(items)
  const used = new Set([...itemsOf(items)].flatMap(({ key }) => key ?? []))
  const known = new Set(parameters.map(({ key }) => key))
  /** New items go after what is chosen, or into the group that is. */
  const place = (): Path => {
    const there = chosen && itemAt(items, chosen)
    if (!chosen || !there) return [items.length]
    return isGroup(there) ? [...chosen, there.children?.length ?? 0] : [...chosen.slice(0, -1), chosen.at(-1)! + 1]
  }
  const add = (item: PanelItem) => {
    const to = place()
    onChange(inserted(items, to, item), to)
  }
  const step = (path: Path, to: 'up' | 'down' | 'into' | 'out') => {
    const done = stepped(items, path, to)
    if (!done) return
    // the row has moved before the next key comes, and the focus goes with it
    flushSync(() => onChange(done.items, done.path))
    list.current?.querySelector<HTMLElement>(`[data-path="${done.path.join('.')}"]`)?.focus()
  }
  const land = (drop: Drop) => {
    setDragged(null)
    setDrop(null)
    if (!dragged) return
    const to: Path =
      drop.where === 'in'
        ? [...drop.path, itemAt(items, drop.path)?.children?.length ?? 0]
        : [...drop.path.slice(0, -1), drop.path.at(-1)! + (drop.where === 'after' ? 1 : 0)]
    const done = moved(items, dragged, to)
    if (done) onChange(done.items, done.path)
  }
  return (
    <section aria-label={t('panelEditor.outline')} className="flex min-h-0 flex-col border-r border-line bg-surface">
      <div className="flex flex-col gap-2 border-b border-line p-4">
        {panels.length > 1 && (
          <Select
            aria-label={t('form.which')}
            value={String(at)}
            choices={panels.map(({ title }, index) => ({ value: String(index), label: title || String(index + 1) }))}
            onChange={(next) => onLook({ at: Number(next), chosen: null })}
          />
        )}
        <Field label={t('panelEditor.name')}>
          {(ids) => (
            <input {...ids} value={panel.title} onChange={({ target }) => onTitle(target.value)} className="field" />
          )}
        </Field>
        <div className="flex gap-1.5">
          <AddField
            parameters={parameters}
            used={used}
            onAdd={(parameter) => add(itemFor(parameter, sayParameter(parameter)))}
          />
          <IconButton
            look="plain"
            icon={FolderPlus}
            label={t('panelEditor.addGroup')}
            onClick={() => {
              const there = chosen && itemAt(items, chosen)
              const to = chosen && there && !isGroup(there) ? place() : [chosen ? chosen[0]! + 1 : items.length]
              onChange(inserted(items, to, { type: 'group', title: t('panelEditor.newGroup'), children: [] }), to)
            }}
          />
        </div>
      </div>
      {rows.length === 0 ? (
        <Empty icon={LayoutList} title={t('panelEditor.empty')}>
          {t('panelEditor.emptyNote')}
        </Empty>
      ) : (
        <div className="min-h-0 flex-1 overflow-y-auto p-2">
          <p className="px-2 pt-1 pb-2 text-xs text-faint">{t('panelEditor.outlineNote')}</p>
          <ul ref={list} className="flex flex-col gap-px">
            {rows.map(({ item, path }) => {
              const id = path.join('.')
              const key = keyOfItem(item)
              const isChosen = chosen?.join('.') === id
              const broken = item.type === UNREADABLE || (!isGroup(item) && (key === null || !known.has(key)))
              const name = nameOf(item, key, parameters)
              const aim = drop?.path.join('.') === id ? drop.where : null
              return (
                <li
                  key={id}
                  draggable
                  onDragStart={(event) => {
                    event.stopPropagation()
                    event.dataTransfer.effectAllowed = 'move'
                    event.dataTransfer.setData('text/plain', name)
                    setDragged(path)
                  }}
                  onDragEnd={() => {
                    setDragged(null)
                    setDrop(null)
                  }}
                  onDragOver={(event) => {
                    if (!dragged) return
                    event.preventDefault()
                    const where = whereIn(event, item)
                    if (aim !== where) setDrop({ path, where })
                  }}
                  onDrop={(event) => {
                    event.preventDefault()
                    land({ path, where: whereIn(event, item) })
                  }}
                  style={{ marginLeft: (path.length - 1) * 18 }}
                  className={`group relative flex items-center rounded-md ${
                    isChosen ? 'bg-accent-soft text-accent-ink' : 'hover:bg-hover'
                  } ${aim === 'in' ? 'outline-2 -outline-offset-2 outline-accent' : ''} ${
                    aim === 'before'
                      ? 'shadow-[0_-2px_0_var(--accent)]'
                      : aim === 'after'
                        ? 'shadow-[0_2px_0_var(--accent)]'
                        : ''
                  }`}
                >
                  <GripVertical size={14} className="ml-1 shrink-0 text-faint" aria-hidden />
                  <button
                    type="button"
                    data-path={id}
                    aria-current={isChosen || undefined}
                    onClick={() => onLook({ chosen: path })}
                    onKeyDown={(event) => {
                      const to = ({ ArrowUp: 'up', ArrowDown: 'down', ArrowRight: 'into', ArrowLeft: 'out' } as const)[
                        event.key as 'ArrowUp'
                      ]
                      if (event.altKey && to) {
                        event.preventDefault()
                        step(path, to)
                      } else if (event.key === 'Delete') {
                        event.preventDefault()
                        onChange(removed(items, path), null)
                      }
                    }}
                    className="flex min-w-0 flex-1 items-center gap-2 px-1.5 py-1.5 text-left -outline-offset-2"
                  >
                    <span
                      className={`min-w-0 flex-1 truncate ${isGroup(item) ? 'font-semibold' : ''} ${item.hidden ? 'text-faint line-through' : ''}`}
                    >
                      {name}
                    </span>
                    {broken && <TriangleAlert size={13} className="shrink-0 text-warn" aria-hidden />}
                    {item.hidden && <EyeOff size={13} className="shrink-0 text-faint" aria-hidden />}
                    <span className="shrink-0 text-2xs text-faint">{t(`panelEditor.type.${typeOf(item)}`)}</span>
                  </button>
                  {isChosen && (
                    <span className="flex shrink-0 pr-0.5">
                      <IconButton
                        size="sm"
                        icon={ArrowUp}
                        label={t('common.moveUp', { name })}
                        keys="Alt ↑"
                        onClick={() => step(path, 'up')}
                      />
                      <IconButton
                        size="sm"
                        icon={ArrowDown}
                        label={t('common.moveDown', { name })}
                        keys="Alt ↓"
                        onClick={() => step(path, 'down')}
                      />
                      {path.length > 1 ? (
                        <IconButton
                          size="sm"
                          icon={ArrowLeft}
                          label={t('panelEditor.outOf', { name })}
                          keys="Alt ←"
                          onClick={() => step(path, 'out')}
                        />
                      ) : (
                        stepped(items, path, 'into') && (
                          <IconButton
                            size="sm"
                            icon={ArrowRight}
                            label={t('panelEditor.into', { name })}
                            keys="Alt →"
                            onClick={() => step(path, 'into')}
                          />
                        )
                      )}
                      <IconButton
                        size="sm"
                        icon={Trash2}
                        label={t('panelEditor.remove', { name })}
                        keys="Del"
                        onClick={() => onChange(removed(items, path), null)}
                      />
                    </span>
                  )}
                </li>
              )
            })}
          </ul>
        </div>
      )}
    </section>
  )
}

const nameOf = (item: PanelItem, key: string | null, parameters: readonly Parameter[]) => {
  if (item.title) return item.title
  const parameter = parameters.find((one) => one.key === key)
  return parameter ? sayParameter(parameter) : (key ?? '…')
}
/** Any value of the workflow, found by typing. */
function AddField({
  parameters,
  used,
  onAdd,
}: {
  parameters: readonly Parameter[]
  used: ReadonlySet<string>
  onAdd: (parameter: Parameter) => void
}) {
  const { t } = useWords()
  const [round, setRound] = useState(0)
  return (
    <Combobox
      key={round}
      aria-label={t('panelEditor.addField')}
      placeholder={t('panelEditor.addFieldHint')}
      value={null}
      choices={parameters.map((one) => ({
        value: one.key,
        label: sayParameter(one),
        note: `${used.has(one.key) ? '✓ ' : ''}${one.nodeTitle} · ${one.input}`,
      }))}
      onChange={(key) => {
        const parameter = parameters.find((one) => one.key === key)
        setRound(round + 1)
        if (parameter) onAdd(parameter)
      }}
    />
  )
}
