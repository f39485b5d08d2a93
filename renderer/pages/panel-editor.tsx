import { Link, useBlocker, useParams, useSearch } from '@tanstack/react-router'
import {
  ArrowDown,
  ArrowLeft,
  ArrowRight,
  ArrowUp,
  Download,
  Ellipsis,
  EyeOff,
  FileUp,
  FolderPlus,
  GripVertical,
  LayoutList,
  Plus,
  Redo2,
  Save,
  Sparkles,
  Trash2,
  TriangleAlert,
  Undo2,
} from 'lucide-react'
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import {
  choicesOf,
  controlTypes,
  fieldOf,
  isGroup,
  itemFor,
  itemsOf,
  keyOfItem,
  type Panel,
  type PanelItem,
  type PanelOption,
  UNREADABLE,
} from '../../core/contract/panel.ts'
import type { Parameter, Workflow } from '../../core/contract/workflow.ts'
import { bridge, call, refresh, useAsk, useDo } from '../client/client.ts'
import { bytesOf, chooseFiles, save as saveFile } from '../client/files.ts'
import { sayParameter, saySentence, useWords } from '../i18n.ts'
import { linesOf, optionsIn } from '../panel-options.ts'
import { inserted, itemAt, moved, type Path, removed, replaced, rowsOf, stepped } from '../panel-tree.ts'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { Combobox, Field, Select, Switch } from '../parts/forms.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'
import { type Filling, ItemField, misfitsOf, PanelFields } from '../parts/panel-fields.tsx'
import { textOf } from '../parts/parameter-control.tsx'

/** The forms of a workflow, made by hand: fields added, grouped, moved and named, with how it will look beside them. */
export function PanelEditorPage() {
  const { id } = useParams({ from: '/form/$id/edit' })
  const workflow = useAsk('workflow.get', { id })
  const words = useProposalWords(workflow.data)
  const isNew = workflow.data?.panels.length === 0
  const proposal = useAsk(
    'workflow.panel.propose',
    { id, words },
    { enabled: isNew, staleTime: Number.POSITIVE_INFINITY },
  )
  const failure = workflow.error ?? proposal.error
  if (failure)
    return (
      <div className="p-6">
        <ErrorNotice cause={failure} onRetry={() => void workflow.refetch()} />
      </div>
    )
  if (!workflow.data || (isNew && !proposal.data))
    return (
      <div className="p-6">
        <Skeleton rows={8} />
      </div>
    )
  return <Editor key={id} workflow={workflow.data} proposal={isNew ? proposal.data! : null} />
}

function useProposalWords(workflow: Workflow | undefined) {
  const { t } = useWords()
  const names = Object.fromEntries((workflow?.inspection.parameters ?? []).map((one) => [one.key, sayParameter(one)]))
  return {
    title: workflow?.name ?? '',
    pictures: t('panelEditor.pictures'),
    words: t('panelEditor.words'),
    size: t('panelEditor.size'),
    more: t('panelEditor.more'),
    names,
  }
}

interface Edited {
  readonly panels: readonly Panel[]
  /** Of the form now open. */
  readonly at: number
  readonly chosen: Path | null
}
const MOST_UNDO = 200

/** What is being edited, with a way back. Changes with the same `tag` in a row are one. */
function useEdited(first: Edited) {
  const [{ past, now, future }, setAll] = useState({
    past: [] as Edited[],
    now: first,
    future: [] as Edited[],
    tag: '',
  })
  const change = (next: Partial<Edited>, tag = '') =>
    setAll((all) => ({
      past: tag !== '' && tag === all.tag ? all.past : [...all.past, all.now].slice(-MOST_UNDO),
      now: { ...all.now, ...next },
      future: [],
      tag,
    }))
  /** Looks elsewhere; nothing to undo. */
  const look = (next: Pick<Partial<Edited>, 'at' | 'chosen'>) =>
    setAll((all) => ({ ...all, now: { ...all.now, ...next }, tag: '' }))
  const undo = () =>
    setAll((all) =>
      all.past.length === 0
        ? all
        : { past: all.past.slice(0, -1), now: all.past.at(-1)!, future: [all.now, ...all.future], tag: '' },
    )
  const redo = () =>
    setAll((all) =>
      all.future.length === 0
        ? all
        : { past: [...all.past, all.now], now: all.future[0]!, future: all.future.slice(1), tag: '' },
    )
  return { now, change, look, undo, redo, canUndo: past.length > 0, canRedo: future.length > 0 }
}

