import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import {
  CopyPlus,
  FileSpreadsheet,
  FolderOpen,
  Images,
  Moon,
  Plus,
  Redo2,
  SlidersHorizontal,
  Table2,
  Trash2,
  TriangleAlert,
  Undo2,
  X,
} from 'lucide-react'
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from 'react'
import type { BatchPreview, Table } from '../../core/contract/batch.ts'
import type { Settings } from '../../core/contract/settings.ts'
import type { Parameter, Workflow } from '../../core/contract/workflow.ts'
import { bridge, call, refresh, useAsk, useDo } from '../client/client.ts'
import { addInput, bytesOf, chooseFiles } from '../client/files.ts'
import { type ChangeDraft, type Column, type Draft, mayQueue, onlyLoses, planOfBatch, useDraft } from '../draft.ts'
import { sayParameter, saySentence, useWords } from '../i18n.ts'
import { useTaker } from '../intake.tsx'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { Combobox, Field, Select, Switch } from '../parts/forms.tsx'
import { Menu, say, sayFault } from '../parts/overlays.tsx'
import { textOf } from '../parts/parameter-control.tsx'
import { boundsOf, type Range, type TableEdit, TableGrid } from '../parts/table-grid.tsx'
import { askToTrust } from '../parts/trust-models.tsx'
import { useMainAction } from '../parts/use-shortcut.ts'
import { valuesOf } from '../tsv.ts'

const SETTLE_MS = 300
const FIRST_ROWS = 8

/** One workflow, many pictures: a table, axes and repeats, checked as they are filled in. */
export function BatchPage() {
  const { id } = useParams({ from: '/batch/$id' })
  const { t } = useWords()
  const workflow = useAsk('workflow.get', { id })
  const settings = useAsk('settings.get', {})
  const [draft, change] = useDraft(id)
  const error = workflow.error ?? settings.error
  if (error)
    return (
      <div className="p-6">
        <ErrorNotice
          cause={error}
          onRetry={() => void Promise.all([workflow.refetch(), settings.refetch()])}
          action={
            <Link to="/" className="btn btn-sm">
              {t('nav.start')}
            </Link>
          }
        />
      </div>
    )
  if (!workflow.data || !settings.data || !draft)
    return (
      <div className="p-6">
        <Skeleton rows={8} />
      </div>
    )
  return <Loaded key={id} workflow={workflow.data} settings={settings.data} draft={draft} change={change} />
}

const newId = () => Math.random().toString(36).slice(2, 10)
const columnFor = (parameter: Parameter): Column => ({
  id: newId(),
  title: sayParameter(parameter),
  parameter: parameter.key,
})
/** By the name it has on this screen, else as the host guessed. */
const columnOf = (title: string, guessed: string | null | undefined, parameters: readonly Parameter[]): Column => ({
  id: newId(),
  title,
  parameter:
    parameters.find((parameter) => plainName(sayParameter(parameter)) === plainName(title))?.key ?? guessed ?? null,
})
const blankRows = (count: number, columns: number) =>
  Array.from({ length: count }, () => Array<string>(columns).fill(''))

