import {
  CircleCheck,
  CircleDot,
  Cpu,
  Download,
  Ellipsis,
  ExternalLink,
  FolderOpen,
  FolderSymlink,
  History,
  Play,
  Plus,
  RefreshCw,
  RotateCcw,
  ScrollText,
  Settings2,
  Square,
  Stethoscope,
  Trash2,
  TriangleAlert,
} from 'lucide-react'
import { useState } from 'react'
import type { App } from '../../core/contract/app.ts'
import {
  type EngineChange,
  type EngineKind,
  type EngineProcess,
  type EngineRemedy,
  type EngineView,
  type FoundInstall,
  remediesFor,
  startupPhases,
} from '../../core/contract/engine.ts'
import type { Failure } from '../../core/contract/errors.ts'
import type { OutputOf } from '../../core/contract/procedure.ts'
import { bridge, refresh, useAsk, useDo } from '../client/client.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { useOpenEditor } from '../open-editor.ts'
import { useAsking } from '../parts/asking.tsx'
import { Button, Empty, ErrorNotice, IconButton, PageHead, Skeleton } from '../parts/basics.tsx'
import { EngineDoctor } from '../parts/engine-doctor.tsx'
import { EngineLog } from '../parts/engine-log.tsx'
import { EngineModels } from '../parts/engine-models.tsx'
import { EngineSettingsForm } from '../parts/engine-settings.tsx'
import { EngineVersions } from '../parts/engine-versions.tsx'
import { Fact } from '../parts/facts.tsx'
import { Told } from '../parts/finding.tsx'
import { Field } from '../parts/forms.tsx'
import { InstallEngine, Installs } from '../parts/install-engine.tsx'
import { Menu, Modal, say, sayFault } from '../parts/overlays.tsx'
import { useNow } from '../parts/use-now.ts'

/** The ComfyUIs of this machine that Nightshift runs, and what the machine is good for. */
export function EnginePage() {
  const { t } = useWords()
  const engines = useAsk('engine.list', {})
  const machine = useAsk('machine.look', {}, { staleTime: 300_000 })
  const rows = engines.data?.rows ?? []
  const [planning, setPlanning] = useState(false)
  const known = new Set(rows.map(({ dir }) => dir))
  const others = machine.data?.report.installs.filter(({ dir, python }) => python !== null && !known.has(dir)) ?? []
  return (
    <>
      <PageHead title={t('nav.engine')} note={t('engine.note')}>
        {bridge && <AdoptFolder look="plain" />}
        <Button look={rows.length === 0 ? 'primary' : 'plain'} icon={Download} onClick={() => setPlanning(true)}>
          {t('engine.install.open')}
        </Button>
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[900px] flex-col gap-3 p-6">
          <Machine machine={machine} />
          {planning && engines.data && <InstallEngine engines={rows} onClose={() => setPlanning(false)} />}
          <Installs />
          {engines.isPending ? (
            <Skeleton rows={1} height={140} />
          ) : engines.error ? (
            <ErrorNotice cause={engines.error} onRetry={() => void engines.refetch()} />
          ) : rows.length === 0 ? (
            <div className="card flex min-h-64">
              <Empty
                icon={Cpu}
                title={t('engine.none')}
                action={
                  bridge ? (
                    <AdoptFolder look="primary" />
                  ) : (
                    <code className="rounded-md bg-sunken px-3 py-1.5">npm run -s cli -- engine adopt DIR</code>
                  )
                }
              >
                {bridge ? t('engine.noneNote') : t('engine.noneNoteBrowser')}
              </Empty>
            </div>
          ) : (
            <ul className="flex flex-col gap-3">
              {rows.map((engine) => (
                <EngineCard key={engine.name} engine={engine} machine={machine.data} />
              ))}
            </ul>
          )}
          {others.length > 0 && <Found installs={others} />}
        </div>
      </div>
    </>
  )
}

// ---- the machine ----

type Seen = OutputOf<App, 'machine.look'>
const GiB = 2 ** 30

