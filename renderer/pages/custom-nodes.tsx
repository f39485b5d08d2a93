import { useNavigate, useSearch } from '@tanstack/react-router'
import {
  Blocks,
  CloudOff,
  Download,
  Ellipsis,
  FileDown,
  FileUp,
  GitCommitHorizontal,
  Pin,
  Plus,
  Power,
  PowerOff,
  RefreshCw,
  SearchCheck,
  ShieldCheck,
  Star,
  Trash2,
  TriangleAlert,
  Undo2,
} from 'lucide-react'
import { type ReactNode, useCallback, useMemo, useState } from 'react'
import type { App } from '../../core/contract/app.ts'
import type { CustomNode, NodeChange } from '../../core/contract/custom-node.ts'
import type { FoundPack, MissingClass, NodeRules } from '../../core/contract/pack.ts'
import type { OutputOf } from '../../core/contract/procedure.ts'
import type { NodeLists } from '../../core/contract/workflow.ts'
import { call, queries, refresh, useAsk, useDo } from '../client/client.ts'
import { bytesOf, chooseFiles, save } from '../client/files.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { useTaker } from '../intake.tsx'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { Field, SearchField, Segmented, Select } from '../parts/forms.tsx'
import { NodeBisect } from '../parts/node-bisect.tsx'
import { itemOf, likeliest, NodeChangeCard, NodeChangeDialog, sayWhere, useNodeChange } from '../parts/node-change.tsx'
import { Outward } from '../parts/outward.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'

type Listed = OutputOf<App, 'nodes.list'>
const views = ['installed', 'find', 'missing'] as const