function Loaded({
  workflow,
  settings,
  draft,
  change,
}: {
  workflow: Workflow
  settings: Settings
  draft: Draft
  change: ChangeDraft
}) {
  const { t, format } = useWords()
  const { id } = workflow
  const parameters = workflow.inspection.parameters
  const navigate = useNavigate()
  const [range, setRange] = useState<Range>({ anchor: { row: 0, column: 0 }, active: { row: 0, column: 0 } })
  const [source, setSource] = useState<{ file: File; table: Table } | null>(null)
  const [reading, setReading] = useState(false)
  const past = useRef<Pick<Draft, 'columns' | 'rows'>[]>([])
  const future = useRef<Pick<Draft, 'columns' | 'rows'>[]>([])

  // the first visit finds a table to type into, not a blank page
  const firstColumn = parameters.find(({ role }) => role === 'prompt') ?? parameters.find(({ shown }) => shown)
  useEffect(() => {
    if (draft.begun) return
    change(
      firstColumn && draft.columns.length === 0
        ? { begun: true, columns: [columnFor(firstColumn)], rows: blankRows(FIRST_ROWS, 1) }
        : { begun: true },
    )
  }, [draft.begun, draft.columns.length, firstColumn, change])

  const edit = useCallback(
    (next: TableEdit) =>
      change((draft) => {
        past.current = [...past.current.slice(-99), { columns: draft.columns, rows: draft.rows }]
        future.current = []
        return next
      }),
    [change],
  )
  const travel = (from: typeof past, to: typeof past) => {
    const there = from.current.at(-1)
    if (!there) return
    from.current = from.current.slice(0, -1)
    to.current = [...to.current, { columns: draft.columns, rows: draft.rows }]
    change(there)
  }
  const undo = () => travel(past, future)
  const redo = () => travel(future, past)

  const takeTable = useCallback(
    async (file: File, sheet?: string) => {
      setReading(true)
      try {
        const table = await call('table.read', { ...(await bytesOf(file)), ...(sheet && { sheet }) })
        const { parameters: mapped } = await call('table.map', {
          workflowId: id,
          columns: table.columns,
          sample: table.rows.slice(0, 50),
        })
        edit({
          columns: table.columns.map((title) => columnOf(title, mapped[title], parameters)),
          rows: table.rows.map((row) => table.columns.map((_, place) => row[place] ?? '')),
        })
        setSource({ file, table })
        setRange({ anchor: { row: 0, column: 0 }, active: { row: 0, column: 0 } })
      } catch (cause) {
        sayFault(cause)
      } finally {
        setReading(false)
      }
    },
    [id, edit, parameters],
  )

  const pictureInput = parameters.find(({ upload }) => upload)
  const takeRefs = useCallback(
    (refs: string[]) => {
      if (!pictureInput || refs.length === 0) return
      change((draft) => {
        past.current = [...past.current.slice(-99), { columns: draft.columns, rows: draft.rows }]
        future.current = []
        const had = draft.columns.findIndex(({ parameter }) => parameter === pictureInput.key)
        const place = had === -1 ? draft.columns.length : had
        const columns = had === -1 ? [...draft.columns, columnFor(pictureInput)] : draft.columns
        const rows = draft.rows.map((row) => columns.map((_, at) => row[at] ?? ''))
        const lastFilled = rows.findLastIndex((row) => row[place] !== '')
        refs.forEach((ref, offset) => {
          const at = lastFilled + 1 + offset
          rows[at] = (rows[at] ?? columns.map(() => '')).with(place, ref)
        })
        return { columns, rows }
      })
    },
    [pictureInput, change],
  )
  const takeMedia = useCallback(
    async (files: File[]) => {
      if (files.length === 0) return
      if (!pictureInput) return say({ title: t('batch.noPictureInput') }, 'bad')
      setReading(true)
      try {
        const refs: string[] = []
        for (const file of files) refs.push((await addInput(file)).ref)
        takeRefs(refs)
        say({ title: t('batch.picturesAdded', { count: refs.length }) })
      } catch (cause) {
        sayFault(cause)
      } finally {
        setReading(false)
      }
    },
    [pictureInput, takeRefs, t],
  )
  useTaker(
    useMemo(
      () => ({ table: (file: File) => void takeTable(file), media: (files: File[]) => void takeMedia(files) }),
      [takeTable, takeMedia],
    ),
  )
  async function chooseFolder() {
    if (!bridge) return takeMedia(await chooseFiles('image/*', { folder: true }))
    const path = await bridge.chooseFolder()
    if (!path) return
    setReading(true)
    try {
      const { files } = await call('input.addFolder', { path })
      takeRefs(files.map(({ ref }) => ref))
      say({ title: t('batch.picturesAdded', { count: files.length }) })
    } catch (cause) {
      sayFault(cause)
    } finally {
      setReading(false)
    }
  }

  const preview = usePreview(id, draft, settings)
  const faults = useFaults(preview.data?.faults, draft, parameters)
  const submit = useDo('batch.submit', {
    onError: (cause, plan) => askToTrust(cause, () => submit.mutate(plan)),
    onSuccess({ batchId, jobs }) {
      say({ title: t('workflow.queued', { count: jobs, n: format.number(jobs) }) })
      void refresh('batch.list', 'queue.state')
      void navigate({ to: '/queue', search: { batch: batchId } })
    },
  })
  const queue = () => {
    if (!submit.isPending && mayQueue(workflow, draft)) submit.mutate(planOfBatch(id, draft, settings))
  }

  useMainAction(queue)

  /** A paste into an empty table whose first line names parameters brings its own columns. */
  const takePaste = (cells: string[][]) => {
    const [header, ...rows] = cells
    if (!header || rows.length === 0 || draft.rows.some((row) => row.some((cell) => cell !== ''))) return false
    const named = header.filter((title) => namesParameter(title, parameters))
    if (named.length * 2 < header.length || new Set(header).size < header.length) return false
    void call('table.map', { workflowId: id, columns: header, sample: rows.slice(0, 50) }).then(
      ({ parameters: mapped }) => {
        edit({
          columns: header.map((title) => columnOf(title, mapped[title], parameters)),
          rows: rows.map((row) => header.map((_, place) => row[place] ?? '')),
        })
        setRange({ anchor: { row: 0, column: 0 }, active: { row: 0, column: 0 } })
      },
      sayFault,
    )
    return true
  }

  const bounds = boundsOf(range)
  const chosen = draft.rows.slice(bounds.top, bounds.bottom + 1)
  const addRow = () =>
    edit({
      rows: draft.rows.toSpliced(
        bounds.bottom + 1,
        0,
        draft.columns.map(() => ''),
      ),
    })
  const duplicate = () => edit({ rows: draft.rows.toSpliced(bounds.bottom + 1, 0, ...chosen.map((row) => [...row])) })
  const removeRows = () => {
    edit({ rows: draft.rows.toSpliced(bounds.top, bounds.bottom - bounds.top + 1) })
    say({ title: t('batch.rowsRemoved', { count: chosen.length }), action: { label: t('common.undo'), run: undo } })
    const row = Math.max(0, Math.min(bounds.top, draft.rows.length - chosen.length - 1))
    setRange({ anchor: { row, column: 0 }, active: { row, column: 0 } })
  }
  const free = parameters.filter(({ key }) => !draft.columns.some(({ parameter }) => parameter === key))
  const noTable = draft.columns.length === 0
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHead title={t('batch.title', { name: workflow.name })}>
        <input
          value={draft.name}
          onChange={({ target }) => change({ name: target.value })}
          aria-label={t('batch.name')}
          placeholder={t('batch.name')}
          className="field w-56"
        />
        <Link to="/workflow/$id" params={{ id }} className="btn">
          <SlidersHorizontal aria-hidden /> {t('nav.workflow')}
        </Link>
      </PageHead>
      <div className="grid min-h-0 flex-1 grid-cols-[minmax(0,1fr)_312px] min-[1180px]:grid-cols-[minmax(0,1fr)_348px]">
        <section aria-label={t('batch.rows')} className="flex min-h-0 min-w-0 flex-col">
          <div
            role="toolbar"
            aria-label={t('batch.tools')}
            className="flex flex-wrap items-center gap-1 border-b border-line bg-surface px-3 py-1.5"
          >
            <Button
              size="sm"
              icon={FileSpreadsheet}
              busy={reading}
              onClick={() => void chooseFiles('.csv,.tsv,.xlsx').then(([file]) => file && takeTable(file))}
            >
              {t('batch.import')}
            </Button>
            {pictureInput && (
              <Menu
                trigger={
                  <Button size="sm" icon={Images}>
                    {t('batch.pictures')}
                  </Button>
                }
                items={[
                  {
                    label: t('batch.choosePictures'),
                    icon: Images,
                    onSelect: () => void chooseFiles('image/*,video/*,audio/*', { many: true }).then(takeMedia),
                  },
                  { label: t('batch.chooseFolder'), icon: FolderOpen, onSelect: () => void chooseFolder() },
                ]}
              />
            )}
            <span className="mx-1 h-5 w-px bg-line" aria-hidden />
            <div className="w-40">
              <Combobox
                small
                aria-label={t('batch.addColumn')}
                placeholder={`+ ${t('batch.addColumn')}`}
                value={null}
                choices={free.map((one) => ({ value: one.key, label: sayParameter(one), note: one.nodeTitle }))}
                onChange={(key) => {
                  const parameter = parameters.find((one) => one.key === key)
                  if (!parameter) return
                  edit({
                    columns: [...draft.columns, columnFor(parameter)],
                    rows: draft.rows.length > 0 ? draft.rows.map((row) => [...row, '']) : blankRows(FIRST_ROWS, 1),
                  })
                }}
              />
            </div>
            <Button size="sm" look="quiet" icon={Plus} onClick={addRow} disabled={noTable}>
              {t('batch.addRow')}
            </Button>
            <IconButton
              size="sm"
              icon={CopyPlus}
              label={t('batch.duplicate')}
              onClick={duplicate}
              disabled={chosen.length === 0}
            />
            <IconButton
              size="sm"
              icon={Trash2}
              label={t('batch.removeRows')}
              onClick={removeRows}
              disabled={chosen.length === 0}
            />
            <span className="mx-1 h-5 w-px bg-line" aria-hidden />
            <IconButton
              size="sm"
              icon={Undo2}
              label={t('common.undo')}
              onClick={undo}
              disabled={past.current.length === 0}
            />
            <IconButton
              size="sm"
              icon={Redo2}
              label={t('common.redo')}
              onClick={redo}
              disabled={future.current.length === 0}
            />
            <span className="num ml-auto text-xs text-faint">
              {t('batch.rowCount', { count: draft.rows.length, n: format.number(draft.rows.length) })}
            </span>
          </div>
          {source && (
            <SourceBar
              source={source}
              mapped={draft.columns.filter(({ parameter }) => parameter).length}
              columns={draft.columns.length}
              onSheet={(sheet) => void takeTable(source.file, sheet)}
              onClose={() => setSource(null)}
            />
          )}
          {noTable ? (
            <Empty
              icon={Table2}
              title={t('batch.empty')}
              action={
                <>
                  {firstColumn && (
                    <Button
                      look="primary"
                      icon={Plus}
                      onClick={() => edit({ columns: [columnFor(firstColumn)], rows: blankRows(FIRST_ROWS, 1) })}
                    >
                      {t('batch.firstColumn', { name: sayParameter(firstColumn) })}
                    </Button>
                  )}
                  <Button
                    icon={FileSpreadsheet}
                    onClick={() => void chooseFiles('.csv,.tsv,.xlsx').then(([file]) => file && takeTable(file))}
                  >
                    {t('batch.import')}
                  </Button>
                </>
              }
            >
              {t('batch.emptyNote')}
            </Empty>
          ) : draft.rows.length === 0 ? (
            <Empty
              icon={Table2}
              title={t('batch.noRows')}
              action={
                <Button
                  look="primary"
                  icon={Plus}
                  onClick={() => edit({ rows: blankRows(FIRST_ROWS, draft.columns.length) })}
                >
                  {t('batch.addRow')}
                </Button>
              }
            >
              {t('batch.emptyNote')}
            </Empty>
          ) : (
            <TableGrid
              columns={draft.columns}
              rows={draft.rows}
              parameters={parameters}
              faults={faults.cells}
              range={range}
              onRange={setRange}
              onEdit={edit}
              onPaste={takePaste}
              onUndo={undo}
              onRedo={redo}
            />
          )}
          {faults.list.length > 0 && (
            <FaultList
              faults={faults.list}
              onGo={(row, column) => {
                setRange({ anchor: { row, column }, active: { row, column } })
                document.querySelector<HTMLElement>('[role=grid]')?.focus({ preventScroll: true })
              }}
            />
          )}
        </section>
        <Options workflow={workflow} settings={settings} draft={draft} change={change} preview={preview.data} />
      </div>
      <Summary
        workflow={workflow}
        mayQueue={mayQueue(workflow, draft)}
        preview={preview.data}
        error={preview.error}
        settling={preview.settling}
        onQueue={queue}
        busy={submit.isPending}
      />
    </div>
  )
}

