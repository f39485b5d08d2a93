import {
  CircleAlert,
  CircleCheck,
  Download,
  FileCode2,
  Minus,
  Plus,
  RefreshCw,
  ShieldAlert,
  TriangleAlert,
} from 'lucide-react'
import { type ReactNode, useState } from 'react'
import {
  type NodeChangeView,
  type NodeClash,
  type NodeConsent,
  type NodePlan,
  type NodeResult,
  nodeSteps,
  type PackageChange,
} from '../../core/contract/custom-node.ts'
import type { CustomNodeNeed, NodePack } from '../../core/contract/workflow.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { saySentence, useWords } from '../i18n.ts'
import { Button, ErrorNotice, ProgressBar } from './basics.tsx'
import { Modal, sayFault } from './overlays.tsx'

/** What a change of custom nodes would do, then how it goes, then what came of it. It goes on when this is closed. */
export function NodeChangeDialog({ engine, onClose }: { engine: string; onClose: () => void }) {
  const { t } = useWords()
  const view = useNodeChange(engine)
  const cancel = useDo('nodes.cancel', { onError: sayFault, onSettled: () => refresh('nodes.changes') })
  const forget = () => {
    if (view && ['planning', 'planned', 'failed'].includes(view.is)) cancel.mutate({ engine })
    onClose()
  }
  if (!view) return null
  const { is, plan, failure, result } = view
  if (is === 'planned' && plan) return <PlanDialog key={plan.id} plan={plan} onClose={forget} />
  const busy = is === 'planning' || is === 'running'
  return (
    <Modal
      open
      wide
      onClose={is === 'running' ? onClose : forget}
      title={t(`nodes.change.title.${is}`)}
      note={is === 'running' ? t('nodes.change.goesOn') : undefined}
      footer={
        busy ? (
          <>
            <Button busy={cancel.isPending} onClick={() => cancel.mutate({ engine })}>
              {t('nodes.change.stop')}
            </Button>
            {is === 'running' && (
              <Button look="primary" onClick={onClose}>
                {t('nodes.change.background')}
              </Button>
            )}
          </>
        ) : (
          <Button look="primary" onClick={forget}>
            {t('common.close')}
          </Button>
        )
      }
    >
      {busy && <Steps view={view} />}
      {failure && <ErrorNotice cause={failure} />}
      {is === 'failed' && plan && <p className="mt-3 text-soft">{t('nodes.change.untouched')}</p>}
      {is === 'cancelled' && <p className="text-soft">{t('nodes.change.cancelled')}</p>}
      {result && <Result result={result} />}
      {is === 'failed' && plan && plan.clashes.length > 0 && <Clashes clashes={plan.clashes} />}
    </Modal>
  )
}

/** A mere guess is not chosen for anybody, nor ComfyUI itself. */
export const likeliest = (packs: readonly NodePack[]) =>
  packs.find(({ id, why }) => why !== 'name' && id !== 'comfy-core')
/** How it is asked for: what only the file names may be in no list. */
export const itemOf = ({ id, url, why }: NodePack) => (why === 'file' && url !== null ? url : id)

/** Plans the likeliest package for each class, where a ComfyUI of this machine can have them. */
export function InstallMissing({ needs }: { needs: readonly CustomNodeNeed[] }) {
  const { t } = useWords()
  const nodes = useAsk('nodes.list', {})
  const [shown, setShown] = useState(false)
  const plan = useDo('nodes.plan', {
    onError: sayFault,
    onSuccess() {
      void refresh('nodes.changes')
      setShown(true)
    },
  })
  const engine = nodes.data?.engine ?? null
  const items = [...new Set(needs.flatMap(({ packs }) => likeliest(packs) ?? []).map(itemOf))]
  if (engine === null || items.length === 0) return null
  return (
    <>
      <Button
        size="sm"
        icon={Download}
        busy={plan.isPending}
        onClick={() => plan.mutate({ engine, items, changes: [] })}
      >
        {t('nodes.installMissing', { count: items.length })}
      </Button>
      {shown && <NodeChangeDialog engine={engine} onClose={() => setShown(false)} />}
    </>
  )
}

export function useNodeChange(engine: string | null): NodeChangeView | null {
  const changes = useAsk('nodes.changes', {})
  return changes.data?.rows.find((row) => row.engine === engine) ?? null
}

