import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { Clock, ImagePlus, LayoutList, PencilRuler, RotateCcw, SlidersHorizontal, Sparkles } from 'lucide-react'
import { useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import { itemsOf, type Panel } from '../../core/contract/panel.ts'
import type { Workflow } from '../../core/contract/workflow.ts'
import { call, useAsk, useDo } from '../client/client.ts'
import { type ChangeDraft, type Draft, mayQueue, planOfForm, useDraft } from '../draft.ts'
import { saySentence, useWords } from '../i18n.ts'
import { useTaker } from '../intake.tsx'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { useFormFiles } from '../parts/form-files.ts'
import { FormResults } from '../parts/form-results.tsx'
import { Segmented, Select, Stepper } from '../parts/forms.tsx'
import { Menu, say, sayFault } from '../parts/overlays.tsx'
import { type Filling, misfitsOf, PanelFields } from '../parts/panel-fields.tsx'
import { textOf } from '../parts/parameter-control.tsx'
import { askToTrust } from '../parts/trust-models.tsx'
import { useMainAction } from '../parts/use-shortcut.ts'

/** A workflow as a form for people who never saw ComfyUI: fill in, make pictures, see them. */
export function FormPage() {
  const { id } = useParams({ from: '/form/$id' })
  const workflow = useAsk('workflow.get', { id })
  const [draft, change] = useDraft(id)
  if (workflow.error)
    return (
      <div className="p-6">
        <ErrorNotice cause={workflow.error} onRetry={() => void workflow.refetch()} />
      </div>
    )
  if (!workflow.data || !draft)
    return (
      <div className="p-6">
        <Skeleton rows={6} height={80} />
      </div>
    )
  if (workflow.data.panels.length === 0) return <NoForm workflow={workflow.data} />
  return <Forms key={id} workflow={workflow.data} draft={draft} change={change} />
}

function NoForm({ workflow: { id, name } }: { workflow: Workflow }) {
  const { t } = useWords()
  return (
    <>
      <PageHead title={name} />
      <Empty
        icon={LayoutList}
        title={t('form.none')}
        action={
          <>
            <Link to="/form/$id/edit" params={{ id }} className="btn btn-primary">
              <Sparkles aria-hidden /> {t('form.make')}
            </Link>
            <Link to="/workflow/$id" params={{ id }} className="btn">
              {t('form.allSettings')}
            </Link>
          </>
        }
      >
        {t('form.noneNote')}
      </Empty>
    </>
  )
}

const MOST_TABS = 4

function Forms({ workflow, draft, change }: { workflow: Workflow; draft: Draft; change: ChangeDraft }) {
  const { t } = useWords()
  const { id, name, panels } = workflow
  const navigate = useNavigate({ from: '/form/$id' })
  const { panel: asked = 0 } = useSearch({ from: '/form/$id' })
  const at = Math.min(asked, panels.length - 1)
  const panel = panels[at]!
  const choices = panels.map(({ title }, place) => ({ value: String(place), label: title || `${place + 1}` }))
  const open = (place: string) => void navigate({ search: { panel: Number(place) || undefined }, replace: true })
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <PageHead title={panel.title || name} note={panel.title && panel.title !== name ? name : undefined}>
        {panels.length > 1 &&
          (panels.length <= MOST_TABS ? (
            <Segmented label={t('form.which')} value={String(at)} choices={choices} onChange={open} />
          ) : (
            <div className="w-48">
              <Select aria-label={t('form.which')} value={String(at)} choices={choices} onChange={open} />
            </div>
          ))}
        <Link to="/form/$id/edit" params={{ id }} search={{ panel: at || undefined }} className="btn btn-quiet">
          <PencilRuler aria-hidden /> {t('form.edit')}
        </Link>
        <Link to="/workflow/$id" params={{ id }} className="btn">
          <SlidersHorizontal aria-hidden /> {t('form.allSettings')}
        </Link>
      </PageHead>
      <FilledForm key={at} workflow={workflow} panel={panel} draft={draft} change={change} />
    </div>
  )
}

const ASK_AFTER_MS = 250
const MOST_HISTORY = 12