const plainName = (text: string) => text.toLowerCase().replace(/[\s_-]+/g, '')
const namesParameter = (title: string, parameters: readonly Parameter[]) =>
  parameters.some((parameter) =>
    [parameter.key, parameter.name, parameter.input, parameter.role ?? '', sayParameter(parameter)].some(
      (known) => known !== '' && plainName(known) === plainName(title),
    ),
  )

/** What the plan would make, asked once the typing stops. */
function usePreview(id: string, draft: Draft, settings: Settings) {
  const [settled, setSettled] = useState({ draft, stamp: 0 })
  useEffect(() => {
    const timer = setTimeout(
      () => setSettled((before) => (before.draft === draft ? before : { draft, stamp: before.stamp + 1 })),
      SETTLE_MS,
    )
    return () => clearTimeout(timer)
  }, [draft])
  // the plan may hold a hundred thousand cells, so its number stands for it in the key
  const preview = useQuery({
    queryKey: ['batch.preview', id, settled.stamp, settings.pattern],
    queryFn: () => call('batch.preview', planOfBatch(id, settled.draft, settings)),
    placeholderData: (before) => before,
    gcTime: 0,
  })
  return {
    data: preview.data,
    error: preview.isPlaceholderData ? null : preview.error,
    settling: settled.draft !== draft || preview.isFetching,
  }
}