/** The custom nodes of a ComfyUI of this machine: what is there, what there is, and what the workflows lack. */
export function CustomNodesPage() {
  const { t, format } = useWords()
  const navigate = useNavigate()
  const { view = 'installed', find = '', engine } = useSearch({ from: '/custom-nodes' })
  const go = (search: { view?: (typeof views)[number]; find?: string; engine?: string }) =>
    void navigate({ to: '/custom-nodes', search: { view, find, engine, ...search }, replace: true })
  const nodes = useAsk('nodes.list', { engine })
  const name = nodes.data?.engine ?? null
  const change = useNodeChange(name)
  const [shown, setShown] = useState(false)
  const [asking, setAsking] = useState<'bisect' | 'rules' | 'address' | null>(null)
  const plan = useDo('nodes.plan', {
    onError: sayFault,
    onSuccess() {
      void refresh('nodes.changes')
      setShown(true)
    },
  })
  const begin = (changes: NodeChange[], items: string[] = []) => {
    if (name) plan.mutate({ engine: name, changes, items })
  }
  const missing = useAsk('nodes.missing', { engine: name ?? undefined }, { enabled: name !== null })
  const lacking = missing.data?.rows.length ?? 0
  const labelOf = (value: (typeof views)[number]) =>
    `${t(`nodes.view.${value}`)}${value === 'missing' && lacking > 0 ? ` (${format.number(lacking)})` : ''}`
  const show = useCallback(() => setShown(true), [])
  const takeSnapshot = useTakeSnapshot(name, show)
  useTaker(useMemo(() => ({ snapshot: takeSnapshot }), [takeSnapshot]))
  const rows = nodes.data?.rows ?? []
  const updatable = rows.filter(mayUpdate)
  const busy = plan.isPending || change?.is === 'planning' || change?.is === 'running'
  return (
    <>
      <PageHead
        title={t('nav.nodes')}
        note={name && nodes.data?.engines.length === 1 ? t('nodes.of', { name }) : undefined}
      >
        {nodes.data && nodes.data.engines.length > 1 && name && (
          <Select
            small
            className="w-44"
            aria-label={t('nodes.engine')}
            value={name}
            onChange={(next) => go({ engine: next })}
            choices={nodes.data.engines.map((each) => ({ value: each, label: each }))}
          />
        )}
        {name && (
          <>
            <Button
              icon={RefreshCw}
              disabled={busy || updatable.length === 0}
              onClick={() => begin(updatable.map(({ folder }) => ({ is: 'update', folder, from: null })))}
            >
              {t('nodes.updateAll')}
            </Button>
            <Menu
              trigger={<IconButton icon={Ellipsis} label={t('common.more')} />}
              items={[
                { label: t('nodes.byAddress'), icon: Plus, onSelect: () => setAsking('address') },
                { label: t('nodes.bisect.open'), icon: SearchCheck, onSelect: () => setAsking('bisect') },
                {
                  label: t('nodes.rollBack'),
                  icon: Undo2,
                  disabled: busy || !nodes.data?.mayRollBack,
                  onSelect: () => void rollBack(name, t('nodes.rolledBack')),
                },
                null,
                { label: t('nodes.snapshot.save'), icon: FileDown, onSelect: () => void saveSnapshot(name) },
                {
                  label: t('nodes.snapshot.read'),
                  icon: FileUp,
                  onSelect: () => void chooseFiles('.json,.yaml,.yml').then(([file]) => file && takeSnapshot(file)),
                },
                null,
                { label: t('nodes.rules.open'), icon: ShieldCheck, onSelect: () => setAsking('rules') },
              ]}
            />
          </>
        )}
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[900px] flex-col gap-3 p-6">
          {nodes.isPending ? (
            <Skeleton rows={4} height={72} />
          ) : nodes.error ? (
            <ErrorNotice cause={nodes.error} onRetry={() => void nodes.refetch()} />
          ) : name === null ? (
            <div className="card flex min-h-64">
              <Empty
                icon={Blocks}
                title={t('nodes.noEngine')}
                action={
                  <Button look="primary" onClick={() => void navigate({ to: '/engine' })}>
                    {t('nodes.toEngine')}
                  </Button>
                }
              >
                {t('nodes.noEngineNote')}
              </Empty>
            </div>
          ) : (
            <>
              <div className="flex flex-wrap items-center gap-3">
                <Segmented
                  label={t('nodes.views')}
                  value={view}
                  onChange={(next) => go({ view: next })}
                  choices={views.map((value) => ({ value, label: labelOf(value) }))}
                />
                {view === 'find' && (
                  <div className="min-w-64 flex-1">
                    <SearchField label={t('nodes.search')} value={find} onChange={(text) => go({ find: text })} />
                  </div>
                )}
              </div>
              {change && !shown && change.is !== 'done' && change.is !== 'cancelled' && (
                <NodeChangeCard view={change} onOpen={() => setShown(true)} />
              )}
              <NodeBisect
                engine={name}
                rows={rows}
                open={asking === 'bisect'}
                onClose={() => setAsking(null)}
                onChange={begin}
              />
              {view === 'installed' && (
                <Installed listed={nodes.data} busy={busy} begin={begin} find={() => go({ view: 'find' })} />
              )}
              {view === 'find' && <Found engine={name} text={find} busy={busy} begin={begin} />}
              {view === 'missing' && <Missing engine={name} busy={busy} begin={begin} />}
            </>
          )}
        </div>
      </div>
      {shown && name && <NodeChangeDialog engine={name} onClose={() => setShown(false)} />}
      {asking === 'rules' && <RulesDialog onClose={() => setAsking(null)} />}
      {asking === 'address' && (
        <AddressDialog
          onClose={() => setAsking(null)}
          onTake={(item) => {
            setAsking(null)
            begin([], [item])
          }}
        />
      )}
    </>
  )
}

type Begin = (changes: NodeChange[], items?: string[]) => void

async function rollBack(engine: string, said: string) {
  try {
    await call('nodes.rollback', { engine })
    await refresh('nodes.list', 'engine.list', 'engine.generations')
    say({ title: said })
  } catch (cause) {
    sayFault(cause)
  }
}

const saveSnapshot = (engine: string) => call('nodes.snapshot', { engine }).then(save, sayFault)

const mayUpdate = ({ source, enabled }: CustomNode) =>
  enabled && ((source.is === 'git' && source.remote !== null) || source.is === 'registry')

// ---- what is installed ----

