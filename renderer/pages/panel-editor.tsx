import { Link, useBlocker, useParams, useSearch } from '@tanstack/react-router'
import {
  Download,
  Ellipsis,
  FileUp,
  LayoutList,
  Plus,
  Redo2,
  Save,
  Sparkles,
  Trash2,
  TriangleAlert,
  Undo2,
} from 'lucide-react'
import { useEffect, useMemo, useRef, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import { itemsOf, type Panel } from '../../core/contract/panel.ts'
import type { Parameter, Workflow } from '../../core/contract/workflow.ts'
import { bridge, call, refresh, useAsk, useDo } from '../client/client.ts'
import { bytesOf, chooseFiles, save as saveFile } from '../client/files.ts'
import { sayParameter, saySentence, useWords } from '../i18n.ts'
import { replaced } from '../panel-tree.ts'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'
import { type Filling, misfitsOf, PanelFields } from '../parts/panel-fields.tsx'
import { type Edited, Outline } from '../parts/panel-outline.tsx'
import { Properties } from '../parts/panel-properties.tsx'

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
        <IconButton icon={Undo2} label={t('common.undo')} keys="Ctrl Z" disabled={!canUndo} onClick={undo} />
        <IconButton icon={Redo2} label={t('common.redo')} keys="Ctrl Shift Z" disabled={!canRedo} onClick={redo} />
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
          {t('common.save')}
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
                {t('common.save')}
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