interface ShownFault {
  row: number
  column: number
  title: string
  value: string
  reason: string
}
/** The host's faults, at the places of the table on screen. */
function useFaults(faults: BatchPreview['faults'] | undefined, draft: Draft, parameters: readonly Parameter[]) {
  return useMemo(() => {
    const list = (faults ?? []).flatMap(({ row, column, value, reason, code, facts }): ShownFault[] => {
      const place = draft.columns.findIndex(
        ({ title, parameter }) =>
          title === column || parameter === column || parameters.find(({ key }) => key === parameter)?.name === column,
      )
      return [
        {
          row: row - 1,
          column: place,
          title: column,
          value,
          reason: saySentence({ code, message: reason, facts: facts as never }),
        },
      ]
    })
    return { list, cells: new Map(list.map(({ row, column, reason }) => [`${row}:${column}`, reason])) }
  }, [faults, draft, parameters])
}

function SourceBar({
  source: { file, table },
  mapped,
  columns,
  onSheet,
  onClose,
}: {
  source: { file: File; table: Table }
  mapped: number
  columns: number
  onSheet: (sheet: string) => void
  onClose: () => void
}) {
  const { t, format } = useWords()
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line bg-accent-soft px-3 py-1.5 text-xs text-accent-ink">
      <span className="font-semibold">{file.name}</span>
      <span className="num">
        {table.encoding} · {t('batch.rowCount', { count: table.rows.length, n: format.number(table.rows.length) })} ·{' '}
        {t('batch.mapped', { mapped, columns })}
      </span>
      {table.sheets.length > 1 && (
        <span className="w-44">
          <Select
            small
            aria-label={t('batch.sheet')}
            value={table.sheet ?? table.sheets[0]!}
            choices={table.sheets.map((sheet) => ({ value: sheet, label: sheet }))}
            onChange={onSheet}
          />
        </span>
      )}
      {table.notes.map((note) => (
        <span key={note.message} className="flex items-center gap-1 text-warn">
          <TriangleAlert size={13} className="shrink-0" aria-hidden /> {saySentence(note as never)}
        </span>
      ))}
      <IconButton size="sm" icon={X} label={t('common.close')} onClick={onClose} className="-my-1 ml-auto" />
    </div>
  )
}