function FilledForm({
  workflow,
  panel,
  draft,
  change,
}: {
  workflow: Workflow
  panel: Panel
  draft: Draft
  change: ChangeDraft
}) {
  const { t, format } = useWords()
  const { id, inspection } = workflow
  const runnable = mayQueue(workflow, draft)
  const settings = useAsk('settings.get', {})
  const [tried, setTried] = useState(false)
  const page = useRef<HTMLDivElement>(null)
  const results = useRef<HTMLElement>(null)
  const parameters = useMemo(() => new Map(inspection.parameters.map((one) => [one.key, one])), [inspection.parameters])
  const keys = useMemo(() => new Set([...itemsOf(panel.params)].flatMap(({ key }) => key ?? [])), [panel])
  const values = useMemo(
    () => Object.fromEntries(Object.entries(draft.sets).filter(([key]) => keys.has(key))),
    [draft.sets, keys],
  )
  const elsewhere = Object.keys(draft.sets).filter((key) => !keys.has(key) && parameters.has(key))
  const asked = useLater(values, ASK_AFTER_MS)
  const filled = useAsk('workflow.panel.fill', { id, panel, values: asked }, { placeholderData: (before) => before })
  const faults = useMemo(() => {
    const told = (filled.data?.faults ?? []).filter(({ key }) => tried || key in values)
    return new Map(told.map(({ key, reason, code, facts }) => [key, saySentence({ code, message: reason, facts })]))
  }, [filled.data, tried, values])

  const set = useCallback(
    (key: string, value: Json | undefined) =>
      change(({ sets: { [key]: _, ...rest } }) => ({ sets: value === undefined ? rest : { ...rest, [key]: value } })),
    [change],
  )
  const over = useRef<string | null>(null)
  const media = useFormFiles(panel, parameters, values, over, set)
  useTaker(useMemo(() => (media ? { media, quiet: true } : {}), [media]))

  const submit = useDo('batch.submit', {
    onError: (cause, plan) => askToTrust(cause, () => submit.mutate(plan)),
    onSuccess({ warnings }) {
      const told = warnings.filter(({ code }) => code === 'batch.repeated-seed' || code === 'batch.identical-jobs')
      if (told[0]) say({ title: saySentence(told[0]) })
      results.current?.scrollIntoView({ block: 'nearest' })
    },
  })
  const make = async () => {
    if (!settings.data || submit.isPending || !runnable) return
    try {
      const { values: sent, faults: found } = await call('workflow.panel.fill', { id, panel, values })
      setTried(true)
      if (found[0]) {
        const field = page.current?.querySelector(`[data-field=${CSS.escape(found[0].key)}]`)
        field?.scrollIntoView({ block: 'center' })
        const control = field?.querySelector('label')?.control ?? field?.querySelector<HTMLElement>('input, button')
        control?.focus({ preventScroll: true })
        return
      }
      change(({ history }) => ({ history: withEntry(history, values) }))
      submit.mutate({ ...planOfForm(id, draft, settings.data), sets: { ...draft.sets, ...sent }, name: panel.title })
    } catch (cause) {
      sayFault(cause)
    }
  }
  useMainAction(() => void make())
  const filling: Filling = {
    workflowId: id,
    parameters,
    values,
    faults,
    misfits: misfitsOf(workflow),
    onChange: set,
    onOver: (key) => {
      over.current = key
    },
  }
  return (
    <div
      ref={page}
      className="min-h-0 flex-1 max-[1179px]:overflow-y-auto min-[1180px]:grid min-[1180px]:grid-cols-[minmax(0,11fr)_minmax(0,10fr)]"
    >
      <section
        aria-label={t('form.fields')}
        className="min-h-0 min-w-0 min-[1180px]:flex min-[1180px]:flex-col min-[1180px]:border-r min-[1180px]:border-line"
      >
        <div className="min-h-0 flex-1 p-4 min-[640px]:p-5 min-[1180px]:overflow-y-auto">
          <div className="mx-auto max-w-[680px]">
            {typeof panel.description === 'string' && <p className="mb-4 text-soft">{panel.description}</p>}
            <PanelFields panel={panel} filling={filling} />
            {elsewhere.length > 0 && (
              <p className="mt-4 flex flex-wrap items-center gap-x-2 gap-y-1 text-xs text-faint">
                {t('form.elsewhere', { count: elsewhere.length })}
                <Button
                  size="sm"
                  look="quiet"
                  onClick={() => change(({ sets }) => ({ sets: without(sets, elsewhere) }))}
                >
                  {t('form.asSaved')}
                </Button>
              </p>
            )}
          </div>
        </div>
        <div className="sticky bottom-0 z-10 border-t border-line bg-surface px-5 py-3">
          <div className="mx-auto flex max-w-[680px] flex-wrap items-center gap-2">
            <Stepper
              label={t('form.count')}
              value={draft.repeat}
              most={1000}
              onChange={(repeat) => change({ repeat })}
            />
            <History
              history={draft.history}
              onChoose={(sets) => change((now) => ({ sets: { ...without(now.sets, [...keys]), ...sets } }))}
            />
            <IconButton
              look="plain"
              icon={RotateCcw}
              label={t('form.startOver')}
              className="h-[38px] w-[38px]"
              disabled={Object.keys(values).length === 0}
              onClick={() => {
                const before = draft.sets
                setTried(false)
                change(({ sets }) => ({ sets: without(sets, [...keys]) }))
                say({
                  title: t('form.emptied'),
                  action: { label: t('common.undo'), run: () => change({ sets: before }) },
                })
              }}
            />
            <Button
              size="lg"
              look="primary"
              icon={ImagePlus}
              className="ml-auto min-w-44 flex-1 min-[640px]:max-w-72"
              busy={submit.isPending}
              disabled={!runnable}
              onClick={() => void make()}
            >
              {t('form.go', { count: draft.repeat, n: format.number(draft.repeat) })}
            </Button>
          </div>
          <div className="mx-auto max-w-[680px] empty:hidden">
            {!runnable && <p className="mt-2 text-xs text-bad">{t('form.cannotRun')}</p>}
            {tried && faults.size > 0 && (
              <p role="alert" className="mt-2 text-xs text-bad">
                {t('form.faults', { count: faults.size })}
              </p>
            )}
            <OnlySketches />
          </div>
        </div>
      </section>
      <section
        ref={results}
        aria-label={t('form.results')}
        className="flex min-h-80 min-w-0 flex-col p-4 min-[640px]:p-5 min-[1180px]:min-h-0 min-[1180px]:overflow-y-auto"
      >
        <FormResults workflowId={id} />
      </section>
    </div>
  )
}

