import { Tabs } from '@base-ui/react/tabs'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import {
  ArrowDown,
  ArrowUp,
  Check,
  CircleCheck,
  Download,
  Ellipsis,
  Eye,
  EyeOff,
  GripVertical,
  LayoutList,
  ListOrdered,
  Moon,
  Pin,
  RotateCcw,
  Table2,
  Trash2,
  TriangleAlert,
  Workflow as WorkflowIcon,
} from 'lucide-react'
import { lazy, type ReactNode, Suspense, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import type { Parameter, ParameterChoice, Problem, Workflow } from '../../core/contract/workflow.ts'
import { asking, call, queries, refresh, useAsk, useDo } from '../client/client.ts'
import { save } from '../client/files.ts'
import { type ChangeDraft, type Draft, mayQueue, onlyLoses, planOfForm, shownValue, useDraft } from '../draft.ts'
import { sayParameter, saySentence, useWords } from '../i18n.ts'
import { useOpenEditor } from '../open-editor.ts'
import { Button, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { Field, Stepper, Switch } from '../parts/forms.tsx'
import { LastRun } from '../parts/last-run.tsx'
import { Needs } from '../parts/needs.tsx'
import { Menu, say, sayFault } from '../parts/overlays.tsx'
import { faultOf, isWide, ParameterControl, rangeOf } from '../parts/parameter-control.tsx'
import { asSwitched, PresetBar, useAdvice } from '../parts/preset-bar.tsx'
import { askToTrust } from '../parts/trust-models.tsx'
import { useMainAction } from '../parts/use-shortcut.ts'
import { useRemoveWorkflow } from '../remove-workflow.ts'

const GraphPicture = lazy(() =>
  import('../parts/graph-picture.tsx').then(({ GraphPicture }) => ({ default: GraphPicture })),
)

/** One workflow: its form, its picture, what is wrong with it, and a button that makes a picture. */
export function WorkflowPage() {
  const { id } = useParams({ from: '/workflow/$id' })
  const workflow = useAsk('workflow.get', { id })
  const [draft, change] = useDraft(id)
  if (workflow.error)
    return (
      <div className="p-6">
        <ErrorNotice cause={workflow.error} onRetry={() => void workflow.refetch()} action={<BackToStart />} />
      </div>
    )
  if (!workflow.data || !draft)
    return (
      <div className="p-6">
        <Skeleton rows={8} />
      </div>
    )
  return <Loaded key={id} workflow={workflow.data} draft={draft} change={change} />
}

function BackToStart() {
  const { t } = useWords()
  return (
    <Link to="/" className="btn btn-sm">
      {t('nav.start')}
    </Link>
  )
}

function Loaded({ workflow, draft, change }: { workflow: Workflow; draft: Draft; change: ChangeDraft }) {
  const { t, format } = useWords()
  const { id, inspection } = workflow
  const settings = useAsk('settings.get', {})
  const advice = useAdvice(id, draft.sets)
  const [arranging, setArranging] = useState(false)
  const [showAll, setShowAll] = useState(false)
  const [lastBatch, setLastBatch] = useState<string | null>(null)
  const submit = useDo('batch.submit', {
    onError: (cause, plan) => askToTrust(cause, () => submit.mutate(plan)),
    onSuccess({ batchId, jobs }) {
      setLastBatch(batchId)
      say({ title: t('workflow.queued', { count: jobs, n: format.number(jobs) }) })
    },
  })
  const changed = inspection.parameters.filter(
    ({ key, default: original }) => key in draft.sets && writeJson(draft.sets[key]) !== writeJson(original),
  )
  const faults = inspection.parameters.filter(
    (parameter) => parameter.key in draft.sets && faultOf(parameter, draft.sets[parameter.key]!, t),
  )
  const queue = () => {
    if (settings.data && faults.length === 0 && !submit.isPending) submit.mutate(planOfForm(id, draft, settings.data))
  }
  useMainAction(queue)
  const set = (key: string, value: Json) => change(({ sets }) => ({ sets: { ...sets, [key]: value } }))
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <Head workflow={workflow} sets={draft.sets}>
        <Stepper
          label={t('workflow.times')}
          value={draft.repeat}
          most={100_000}
          size="sm"
          onChange={(repeat) => change({ repeat })}
        />
        <Link to={workflow.panels.length > 0 ? '/form/$id' : '/form/$id/edit'} params={{ id }} className="btn">
          <LayoutList aria-hidden /> {workflow.panels.length > 0 ? t('nav.form') : t('form.make')}
        </Link>
        <Link to="/batch/$id" params={{ id }} className="btn">
          <Table2 aria-hidden /> {t('start.makeBatch')}
        </Link>
        <Button
          look="primary"
          icon={Moon}
          onClick={queue}
          busy={submit.isPending}
          disabled={!mayQueue(workflow, draft) || faults.length > 0}
        >
          {t('workflow.queue')}
        </Button>
      </Head>
      <div className="grid min-h-0 flex-1 grid-cols-[minmax(360px,460px)_1fr]">
        <section aria-label={t('workflow.form')} className="flex min-h-0 flex-col border-r border-line bg-surface">
          <div className="flex items-center gap-1 border-b border-line px-4 py-1.5">
            <span className="num mr-auto text-xs text-faint">
              {changed.length > 0 ? t('workflow.changed', { count: changed.length }) : t('workflow.asSaved')}
            </span>
            {changed.length > 0 && !arranging && (
              <Button size="sm" look="quiet" icon={RotateCcw} onClick={() => change({ sets: {} })}>
                {t('workflow.reset')}
              </Button>
            )}
            <Button
              size="sm"
              look="quiet"
              icon={arranging ? Check : ListOrdered}
              onClick={() => setArranging(!arranging)}
              aria-pressed={arranging}
            >
              {arranging ? t('common.done') : t('workflow.arrange')}
            </Button>
          </div>
          {!arranging && (
            <PresetBar advice={advice} parameters={inspection.parameters} sets={draft.sets} change={change} />
          )}
          <div className="min-h-0 flex-1 overflow-y-auto p-4">
            {arranging ? (
              <Arrange workflow={workflow} />
            ) : (
              <Form
                parameters={asSwitched(inspection.parameters, advice)}
                sets={draft.sets}
                set={set}
                showAll={showAll}
                onShowAll={setShowAll}
              />
            )}
          </div>
        </section>
        <section aria-label={t('workflow.about')} className="flex min-h-0 min-w-0 flex-col">
          <LastRun workflowId={id} batchId={lastBatch} />
          <About workflow={workflow} draft={draft} change={change} />
        </section>
      </div>
    </div>
  )
}

function Head({ workflow, sets, children }: { workflow: Workflow; sets: Draft['sets']; children: ReactNode }) {
  const { t, format } = useWords()
  const navigate = useNavigate()
  const { id, name, nodes, inspection } = workflow
  const [title, setTitle] = useState(name)
  const rename = useDo('workflow.rename', {
    onError: sayFault,
    onSuccess: () => refresh('workflow.list', 'workflow.get'),
  })
  const remove = useRemoveWorkflow(workflow, () => void navigate({ to: '/' }))
  const keep = () => {
    const next = title.trim()
    if (next && next !== name) rename.mutate({ id, name: next })
    else setTitle(name)
  }
  const editor = useOpenEditor()
  const workers = useAsk('worker.list', {})
  const real = (workers.data?.rows ?? []).filter(({ kind, health }) => kind !== 'rehearsal' && health.is === 'ready')
  /** With none to choose from, the host says why there is none. */
  const editors = real.length > 1 ? real.map(({ id }) => id) : [undefined]
  const exportAs = (as: 'original' | 'prompt') => () => void call('workflow.export', { id, as }).then(save, sayFault)
  return (
    <PageHead
      title={
        <h1 className="min-w-0">
          <input
            value={title}
            aria-label={t('workflow.name')}
            onChange={({ target }) => setTitle(target.value)}
            onBlur={keep}
            onKeyDown={({ key, currentTarget }) => key === 'Enter' && currentTarget.blur()}
            className="-ml-2 h-8 max-w-[42ch] min-w-16 rounded-md border border-transparent bg-transparent px-2 text-lg font-semibold tracking-tight hover:border-line [field-sizing:content]"
          />
        </h1>
      }
      note={`${t(`format.${inspection.format}`)} · ${t('start.nodes', { count: nodes, n: format.number(nodes) })}`}
    >
      {children}
      <Menu
        trigger={<IconButton label={t('common.more')} icon={Ellipsis} look="plain" />}
        items={[
          { label: t('workflow.exportOriginal'), icon: Download, onSelect: exportAs('original') },
          {
            label: t('workflow.exportPrompt'),
            icon: Download,
            onSelect: exportAs('prompt'),
            disabled: !workflow.runnable,
          },
          ...editors.map((workerId) => ({
            label: editors.length > 1 ? t('editor.openOn', { worker: workerId! }) : t('editor.open'),
            icon: WorkflowIcon,
            onSelect: () => editor.mutate({ workflowId: id, sets, workerId }),
          })),
          null,
          { label: t('common.remove'), icon: Trash2, danger: true, onSelect: () => remove.mutate({ id }) },
        ]}
      />
    </PageHead>
  )
}

function Form({
  parameters,
  sets,
  set,
  showAll,
  onShowAll,
}: {
  parameters: readonly Parameter[]
  sets: Draft['sets']
  set: (key: string, value: Json) => void
  showAll: boolean
  onShowAll: (on: boolean) => void
}) {
  const { t } = useWords()
  const shown = parameters.filter((parameter) => parameter.shown || parameter.pinned)
  const first = shown.filter(({ pinned }) => pinned)
  const rest = shown.filter(({ pinned }) => !pinned)
  const hidden = parameters.filter((parameter) => !shown.includes(parameter))
  return (
    <div className="flex flex-col gap-5">
      {shown.length === 0 && <p className="text-soft">{t('workflow.noParameters')}</p>}
      {[first, rest].map(
        (some, place) =>
          some.length > 0 && (
            <div key={String(place)} className="grid grid-cols-2 gap-x-3 gap-y-3.5">
              {some.map((parameter) => (
                <Control key={parameter.key} parameter={parameter} sets={sets} set={set} />
              ))}
            </div>
          ),
      )}
      {hidden.length > 0 && (
        <div>
          <Button size="sm" icon={showAll ? EyeOff : Eye} aria-expanded={showAll} onClick={() => onShowAll(!showAll)}>
            {showAll ? t('workflow.showFewer') : t('workflow.showAll', { count: hidden.length })}
          </Button>
        </div>
      )}
      {showAll &&
        [...Map.groupBy(hidden, ({ node }) => node)].map(([node, some]) => (
          <fieldset key={node} className="grid grid-cols-2 gap-x-3 gap-y-3.5 border-t border-line pt-3">
            <legend className="contents">
              <span className="eyebrow col-span-2 truncate">
                {some[0]!.nodeTitle} · {node}
              </span>
            </legend>
            {some.map((parameter) => (
              <Control key={parameter.key} parameter={parameter} sets={sets} set={set} plain />
            ))}
          </fieldset>
        ))}
    </div>
  )
}

function Control({
  parameter,
  sets,
  set,
  plain,
}: {
  parameter: Parameter
  sets: Draft['sets']
  set: (key: string, value: Json) => void
  plain?: boolean
}) {
  const { t } = useWords()
  const value = shownValue(parameter, sets)
  const range = rangeOf(parameter)
  const everyTime = parameter.role === 'seed' && String(value).trim() === '-1' ? t('value.newEachTime') : null
  const control =
    parameter.role === 'seed' && parameter.control && parameter.control !== 'fixed' && !(parameter.key in sets)
      ? t(`control.${parameter.control}`)
      : null
  return (
    <div className={isWide(parameter) ? 'col-span-2' : ''}>
      <Field
        label={
          <span title={`${parameter.nodeTitle} · ${parameter.key}`}>
            {plain ? parameter.input : sayParameter(parameter)}
          </span>
        }
        aside={range && <span className="num shrink-0 text-2xs text-faint">{range}</span>}
        help={everyTime ?? control ?? undefined}
        fault={parameter.key in sets ? faultOf(parameter, value, t) : null}
      >
        {(ids) => (
          <ParameterControl
            parameter={parameter}
            value={value}
            onChange={(next) => set(parameter.key, next)}
            ids={ids}
          />
        )}
      </Field>
    </div>
  )
}

/** Names, order, pins and what is shown: dragged, or moved with Alt and the arrows. */
function Arrange({ workflow }: { workflow: Workflow }) {
  const { t } = useWords()
  const { id, inspection } = workflow
  const [dragged, setDragged] = useState<string | null>(null)
  const [over, setOver] = useState<string | null>(null)
  const scope = { id: 'workflow.arrange' }
  const arrange = useDo('workflow.arrange', {
    scope,
    onError: sayFault,
    // while more changes are on their way, an answer would be older than what is shown
    onSettled: () =>
      queries.isMutating({ predicate: ({ options }) => options.scope?.id === scope.id }) === 1 &&
      refresh('workflow.get'),
  })
  const kept = asking('workflow.get', { id }).queryKey
  const { parameters } = inspection
  /** Also what this page was not drawn with yet: keys may come faster. */
  const latest = () => queries.getQueryData<Workflow>(kept)?.inspection.parameters ?? parameters
  const apply = (next: Parameter[]) => {
    queries.setQueryData(kept, (old: Workflow | undefined) =>
      old ? { ...old, inspection: { ...old.inspection, parameters: next } } : old,
    )
    arrange.mutate({
      id,
      parameters: next.map(({ key, name, shown, pinned }): ParameterChoice => ({ key, name, shown, pinned })),
    })
  }
  const edit = (key: string, change: Partial<Parameter>) =>
    apply(latest().map((parameter) => (parameter.key === key ? { ...parameter, ...change } : parameter)))
  const move = (key: string, place: (from: number) => number) => {
    const all = latest()
    const from = all.findIndex((parameter) => parameter.key === key)
    const to = place(from)
    if (from === -1 || to < 0 || to >= all.length) return
    apply(all.toSpliced(from, 1).toSpliced(to, 0, all[from]!))
  }
  return (
    <>
      <p className="mb-3 text-xs text-faint">{t('workflow.arrangeNote')}</p>
      <ul className="flex flex-col gap-1">
        {parameters.map((parameter, place) => {
          const { key, shown, pinned, nodeTitle, input } = parameter
          const name = sayParameter(parameter)
          return (
            <li
              key={key}
              draggable
              onDragStart={(event) => {
                event.dataTransfer.effectAllowed = 'move'
                event.dataTransfer.setData('text/plain', name)
                setDragged(key)
              }}
              onDragEnd={() => {
                setDragged(null)
                setOver(null)
              }}
              onDragOver={(event) => {
                if (!dragged) return
                event.preventDefault()
                setOver(key)
              }}
              onDrop={(event) => {
                event.preventDefault()
                if (dragged) move(dragged, () => place)
              }}
              onKeyDown={(event) => {
                if (!event.altKey || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return
                event.preventDefault()
                move(key, (from) => from + (event.key === 'ArrowUp' ? -1 : 1))
              }}
              className={`flex items-center gap-1 rounded-md border px-1 py-1 ${over === key && dragged !== key ? 'border-accent bg-accent-soft' : 'border-transparent hover:bg-hover'} ${shown || pinned ? '' : 'text-faint'}`}
            >
              <GripVertical size={14} className="shrink-0 text-faint" aria-hidden />
              <NameInput
                key={name}
                name={name}
                label={t('workflow.nameOf', { name, node: nodeTitle, input })}
                onKeep={(next) => edit(key, { name: next })}
              />
              <IconButton
                size="sm"
                icon={ArrowUp}
                label={t('common.moveUp', { name })}
                disabled={place === 0}
                onClick={() => move(key, (from) => from - 1)}
              />
              <IconButton
                size="sm"
                icon={ArrowDown}
                label={t('common.moveDown', { name })}
                disabled={place === parameters.length - 1}
                onClick={() => move(key, (from) => from + 1)}
              />
              <IconButton
                size="sm"
                icon={Pin}
                label={t('workflow.pin', { name })}
                aria-pressed={pinned}
                onClick={() => edit(key, { pinned: !pinned })}
              />
              <IconButton
                size="sm"
                icon={shown ? Eye : EyeOff}
                label={t('workflow.show', { name })}
                aria-pressed={shown}
                onClick={() => edit(key, { shown: !shown })}
              />
            </li>
          )
        })}
      </ul>
    </>
  )
}

function NameInput({ name, label, onKeep }: { name: string; label: string; onKeep: (name: string) => void }) {
  const [text, setText] = useState(name)
  const keep = () => {
    const next = text.trim()
    if (next && next !== name) onKeep(next)
    else setText(name)
  }
  return (
    <input
      value={text}
      aria-label={label}
      title={label}
      onChange={({ target }) => setText(target.value)}
      onBlur={keep}
      onKeyDown={({ key, currentTarget }) => key === 'Enter' && currentTarget.blur()}
      className="field field-sm min-w-0 flex-1"
    />
  )
}

function About({ workflow, draft, change }: { workflow: Workflow; draft: Draft; change: ChangeDraft }) {
  const { t } = useWords()
  const { inspection, graph } = workflow
  const needs = inspection.models.length + inspection.customNodes.length
  const missing = inspection.customNodes.length + inspection.models.filter(({ present }) => present === false).length
  const problems = inspection.problems.length
  const [tab, setTab] = useState(workflow.runnable ? 'graph' : 'problems')
  const [spotlight, setSpotlight] = useState<string | null>(null)
  const show = (node: string) => {
    setSpotlight(node)
    setTab('graph')
  }
  return (
    <Tabs.Root value={tab} onValueChange={(next) => setTab(String(next))} className="flex min-h-0 flex-1 flex-col">
      <Tabs.List className="flex gap-1 border-b border-line bg-surface px-4">
        <Tab value="graph">{t('workflow.graph')}</Tab>
        <Tab value="problems" count={problems} tone={workflow.runnable ? 'tone-warn' : 'tone-bad'}>
          {t('workflow.problems')}
        </Tab>
        <Tab value="needs" count={needs} tone={missing > 0 ? 'tone-warn' : ''}>
          {t('workflow.needs')}
        </Tab>
      </Tabs.List>
      <Tabs.Panel value="graph" className="relative min-h-0 flex-1 outline-offset-[-2px]">
        <Suspense fallback={<Skeleton rows={1} height={300} />}>
          <GraphPicture graph={graph} spotlight={spotlight} />
        </Suspense>
      </Tabs.Panel>
      <Tabs.Panel value="problems" className="min-h-0 flex-1 overflow-y-auto p-4 outline-offset-[-2px]">
        {onlyLoses(workflow) && (
          <div className="mb-4 rounded-lg border border-line bg-surface p-3">
            <Switch
              label={t('workflow.allowLoss')}
              help={t('workflow.allowLossNote')}
              checked={draft.allowLoss}
              onChange={(allowLoss) => change({ allowLoss })}
            />
          </div>
        )}
        <Problems problems={inspection.problems} onShow={show} known={new Set(graph.nodes.map(({ id }) => id))} />
      </Tabs.Panel>
      <Tabs.Panel value="needs" className="min-h-0 flex-1 overflow-y-auto p-4 outline-offset-[-2px]">
        <Needs workflow={workflow} />
      </Tabs.Panel>
    </Tabs.Root>
  )
}

function Tab({
  value,
  count,
  tone = '',
  children,
}: {
  value: string
  count?: number
  tone?: string
  children: ReactNode
}) {
  return (
    <Tabs.Tab
      value={value}
      className="flex h-10 items-center gap-2 border-b-2 border-transparent px-2.5 font-medium text-soft outline-offset-[-3px] hover:text-text data-active:border-accent data-active:text-text"
    >
      {children}
      {(count ?? 0) > 0 && <span className={`badge ${tone}`}>{count}</span>}
    </Tabs.Tab>
  )
}

function Problems({
  problems,
  onShow,
  known,
}: {
  problems: readonly Problem[]
  onShow: (node: string) => void
  known: ReadonlySet<string>
}) {
  const { t } = useWords()
  if (problems.length === 0)
    return (
      <p className="flex items-center gap-2 text-soft">
        <CircleCheck size={16} className="text-good" aria-hidden /> {t('workflow.noProblems')}
      </p>
    )
  const kinds = ['loss', 'missing-node', 'bad-value', 'missing-model', 'warning'] as const
  return (
    <div className="flex flex-col gap-5">
      {kinds.map((kind) => {
        const some = problems.filter((problem) => problem.kind === kind)
        if (some.length === 0) return null
        return (
          <section key={kind} aria-labelledby={`problems-${kind}`}>
            <h2 id={`problems-${kind}`} className="flex items-center gap-2">
              <TriangleAlert size={15} className={kind === 'warning' ? 'text-warn' : 'text-bad'} aria-hidden />
              {t(`problem.${kind}.title`)} <span className="badge">{some.length}</span>
            </h2>
            <p className="mb-2 text-xs text-faint">{t(`problem.${kind}.remedy`)}</p>
            <ul className="card divide-y divide-line">
              {some.slice(0, 200).map((problem, place) => (
                <li key={String(place)} className="flex items-center gap-3 px-3 py-2">
                  <span className="min-w-0 flex-1 break-words">{saySentence(problem)}</span>
                  {problem.node && known.has(problem.node) && (
                    <Button size="sm" look="quiet" onClick={() => onShow(problem.node!)}>
                      {t('workflow.showNode')}
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          </section>
        )
      })}
    </div>
  )
}