function FaultList({ faults, onGo }: { faults: readonly ShownFault[]; onGo: (row: number, column: number) => void }) {
  const { t, format } = useWords()
  return (
    <section aria-label={t('batch.faults')} className="flex max-h-44 shrink-0 flex-col border-t border-line bg-surface">
      <h2 className="flex items-center gap-2 px-3 py-2 text-xs">
        <TriangleAlert size={14} className="text-bad" aria-hidden />
        {t('batch.faultCount', { count: faults.length, n: format.number(faults.length) })}
      </h2>
      <ul className="min-h-0 overflow-y-auto px-1.5 pb-1.5">
        {faults.slice(0, 500).map(({ row, column, title, value, reason }) => (
          <li key={`${row}:${title}:${reason}`}>
            <button
              type="button"
              onClick={() => onGo(row, Math.max(0, column))}
              className="flex w-full items-baseline gap-3 rounded-md px-2 py-1 text-left text-xs hover:bg-hover"
            >
              <span className="num w-16 shrink-0 font-medium">{t('batch.row', { row: format.number(row + 1) })}</span>
              <span className="w-28 shrink-0 truncate text-soft">{title}</span>
              <span className="min-w-0 flex-1 break-words">
                {reason}
                {value && <span className="text-faint"> ({value.length > 60 ? `${value.slice(0, 60)}…` : value})</span>}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  )
}

const tokens = [
  'batch',
  'workflow',
  'row:04',
  'index',
  'name',
  'seed',
  'date:yyyy-MM-dd',
  'time',
  'counter:05',
  'worker',
  'node',
]

function Options({
  workflow,
  settings,
  draft,
  change,
  preview,
}: {
  workflow: Workflow
  settings: Settings
  draft: Draft
  change: ChangeDraft
  preview: BatchPreview | undefined
}) {
  const { t, format } = useWords()
  const workers = useAsk('worker.list', {})
  const parameters = workflow.inspection.parameters
  const sets = parameters.filter(({ key }) => key in draft.sets)
  const columnTokens = draft.columns.filter(({ parameter }) => !parameter).map(({ title }) => `column ${title}`)
  const pattern = useRef<HTMLInputElement>(null)
  const insert = (token: string) => {
    const at = pattern.current?.selectionStart ?? null
    const text = draft.pattern || settings.pattern
    const place = at === null || !draft.pattern ? text.length : at
    change({ pattern: `${text.slice(0, place)}{${token}}${text.slice(place)}` })
    pattern.current?.focus()
  }
  const numberOf = (text: string, low: number, high: number) =>
    Math.min(high, Math.max(low, Math.trunc(Number(text)) || 0))
  return (
    <aside aria-label={t('batch.options')} className="min-h-0 overflow-y-auto border-l border-line bg-surface">
      <Section title={t('batch.sameForAll')} note={t('batch.sameForAllNote')}>
        {sets.length > 0 && (
          <dl className="grid grid-cols-[auto_1fr] gap-x-3 gap-y-1 text-xs">
            {sets.map((parameter) => (
              <div key={parameter.key} className="contents">
                <dt className="text-faint">{sayParameter(parameter)}</dt>
                <dd className="truncate" title={textOf(draft.sets[parameter.key]!)}>
                  {textOf(draft.sets[parameter.key]!)}
                </dd>
              </div>
            ))}
          </dl>
        )}
        <Link to="/workflow/$id" params={{ id: workflow.id }} className="btn btn-sm self-start">
          <SlidersHorizontal aria-hidden /> {t('batch.editOnForm')}
        </Link>
      </Section>

      <Section title={t('batch.grid')} note={t('batch.gridNote')}>
        {draft.axes.map(({ id, parameter, text }, place) => (
          <fieldset key={id} className="flex flex-col gap-1.5 rounded-md border border-line p-2">
            <legend className="sr-only">{t('batch.axis', { place: place + 1 })}</legend>
            <div className="flex gap-1">
              <Combobox
                small
                aria-label={t('batch.axisParameter', { place: place + 1 })}
                value={parameter || null}
                placeholder={t('batch.chooseParameter')}
                choices={parameters.map((one) => ({ value: one.key, label: sayParameter(one), note: one.nodeTitle }))}
                onChange={(key) => change({ axes: draft.axes.with(place, { id, parameter: key ?? '', text }) })}
              />
              <IconButton
                size="sm"
                icon={X}
                label={t('batch.removeAxis', { place: place + 1 })}
                onClick={() => change({ axes: draft.axes.toSpliced(place, 1) })}
              />
            </div>
            <textarea
              rows={1}
              value={text}
              aria-label={t('batch.axisValues', { place: place + 1 })}
              placeholder={t('batch.valuesHint')}
              onChange={({ target }) => change({ axes: draft.axes.with(place, { id, parameter, text: target.value }) })}
              className="field min-h-8 text-xs"
            />
            <p className="num text-2xs text-faint">{t('batch.valueCount', { count: valuesOf(text).length })}</p>
          </fieldset>
        ))}
        <Button
          size="sm"
          icon={Plus}
          className="self-start"
          onClick={() => change({ axes: [...draft.axes, { id: newId(), parameter: '', text: '' }] })}
        >
          {t('batch.addAxis')}
        </Button>
        <Field label={t('batch.repeat')} help={t('batch.repeatNote')}>
          {(ids) => (
            <input
              {...ids}
              inputMode="numeric"
              value={String(draft.repeat)}
              onChange={({ target }) => change({ repeat: Math.max(1, numberOf(target.value, 1, 100_000)) })}
              className="field num"
            />
          )}
        </Field>
      </Section>

      <Section title={t('batch.names')}>
        <Field
          label={t('batch.pattern')}
          aside={
            <Menu
              trigger={
                <Button size="sm" look="quiet" icon={Plus}>
                  {t('batch.token')}
                </Button>
              }
              items={[...tokens, ...columnTokens].map((token) => ({
                label: `{${token}}`,
                onSelect: () => insert(token),
              }))}
            />
          }
        >
          {(ids) => (
            <input
              {...ids}
              ref={pattern}
              value={draft.pattern}
              placeholder={settings.pattern}
              onChange={({ target }) => change({ pattern: target.value })}
              spellCheck={false}
              className="field font-mono text-xs"
            />
          )}
        </Field>
        {(preview?.exampleNames.length ?? 0) > 0 && (
          <ul
            aria-label={t('batch.examples')}
            className="flex flex-col gap-0.5 rounded-md bg-sunken px-2 py-1.5 font-mono text-2xs text-soft"
          >
            {preview?.exampleNames.slice(0, 4).map((name) => (
              <li key={name} className="truncate" title={name}>
                {name}
              </li>
            ))}
          </ul>
        )}
        {bridge && (
          <Field label={t('batch.folder')}>
            {(ids) => (
              <div className="flex gap-1.5">
                <input
                  {...ids}
                  value={draft.outDir}
                  placeholder={t('batch.folderDefault')}
                  onChange={({ target }) => change({ outDir: target.value })}
                  className="field text-xs"
                />
                <IconButton
                  look="plain"
                  icon={FolderOpen}
                  label={t('settings.chooseFolder')}
                  onClick={() => void bridge?.chooseFolder().then((outDir) => outDir && change({ outDir }))}
                />
              </div>
            )}
          </Field>
        )}
      </Section>

      <Section title={t('batch.whereWhen')}>
        <fieldset className="flex flex-col gap-1">
          <legend className="label mb-1">{t('batch.workers')}</legend>
          {workers.data?.rows.map(({ id, kind, health }) => (
            <label key={id} className="flex items-center gap-2">
              <input
                type="checkbox"
                checked={draft.workers.includes(id)}
                onChange={({ target }) =>
                  change({
                    workers: target.checked ? [...draft.workers, id] : draft.workers.filter((one) => one !== id),
                  })
                }
                className="size-4 accent-(--accent)"
              />
              <span className="truncate">{kind === 'rehearsal' ? t('workers.rehearsal') : id}</span>
              {health.is === 'unreachable' && (
                <span className="badge tone-bad ml-auto">{t('workers.unreachable')}</span>
              )}
            </label>
          ))}
          <p className="text-xs text-faint">
            {draft.workers.length === 0 ? t('batch.anyWorker') : t('batch.theseWorkers')}
          </p>
        </fieldset>
        <div className="grid grid-cols-2 gap-3">
          <Field label={t('batch.startAt')}>
            {(ids) => (
              <input
                {...ids}
                type="time"
                value={draft.startAt}
                onChange={({ target }) => change({ startAt: target.value })}
                className="field num"
              />
            )}
          </Field>
          <Field label={t('batch.stopAt')}>
            {(ids) => (
              <input
                {...ids}
                type="time"
                value={draft.stopAt}
                onChange={({ target }) => change({ stopAt: target.value })}
                className="field num"
              />
            )}
          </Field>
          <Field label={t('batch.priority')} help={t('batch.priorityNote')}>
            {(ids) => (
              <input
                {...ids}
                type="number"
                min={-1000}
                max={1000}
                value={draft.priority}
                onChange={({ target }) => change({ priority: numberOf(target.value, -1000, 1000) })}
                className="field num"
              />
            )}
          </Field>
          <Field label={t('batch.retries')} help={t('batch.retriesNote')}>
            {(ids) => (
              <input
                {...ids}
                type="number"
                min={0}
                max={10}
                value={draft.retries}
                onChange={({ target }) => change({ retries: numberOf(target.value, 0, 10) })}
                className="field num"
              />
            )}
          </Field>
        </div>
      </Section>

      <Section title={t('batch.switches')}>
        <Switch
          label={t('settings.textMagic')}
          help={t('settings.textMagicNote')}
          checked={draft.textMagic ?? settings.textMagic}
          onChange={(textMagic) => change({ textMagic })}
        />
        <Switch
          label={t('settings.strip')}
          help={t('settings.stripNote')}
          checked={draft.stripMetadata ?? settings.stripMetadata}
          onChange={(stripMetadata) => change({ stripMetadata })}
        />
        {onlyLoses(workflow) && (
          <Switch
            label={t('workflow.allowLoss')}
            help={t('workflow.allowLossNote')}
            checked={draft.allowLoss}
            onChange={(allowLoss) => change({ allowLoss })}
          />
        )}
        {workflow.inspection.paid.length > 0 && (
          <Switch
            label={t('batch.allowPaid')}
            help={t('batch.allowPaidNote', { nodes: workflow.inspection.paid.join(', ') })}
            checked={draft.allowPaid}
            onChange={(allowPaid) => change({ allowPaid })}
          />
        )}
      </Section>
      <p className="sr-only" aria-live="polite">
        {preview && t('batch.makes', { count: preview.jobs, n: format.number(preview.jobs) })}
      </p>
    </aside>
  )
}

function Section({ title, note, children }: { title: string; note?: string; children: ReactNode }) {
  return (
    <section aria-label={title} className="flex flex-col gap-2.5 border-b border-line p-4 last:border-0">
      <div>
        <h2>{title}</h2>
        {note && <p className="text-xs text-faint">{note}</p>}
      </div>
      {children}
    </section>
  )
}

/** What Queue will do, before it is pressed. */
function Summary({
  workflow,
  mayQueue,
  preview,
  error,
  settling,
  onQueue,
  busy,
}: {
  workflow: Workflow
  mayQueue: boolean
  preview: BatchPreview | undefined
  error: unknown
  settling: boolean
  onQueue: () => void
  busy: boolean
}) {
  const { t, format } = useWords()
  const left = preview ? preview.rows - preview.goodRows : 0
  return (
    <footer className="flex flex-wrap items-center gap-x-4 gap-y-2 border-t border-line bg-surface px-5 py-2.5 shadow-[0_-4px_12px_-8px_rgb(0_0_0/15%)]">
      <div className="min-w-0 flex-1">
        {error ? (
          <ErrorNotice compact cause={error} />
        ) : !mayQueue ? (
          <p className="flex items-center gap-2 text-bad">
            <TriangleAlert size={15} aria-hidden /> {t('batch.notRunnable')}{' '}
            <Link to="/workflow/$id" params={{ id: workflow.id }} className="font-medium underline">
              {t('batch.seeProblems')}
            </Link>
          </p>
        ) : preview ? (
          <>
            <p aria-busy={settling} className="num flex flex-wrap items-baseline gap-x-2">
              <strong className="text-lg font-semibold">
                {t('batch.makes', { count: preview.jobs, n: format.number(preview.jobs) })}
              </strong>
              <span className="text-soft">
                {t('batch.fromRows', { count: preview.goodRows, n: format.number(preview.goodRows) })} ·{' '}
                {t('batch.distinct', { count: preview.distinctPrompts, n: format.number(preview.distinctPrompts) })}
                {left > 0 && (
                  <span className="text-bad"> · {t('batch.leftOut', { count: left, n: format.number(left) })}</span>
                )}
              </span>
            </p>
            {preview.warnings.map((warning) => (
              <p key={warning.code + warning.message} className="flex items-center gap-1.5 text-xs text-warn">
                <TriangleAlert size={13} className="shrink-0" aria-hidden /> {saySentence(warning as never)}
              </p>
            ))}
          </>
        ) : (
          <Skeleton rows={1} height={24} />
        )}
      </div>
      <Button
        look="primary"
        size="lg"
        icon={Moon}
        busy={busy}
        disabled={!mayQueue || !preview || preview.jobs === 0 || settling}
        onClick={onQueue}
      >
        {left > 0
          ? t('batch.queueGood', { n: format.number(preview?.jobs ?? 0) })
          : t('batch.queue', { n: format.number(preview?.jobs ?? 0) })}
      </Button>
    </footer>
  )
}