function Machine({
  machine,
}: {
  machine: { data?: Seen; isPending: boolean; error: unknown; refetch: () => unknown }
}) {
  const { t, format } = useWords()
  const [looking, setLooking] = useState(false)
  const again = useDo('machine.look', {
    onError: sayFault,
    onSettled() {
      void machine.refetch()
      setLooking(false)
    },
  })
  if (machine.isPending) return <Skeleton rows={1} height={150} />
  if (!machine.data) return <ErrorNotice cause={machine.error} onRetry={() => void machine.refetch()} />
  const { report, verdict } = machine.data
  const tone = { well: 'tone-good', slowly: 'tone-warn', not: 'tone-bad' }[verdict.runs]
  const roomiest = report.volumes.toSorted((a, b) => b.freeBytes - a.freeBytes)[0]
  const facts: [string, string][] = [
    [t('engine.card'), report.gpus.map(({ name }) => name).join(', ') || t('engine.noCard')],
    ...(verdict.gpu?.driver ? [[t('engine.driver'), verdict.gpu.driver] as [string, string]] : []),
    [t('engine.processor'), `${report.cpu.name} × ${format.number(report.cpu.cores)}`],
    [t('engine.ram'), format.bytes(Math.round(report.ramMiB / 1024) * GiB)],
    ...(roomiest
      ? [
          [
            t('engine.disk'),
            t('engine.diskFree', { free: format.bytes(roomiest.freeBytes), mount: roomiest.mount }),
          ] as [string, string],
        ]
      : []),
    [t('engine.system'), report.osName],
  ]
  return (
    <section className="card p-4" aria-label={t('engine.machine')}>
      <div className="flex items-center gap-2">
        <h2 className="text-base">{t('engine.machine')}</h2>
        <span className={`badge ${tone}`}>{t(`engine.runs.${verdict.runs}`)}</span>
        <IconButton
          className="ml-auto"
          size="sm"
          icon={RefreshCw}
          label={t('engine.lookAgain')}
          busy={looking}
          onClick={() => {
            setLooking(true)
            again.mutate({ again: true })
          }}
        />
      </div>
      <dl className="num mt-3 grid grid-cols-[repeat(auto-fit,minmax(150px,1fr))] gap-3 border-t border-line pt-3 text-xs">
        {facts.map(([name, value]) => (
          <Fact key={name} name={name} value={value} />
        ))}
      </dl>
      {verdict.findings.length > 0 && (
        <ul className="mt-3 flex flex-col gap-1.5 border-t border-line pt-3">
          {verdict.findings
            .filter(({ code }) => code !== 'machine.install')
            .map((finding) => (
              <Told key={finding.code + finding.message} finding={finding} />
            ))}
        </ul>
      )}
    </section>
  )
}

// ---- taking one over ----

function AdoptFolder({ look }: { look: 'primary' | 'plain' }) {
  const { t } = useWords()
  const [open, setOpen] = useState(false)
  const [dir, setDir] = useState('')
  const [python, setPython] = useState('')
  const adopt = useDo('engine.adopt', {
    onSuccess() {
      void refresh('engine.list', 'worker.list')
      setOpen(false)
      setDir('')
    },
  })
  return (
    <>
      <Button look={look} icon={Plus} onClick={() => setOpen(true)}>
        {t('engine.adopt')}
      </Button>
      <Modal
        open={open}
        onClose={() => setOpen(false)}
        title={t('engine.adoptTitle')}
        note={t('engine.noneNote')}
        footer={
          <>
            <Button onClick={() => setOpen(false)}>{t('common.cancel')}</Button>
            <Button look="primary" type="submit" form="adopt" busy={adopt.isPending} disabled={dir.trim() === ''}>
              {t('engine.runThis')}
            </Button>
          </>
        }
      >
        <form
          id="adopt"
          className="flex flex-col gap-4"
          onSubmit={(event) => {
            event.preventDefault()
            adopt.mutate({ dir: dir.trim(), ...(python.trim() && { python: python.trim() }) })
          }}
        >
          <Field label={t('engine.folder')} help={t('engine.folderNote')}>
            {(ids) => (
              <div className="flex gap-2">
                <input
                  {...ids}
                  value={dir}
                  spellCheck={false}
                  autoComplete="off"
                  onChange={({ target }) => setDir(target.value)}
                  className="field min-w-0 flex-1 font-mono"
                />
                <Button
                  icon={FolderOpen}
                  onClick={() => void bridge?.chooseFolder().then((chosen) => chosen && setDir(chosen))}
                >
                  {t('engine.browse')}
                </Button>
              </div>
            )}
          </Field>
          <Field label={t('engine.itsPython')} help={t('engine.itsPythonNote')}>
            {(ids) => (
              <input
                {...ids}
                value={python}
                spellCheck={false}
                autoComplete="off"
                onChange={({ target }) => setPython(target.value)}
                className="field font-mono"
              />
            )}
          </Field>
          {adopt.error && <ErrorNotice compact cause={adopt.error} />}
        </form>
      </Modal>
    </>
  )
}