function Installed({ listed, busy, begin, find }: { listed: Listed; busy: boolean; begin: Begin; find: () => void }) {
  const { t } = useWords()
  const [text, setText] = useState('')
  const rows = listed.rows.filter(
    ({ folder, title, classes }) =>
      text === '' ||
      [folder, title, ...(classes ?? [])].some((each) => each.toLowerCase().includes(text.toLowerCase())),
  )
  if (listed.rows.length === 0)
    return (
      <div className="card flex min-h-64">
        <Empty
          icon={Blocks}
          title={t('nodes.none')}
          action={
            <Button look="primary" icon={SearchCheck} onClick={find}>
              {t('nodes.view.find')}
            </Button>
          }
        >
          {t('nodes.noneNote')}
        </Empty>
      </div>
    )
  const failed = listed.rows.filter(({ load }) => load?.failed)
  return (
    <>
      {failed.length > 0 && (
        <p className="tone-warn flex items-center gap-2 rounded-md px-3 py-2">
          <TriangleAlert size={15} className="shrink-0" aria-hidden />
          {t('engine.nodesFailed', { count: failed.length })} {failed.map(({ folder }) => folder).join(', ')}
        </p>
      )}
      {listed.rows.length > 8 && <SearchField small label={t('nodes.filter')} value={text} onChange={setText} />}
      <ul className="flex flex-col gap-2" aria-label={t('nodes.view.installed')}>
        {rows.map((node) => (
          <InstalledRow key={node.folder} node={node} busy={busy} begin={begin} />
        ))}
      </ul>
    </>
  )
}

function InstalledRow({ node, busy, begin }: { node: CustomNode; busy: boolean; begin: Begin }) {
  const { t, format } = useWords()
  const { folder, title, enabled, source, version, classes, load, changedFiles, addedFiles, runsAtStart, scripts } =
    node
  const [pinning, setPinning] = useState(false)
  const [open, setOpen] = useState(false)
  const remote = 'remote' in source ? source.remote : null
  const byHand = source.is === 'archive' && source.remote === null
  const told = [version, sayWhere(source), t(byHand ? 'nodes.source.folder' : `nodes.source.${source.is}`)].filter(
    Boolean,
  )
  return (
    <li className="card p-3.5" aria-label={folder}>
      <div className="flex items-start gap-3">
        <button
          type="button"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          className="min-w-0 flex-1 rounded-sm text-left"
        >
          <span className="flex flex-wrap items-center gap-2">
            <span className={`truncate font-medium ${enabled ? '' : 'text-faint'}`}>{title}</span>
            {!enabled && <span className="badge">{t('nodes.disabled')}</span>}
            {load?.failed && <span className="badge tone-bad">{t('nodes.failed')}</span>}
            {changedFiles.length > 0 && (
              <span className="badge tone-warn" title={changedFiles.join('\n')}>
                {t('nodes.changedHere', { count: changedFiles.length })}
              </span>
            )}
          </span>
          <span className="num block truncate text-xs text-faint">
            {[
              title === folder ? null : folder,
              ...told,
              classes && t('nodes.classes', { count: classes.length }),
              load && t('nodes.loadedIn', { time: format.duration(load.seconds) }),
              node.changedAt !== null && format.ago(node.changedAt),
            ]
              .filter(Boolean)
              .join(' · ')}
          </span>
        </button>
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('workers.actions', { name: folder })} />}
          items={[
            {
              label: t('nodes.update'),
              icon: RefreshCw,
              disabled: busy || !mayUpdate({ ...node, enabled: true }),
              onSelect: () => begin([{ is: 'update', folder, from: null }]),
            },
            { label: t('nodes.pin'), icon: Pin, disabled: busy || remote === null, onSelect: () => setPinning(true) },
            enabled
              ? {
                  label: t('nodes.disable'),
                  icon: PowerOff,
                  disabled: busy,
                  onSelect: () => begin([{ is: 'disable', folder }]),
                }
              : {
                  label: t('nodes.enable'),
                  icon: Power,
                  disabled: busy,
                  onSelect: () => begin([{ is: 'enable', folder }]),
                },
            null,
            {
              label: t('common.remove'),
              icon: Trash2,
              danger: true,
              disabled: busy,
              onSelect: () => begin([{ is: 'remove', folder }]),
            },
          ]}
        />
      </div>
      {open && (
        <dl className="mt-3 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5 border-t border-line pt-3 text-xs">
          {remote && (
            <Fact name={t('nodes.from')}>
              {/^https?:/.test(remote) ? <Outward url={remote.replace(/\.git$/, '')}>{remote}</Outward> : remote}
            </Fact>
          )}
          {'commit' in source && source.commit && (
            <Fact name={t('nodes.commit')}>
              <GitCommitHorizontal size={12} className="inline" aria-hidden />{' '}
              <code className="select-all">{source.commit}</code>
              {'branch' in source && source.branch && ` (${source.branch})`}
            </Fact>
          )}
          {classes && classes.length > 0 && (
            <Fact name={t('nodes.brings')}>
              <span className="break-words">{classes.join(', ')}</span>
            </Fact>
          )}
          {node.requirements.length > 0 && (
            <Fact name={t('nodes.requires')}>{node.requirements.map(({ line }) => line).join(', ')}</Fact>
          )}
          {changedFiles.length + addedFiles.length > 0 && (
            <Fact name={t('nodes.changes')}>
              {[...changedFiles, ...addedFiles.map((file) => `+ ${file}`)].join(', ')}
            </Fact>
          )}
          {(runsAtStart || scripts.length > 0) && (
            <Fact name={t('nodes.runs')}>
              {[runsAtStart ? t('nodes.runsAtStart') : null, ...scripts.map(({ file }) => file)]
                .filter(Boolean)
                .join(', ')}
            </Fact>
          )}
        </dl>
      )}
      {pinning && remote && (
        <PinDialog
          node={node}
          onClose={() => setPinning(false)}
          onTake={(ref) => {
            setPinning(false)
            begin([{ is: 'update', folder, from: { is: 'git', url: remote, ref } }])
          }}
        />
      )}
    </li>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-faint">{name}</dt>
      <dd className="num min-w-0 break-all">{children}</dd>
    </>
  )
}