/** A change that is under way while its dialog is closed; one that failed meanwhile. */
export function NodeChangeCard({ view, onOpen }: { view: NodeChangeView; onOpen: () => void }) {
  const { t } = useWords()
  return (
    <section className="card flex flex-col gap-3 p-4" aria-label={t(`nodes.change.title.${view.is}`)}>
      <div className="flex items-center gap-3">
        <h2 className="min-w-0 flex-1 truncate text-base">{t(`nodes.change.title.${view.is}`)}</h2>
        <Button size="sm" onClick={onOpen}>
          {t('nodes.change.show')}
        </Button>
      </div>
      {view.failure ? (
        <ErrorNotice compact cause={view.failure} />
      ) : view.is === 'planned' ? (
        <p className="text-soft">{t('nodes.change.waits')}</p>
      ) : (
        <Steps view={view} />
      )}
    </section>
  )
}

function Steps({ view: { steps, is } }: { view: NodeChangeView }) {
  const { t, format } = useWords()
  const known = steps.length > 0 ? steps : nodeSteps.map((id) => ({ id, is: 'waiting', bytes: 0, totalBytes: null }))
  const running = known.find((step) => step.is === 'running')
  const done = known.filter((step) => step.is === 'done').length
  const part = running?.totalBytes ? running.bytes / running.totalBytes : 0
  return (
    <div className="flex flex-col gap-2">
      <ProgressBar
        value={is === 'planning' && done === 0 && part === 0 ? null : (done + part) / known.length}
        label={t(`nodes.change.title.${is}`)}
      />
      <p className="text-xs text-soft" aria-live="polite">
        {running ? t(`nodes.change.steps.${running.id}`) : t('nodes.change.begins')}
        {running && running.bytes > 0 && ` · ${format.bytes(running.bytes)}`}
        {running?.totalBytes ? ` / ${format.bytes(running.totalBytes)}` : ''}
      </p>
    </div>
  )
}

// ---- the plan ----