const without = (sets: Draft['sets'], keys: readonly string[]) =>
  Object.fromEntries(Object.entries(sets).filter(([key]) => !keys.includes(key)))
const withEntry = (history: Draft['history'], sets: Draft['sets']) => {
  const text = writeJson(sets)
  return [{ at: Date.now(), sets }, ...history.filter((entry) => writeJson(entry.sets) !== text)].slice(0, MOST_HISTORY)
}

/** The latest value, once it has stayed as it is for a moment. */
function useLater<T>(value: T, afterMs: number): T {
  const [later, setLater] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setLater(value), afterMs)
    return () => clearTimeout(timer)
  }, [value, afterMs])
  return later
}

/** What was filled in before, to take up again. */
function History({ history, onChoose }: { history: Draft['history']; onChoose: (sets: Draft['sets']) => void }) {
  const { t, format } = useWords()
  if (history.length === 0) return null
  const summary = (sets: Draft['sets']) => {
    const told = Object.values(sets).map(textOf).filter(Boolean).join(' · ')
    return told.length > 60 ? `${told.slice(0, 59)}…` : told || t('form.asSaved')
  }
  return (
    <Menu
      trigger={<IconButton label={t('form.history')} icon={Clock} look="plain" className="h-[38px] w-[38px]" />}
      items={history.map(({ at, sets }) => ({
        label: `${format.ago(at)}  ${summary(sets)}`,
        onSelect: () => onChoose(sets),
      }))}
    />
  )
}

/** Without a ComfyUI what comes out is a rehearsal; who does not know must not take it for the real thing. */
function OnlySketches() {
  const { t } = useWords()
  const workers = useAsk('worker.list', {})
  if (!workers.data || workers.data.rows.some(({ kind, enabled }) => enabled && kind !== 'rehearsal')) return null
  return (
    <p className="mt-2 text-xs text-faint">
      {t('form.onlySketches')}{' '}
      <Link to="/workers" className="font-medium text-accent-ink underline underline-offset-2">
        {t('form.addWorker')}
      </Link>
    </p>
  )
}
