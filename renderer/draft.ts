import { useCallback, useEffect, useSyncExternalStore } from 'react'
import type { BatchPlanInput } from '../core/contract/batch.ts'
import type { Json } from '../core/contract/json.ts'
import type { Settings } from '../core/contract/settings.ts'
import type { Parameter, Workflow } from '../core/contract/workflow.ts'
import { valuesOf } from './tsv.ts'

/** `parameter`: the key it fills; null: only names and reports know it. */
export interface Column {
  id: string
  title: string
  parameter: string | null
}
/** What a person has filled in for one workflow and not queued yet; it outlives a reload. */
export interface Draft {
  /** The table was given its first rows, so that one emptied on purpose stays empty. */
  begun: boolean
  sets: Record<string, Json>
  columns: Column[]
  rows: string[][]
  /** `text`: values between commas or line breaks, as typed. */
  axes: { id: string; parameter: string; text: string }[]
  name: string
  repeat: number
  workers: string[]
  pattern: string
  outDir: string
  priority: number
  retries: number
  startAt: string
  stopAt: string
  /** null: as the settings say. */
  textMagic: boolean | null
  stripMetadata: boolean | null
  allowPaid: boolean
  allowLoss: boolean
  /** What was filled in on the form and made, latest first. */
  history: { at: number; sets: Record<string, Json> }[]
}
const empty: Draft = {
  begun: false,
  sets: {},
  columns: [],
  rows: [],
  axes: [],
  name: '',
  repeat: 1,
  workers: [],
  pattern: '',
  outDir: '',
  priority: 0,
  retries: 0,
  startAt: '',
  stopAt: '',
  textMagic: null,
  stripMetadata: null,
  allowPaid: false,
  allowLoss: false,
  history: [],
}

// IndexedDB keeps bigints and tables of any size; localStorage would do neither.
let database: IDBDatabase | null = null
const opened = new Promise<void>((resolve) => {
  const opening = indexedDB.open('nightshift', 1)
  opening.onupgradeneeded = () => opening.result.createObjectStore('drafts')
  opening.onsuccess = () => {
    database = opening.result
    resolve()
  }
  opening.onerror = () => resolve()
})
const drawer = (mode: IDBTransactionMode) => database?.transaction('drafts', mode).objectStore('drafts')

const drafts = new Map<string, Draft>()
const listeners = new Set<() => void>()
const announce = () => {
  for (const listener of listeners) listener()
}
const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => listeners.delete(listener)
}
const loading = new Set<string>()
const saving = new Map<string, ReturnType<typeof setTimeout>>()
const SAVE_AFTER_MS = 250
/** A table this long is written once the typing stops, a shorter one with every change. */
const LONG_TABLE = 2_000

async function load(id: string) {
  if (drafts.has(id) || loading.has(id)) return
  loading.add(id)
  await opened
  const asked = drawer('readonly')?.get(id)
  const found = await new Promise<Partial<Draft> | undefined>((resolve) => {
    if (!asked) return resolve(undefined)
    asked.onsuccess = () => resolve(asked.result)
    asked.onerror = () => resolve(undefined)
  })
  drafts.set(id, { ...empty, ...found })
  announce()
}
function changeDraft(id: string, change: Partial<Draft> | ((draft: Draft) => Partial<Draft>)) {
  const draft = drafts.get(id) ?? empty
  drafts.set(id, { ...draft, ...(typeof change === 'function' ? change(draft) : change) })
  announce()
  clearTimeout(saving.get(id))
  const long = (drafts.get(id)?.rows.length ?? 0) > LONG_TABLE
  saving.set(
    id,
    setTimeout(() => keep(id), SAVE_AFTER_MS),
  )
  if (!long) keep(id)
}
/** Asked for at once and not after a promise, so that a page on its way out still gets it done. */
function keep(id: string) {
  clearTimeout(saving.get(id))
  if (saving.delete(id)) drawer('readwrite')?.put(drafts.get(id), id)
}
window.addEventListener('pagehide', () => {
  for (const id of [...saving.keys()]) keep(id)
})

export type ChangeDraft = (change: Partial<Draft> | ((draft: Draft) => Partial<Draft>)) => void
/** null: still being read. */
export function useDraft(id: string): [Draft | null, ChangeDraft] {
  const draft = useSyncExternalStore(subscribe, () => drafts.get(id) ?? null)
  useEffect(() => void load(id), [id])
  return [draft, useCallback((change) => changeDraft(id, change), [id])]
}

/** Only parts that would be left out keep it from the queue; a person may allow that. */
export const onlyLoses = ({ runnable, inspection: { problems, outputs } }: Workflow) =>
  !runnable &&
  problems.some(({ kind }) => kind === 'loss') &&
  (outputs.length > 0 || problems.some(({ kind }) => kind === 'missing-node'))
export const mayQueue = (workflow: Workflow, draft: Draft) =>
  workflow.runnable || (draft.allowLoss && onlyLoses(workflow))

/** The plan of one picture per repeat, from the form alone. */
export const planOfForm = (workflowId: string, draft: Draft, settings: Settings): BatchPlanInput => ({
  workflowId,
  sets: draft.sets,
  repeat: draft.repeat,
  workers: draft.workers,
  textMagic: draft.textMagic ?? settings.textMagic,
  stripMetadata: draft.stripMetadata ?? settings.stripMetadata,
  allowPaid: draft.allowPaid,
  allowLoss: draft.allowLoss,
})

/** The plan of the whole batch page. A cell left empty takes the value for all rows; a row left empty is no row. */
export function planOfBatch(workflowId: string, draft: Draft, settings: Settings): BatchPlanInput {
  const mapped = draft.columns.flatMap(({ parameter }, place) => (parameter ? [{ parameter, place }] : []))
  const others = draft.columns.flatMap(({ parameter, title }, place) => (parameter ? [] : [{ title, place }]))
  const used = usedRows(draft)
  return {
    ...planOfForm(workflowId, draft, settings),
    ...(draft.name && { name: draft.name }),
    rows: used.map(({ row }) =>
      Object.fromEntries(mapped.flatMap(({ parameter, place }) => (row[place] ? [[parameter, row[place]]] : []))),
    ),
    rowNumbers: used.map(({ place }) => place + 1),
    columns: Object.fromEntries(mapped.map(({ parameter, place }) => [parameter, draft.columns[place]!.title])),
    extra:
      others.length === 0
        ? []
        : used.map(({ row }) => Object.fromEntries(others.map(({ title, place }) => [title, row[place] ?? '']))),
    axes: draft.axes
      .map(({ parameter, text }) => ({ parameter, values: valuesOf(text) }))
      .filter(({ parameter, values }) => parameter && values.length > 0),
    pattern: draft.pattern,
    outDir: draft.outDir,
    priority: draft.priority,
    retries: draft.retries,
    startAt: draft.startAt || null,
    stopAt: draft.stopAt || null,
  }
}
/** An empty row is no job; the others keep the numbers that the table shows. */
const usedRows = ({ rows }: Draft) =>
  rows.flatMap((row, place) => (row.some((cell) => cell !== '') ? [{ row, place }] : []))

/** What the form shows for a parameter: the person's value, else the workflow's. */
export const shownValue = (parameter: Parameter, sets: Record<string, Json>): Json =>
  parameter.key in sets ? sets[parameter.key]! : parameter.default