function Found({ installs }: { installs: readonly FoundInstall[] }) {
  const { t } = useWords()
  const adopt = useDo('engine.adoptFound', {
    onError: sayFault,
    onSuccess: () => refresh('engine.list', 'worker.list'),
  })
  return (
    <section aria-label={t('engine.found')}>
      <h2 className="eyebrow mt-3 mb-2">{t('engine.found')}</h2>
      <ul className="flex flex-col gap-2">
        {installs.map(({ dir, kind, version }) => (
          <li key={dir} className="card flex items-center gap-3 p-3">
            <FolderOpen size={17} className="shrink-0 text-faint" aria-hidden />
            <div className="min-w-0 flex-1">
              <p className="truncate font-medium" title={dir}>
                {dir}
              </p>
              <p className="text-xs text-faint">
                {t(`engine.kinds.${kind}`)}
                {version && ` · ComfyUI ${version}`}
              </p>
            </div>
            <Button
              size="sm"
              busy={adopt.isPending && adopt.variables?.dir === dir}
              onClick={() => adopt.mutate({ dir })}
            >
              {t('engine.runThis')}
            </Button>
          </li>
        ))}
      </ul>
    </section>
  )
}

// ---- one engine ----

const isUp = ({ state }: EngineProcess) => state.is !== 'stopped' && state.is !== 'failed'

function EngineCard({ engine, machine }: { engine: EngineView; machine: Seen | undefined }) {
  const { t } = useWords()
  const { name, kind, dir, version, processes } = engine
  const [log, setLog] = useState<string | null>(null)
  const [panel, setPanel] = useState<'versions' | 'doctor' | 'models' | null>(null)
  const [editing, setEditing] = useState(false)
  const [question, ask] = useAsking()
  const queue = useAsk('queue.state', {})
  const jobs = queue.data?.running.filter(({ workerId }) => processes.some(({ id }) => id === workerId)).length ?? 0
  const again = () => refresh('engine.list', 'worker.list')
  const start = useDo('engine.start', { onSettled: again }) // what went wrong is shown where it happened
  const stop = useDo('engine.stop', { onError: sayFault, onSettled: again })
  const set = useDo('engine.set', { onError: sayFault, onSettled: again })
  const repair = useDo('engine.doctor', { onError: sayFault, onSettled: () => refresh('engine.installs') })
  const remove = useDo('engine.remove', {
    onError: sayFault,
    onSuccess() {
      void again()
      say({ title: t('engine.removed', { name }) })
    },
  })
  const up = processes.some(isUp)
  const installed = kind === 'installed'
  /** What stops jobs that run is asked for first. */
  const afterAsking = (title: string, run: () => void) => () =>
    jobs === 0 ? run() : ask({ title, note: <p>{t('engine.stopsJobs', { count: jobs })}</p>, yes: title, run })
  const askToRemove = () =>
    ask({
      title: t('engine.removeAsk', { name }),
      note: (
        <>
          <p>{installed ? t('engine.removeInstalled') : t('engine.removeAdopted')}</p>
          {jobs > 0 && <p className="text-warn">{t('engine.stopsJobs', { count: jobs })}</p>}
        </>
      ),
      yes: t('common.remove'),
      danger: true,
      run: () => remove.mutate({ name }),
    })
  const change = (settings: EngineChange) => set.mutateAsync({ name, settings })
  const remedies: Record<EngineRemedy, () => void> = {
    start: () => start.mutate({ name }),
    'without-custom-nodes': () => void change({ withCustomNodes: false }).then(() => start.mutate({ name })),
    'with-custom-nodes': () => void change({ withCustomNodes: true }).then(() => start.mutate({ name })),
    'on-cpu': () => void change({ cards: [{ card: 'cpu', flags: [], port: null }] }).then(() => start.mutate({ name })),
    'any-port': () =>
      void change({ cards: engine.settings.cards.map((card) => ({ ...card, port: null })) }).then(() =>
        start.mutate({ name }),
      ),
    repair: () => repair.mutate({ name, mend: true }),
    'show-log': () => setLog(processes.find(({ state }) => state.is === 'failed')?.id ?? processes[0]!.id),
  }
  return (
    <li className="card p-4" aria-label={name}>
      <div className="flex items-start gap-3">
        <div className="grid size-9 shrink-0 place-items-center rounded-lg bg-sunken text-soft">
          <Cpu size={17} aria-hidden />
        </div>
        <div className="min-w-0 flex-1">
          <h2 className="truncate text-base">
            {name} <span className="font-normal text-faint">ComfyUI {version ?? '?'}</span>
          </h2>
          <p className="truncate text-xs text-faint" title={dir}>
            {t(`engine.kinds.${kind}`)} · {dir}
          </p>
        </div>
        {up ? (
          <>
            <Button
              size="sm"
              icon={RotateCcw}
              disabled={stop.isPending}
              onClick={afterAsking(
                t('engine.restart'),
                () => void stop.mutateAsync({ name }).then(() => start.mutate({ name })),
              )}
            >
              {t('engine.restart')}
            </Button>
            <Button
              size="sm"
              icon={Square}
              busy={stop.isPending}
              onClick={afterAsking(t('engine.stop'), () => stop.mutate({ name }))}
            >
              {t('engine.stop')}
            </Button>
          </>
        ) : (
          <Button size="sm" look="primary" icon={Play} busy={start.isPending} onClick={() => start.mutate({ name })}>
            {t('engine.start')}
          </Button>
        )}
        <Menu
          trigger={<IconButton size="sm" icon={Ellipsis} label={t('workers.actions', { name })} />}
          items={[
            { label: t('engine.settings'), icon: Settings2, onSelect: () => setEditing(true) },
            { label: t('engine.log'), icon: ScrollText, onSelect: () => setLog(processes[0]!.id) },
            null,
            { label: t('common.remove'), icon: Trash2, danger: true, onSelect: askToRemove },
          ]}
        />
      </div>
      {!engine.settings.withCustomNodes && (
        <p className="tone-warn mt-3 flex flex-wrap items-center gap-2 rounded-md px-3 py-1.5 text-xs">
          <TriangleAlert size={14} className="shrink-0" aria-hidden />
          <span className="mr-auto">{t('engine.withoutNodes')}</span>
          <Button size="sm" onClick={() => void change({ withCustomNodes: true })}>
            {t('engine.remedies.with-custom-nodes')}
          </Button>
        </p>
      )}
      <ul className="mt-3 flex flex-col gap-3 border-t border-line pt-3">
        {processes.map((process) => (
          <Process
            kind={kind}
            key={process.id}
            process={process}
            named={processes.length > 1}
            onLog={() => setLog(log === process.id ? null : process.id)}
            logOpen={log === process.id}
            remedies={remedies}
          />
        ))}
      </ul>
      {log !== null && <EngineLog key={log} process={log} onClose={() => setLog(null)} />}
      <div className="mt-3 flex flex-wrap gap-1 border-t border-line pt-2">
        {panels
          .filter(({ panel }) => installed || panel !== 'versions')
          .map(({ panel: each, icon }) => (
            <Button
              key={each}
              size="sm"
              look="quiet"
              icon={icon}
              aria-expanded={panel === each}
              aria-pressed={panel === each}
              onClick={() => setPanel(panel === each ? null : each)}
            >
              {t(`engine.${each}.title`)}
            </Button>
          ))}
      </div>
      {panel === 'versions' && <EngineVersions engine={engine} stopping={jobs} ask={ask} />}
      {panel === 'doctor' && <EngineDoctor engine={engine} stopping={jobs} ask={ask} />}
      {panel === 'models' && <EngineModels engine={engine} installs={machine?.report.installs ?? []} stopping={jobs} />}
      {question}
      {editing && (
        <EngineSettingsForm engine={engine} gpus={machine?.report.gpus ?? []} onClose={() => setEditing(false)} />
      )}
    </li>
  )
}