function PinDialog({
  node,
  onClose,
  onTake,
}: {
  node: CustomNode
  onClose: () => void
  onTake: (ref: string) => void
}) {
  const { t } = useWords()
  const [ref, setRef] = useState('commit' in node.source ? (node.source.commit ?? '') : '')
  return (
    <TextDialog
      title={t('nodes.pinOf', { name: node.folder })}
      label={t('nodes.ref')}
      help={t('nodes.refNote')}
      action={t('nodes.plan.look')}
      value={ref}
      onChange={setRef}
      onClose={onClose}
      onTake={() => onTake(ref.trim())}
    />
  )
}

function AddressDialog({ onClose, onTake }: { onClose: () => void; onTake: (item: string) => void }) {
  const { t } = useWords()
  const [item, setItem] = useState('')
  return (
    <TextDialog
      title={t('nodes.byAddress')}
      label={t('nodes.address')}
      help={t('nodes.addressNote')}
      action={t('nodes.plan.look')}
      value={item}
      onChange={setItem}
      onClose={onClose}
      onTake={() => onTake(item.trim())}
    />
  )
}

function TextDialog({
  title,
  label,
  help,
  action,
  value,
  onChange,
  onClose,
  onTake,
}: {
  title: string
  label: string
  help: string
  action: string
  value: string
  onChange: (value: string) => void
  onClose: () => void
  onTake: () => void
}) {
  const { t } = useWords()
  return (
    <Modal
      open
      onClose={onClose}
      title={title}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" disabled={value.trim() === ''} onClick={onTake}>
            {action}
          </Button>
        </>
      }
    >
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (value.trim() !== '') onTake()
        }}
      >
        <Field label={label} help={help}>
          {(ids) => (
            <input
              {...ids}
              value={value}
              spellCheck={false}
              onChange={({ target }) => onChange(target.value)}
              className="field font-mono text-xs"
            />
          )}
        </Field>
      </form>
    </Modal>
  )
}

// ---- what there is ----

const PAGE = 30