function Editor({ workflow, proposal }: { workflow: Workflow; proposal: Panel | null }) {
  const { t } = useWords()
  const { id, inspection } = workflow
  const { panel: asked = 0 } = useSearch({ from: '/form/$id/edit' })
  const words = useProposalWords(workflow)
  const { now, change, look, undo, redo, canUndo, canRedo } = useEdited({
    panels: proposal ? [proposal] : workflow.panels,
    at: Math.min(asked, Math.max(0, workflow.panels.length - 1)),
    chosen: null,
  })
  const [saved, setSaved] = useState(() => writeJson(workflow.panels))
  const dirty = writeJson(now.panels) !== saved
  const panel = now.panels[now.at] ?? null
  const parameters = useMemo(() => new Map(inspection.parameters.map((one) => [one.key, one])), [inspection.parameters])
  const keep = useDo('workflow.panel.set', {
    onError: sayFault,
    onSuccess(_, { panels }) {
      setSaved(writeJson(panels))
      void refresh('workflow.get', 'workflow.list')
      say({ title: t('panelEditor.saved') })
    },
  })
  const save = () => {
    if (dirty && !keep.isPending) keep.mutate({ id, panels: [...now.panels] })
  }
  // in the app's own window nobody would be asked, and it would just not close
  const enableBeforeUnload = () => dirty && !bridge
  const blocker = useBlocker({ shouldBlockFn: () => dirty, enableBeforeUnload, withResolver: true })

  const keys = useRef({ save, undo, redo })
  keys.current = { save, undo, redo }
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return
      const pressed = event.key.toLowerCase()
      const does =
        pressed === 's'
          ? 'save'
          : pressed === 'y' || (pressed === 'z' && event.shiftKey)
            ? 'redo'
            : pressed === 'z'
              ? 'undo'
              : null
      if (!does) return
      event.preventDefault()
      keys.current[does]()
    }
    window.addEventListener('keydown', key)
    return () => window.removeEventListener('keydown', key)
  }, [])

  const setPanel = (next: Panel, more: Partial<Edited> = {}, tag?: string) =>
    change({ panels: now.panels.with(now.at, next), ...more }, tag)
  const addPanels = (panels: readonly Panel[]) =>
    change({ panels: [...now.panels, ...panels], at: now.panels.length, chosen: null })
  async function propose() {
    try {
      const next = await call('workflow.panel.propose', { id, words })
      if (panel) setPanel({ ...next, title: panel.title || next.title }, { chosen: null })
      else addPanels([next])
    } catch (cause) {
      sayFault(cause)
    }
  }
  async function importFile() {
    const [file] = await chooseFiles('.json')
    if (!file) return
    try {
      const { panels, problems } = await call('workflow.panel.read', await bytesOf(file))
      addPanels(panels)
      const description = problems.slice(0, 3).map(saySentence).join(' ')
      say({ title: t('panelEditor.imported', { count: panels.length }), ...(description && { description }) })
    } catch (cause) {
      sayFault(cause)
    }
  }
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHead title={t('panelEditor.title')} note={dirty ? t('panelEditor.unsaved') : workflow.name}>
        <IconButton icon={Undo2} label={t('panelEditor.undo')} keys="Ctrl Z" disabled={!canUndo} onClick={undo} />
        <IconButton icon={Redo2} label={t('panelEditor.redo')} keys="Ctrl Shift Z" disabled={!canRedo} onClick={redo} />
        <Button icon={Sparkles} title={t('panelEditor.proposeNote')} onClick={() => void propose()}>
          {t('panelEditor.propose')}
        </Button>
        <Menu
          trigger={<IconButton label={t('common.more')} icon={Ellipsis} look="plain" />}
          items={[
            {
              label: t('panelEditor.addForm'),
              icon: Plus,
              onSelect: () =>
                addPanels([{ title: `${t('panelEditor.newTitle')} ${now.panels.length + 1}`, params: [] }]),
            },
            { label: t('panelEditor.import'), icon: FileUp, onSelect: () => void importFile() },
            {
              label: t('panelEditor.export'),
              icon: Download,
              disabled: dirty || now.panels.length === 0,
              onSelect: () => void call('workflow.export', { id, as: 'panel' }).then(saveFile, sayFault),
            },
            null,
            {
              label: t('panelEditor.removeForm'),
              icon: Trash2,
              danger: true,
              disabled: !panel,
              onSelect: () =>
                change({ panels: now.panels.toSpliced(now.at, 1), at: Math.max(0, now.at - 1), chosen: null }),
            },
          ]}
        />
        <Link to="/form/$id" params={{ id }} search={{ panel: now.at || undefined }} className="btn">
          {t('panelEditor.back')}
        </Link>
        <Button look="primary" icon={Save} busy={keep.isPending} disabled={!dirty} onClick={save}>
          {t('panelEditor.save')}
        </Button>
      </PageHead>
      {panel ? (
        <div className="grid min-h-0 flex-1 grid-cols-[minmax(280px,330px)_minmax(250px,300px)_minmax(0,1fr)]">
          <Outline
            key={now.at}
            edited={now}
            panel={panel}
            parameters={inspection.parameters}
            onLook={look}
            onChange={(params, chosen) => setPanel({ ...panel, params }, { chosen })}
            onTitle={(title) => setPanel({ ...panel, title }, {}, `title ${now.at}`)}
          />
          <section
            aria-label={t('panelEditor.properties')}
            className="min-h-0 overflow-y-auto border-r border-line bg-surface p-4"
          >
            <Properties
              workflow={workflow}
              panel={panel}
              path={now.chosen}
              parameters={parameters}
              onChange={(item, tag) =>
                setPanel(
                  { ...panel, params: replaced(panel.params, now.chosen!, item) },
                  {},
                  tag && `${tag} ${now.at} ${now.chosen}`,
                )
              }
            />
          </section>
          <Preview workflow={workflow} panel={panel} parameters={parameters} />
        </div>
      ) : (
        <Empty
          icon={LayoutList}
          title={t('form.none')}
          action={
            <Button look="primary" icon={Sparkles} onClick={() => void propose()}>
              {t('panelEditor.propose')}
            </Button>
          }
        />
      )}
      {blocker.status === 'blocked' && (
        <Modal
          open
          onClose={blocker.reset}
          title={t('panelEditor.leave')}
          footer={
            <>
              <Button look="danger" onClick={blocker.proceed}>
                {t('panelEditor.discard')}
              </Button>
              <Button
                look="primary"
                onClick={() => keep.mutate({ id, panels: [...now.panels] }, { onSuccess: blocker.proceed })}
              >
                {t('panelEditor.save')}
              </Button>
            </>
          }
        >
          <p className="pb-2 text-soft">{t('panelEditor.unsaved')}</p>
        </Modal>
      )}
    </div>
  )
}