const panels = [
  { panel: 'versions', icon: History },
  { panel: 'doctor', icon: Stethoscope },
  { panel: 'models', icon: FolderSymlink },
] as const
const tones = { stopped: '', starting: 'tone-accent', ready: 'tone-good', pausing: 'tone-warn', failed: 'tone-bad' }

function Process({
  kind,
  process,
  named,
  onLog,
  logOpen,
  remedies,
}: {
  kind: EngineKind
  process: EngineProcess
  named: boolean
  onLog: () => void
  logOpen: boolean
  remedies: Record<EngineRemedy, () => void>
}) {
  const { t, format } = useWords()
  const { id, card, state, facts, restarts } = process
  const editor = useOpenEditor()
  const failedNodes = facts.customNodes.filter(({ failed }) => failed)
  const told: [string, string | undefined][] = [
    [t('engine.device'), facts.device],
    ['PyTorch', facts.torchVersion],
    ['Python', facts.pythonVersion],
    [t('engine.attention'), facts.attention],
    [t('engine.customNodes'), state.is === 'ready' ? format.number(facts.customNodes.length) : undefined],
    [t('engine.restarts'), restarts > 0 ? format.number(restarts) : undefined],
  ]
  const shown = told.filter((fact): fact is [string, string] => fact[1] !== undefined)
  return (
    <li className="flex flex-col gap-2.5" aria-label={named ? t('engine.onCard', { id, card }) : undefined}>
      <div className="flex flex-wrap items-center gap-2">
        {named && <span className="font-medium">{t('engine.onCard', { id, card })}</span>}
        <span className={`badge ${tones[state.is]}`} role="status">
          {t(`engine.states.${state.is}`)}
        </span>
        {state.is === 'ready' && <span className="num truncate text-xs text-faint select-all">{state.url}</span>}
        <span className="ml-auto" />
        {state.is === 'ready' && (
          <Button size="sm" icon={ExternalLink} busy={editor.isPending} onClick={() => editor.mutate({ workerId: id })}>
            {t('engine.open')}
          </Button>
        )}
        <Button size="sm" look="quiet" icon={ScrollText} aria-pressed={logOpen} onClick={onLog}>
          {t('engine.log')}
        </Button>
      </div>
      {state.is === 'ready' && state.silentSince !== null && <NoAnswer since={state.silentSince} />}
      {state.is === 'starting' && <Phases phase={state.phase} since={state.since} />}
      {state.is === 'pausing' && <Pausing because={state.because} restartAt={state.restartAt} />}
      {state.is === 'failed' && (
        <ErrorNotice
          compact
          cause={state.because}
          action={remediesFor(state.because.code, kind).map((remedy, place) => (
            <Button key={remedy} size="sm" look={place === 0 ? 'primary' : 'plain'} onClick={remedies[remedy]}>
              {t(`engine.remedies.${remedy}`)}
            </Button>
          ))}
        />
      )}
      {state.is !== 'stopped' && shown.length > 0 && (
        <dl className="num grid grid-cols-[repeat(auto-fit,minmax(130px,1fr))] gap-3 text-xs">
          {shown.map(([name, value]) => (
            <Fact key={name} name={name} value={value} />
          ))}
        </dl>
      )}
      {failedNodes.length > 0 && state.is !== 'stopped' && (
        <p className="flex gap-2 text-xs text-soft">
          <TriangleAlert size={14} className="mt-0.5 shrink-0 text-warn" aria-hidden />
          <span className="min-w-0 break-words">
            {t('engine.nodesFailed', { count: failedNodes.length })}{' '}
            {failedNodes.map(({ folder }) => folder.split(/[\\/]/).at(-1)).join(', ')}
          </span>
        </p>
      )}
    </li>
  )
}