function Found({ engine, text, busy, begin }: { engine: string; text: string; busy: boolean; begin: Begin }) {
  const { t, format } = useWords()
  const [limit, setLimit] = useState(PAGE)
  const found = useAsk(
    'nodes.search',
    { engine, search: text, limit, offset: 0 },
    { placeholderData: (before) => before },
  )
  if (found.isPending) return <Skeleton rows={5} height={84} />
  if (found.error) return <ErrorNotice cause={found.error} onRetry={() => void found.refetch()} />
  const { rows, total, lists } = found.data
  return (
    <>
      <Lists lists={lists} />
      {rows.length === 0 ? (
        <div className="card flex min-h-48">
          <Empty icon={lists.fetchedAt === null ? CloudOff : SearchCheck} title={t('nodes.nothingFound')}>
            {t(lists.fetchedAt === null ? 'nodes.offline' : 'nodes.nothingFoundNote')}
          </Empty>
        </div>
      ) : (
        <>
          <p className="num text-xs text-faint" role="status">
            {t('nodes.count', { count: total, n: format.number(total) })}
          </p>
          <ul className="flex flex-col gap-2" aria-label={t('nodes.view.find')} aria-busy={found.isFetching}>
            {rows.map((pack) => (
              <FoundRow key={pack.id} pack={pack} busy={busy} begin={begin} />
            ))}
          </ul>
          {rows.length < total && limit < 180 && (
            <Button className="self-center" onClick={() => setLimit(limit + PAGE)}>
              {t('nodes.showMore')}
            </Button>
          )}
        </>
      )}
    </>
  )
}

function FoundRow({ pack, busy, begin }: { pack: FoundPack; busy: boolean; begin: Begin }) {
  const { t, format } = useWords()
  const { id, title, author, description, url, stars, updatedAt, classes, matched, installed, system } = pack
  return (
    <li className="card flex items-start gap-3 p-3.5" aria-label={title}>
      <div className="min-w-0 flex-1">
        <p className="flex flex-wrap items-baseline gap-x-2">
          <span className="font-medium">{url ? <Outward url={url}>{title}</Outward> : title}</span>
          <span className="text-xs text-faint">{author}</span>
        </p>
        {description && <p className="line-clamp-2 text-xs text-soft">{description}</p>}
        <p className="num mt-1 flex flex-wrap items-center gap-x-3 text-xs text-faint">
          {stars !== null && (
            <span className="inline-flex items-center gap-1" title={t('nodes.stars')}>
              <Star size={12} aria-hidden /> {format.number(stars)}
            </span>
          )}
          {updatedAt !== null && <span>{t('nodes.updated', { when: format.ago(updatedAt) })}</span>}
          {classes > 0 && <span>{t('nodes.classes', { count: classes })}</span>}
          {matched.length > 0 && (
            <span className="truncate" title={matched.join(', ')}>
              {matched.slice(0, 4).join(', ')}
            </span>
          )}
          {system.length > 0 && <span>{t('nodes.system', { names: system.join(', ') })}</span>}
        </p>
      </div>
      {installed === null ? (
        <Button
          size="sm"
          icon={Download}
          disabled={busy}
          aria-label={t('nodes.installOf', { name: title })}
          onClick={() => begin([], [id])}
        >
          {t('nodes.install')}
        </Button>
      ) : (
        <span className="badge tone-good">{t(pack.enabled ? 'nodes.isInstalled' : 'nodes.disabled')}</span>
      )}
    </li>
  )
}

/** Whose lists these are, and how old. */
function Lists({ lists }: { lists: NodeLists | undefined }) {
  const { t, format } = useWords()
  if (!lists) return null
  return (
    <p className="text-xs text-faint break-words">
      {lists.because && (
        <span className="text-warn">
          <CloudOff size={12} className="inline" aria-hidden /> {sayFailure(lists.because).message}{' '}
        </span>
      )}
      {lists.fetchedAt !== null &&
        t(lists.because ? 'nodes.listsKept' : 'workflow.packsFrom', {
          when: format.stamp(lists.fetchedAt),
          licence: lists.licence,
        })}
    </p>
  )
}

// ---- what the workflows lack ----

