import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import {
  CircleAlert,
  CircleCheck,
  CircleDot,
  CirclePause,
  CloudUpload,
  Cpu,
  Play,
  RefreshCw,
  RotateCcw,
  RotateCw,
  Send,
  ShieldAlert,
  Square,
} from 'lucide-react'
import { useState } from 'react'
import { type Publication, type PublishPlan, publishSteps, type VersionView } from '../../core/contract/publish.ts'
import { call, refresh, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { useAsking } from '../parts/asking.tsx'
import { Button, Empty, ErrorNotice, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { EndpointForms } from '../parts/endpoint-forms.tsx'
import { Fact } from '../parts/facts.tsx'
import { Field, SearchField, Segmented, Select } from '../parts/forms.tsx'
import { say, sayFault } from '../parts/overlays.tsx'
import { ProofView, VerdictBadge } from '../parts/proof-view.tsx'

/** What runs here, made to run the same on an endpoint: what travels, how far it is, the proof, and every version. */
export function PublishPage() {
  const { t } = useWords()
  const { endpoint: wanted } = useSearch({ from: '/publish' })
  const navigate = useNavigate()
  const endpoints = useAsk('endpoint.list', {})
  const engines = useAsk('engine.list', {})
  const rows = endpoints.data?.rows ?? []
  const chosen = rows.find(({ name }) => name === wanted) ?? rows[0]
  const failed = endpoints.error ?? engines.error
  return (
    <>
      <PageHead title={t('nav.publish')} note={t('publish.note')}>
        {rows.length > 1 && chosen && (
          <Select
            small
            aria-label={t('publish.endpoint')}
            className="w-52"
            value={chosen.name}
            choices={rows.map(({ name, url }) => ({ value: name, label: name, note: url }))}
            onChange={(endpoint) => void navigate({ to: '/publish', search: { endpoint } })}
          />
        )}
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[900px] flex-col gap-3 p-6">
          {endpoints.isPending || engines.isPending ? (
            <Skeleton rows={3} height={120} />
          ) : failed ? (
            <ErrorNotice
              cause={failed}
              onRetry={() => {
                void endpoints.refetch()
                void engines.refetch()
              }}
            />
          ) : !chosen ? (
            <div className="card flex min-h-72">
              <Empty
                icon={CloudUpload}
                title={t('publish.noEndpoint')}
                action={
                  <Link to="/endpoints" className="btn btn-primary">
                    {t('publish.toEndpoints')}
                  </Link>
                }
              >
                {t('publish.noEndpointNote')}
              </Empty>
            </div>
          ) : engines.data.rows.length === 0 ? (
            <div className="card flex min-h-72">
              <Empty
                icon={Cpu}
                title={t('publish.noEngine')}
                action={
                  <Link to="/engine" className="btn btn-primary">
                    {t('publish.toEngine')}
                  </Link>
                }
              >
                {t('publish.noEngineNote')}
              </Empty>
            </div>
          ) : (
            <ToEndpoint
              key={chosen.name}
              endpoint={chosen.name}
              url={chosen.url}
              engines={engines.data.rows.map(({ name }) => name)}
            />
          )}
        </div>
      </div>
    </>
  )
}

function ToEndpoint({ endpoint, url, engines }: { endpoint: string; url: string; engines: string[] }) {
  const publications = useAsk('publish.list', { endpoint })
  if (publications.error) return <ErrorNotice cause={publications.error} onRetry={() => void publications.refetch()} />
  if (!publications.data) return <Skeleton rows={2} height={150} />
  const [last] = publications.data.rows
  const isOpen = last !== undefined && (last.state.is === 'running' || last.state.is === 'asking')
  return (
    <>
      {last && <PublicationCard key={last.id} publication={last} url={url} />}
      {!isOpen && <Compose endpoint={endpoint} engines={engines} last={last} />}
      <Versions endpoint={endpoint} busy={last?.state.is === 'running'} />
    </>
  )
}

// ---- what would travel ----

function Compose({ endpoint, engines, last }: { endpoint: string; engines: string[]; last: Publication | undefined }) {
  const { t, format } = useWords()
  const snapshots = useAsk('snapshot.list', {})
  const library = useAsk('workflow.list', { limit: 200 })
  const [engine, setEngine] = useState(engines[0]!)
  const [what, setWhat] = useState<'now' | 'kept'>('now')
  const [kept, setKept] = useState<string | null>(null)
  const [picked, setPicked] = useState<string[] | null>(null)
  const [note, setNote] = useState('')
  const [consent, setConsent] = useState<string[]>([])
  const plan = useDo('publish.plan', { onSettled: () => refresh('snapshot.list') })
  const start = useDo('publish.start', {
    onError: sayFault,
    onSuccess() {
      plan.reset()
      void refresh('publish.list', 'publish.versions')
    },
  })
  const views = snapshots.data?.rows ?? []
  const progress = snapshots.data?.progress ?? null
  const snapshot = what === 'kept' ? (kept ?? views[0]?.id) : undefined
  const runnable = (library.data?.rows ?? []).filter((row) => row.runnable).map(({ id }) => id)
  /** Those of the version before, until others are picked. */
  const workflows = picked ?? (last?.workflows ?? []).map(({ id }) => id).filter((id) => runnable.includes(id))
  const look = () => plan.mutate({ endpoint, engine, workflows, consent, ...(snapshot && { snapshot }) })
  const change = <T,>(set: (value: T) => void) => {
    return (value: T) => {
      set(value)
      plan.reset() // it was of something else
    }
  }
  return (
    <section className="card flex flex-col gap-4 p-4" aria-label={t('publish.compose', { endpoint })}>
      <div>
        <h2 className="text-base">{t(last ? 'publish.compose' : 'publish.composeFirst', { endpoint })}</h2>
        <p className="text-xs text-faint">{t('publish.composeNote')}</p>
      </div>
      <div className="grid grid-cols-2 gap-4 max-[1100px]:grid-cols-1">
        <Field label={t('publish.what')} help={what === 'now' ? t('publish.nowNote') : undefined}>
          {(ids) => (
            <div className="flex gap-2">
              <Segmented
                label={t('publish.what')}
                value={what}
                choices={[
                  { value: 'now', label: t('publish.now') },
                  { value: 'kept', label: t('publish.kept') },
                ]}
                onChange={change(setWhat)}
              />
              {what === 'kept' && views.length > 0 && (
                <Select
                  {...ids}
                  className="min-w-0 flex-1"
                  value={snapshot ?? ''}
                  choices={views.map(({ id, name, labels, createdAt }) => ({
                    value: id,
                    label: [name, ...labels].join(' · '),
                    note: format.stamp(Date.parse(createdAt)),
                  }))}
                  onChange={change(setKept)}
                />
              )}
              {what === 'kept' && views.length === 0 && (
                <span className="self-center text-xs text-faint">{t('publish.noKept')}</span>
              )}
            </div>
          )}
        </Field>
        {engines.length > 1 && (
          <Field label={t('publish.engine')}>
            {(ids) => (
              <Select
                {...ids}
                value={engine}
                choices={engines.map((name) => ({ value: name, label: name }))}
                onChange={change(setEngine)}
              />
            )}
          </Field>
        )}
        <div className={engines.length > 1 ? 'col-span-full' : undefined}>
          <Field label={t('publish.noteField')}>
            {(ids) => (
              <input
                {...ids}
                value={note}
                maxLength={2000}
                placeholder={t('publish.notePlaceholder')}
                onChange={({ target }) => setNote(target.value)}
                className="field"
              />
            )}
          </Field>
        </div>
      </div>
      <Workflows list={library} chosen={workflows} onChange={change(setPicked)} />
      {plan.error && <ErrorNotice compact cause={plan.error} onRetry={look} />}
      {plan.data && (
        <Plan
          plan={plan.data}
          consent={consent}
          onConsent={setConsent}
          again={
            <Button icon={RefreshCw} busy={plan.isPending} disabled={consent.length === 0} onClick={look}>
              {t('publish.again')}
            </Button>
          }
        />
      )}
      {plan.isPending && (
        <div className="flex flex-col gap-1.5">
          <ProgressBar
            value={progress && progress.totalBytes > 0 ? progress.bytes / progress.totalBytes : null}
            label={t('publish.looking')}
          />
          <p className="num flex items-center text-xs text-soft" aria-live="polite">
            <span className="flex-1">
              {progress
                ? [
                    t('publish.taking'),
                    progress.totalBytes > 0 && `${format.bytes(progress.bytes)} / ${format.bytes(progress.totalBytes)}`,
                    progress.etaSeconds !== null && t('publish.left', { time: format.duration(progress.etaSeconds) }),
                  ]
                    .filter(Boolean)
                    .join(' · ')
                : t('publish.looking')}
            </span>
            {progress && (
              <Button size="sm" icon={Square} onClick={() => void call('snapshot.cancel', {}).catch(sayFault)}>
                {t('common.cancel')}
              </Button>
            )}
          </p>
        </div>
      )}
      <div className="flex items-center justify-end gap-2">
        {workflows.length === 0 && <p className="mr-auto text-xs text-warn">{t('publish.noWorkflows')}</p>}
        <Button
          look={plan.data?.snapshot ? 'plain' : 'primary'}
          busy={plan.isPending}
          disabled={what === 'kept' && views.length === 0}
          onClick={look}
        >
          {t('publish.look')}
        </Button>
        {plan.data?.snapshot && (
          <Button
            look="primary"
            icon={Send}
            busy={start.isPending}
            disabled={plan.data.refusals.length > 0}
            onClick={() => start.mutate({ endpoint, engine, workflows, note, snapshot: plan.data.snapshot!.id })}
          >
            {t('publish.publish')}
          </Button>
        )}
      </div>
    </section>
  )
}

const MANY = 8

function Workflows({
  list,
  chosen,
  onChange,
}: {
  list: ReturnType<typeof useAsk<'workflow.list'>>
  chosen: string[]
  onChange: (ids: string[]) => void
}) {
  const { t } = useWords()
  const [find, setFind] = useState('')
  const rows = list.data?.rows ?? []
  const shown = rows.filter(
    ({ id, name }) => chosen.includes(id) || name.toLowerCase().includes(find.trim().toLowerCase()),
  )
  return (
    <fieldset className="flex flex-col gap-1">
      <legend className="label mb-1">{t('publish.workflows')}</legend>
      {rows.length > MANY && <SearchField label={t('publish.findWorkflow')} value={find} onChange={setFind} />}
      {list.error ? (
        <ErrorNotice compact cause={list.error} onRetry={() => void list.refetch()} />
      ) : list.data && rows.length === 0 ? (
        <p className="text-xs text-faint">{t('publish.noneInLibrary')}</p>
      ) : (
        <ul className="grid max-h-44 grid-cols-2 gap-x-4 overflow-y-auto max-[1100px]:grid-cols-1">
          {shown.map(({ id, name, runnable }) => (
            <li key={id}>
              <label className={`flex items-center gap-2 py-1 ${runnable ? '' : 'text-faint'}`}>
                <input
                  type="checkbox"
                  checked={chosen.includes(id)}
                  disabled={!runnable}
                  onChange={({ target }) =>
                    onChange(target.checked ? [...chosen, id] : chosen.filter((each) => each !== id))
                  }
                />
                <span className="truncate" title={runnable ? name : t('publish.notRunnable')}>
                  {name}
                </span>
              </label>
            </li>
          ))}
        </ul>
      )}
      <p className="text-xs text-faint">{t('publish.workflowsNote')}</p>
    </fieldset>
  )
}

const SHOWN_CHANGES = 12

function Plan({
  plan,
  consent,
  onConsent,
  again,
}: {
  plan: PublishPlan
  consent: string[]
  onConsent: (ids: string[]) => void
  again: React.ReactNode
}) {
  const { t, format } = useWords()
  const [all, setAll] = useState(false)
  const { snapshot, secrets, push, models, live, changes, refusals } = plan
  if (!snapshot || !push)
    return (
      <div role="alert" className="flex flex-col gap-2 rounded-lg border border-line border-l-[3px] border-l-warn p-3">
        <p className="flex items-center gap-2 font-medium">
          <ShieldAlert size={16} className="text-warn" aria-hidden />
          {t('publish.secrets', { count: secrets.length })}
        </p>
        <p className="text-soft">{t('publish.secretsNote')}</p>
        <ul className="flex max-h-56 flex-col overflow-y-auto">
          {secrets.map(({ id, path, line, kind, shown }) => (
            <li key={id + path} className="border-t border-line py-1.5 first:border-0">
              <label className="flex items-start gap-2">
                <input
                  type="checkbox"
                  className="mt-1"
                  checked={consent.includes(id)}
                  onChange={({ target }) =>
                    onConsent(target.checked ? [...consent, id] : consent.filter((each) => each !== id))
                  }
                />
                <span className="min-w-0">
                  <span className="block break-all font-mono text-xs">
                    {path}:{line}
                  </span>
                  <span className="text-xs text-soft">
                    {kind} <code>{shown}</code>
                  </span>
                </span>
              </label>
            </li>
          ))}
        </ul>
        <div className="flex justify-end">{again}</div>
      </div>
    )
  const travels = push.bytes.missing + push.models.missingBytes
  const whole = push.bytes.all + push.models.bytes
  const facts: [string, string][] = [
    [t('publish.comfyui'), snapshot.comfyuiVersion ?? '?'],
    [t('publish.nodes'), format.number(snapshot.nodes)],
    [t('publish.packages'), format.number(snapshot.packages)],
    [t('publish.files'), `${format.number(snapshot.files)} · ${format.bytes(snapshot.bytes)}`],
    [t('publish.models'), `${format.number(push.models.count)} · ${format.bytes(push.models.bytes)}`],
    [t('publish.platform'), snapshot.platform],
  ]
  return (
    <section className="flex flex-col gap-3 rounded-lg bg-sunken p-3" aria-label={t('publish.plan')}>
      <dl className="num grid grid-cols-[repeat(auto-fit,minmax(120px,1fr))] gap-3 text-xs">
        {facts.map(([name, value]) => (
          <Fact key={name} name={name} value={value} />
        ))}
      </dl>
      <div className="flex flex-col gap-1">
        <p className="num font-medium">
          {travels === 0
            ? t('publish.nothingTravels')
            : t('publish.travels', { bytes: format.bytes(travels), of: format.bytes(whole) })}
        </p>
        <ProgressBar value={whole === 0 ? 0 : travels / whole} label={t('publish.share')} />
        <p className="num text-xs text-soft">
          {t('publish.objects', { missing: format.number(push.objects.missing), all: format.number(push.objects.all) })}
          {push.models.missing > 0 &&
            ` · ${t('publish.modelsMissing', { missing: push.models.missing, count: push.models.count })}`}
          {push.models.fetched > 0 && ` · ${t('publish.modelsFetched', { count: push.models.fetched })}`}
        </p>
      </div>
      {models.length > 0 && (
        <details className="text-xs">
          <summary>{t('publish.whichModels', { count: models.length })}</summary>
          <ul className="num mt-1 flex flex-col gap-0.5">
            {models.map(({ folder, name, size }) => (
              <li key={`${folder}/${name}`} className="flex gap-3">
                <span className="min-w-0 flex-1 truncate" title={name}>
                  {folder}/{name}
                </span>
                <span className="text-faint">{format.bytes(size)}</span>
              </li>
            ))}
          </ul>
        </details>
      )}
      {live && (
        <div className="text-xs">
          <h3 className="eyebrow mb-1">{t('publish.since', { version: live.version })}</h3>
          {changes === null ? (
            <p className="text-soft">{t('publish.sinceUnknown')}</p>
          ) : changes.length === 0 ? (
            <p className="text-soft">{t('publish.sinceNothing')}</p>
          ) : (
            <ul className="num flex flex-col gap-0.5">
              {(all ? changes : changes.slice(0, SHOWN_CHANGES)).map(({ what, is, name, before, after }) => (
                <li key={what + name + is} className="flex gap-2 break-all">
                  <span className="badge shrink-0">{t(`publish.changed.${what}`)}</span>
                  <span>
                    {name} <span className="text-faint">{[before, after].filter((each) => each).join(' → ')}</span>
                  </span>
                </li>
              ))}
              {!all && changes.length > SHOWN_CHANGES && (
                <li>
                  <button type="button" className="link" onClick={() => setAll(true)}>
                    {t('publish.more', { count: changes.length - SHOWN_CHANGES })}
                  </button>
                </li>
              )}
            </ul>
          )}
        </div>
      )}
      {refusals.map((failure) => (
        <ErrorNotice key={failure.message} compact cause={failure} />
      ))}
    </section>
  )
}

// ---- on its way ----

const tones = {
  running: 'tone-accent',
  asking: 'tone-warn',
  done: 'tone-good',
  failed: 'tone-bad',
  stopped: 'tone-warn',
}

function PublicationCard({ publication, url }: { publication: Publication; url: string }) {
  const { t, format } = useWords()
  const { id, endpoint, state, version, proof, consent, seconds, workflows, note, createdAt, sent } = publication
  const [isNews] = useState(state.is !== 'done')
  const versions = useAsk('publish.versions', { endpoint }, { enabled: state.is === 'done' })
  /** What became of it since: another may have been put live. */
  const since = versions.data?.rows.find((row) => row.version === version)?.state.is ?? 'live'
  const isOver = state.is === 'done' && since !== 'live'
  const [question, ask] = useAsking()
  const again = () => refresh('publish.list', 'publish.versions', 'endpoint.list')
  const stop = useDo('publish.stop', { onError: sayFault, onSettled: again })
  const resume = useDo('publish.resume', { onError: sayFault, onSettled: again })
  const answer = useDo('publish.answer', { onError: sayFault, onSettled: again })
  const at = 'step' in state ? publishSteps.indexOf(state.step) : publishSteps.length
  const title = version === null ? t('publish.publication') : t('publish.publicationOf', { version })
  const acceptIt = () =>
    ask({
      title: t('publish.acceptAsk'),
      note: <p>{t('publish.acceptNote')}</p>,
      yes: t('publish.accept'),
      danger: true,
      run: () => answer.mutate({ id, accept: true }),
    })
  return (
    <section className="card flex flex-col gap-3 p-4" aria-label={title}>
      {question}
      <div className="flex items-center gap-2">
        <div className="min-w-0 flex-1">
          <h2 className="flex items-center gap-2 text-base">
            {title}
            {isOver ? (
              <span className={`badge ${versionTones[since]}`}>{t(`publish.versionIs.${since}`)}</span>
            ) : (
              <span className={`badge ${tones[state.is]}`}>{t(`publish.is.${state.is}`)}</span>
            )}
          </h2>
          <p className="num truncate text-xs text-faint">
            {[format.stamp(createdAt), note, workflows.map(({ name }) => name).join(', ')].filter(Boolean).join(' · ')}
          </p>
        </div>
        {state.is === 'running' && (
          <Button size="sm" icon={Square} busy={stop.isPending} onClick={() => stop.mutate({ id })}>
            {t('publish.stop')}
          </Button>
        )}
        {(state.is === 'failed' || state.is === 'stopped') && (
          <Button size="sm" icon={Play} busy={resume.isPending} onClick={() => resume.mutate({ id })}>
            {t('publish.goOn')}
          </Button>
        )}
      </div>
      <ol className="flex flex-wrap gap-x-4 gap-y-1 text-xs" aria-label={t('publish.stepsName')}>
        {publishSteps.map((step, n) => (
          <li
            key={step}
            aria-current={n === at ? 'step' : undefined}
            className={`flex items-center gap-1.5 ${n > at ? 'text-faint' : n === at ? 'font-medium' : 'text-soft'}`}
          >
            {n < at && !(state.is === 'asking' && step === 'promote') ? (
              <CircleCheck size={13} className="text-good" aria-hidden />
            ) : n === at && state.is === 'failed' ? (
              <CircleAlert size={13} className="text-bad" aria-hidden />
            ) : n === at && state.is === 'stopped' ? (
              <CirclePause size={13} className="text-warn" aria-hidden />
            ) : (
              <CircleDot size={13} className={n === at ? 'text-accent-ink' : 'text-faint'} aria-hidden />
            )}
            {t(`publish.steps.${step}`)}
            {seconds[step] !== undefined && (
              <span className="num text-faint">{format.duration(Math.max(1, Math.round(seconds[step])))}</span>
            )}
          </li>
        ))}
      </ol>
      {state.is === 'running' && <Running state={state} />}
      {state.is === 'failed' && (
        <>
          <ErrorNotice compact cause={state.failure} />
          <p className="text-xs text-soft">{t('publish.liveStays')}</p>
        </>
      )}
      {state.is === 'stopped' && <p className="text-soft">{t('publish.stopped')}</p>}
      {state.is === 'done' && sent && (
        <p className="num text-xs text-soft">
          {t('publish.sent', {
            bytes: format.bytes(sent.bytes.missing + sent.models.missingBytes),
            of: format.bytes(sent.bytes.all + sent.models.bytes),
          })}
        </p>
      )}
      {state.is === 'done' && workflows.length > 0 && (
        <section className="border-t border-line pt-3" aria-label={t('endpoints.parts.forms')}>
          <h3 className="font-medium">{t('endpoints.parts.forms')}</h3>
          <EndpointForms name={endpoint} url={url} />
        </section>
      )}
      {proof && <ProofView id={id} proof={proof} consent={consent} isNews={isNews} />}
      {state.is === 'done' && !proof && <p className="text-xs text-warn">{t('publish.unproven')}</p>}
      {state.is === 'asking' && (
        <div className="flex flex-wrap justify-end gap-2 border-t border-line pt-3">
          <p className="w-full text-soft">{t('publish.asking')}</p>
          <Button
            icon={RefreshCw}
            busy={resume.isPending}
            onClick={() => void answer.mutateAsync({ id, accept: false }).then(() => resume.mutate({ id }))}
          >
            {t('publish.proveAgain')}
          </Button>
          <Button busy={answer.isPending} onClick={() => answer.mutate({ id, accept: false })}>
            {t('publish.decline')}
          </Button>
          <Button busy={answer.isPending} onClick={acceptIt}>
            {t('publish.accept')}
          </Button>
        </div>
      )}
    </section>
  )
}

function Running({ state }: { state: Extract<Publication['state'], { is: 'running' }> }) {
  const { t, format } = useWords()
  const { step, phase, done, total, perSecond, etaSeconds } = state
  const isBytes = step !== 'prove'
  const label = t(`publish.steps.${step}`)
  const amount = (value: number) => (isBytes ? format.bytes(value) : format.number(value))
  return (
    <div className="flex flex-col gap-1.5">
      <ProgressBar value={total > 0 ? done / total : null} label={label} />
      <p className="num text-xs text-soft" aria-live="polite">
        {[
          label,
          phase && t(`publish.phases.${phase}`),
          total > 0 && `${amount(done)} / ${amount(total)}`,
          isBytes && perSecond !== null && t('publish.rate', { bytes: format.bytes(perSecond) }),
          etaSeconds !== null && total > done && t('publish.left', { time: format.duration(etaSeconds) }),
        ]
          .filter(Boolean)
          .join(' · ')}
      </p>
    </div>
  )
}

// ---- versions ----

const versionTones = { preparing: 'tone-accent', ready: '', live: 'tone-good', retired: '', refused: 'tone-bad' }

function Versions({ endpoint, busy }: { endpoint: string; busy: boolean }) {
  const { t, format } = useWords()
  const versions = useAsk('publish.versions', { endpoint })
  const [question, ask] = useAsking()
  const rollBack = useDo('publish.rollBack', {
    onError: sayFault,
    onSuccess({ version }) {
      void refresh('publish.versions', 'endpoint.list', 'endpoint.releases')
      say({ title: t('publish.back', { endpoint, version }) })
    },
  })
  const rows = versions.data?.rows ?? []
  const live = rows.find(({ state }) => state.is === 'live')?.version ?? 0
  /** To one after it: it was rolled back from. */
  const way = (version: number) => (version > live ? 'forward' : 'rollBack')
  const goBack = ({ version }: VersionView) =>
    ask({
      title: t(version > live ? 'publish.forwardAsk' : 'publish.backAsk', { version }),
      note: <p>{t('publish.backNote')}</p>,
      yes: t(`publish.${way(version)}`),
      run: () => rollBack.mutate({ endpoint, version }),
    })
  return (
    <section className="card flex flex-col gap-2 p-4" aria-label={t('publish.versions')}>
      {question}
      <h2 className="text-base">{t('publish.versions')}</h2>
      {versions.error ? (
        <ErrorNotice compact cause={versions.error} onRetry={() => void versions.refetch()} />
      ) : !versions.data ? (
        <Skeleton rows={2} />
      ) : rows.length === 0 ? (
        <p className="text-soft">{t('publish.noVersions')}</p>
      ) : (
        <div className="overflow-x-auto">
          <table className="num w-full text-xs">
            <thead>
              <tr className="text-left text-faint">
                {(['version', 'made', 'snapshot', 'workflows', 'proof', 'state'] as const).map((head) => (
                  <th key={head} className="py-1 pr-3 font-normal">
                    {t(`publish.heads.${head}`)}
                  </th>
                ))}
                <th />
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr
                  key={row.version}
                  className="border-t border-line"
                  aria-current={row.state.is === 'live' || undefined}
                >
                  <td className="py-1.5 pr-3 font-medium">
                    {row.version}
                    {row.note && <span className="ml-2 font-normal text-faint">{row.note}</span>}
                  </td>
                  <td className="py-1.5 pr-3 whitespace-nowrap">{format.stamp(row.createdAt)}</td>
                  <td className="py-1.5 pr-3 font-mono" title={row.snapshotId}>
                    {row.snapshotId.slice(0, 10)}
                  </td>
                  <td
                    className="max-w-48 truncate py-1.5 pr-3"
                    title={row.workflows.map(({ name }) => name).join(', ')}
                  >
                    {row.workflows.length === 0 ? '–' : row.workflows.map(({ name }) => name).join(', ')}
                  </td>
                  <td className="py-1.5 pr-3">
                    {row.verdict ? <VerdictBadge verdict={row.verdict} /> : '–'}
                    {row.consent && (
                      <span className="block text-2xs text-faint">
                        {t('publish.consented', { by: row.consent.by })}
                      </span>
                    )}
                  </td>
                  <td className="py-1.5 pr-3">
                    <span className={`badge ${versionTones[row.state.is]}`}>
                      {t(`publish.versionIs.${row.state.is}`)}
                    </span>
                  </td>
                  <td className="py-1 text-right">
                    {row.state.is === 'retired' && (
                      <Button
                        size="sm"
                        icon={row.version > live ? RotateCw : RotateCcw}
                        disabled={busy}
                        busy={rollBack.isPending && rollBack.variables?.version === row.version}
                        onClick={() => goBack(row)}
                      >
                        {t(`publish.${way(row.version)}`)}
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}