function PlanDialog({ plan, onClose }: { plan: NodePlan; onClose: () => void }) {
  const { t, format } = useWords()
  const [scripts, setScripts] = useState<ReadonlySet<string>>(new Set())
  const [builds, setBuilds] = useState(false)
  const [packages, setPackages] = useState(false)
  const [without, setWithout] = useState<NodeConsent['without']>([])
  const begin = useDo('nodes.begin', { onError: sayFault, onSuccess: () => refresh('nodes.changes') })
  const { nodes, engine, way, clashes, leftOut, findings, locked, diskBytes } = plan
  const solved = ({ wants }: NodeClash) => without.some((one) => one.folder === wants.folder && one.line === wants.line)
  const asksPackages = way === 'in-place' && plan.packages.length > 0
  const open =
    clashes.some((clash) => !solved(clash)) || (plan.builds.length > 0 && !builds) || (asksPackages && !packages)
  return (
    <Modal
      open
      wide
      onClose={onClose}
      title={t('nodes.plan.title')}
      note={t(way === 'beside' ? 'nodes.plan.beside' : 'nodes.plan.inPlace', { engine })}
      footer={
        <>
          <Button onClick={onClose}>{t('nodes.plan.not')}</Button>
          <Button
            look="primary"
            busy={begin.isPending}
            disabled={open || nodes.length === 0}
            onClick={() =>
              begin.mutate({ engine, plan: plan.id, consent: { scripts: [...scripts], builds, packages, without } })
            }
          >
            {t('nodes.plan.begin')}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-4">
        {nodes.length === 0 && <p className="text-soft">{t('nodes.plan.nothing')}</p>}
        <ul className="flex flex-col gap-1.5">
          {nodes.map((node) => (
            <li key={node.folder} className="flex items-center gap-2">
              <span
                className={`badge ${node.change === 'remove' ? 'tone-bad' : node.change === 'disable' ? 'tone-warn' : 'tone-accent'}`}
              >
                {t(`nodes.plan.change.${node.change}`)}
              </span>
              <span className="min-w-0 truncate font-medium">{node.folder}</span>
              <span className="num min-w-0 flex-1 truncate text-xs text-faint">
                {[sayWhere(node.from), sayWhere(node.to)].filter(Boolean).join(' → ')}
              </span>
              {node.sizeBytes > 0 && <span className="num text-xs text-faint">{format.bytes(node.sizeBytes)}</span>}
            </li>
          ))}
        </ul>
        {findings
          .filter(({ level }) => level !== 'good')
          .map((found) => (
            <Note key={found.code + found.message} tone={found.level === 'note' ? 'soft' : 'warn'}>
              {saySentence(found)}
            </Note>
          ))}
        <Part title={t('nodes.plan.packages')} count={plan.packages.length}>
          {plan.packages.length === 0 ? (
            <p className="text-soft">{t('nodes.plan.noPackages')}</p>
          ) : (
            <Packages packages={plan.packages} />
          )}
          {locked.length > 0 && (
            <p className="mt-1.5 text-xs text-faint">
              {t('nodes.plan.locked')} {locked.map((each) => `${each.package} ${each.version}`).join(', ')}
            </p>
          )}
          {asksPackages && (
            <Agree checked={packages} onChange={setPackages} label={t('nodes.plan.agreePackages', { engine })} />
          )}
        </Part>
        {clashes.length > 0 && (
          <Part title={t('nodes.plan.clashes')} count={clashes.length} tone="tone-bad">
            <Clashes
              clashes={clashes}
              action={(clash) => (
                <Agree
                  checked={solved(clash)}
                  onChange={(on) =>
                    setWithout(
                      on
                        ? [...without, { folder: clash.wants.folder, line: clash.wants.line }]
                        : without.filter(
                            ({ folder, line }) => folder !== clash.wants.folder || line !== clash.wants.line,
                          ),
                    )
                  }
                  label={t('nodes.plan.goWithout', { line: clash.wants.line })}
                />
              )}
            />
          </Part>
        )}
        {plan.scripts.length > 0 && (
          <Part title={t('nodes.plan.scripts')} count={plan.scripts.length} tone="tone-warn">
            <p className="mb-2 text-soft">{t('nodes.plan.scriptsNote')}</p>
            <ul className="flex flex-col gap-2">
              {plan.scripts.map((script) => (
                <li key={script.folder + script.file} className="rounded-md border border-line">
                  <details>
                    <summary className="flex cursor-pointer items-center gap-2 px-3 py-2">
                      <FileCode2 size={15} className="shrink-0 text-faint" aria-hidden />
                      <span className="min-w-0 flex-1 truncate font-mono text-xs">
                        {script.folder}/{script.file}
                      </span>
                      <span className="num text-xs text-faint">{format.bytes(script.sizeBytes)}</span>
                    </summary>
                    <pre
                      // biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled with the keyboard
                      tabIndex={0}
                      className="max-h-64 overflow-auto border-t border-line bg-sunken p-3 font-mono text-xs whitespace-pre-wrap"
                    >
                      {script.text}
                    </pre>
                  </details>
                  <div className="border-t border-line px-3 py-2">
                    <Agree
                      checked={scripts.has(script.sha256)}
                      onChange={(on) => {
                        const next = new Set(scripts)
                        if (on) next.add(script.sha256)
                        else next.delete(script.sha256)
                        setScripts(next)
                      }}
                      label={t('nodes.plan.allowScript', { file: `${script.folder}/${script.file}` })}
                    />
                  </div>
                </li>
              ))}
            </ul>
          </Part>
        )}
        {plan.builds.length > 0 && (
          <Part title={t('nodes.plan.builds')} count={plan.builds.length} tone="tone-warn">
            <p className="text-soft">{plan.builds.join(', ')}</p>
            <Agree checked={builds} onChange={setBuilds} label={t('nodes.plan.allowBuilds')} />
          </Part>
        )}
        {leftOut.length > 0 && (
          <Part title={t('nodes.plan.leftOut')} count={leftOut.length}>
            <ul className="flex flex-col gap-1 text-xs">
              {leftOut.map((line) => (
                <li key={`${line.folder} ${line.file} ${line.line}`} className="flex gap-2">
                  <code className="min-w-0 flex-1 truncate" title={`${line.folder}/${line.file}`}>
                    {line.line}
                  </code>
                  <span className="text-faint">{t(`nodes.plan.leftOutWhy.${line.reason}`)}</span>
                </li>
              ))}
            </ul>
          </Part>
        )}
        <Note tone="soft" icon={ShieldAlert}>
          {t('nodes.plan.security')}
        </Note>
        {diskBytes > 0 && (
          <p className="text-xs text-faint">{t('nodes.plan.disk', { size: format.bytes(diskBytes) })}</p>
        )}
      </div>
    </Modal>
  )
}

function Part({
  title,
  count,
  tone = '',
  children,
}: {
  title: string
  count: number
  tone?: string
  children: ReactNode
}) {
  return (
    <section aria-label={title}>
      <h3 className="mb-1.5 flex items-center gap-2 font-semibold">
        {title} {count > 0 && <span className={`badge ${tone}`}>{count}</span>}
      </h3>
      {children}
    </section>
  )
}

function Note({
  tone,
  icon: Icon = TriangleAlert,
  children,
}: {
  tone: 'soft' | 'warn'
  icon?: typeof TriangleAlert
  children: ReactNode
}) {
  return (
    <p className="flex gap-2 text-xs">
      <Icon size={14} className={`mt-0.5 shrink-0 ${tone === 'warn' ? 'text-warn' : 'text-faint'}`} aria-hidden />
      <span className="min-w-0 text-soft break-words">{children}</span>
    </p>
  )
}

function Agree({ checked, onChange, label }: { checked: boolean; onChange: (on: boolean) => void; label: string }) {
  return (
    <label className="mt-1 flex items-start gap-2">
      <input
        type="checkbox"
        checked={checked}
        onChange={({ target }) => onChange(target.checked)}
        className="mt-1 accent-[var(--accent)]"
      />
      <span className="min-w-0 break-words">{label}</span>
    </label>
  )
}

/** What is new, what changes, what goes. */
function Packages({ packages }: { packages: readonly PackageChange[] }) {
  return (
    <ul className="num grid max-h-56 grid-cols-[repeat(auto-fill,minmax(240px,1fr))] gap-x-4 gap-y-1 overflow-y-auto text-xs">
      {packages.map((each) => {
        const Icon = each.from === null ? Plus : each.to === null ? Minus : RefreshCw
        const tone = each.from === null ? 'text-good' : each.to === null ? 'text-bad' : 'text-warn'
        return (
          <li key={each.package} className="flex min-w-0 items-center gap-1.5">
            <Icon size={12} className={`shrink-0 ${tone}`} aria-hidden />
            <span className="truncate font-medium">{each.package}</span>
            <span className="truncate text-faint">{[each.from, each.to].filter(Boolean).join(' → ')}</span>
          </li>
        )
      })}
    </ul>
  )
}

function Clashes({ clashes, action }: { clashes: readonly NodeClash[]; action?: (clash: NodeClash) => ReactNode }) {
  const { t } = useWords()
  return (
    <ul className="flex flex-col gap-2">
      {clashes.map((clash) => (
        <li
          key={`${clash.package} ${clash.wants.folder} ${clash.wants.line}`}
          className="rounded-md border border-line p-3"
        >
          <p className="flex gap-2">
            <CircleAlert size={15} className="mt-0.5 shrink-0 text-bad" aria-hidden />
            <span className="min-w-0 break-words">
              {t(`nodes.plan.because.${clash.because}`, { package: clash.package, folder: clash.wants.folder })}
            </span>
          </p>
          <dl className="num mt-1.5 grid grid-cols-[auto_1fr] gap-x-3 gap-y-0.5 pl-6 text-xs">
            <dt className="text-faint">{clash.wants.folder}</dt>
            <dd className="break-all">{clash.wants.line}</dd>
            {clash.against.map(({ who, wants }) => (
              <div key={who + wants} className="contents">
                <dt className="text-faint">{who}</dt>
                <dd className="break-all">{wants}</dd>
              </div>
            ))}
          </dl>
          {clash.reason && (
            <details className="mt-1 pl-6 text-xs text-faint">
              <summary className="cursor-pointer">{t('nodes.plan.uvSays')}</summary>
              <p className="mt-1 whitespace-pre-wrap break-words">{clash.reason}</p>
            </details>
          )}
          {action && <div className="pl-6">{action(clash)}</div>}
        </li>
      ))}
    </ul>
  )
}

function Result({ result }: { result: NodeResult }) {
  const { t } = useWords()
  const brought = Object.entries(result.classes)
  return (
    <div className="flex flex-col gap-3">
      <p className="flex items-center gap-2">
        <CircleCheck size={16} className="text-good" aria-hidden />{' '}
        {t(brought.some(([, classes]) => classes.length > 0) ? 'nodes.change.worked' : 'nodes.change.turned')}
      </p>
      {brought.length > 0 && (
        <ul className="flex flex-col gap-1">
          {brought.map(([folder, classes]) => (
            <li key={folder} className="flex gap-2">
              <span className="font-medium">{folder}</span>
              <span className="min-w-0 flex-1 truncate text-xs text-faint" title={classes.join(', ')}>
                {t('nodes.classes', { count: classes.length })}
              </span>
            </li>
          ))}
        </ul>
      )}
      {result.packages.length > 0 && <Packages packages={result.packages} />}
      {result.scripts.map((script) => (
        <Note key={script.folder + script.file} tone={script.is === 'done' ? 'soft' : 'warn'}>
          {t(`nodes.change.script.${script.is}`, { file: `${script.folder}/${script.file}` })}
          {script.is === 'failed' && ` ${script.lastLines.at(-1) ?? ''}`}
        </Note>
      ))}
      {result.findings.map((found) => (
        <Note key={found.code + found.message} tone={found.level === 'note' ? 'soft' : 'warn'}>
          {saySentence(found)}
        </Note>
      ))}
    </div>
  )
}

/** Which commit or version, as short as people say it. */
export function sayWhere(source: NodePlan['nodes'][number]['from']): string {
  if (!source) return ''
  if (source.is === 'registry') return source.version
  if ('commit' in source && source.commit) return source.commit.slice(0, 8)
  return ''
}