type Drop = { path: Path; where: 'before' | 'after' | 'in' }

function Outline({
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
    onChange(done.items, done.path)
    // the row has moved; the focus goes with it
    requestAnimationFrame(() =>
      list.current?.querySelector<HTMLElement>(`[data-path="${done.path.join('.')}"]`)?.focus(),
    )
  }
  const land = () => {
    setDragged(null)
    setDrop(null)
    if (!dragged || !drop) return
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
                    const { top, height } = event.currentTarget.getBoundingClientRect()
                    const part = (event.clientY - top) / height
                    const where = isGroup(item) && part > 0.3 ? 'in' : part < 0.5 ? 'before' : 'after'
                    if (aim !== where) setDrop({ path, where })
                  }}
                  onDrop={(event) => {
                    event.preventDefault()
                    land()
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
                        label={t('panelEditor.moveUp', { name })}
                        keys="Alt ↑"
                        onClick={() => step(path, 'up')}
                      />
                      <IconButton
                        size="sm"
                        icon={ArrowDown}
                        label={t('panelEditor.moveDown', { name })}
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
type Kind = 'group' | (typeof controlTypes)[number] | 'other'
const typeOf = ({ type }: PanelItem): Kind =>
  type === 'group' || controlTypes.includes(type as 'string') ? (type as Kind) : 'other'

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

/** What can look how, by the type of the value. */
function kindsFor({ type, upload }: Parameter): (typeof controlTypes)[number][] {
  if (type === 'BOOLEAN') return ['boolean', 'select']
  if (type === 'INT') return ['number', 'seed', 'select']
  if (type === 'FLOAT') return ['number', 'select']
  if (upload) return ['image', 'video', 'audio', 'select']
  return type === 'COMBO' ? ['select'] : ['string', 'select', 'image']
}

function Properties({
  workflow,
  panel,
  path,
  parameters,
  onChange,
}: {
  workflow: Workflow
  panel: Panel
  path: Path | null
  parameters: ReadonlyMap<string, Parameter>
  onChange: (item: PanelItem, tag?: string) => void
}) {
  const { t } = useWords()
  const item = path && itemAt(panel.params, path)
  if (!path || !item) return <p className="text-faint">{t('panelEditor.nothingChosen')}</p>
  if (item.type === UNREADABLE)
    return (
      <>
        <p className="mb-2 text-warn">{t('panelEditor.unreadable')}</p>
        <pre className="overflow-x-auto rounded-md bg-sunken p-2 text-xs">{writeJson(item.raw, 1).slice(0, 2000)}</pre>
      </>
    )
  const key = keyOfItem(item)
  const parameter = key === null ? undefined : parameters.get(key)
  /** Empty takes the field away, so that a file stays as short as it was. */
  const set = (field: string, value: unknown, tag?: string) => {
    const { [field]: _, ...rest } = item
    onChange((value === undefined ? rest : { ...item, [field]: value }) as PanelItem, tag)
  }
  const text = (
    field: 'title' | 'description' | 'placeholder',
    label: string,
    lines = false,
    hint?: string,
  ): ReactNode => {
    const shared = {
      value: item[field] ?? '',
      placeholder: hint,
      className: 'field',
      onChange: ({ target }: { target: { value: string } }) => set(field, target.value || undefined, field),
    }
    return (
      <Field label={label}>
        {(ids) => (lines ? <textarea {...ids} {...shared} rows={3} /> : <input {...ids} {...shared} />)}
      </Field>
    )
  }
  const kinds = parameter ? kindsFor(parameter) : []
  const kind = typeOf(item)
  return (
    // every field begins anew for another item
    <div key={path.join('.')} className="flex flex-col gap-4">
      {key !== null && (
        <p className={`text-xs break-words ${parameter ? 'text-faint' : 'text-warn'}`}>
          {parameter
            ? t('panelEditor.turns', { input: parameter.input, node: `${parameter.nodeTitle} (${parameter.node})` })
            : t('form.unusable', { title: item.title || key })}
        </p>
      )}
      {text('title', t('panelEditor.name'))}
      {text('description', t('panelEditor.description'), true, t('panelEditor.descriptionHint'))}
      {parameter && (
        <Field label={t('panelEditor.kind')}>
          {(ids) => (
            <Select
              {...ids}
              value={kind}
              choices={[...new Set<Kind>([kind, ...kinds])].map((one) => ({
                value: one,
                label: t(`panelEditor.type.${one}`),
              }))}
              onChange={(next) => set('type', next)}
            />
          )}
        </Field>
      )}
      {parameter && kind === 'string' && (
        <>
          {text('placeholder', t('panelEditor.placeholder'))}
          <Switch
            label={t('panelEditor.lines')}
            checked={item.multiline ?? true}
            onChange={(on) => set('multiline', on)}
          />
        </>
      )}
      {parameter && kind === 'number' && (
        <div className="grid grid-cols-3 gap-2">
          {(['min', 'max', 'step'] as const).map((bound) => (
            <Field key={bound} label={t(`panelEditor.${bound}`)}>
              {(ids) => (
                <NumberBox
                  ids={ids}
                  value={item[bound]}
                  fallback={parameter[bound]}
                  onChange={(value) => set(bound, value, bound)}
                />
              )}
            </Field>
          ))}
        </div>
      )}
      {parameter && (kind === 'select' || kind === 'image') && (
        <Options item={item} onChange={(options) => set('options', options, 'options')} />
      )}
      {parameter && key !== null && (
        <Default
          workflow={workflow}
          item={item}
          parameter={parameter}
          parameters={parameters}
          onChange={(value) => set('default', value, 'default')}
        />
      )}
      {parameter && (
        <Switch
          label={t('panelEditor.required')}
          checked={item.required ?? fieldOf(item, parameter).upload !== undefined}
          onChange={(on) => set('required', on)}
        />
      )}
      <Switch
        label={t('panelEditor.hidden')}
        help={t('panelEditor.hiddenNote')}
        checked={item.hidden ?? false}
        onChange={(on) => set('hidden', on || undefined)}
      />
    </div>
  )
}

/** A bound: empty, as the node has it. */
function NumberBox({
  ids,
  value,
  fallback,
  onChange,
}: {
  ids: object
  value: number | bigint | null | undefined
  fallback: Json | undefined
  onChange: (value: number | undefined) => void
}) {
  const kept = value === undefined || value === null ? '' : String(value)
  const [typed, setTyped] = useState(kept)
  // what is typed, unless it was undone meanwhile
  const isNumber = typed.trim() !== '' && Number.isFinite(Number(typed))
  const text = (kept === '' ? !isNumber : Number(typed) === Number(kept)) ? typed : kept
  return (
    <input
      {...ids}
      inputMode="decimal"
      value={text}
      placeholder={fallback === undefined || Math.abs(Number(fallback)) >= 1e9 ? '' : textOf(fallback)}
      onChange={({ target }) => {
        setTyped(target.value)
        if (target.value.trim() === '') onChange(undefined)
        else if (Number.isFinite(Number(target.value))) onChange(Number(target.value))
      }}
      className="field num"
    />
  )
}

/** Choices, one a line. */
function Options({ item, onChange }: { item: PanelItem; onChange: (options: PanelOption[] | undefined) => void }) {
  const { t } = useWords()
  const [typed, setTyped] = useState(() => linesOf(item))
  // what is typed, unless it was undone meanwhile
  const text = writeJson(optionsIn(typed, item)) === writeJson(item.options) ? typed : linesOf(item)
  if (typeof item.options === 'string')
    return <p className="text-xs text-faint">{t('panelEditor.optionsOfNode', { classType: item.options })}</p>
  return (
    <Field label={t('panelEditor.options')} help={t('panelEditor.optionsNote')}>
      {(ids) => (
        <textarea
          {...ids}
          rows={5}
          value={text}
          onChange={({ target }) => {
            setTyped(target.value)
            onChange(optionsIn(target.value, item))
          }}
          className="field font-mono text-xs"
        />
      )}
    </Field>
  )
}
/** What the form holds at first, filled in with the very control it will have. */
function Default({
  workflow,
  item,
  parameter,
  parameters,
  onChange,
}: {
  workflow: Workflow
  item: PanelItem
  parameter: Parameter
  parameters: ReadonlyMap<string, Parameter>
  onChange: (value: Json | undefined) => void
}) {
  const { t } = useWords()
  const isOwn = item.default !== undefined
  const { default: value, ...bare } = item
  const filling: Filling = {
    workflowId: workflow.id,
    parameters,
    values: isOwn ? { [parameter.key]: value! } : {},
    faults: new Map(),
    onChange: (_, next) => onChange(next),
  }
  return (
    <div className="flex flex-col gap-2">
      <Switch
        label={t('panelEditor.default')}
        help={isOwn ? undefined : t('panelEditor.defaultNote')}
        checked={isOwn}
        onChange={(on) => onChange(on ? (choicesOf(item)?.[0]?.value ?? parameter.default) : undefined)}
      />
      {isOwn && (
        <div className="@container">
          <ItemField
            item={{ ...bare, title: t('panelEditor.default'), description: undefined, required: false } as PanelItem}
            filling={filling}
          />
        </div>
      )}
    </div>
  )
}

/** The form as people will see it; what is tried here goes nowhere. */
function Preview({
  workflow,
  panel,
  parameters,
}: {
  workflow: Workflow
  panel: Panel
  parameters: ReadonlyMap<string, Parameter>
}) {
  const { t } = useWords()
  const [values, setValues] = useState<Record<string, Json>>({})
  const filling: Filling = {
    workflowId: workflow.id,
    parameters,
    values,
    faults: new Map(),
    misfits: misfitsOf(workflow),
    onChange: (key, value) =>
      setValues(({ [key]: _, ...rest }) => (value === undefined ? rest : { ...rest, [key]: value })),
  }
  const lost = [...itemsOf(panel.params)].filter(({ key, hidden }) => !hidden && (key === null || !parameters.has(key)))
  return (
    <section aria-label={t('panelEditor.preview')} className="min-h-0 overflow-y-auto p-5">
      <div className="mx-auto max-w-[640px]">
        <p className="eyebrow mb-2">{t('panelEditor.preview')}</p>
        <p className="mb-4 text-lg font-semibold break-words">{panel.title}</p>
        {lost.length > 0 && (
          <p className="tone-warn mb-4 flex items-center gap-2 rounded-md px-3 py-2">
            <TriangleAlert size={15} className="shrink-0" aria-hidden />
            {t('panelEditor.problems', { count: lost.length })}
          </p>
        )}
        <PanelFields panel={panel} filling={filling} />
      </div>
    </section>
  )
}