/** It runs and does not answer: it is started again after as long as its settings say. */
function NoAnswer({ since }: { since: number }) {
  const { t, format } = useWords()
  const now = useNow()
  return (
    <p className="tone-warn num flex gap-2 rounded-md px-3 py-2" role="status">
      <TriangleAlert size={15} className="mt-0.5 shrink-0" aria-hidden />
      {t('engine.silent', { time: format.duration(Math.max(0, (now - since) / 1000)) })}
    </p>
  )
}

/** What a start is busy with, and for how long. */
function Phases({ phase, since }: { phase: (typeof startupPhases)[number]; since: number }) {
  const { t, format } = useWords()
  const now = useNow()
  const at = startupPhases.indexOf(phase)
  return (
    <div>
      <ol className="flex flex-wrap gap-x-4 gap-y-1 text-xs" aria-label={t('engine.phasesName')}>
        {startupPhases.map((each, place) => (
          <li
            key={each}
            aria-current={place === at ? 'step' : undefined}
            className={`flex items-center gap-1.5 ${place > at ? 'text-faint' : place === at ? 'font-medium' : 'text-soft'}`}
          >
            {place < at ? (
              <CircleCheck size={13} className="text-good" aria-hidden />
            ) : (
              <CircleDot size={13} className={place === at ? 'text-accent-ink' : 'text-faint'} aria-hidden />
            )}
            {t(`engine.phases.${each}`)}
          </li>
        ))}
      </ol>
      <p className="num mt-1.5 text-xs text-faint">
        {t('engine.startingFor', { time: format.duration(Math.max(0, now - since) / 1000) })}
      </p>
    </div>
  )
}

function Pausing({ because, restartAt }: { because: Failure; restartAt: number }) {
  const { t, format } = useWords()
  const now = useNow()
  const { message } = sayFailure(because)
  return (
    <p className="tone-warn flex gap-2 rounded-md px-3 py-2">
      <TriangleAlert size={15} className="mt-0.5 shrink-0" aria-hidden />
      <span>
        {message} {t('engine.againIn', { time: format.duration(Math.max(0, restartAt - now) / 1000) })}
      </span>
    </p>
  )
}