function Missing({ engine, busy, begin }: { engine: string; busy: boolean; begin: Begin }) {
  const { t } = useWords()
  const missing = useAsk('nodes.missing', { engine })
  const [chosen, setChosen] = useState<Record<string, string>>({})
  if (missing.isPending) return <Skeleton rows={3} height={72} />
  if (missing.error) return <ErrorNotice cause={missing.error} onRetry={() => void missing.refetch()} />
  const { rows, lists } = missing.data
  if (rows.length === 0)
    return (
      <div className="card flex min-h-48">
        <Empty icon={Blocks} title={t('nodes.noneMissing')}>
          {t('nodes.noneMissingNote')}
        </Empty>
      </div>
    )
  const pick = (row: MissingClass) => chosen[row.classType] ?? likeliest(row.packs)?.id
  const items = [
    ...new Set(rows.flatMap((row) => row.packs.filter(({ id }) => id === pick(row)).slice(0, 1)).map(itemOf)),
  ]
  return (
    <>
      <div className="flex flex-wrap items-center gap-3">
        <p className="min-w-0 flex-1 text-soft">{t('nodes.missingNote', { count: rows.length })}</p>
        <Button look="primary" icon={Download} disabled={busy || items.length === 0} onClick={() => begin([], items)}>
          {t('nodes.installMissing', { count: items.length })}
        </Button>
      </div>
      <Lists lists={lists} />
      <ul className="card divide-y divide-line" aria-label={t('nodes.view.missing')}>
        {rows.map((row) => (
          <li key={row.classType} className="flex flex-wrap items-center gap-3 px-3.5 py-2.5">
            <div className="min-w-48 flex-1">
              <p className="font-medium break-all">{row.classType}</p>
              <p className="truncate text-xs text-faint">{row.workflows.map(({ name }) => name).join(', ')}</p>
            </div>
            {row.packs.length === 0 ? (
              <span className="text-xs text-faint">{t('workflow.noPack')}</span>
            ) : (
              <Select
                small
                className="w-72"
                aria-label={t('nodes.packFor', { name: row.classType })}
                value={pick(row) ?? ''}
                onChange={(id) => setChosen({ ...chosen, [row.classType]: id })}
                choices={[
                  ...row.packs.map((pack) => ({ value: pack.id, label: pack.title, note: t(`packWhy.${pack.why}`) })),
                  { value: '', label: t('nodes.withoutIt') },
                ]}
              />
            )}
          </li>
        ))}
      </ul>
    </>
  )
}

// ---- snapshots of the Manager ----

/** What a file of the Manager would change is planned and shown. */
function useTakeSnapshot(engine: string | null, onPlan: () => void) {
  const { t } = useWords()
  return useCallback(
    async (file: File) => {
      if (!engine) return
      try {
        const { view, same, lost } = await call('nodes.planSnapshot', { engine, ...(await bytesOf(file)) })
        await refresh('nodes.changes')
        if (lost.length > 0) say({ title: t('nodes.snapshot.lost', { names: lost.join(', ') }) }, 'bad')
        if (view) onPlan()
        else say({ title: t('nodes.snapshot.same', { count: same }) })
      } catch (cause) {
        sayFault(cause)
      }
    },
    [engine, onPlan, t],
  )
}

// ---- which may be added ----

function RulesDialog({ onClose }: { onClose: () => void }) {
  const { t } = useWords()
  const settings = useAsk('settings.get', {})
  const [rules, setRules] = useState<NodeRules | null>(null)
  const now = rules ?? settings.data?.customNodes
  const set = useDo('settings.set', {
    onError: sayFault,
    onSuccess(next) {
      queries.setQueryData(['settings.get', {}], next)
      onClose()
    },
  })
  return (
    <Modal
      open
      onClose={onClose}
      title={t('nodes.rules.open')}
      note={t('nodes.rules.note')}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button
            look="primary"
            busy={set.isPending}
            disabled={!rules}
            onClick={() => rules && set.mutate({ customNodes: { ...rules, chosen: rules.chosen.filter(Boolean) } })}
          >
            {t('common.save')}
          </Button>
        </>
      }
    >
      {now && (
        <div className="flex flex-col gap-4">
          <div>
            <Segmented
              label={t('nodes.rules.from')}
              value={now.from}
              onChange={(from) => setRules({ ...now, from })}
              choices={(['any', 'listed', 'chosen'] as const).map((value) => ({
                value,
                label: t(`nodes.rules.${value}`),
              }))}
            />
          </div>
          <p className="text-soft">{t(`nodes.rules.${now.from}Note`)}</p>
          {now.from === 'chosen' && (
            <Field label={t('nodes.rules.list')} help={t('nodes.rules.listNote')}>
              {(ids) => (
                <textarea
                  {...ids}
                  rows={6}
                  spellCheck={false}
                  value={now.chosen.join('\n')}
                  onChange={({ target }) =>
                    setRules({ ...now, chosen: target.value.split('\n').map((each) => each.trim()) })
                  }
                  className="field h-auto py-2 font-mono text-xs"
                />
              )}
            </Field>
          )}
        </div>
      )}
    </Modal>
  )
}
