import { Download, ImagePlus, KeyRound, LayoutList, LogOut, Sparkles, X } from 'lucide-react'
import { type FormEvent, useCallback, useEffect, useId, useMemo, useRef, useState } from 'react'
import type { Json } from '../../core/contract/json.ts'
import { failureOf } from '../client/client.ts'
import { download } from '../client/files.ts'
import { chooseLanguage, saySentence, useWords } from '../i18n.ts'
import { Button, Empty, ErrorNotice, IconButton, PageHead, ProgressBar, Skeleton } from '../parts/basics.tsx'
import { useFormFiles } from '../parts/form-files.ts'
import { Segmented } from '../parts/forms.tsx'
import { sayFault } from '../parts/overlays.tsx'
import { OwnFiles } from '../parts/own-files.ts'
import { type Filling, PanelFields } from '../parts/panel-fields.tsx'
import { useMainAction } from '../parts/use-shortcut.ts'
import {
  askedForm,
  forgetKey,
  formAddress,
  keepKey,
  keepTasks,
  keptTasks,
  keyFromLink,
  type Made,
  type Offered,
  PublishedAt,
  type Told,
} from './agent.ts'

/** What was published here, for people who were given a key: fill in a form, make pictures, see them. */
export function PublishedPage() {
  const [key, setKey] = useState(keyFromLink)
  const [refused, setRefused] = useState(false)
  const enter = (given: string) => {
    keepKey(given)
    setRefused(false)
    setKey(given)
  }
  const leave = useCallback((wasRefused: boolean) => {
    forgetKey()
    setRefused(wasRefused)
    setKey(null)
  }, [])
  return (
    <div className="flex h-dvh flex-col">
      {key === null ? (
        <KeyGate refused={refused} onEnter={enter} />
      ) : (
        <Workflows key={key} agentKey={key} onLeave={leave} />
      )}
    </div>
  )
}

function LanguageChoice() {
  const { t, language } = useWords()
  return (
    <Segmented
      label={t('settings.language')}
      value={language}
      onChange={(next) => chooseLanguage(next as 'en' | 'zh-CN')}
      choices={[
        { value: 'zh-CN', label: '中文' },
        { value: 'en', label: 'English' },
      ]}
    />
  )
}

function KeyGate({ refused, onEnter }: { refused: boolean; onEnter: (key: string) => void }) {
  const { t } = useWords()
  const id = useId()
  const [given, setGiven] = useState('')
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (given.trim() !== '') onEnter(given.trim())
  }
  return (
    <main className="grid flex-1 place-items-center p-4">
      <form onSubmit={submit} className="card flex w-full max-w-[420px] flex-col gap-4 p-6 rise">
        <div>
          <div className="mb-3 grid size-11 place-items-center rounded-xl bg-accent-soft text-accent-ink">
            <KeyRound size={20} aria-hidden />
          </div>
          <h1 className="text-lg">{t('published.keyTitle')}</h1>
          <p className="mt-1 text-soft">{t('published.keyNote')}</p>
        </div>
        {refused && (
          <p role="alert" className="tone-bad rounded-md px-3 py-2">
            {t('published.keyRefused')}
          </p>
        )}
        <div className="flex flex-col gap-1.5">
          <label htmlFor={id} className="font-medium">
            {t('published.key')}
          </label>
          <input
            id={id}
            type="password"
            autoComplete="off"
            value={given}
            onChange={({ target }) => setGiven(target.value)}
            className="field"
          />
        </div>
        <div className="flex items-center justify-between gap-3">
          <LanguageChoice />
          <Button look="primary" type="submit" disabled={given.trim() === ''}>
            {t('published.enter')}
          </Button>
        </div>
      </form>
    </main>
  )
}

function Workflows({ agentKey, onLeave }: { agentKey: string; onLeave: (refused: boolean) => void }) {
  const { t } = useWords()
  const agent = useMemo(() => new PublishedAt(agentKey, () => onLeave(true)), [agentKey, onLeave])
  const [all, setAll] = useState<readonly Offered[] | null>(null)
  const [failed, setFailed] = useState<unknown>(null)
  const load = useCallback(() => {
    setFailed(null)
    agent.workflows().then(setAll, setFailed)
  }, [agent])
  useEffect(load, [load])
  const chosen = all?.find(({ id }) => id === askedForm) ?? (askedForm === '' && all?.length === 1 ? all[0] : undefined)
  useEffect(() => {
    document.title = chosen?.name ?? 'Nightshift'
  }, [chosen])
  return (
    <>
      <PageHead title={chosen?.panel.title || chosen?.name || t('published.title')}>
        {chosen && all && all.length > 1 && (
          <a href={formAddress('')} className="btn btn-quiet">
            <LayoutList aria-hidden /> <span className="max-[480px]:sr-only">{t('published.others')}</span>
          </a>
        )}
        <LanguageChoice />
        <IconButton label={t('published.leave')} icon={LogOut} look="quiet" onClick={() => onLeave(false)} />
      </PageHead>
      {failed !== null ? (
        <div className="p-6">
          <ErrorNotice cause={failed} onRetry={load} />
        </div>
      ) : all === null ? (
        <div className="p-6">
          <Skeleton rows={5} height={72} />
        </div>
      ) : chosen ? (
        <OneForm agent={agent} workflow={chosen} />
      ) : all.length === 0 ? (
        <Empty icon={LayoutList} title={t('published.none')}>
          {t('published.noneNote')}
        </Empty>
      ) : (
        <main className="min-h-0 flex-1 overflow-y-auto">
          {askedForm !== '' && (
            <p role="status" className="tone-warn mx-6 mt-6 rounded-md px-3 py-2">
              {t('published.gone')}
            </p>
          )}
          <ul className="grid auto-rows-min grid-cols-[repeat(auto-fill,minmax(240px,1fr))] gap-4 p-6">
            {all.map(({ id, name, panel }) => (
              <li key={id}>
                <a href={formAddress(id)} className="card block h-full p-5 transition-colors hover:border-line-strong">
                  <h2 className="text-base break-words">{panel.title || name}</h2>
                  {typeof panel.description === 'string' && <p className="mt-1 text-soft">{panel.description}</p>}
                </a>
              </li>
            ))}
          </ul>
        </main>
      )}
    </>
  )
}

interface Run {
  readonly id: string
  readonly told: Told | null
  readonly lost: unknown
}

function OneForm({ agent, workflow }: { agent: PublishedAt; workflow: Offered }) {
  return (
    <OwnFiles value={useOwnFiles(agent)}>
      <Form agent={agent} workflow={workflow} />
    </OwnFiles>
  )
}

function Form({ agent, workflow }: { agent: PublishedAt; workflow: Offered }) {
  const { t } = useWords()
  const { id, panel } = workflow
  const parameters = useMemo(() => new Map(workflow.parameters.map((one) => [one.key, one])), [workflow])
  const [values, setValues] = useState<Readonly<Record<string, Json>>>({})
  const [faults, setFaults] = useState<ReadonlyMap<string, string>>(new Map())
  const [sending, setSending] = useState(false)
  const [runs, setRuns] = useState(() => keptTasks(id).map((task): Run => ({ id: task, told: null, lost: null })))
  const page = useRef<HTMLDivElement>(null)
  const results = useRef<HTMLElement>(null)
  const change = (run: string, to: Partial<Run>) =>
    setRuns((before) => before.map((each) => (each.id === run ? { ...each, ...to } : each)))

  const make = async () => {
    if (sending) return
    setSending(true)
    try {
      const task = await agent.run(id, values)
      setFaults(new Map())
      setRuns((before) => [{ id: task, told: null, lost: null }, ...before])
      keepTasks(id, [task, ...keptTasks(id)])
      results.current?.scrollIntoView({ block: 'start', behavior: 'smooth' })
      void follow(task)
    } catch (cause) {
      const { code, facts } = failureOf(cause)
      const found =
        code === 'agent.bad-value' && Array.isArray(facts.faults) ? (facts.faults as unknown as Fault[]) : []
      if (found.length === 0) sayFault(cause)
      setFaults(
        new Map(
          found.map(({ key, code, reason, facts: of }) => [key, saySentence({ code, message: reason, facts: of })]),
        ),
      )
      const field = found[0] && page.current?.querySelector(`[data-field=${CSS.escape(found[0].key)}]`)
      field?.scrollIntoView({ block: 'center' })
    } finally {
      setSending(false)
    }
  }
  const leaving = useRef(new AbortController())
  useEffect(() => {
    const mine = new AbortController()
    leaving.current = mine
    for (const task of keptTasks(id)) void followFrom.current(task)
    return () => mine.abort()
  }, [id])
  const follow = async (task: string) => {
    const { signal } = leaving.current
    change(task, { lost: null })
    try {
      for await (const told of agent.follow(task, signal)) change(task, { told })
    } catch (cause) {
      if (signal.aborted) return
      if (failureOf(cause).code !== 'agent.no-task') return change(task, { lost: cause })
      keepTasks(
        id,
        keptTasks(id).filter((each) => each !== task),
      )
      setRuns((before) => before.filter((each) => each.id !== task))
    }
  }
  const followFrom = useRef(follow)
  useMainAction(() => void make())
  const set = useCallback((key: string, value: Json | undefined) => {
    setFaults((before) => new Map([...before].filter(([each]) => each !== key)))
    setValues(({ [key]: _, ...rest }) => (value === undefined ? rest : { ...rest, [key]: value }))
  }, [])
  const over = useRef<string | null>(null)
  const media = useFormFiles(panel, parameters, values, over, set)
  useIncoming(media)
  const filling: Filling = {
    workflowId: id,
    parameters,
    values,
    faults,
    onChange: set,
    onOver: (key) => {
      over.current = key
    },
  }
  return (
    <main
      ref={page}
      className="min-h-0 flex-1 overflow-y-auto min-[900px]:grid min-[900px]:grid-cols-2 min-[900px]:overflow-hidden"
    >
      <section
        aria-label={t('form.fields')}
        className="flex min-w-0 flex-col min-[900px]:min-h-0 min-[900px]:border-r min-[900px]:border-line"
      >
        <div className="flex-1 p-5 min-[900px]:overflow-y-auto">
          <div className="mx-auto max-w-[680px]">
            {typeof panel.description === 'string' && <p className="mb-4 text-soft">{panel.description}</p>}
            <PanelFields panel={panel} filling={filling} />
          </div>
        </div>
        <div className="sticky bottom-0 border-t border-line bg-surface p-4">
          <div className="mx-auto flex max-w-[680px] items-center justify-end gap-3">
            {faults.size > 0 && (
              <p role="status" className="mr-auto text-bad">
                {t('form.faults', { count: faults.size })}
              </p>
            )}
            <Button look="primary" icon={Sparkles} busy={sending} onClick={() => void make()}>
              {t('form.go', { count: 1, n: '1' })}
            </Button>
          </div>
        </div>
      </section>
      <section
        ref={results}
        aria-label={t('form.results')}
        className="flex min-w-0 flex-col gap-5 p-5 min-[900px]:overflow-y-auto"
      >
        {runs.length === 0 && (
          <Empty icon={ImagePlus} title={t('form.noPictures')}>
            {t('form.noPicturesNote')}
          </Empty>
        )}
        {runs.map((run) => (
          <Result key={run.id} run={run} agent={agent} onFollow={() => void follow(run.id)} />
        ))}
      </section>
    </main>
  )
}

/** Files dropped on the page, or pasted. */
function useIncoming(media: ((files: File[]) => void) | null) {
  useEffect(() => {
    const stop = (event: Event) => event.preventDefault()
    const take = (transfer: DataTransfer | null) => {
      const files = [...(transfer?.files ?? [])]
      if (files.length > 0) media?.(files)
    }
    const drop = (event: DragEvent) => {
      event.preventDefault()
      take(event.dataTransfer)
    }
    const paste = (event: ClipboardEvent) => take(event.clipboardData)
    window.addEventListener('dragover', stop)
    window.addEventListener('drop', drop)
    window.addEventListener('paste', paste)
    return () => {
      window.removeEventListener('dragover', stop)
      window.removeEventListener('drop', drop)
      window.removeEventListener('paste', paste)
    }
  }, [media])
}

interface Fault {
  readonly key: string
  readonly reason: string
  readonly code: string
  readonly facts: Record<string, string>
}

/** The person's own files: kept at the agent, shown from here. */
function useOwnFiles(agent: PublishedAt) {
  const [known] = useState(() => new Map<string, { name: string; url: string }>())
  return useMemo(
    () => ({
      async keep(file: File) {
        const ref = await agent.keep(file)
        known.set(ref, { name: file.name, url: URL.createObjectURL(file) })
        return ref
      },
      pictureOf: (value: string) => known.get(value)?.url ?? (/^https?:/i.test(value) ? value : ''),
      isKept: (value: string) => known.has(value),
      nameOf: (value: string) => known.get(value)?.name,
    }),
    [agent, known],
  )
}

function Result({ run, agent, onFollow }: { run: Run; agent: PublishedAt; onFollow: () => void }) {
  const { t, format } = useWords()
  const { told, lost } = run
  const open = told === null || told.state === 'queued' || told.state === 'running'
  const waiting = told?.state === 'queued' && (told.ahead ?? 0) > 0
  return (
    <article className="flex flex-col gap-2 rise">
      {lost !== null ? (
        <ErrorNotice cause={lost} onRetry={onFollow} compact />
      ) : open ? (
        <div className="flex items-center gap-3">
          <div className="flex-1">
            <p className="mb-1.5 text-xs text-soft" aria-live="polite">
              {waiting
                ? t('published.ahead', { count: told?.ahead ?? 0, n: format.number(told?.ahead ?? 0) })
                : t(told?.state === 'running' ? 'published.making' : 'published.waiting')}
            </p>
            <ProgressBar value={told?.state === 'running' ? told.part : null} label={t('form.progress')} />
          </div>
          <Button size="sm" icon={X} onClick={() => void agent.cancel(run.id).catch(sayFault)}>
            {t('common.cancel')}
          </Button>
        </div>
      ) : null}
      {told?.state === 'cancelled' && <p className="text-soft">{t('form.cancelled')}</p>}
      {told?.state === 'failed' && told.failure && <ErrorNotice cause={told.failure} compact />}
      {told?.state === 'succeeded' && told.files.length === 0 && <p className="text-soft">{t('published.noFiles')}</p>}
      <div className="grid grid-cols-[repeat(auto-fill,minmax(220px,1fr))] gap-3">
        {told?.files.map((file) => (
          <MadeFile key={file.url} file={file} agent={agent} />
        ))}
      </div>
    </article>
  )
}

function MadeFile({ file, agent }: { file: Made; agent: PublishedAt }) {
  const { t } = useWords()
  const [got, setGot] = useState<{ url: string; name: string } | null>(null)
  const [failed, setFailed] = useState<unknown>(null)
  useEffect(() => {
    let made: string | null = null
    let gone = false
    agent.fetch(file).then(
      (fetched) => {
        made = fetched.url
        if (gone) URL.revokeObjectURL(made)
        else setGot(fetched)
      },
      (cause: unknown) => gone || setFailed(cause),
    )
    return () => {
      gone = true
      if (made !== null) URL.revokeObjectURL(made)
    }
  }, [agent, file])
  if (failed !== null) return <ErrorNotice cause={failed} compact />
  if (got === null) return <Skeleton rows={1} height={220} />
  const { url, name } = got
  const [kind] = file.mediaType.split('/')
  return (
    <figure className="group relative overflow-hidden rounded-lg border border-line bg-sunken">
      {kind === 'image' ? (
        <a href={url} target="_blank" rel="noreferrer">
          <img src={url} alt={name} className="w-full object-contain" />
        </a>
      ) : kind === 'video' ? (
        // biome-ignore lint/a11y/useMediaCaption: what was made has none
        <video src={url} controls loop className="w-full" />
      ) : kind === 'audio' ? (
        // biome-ignore lint/a11y/useMediaCaption: what was made has none
        <audio src={url} controls className="w-full p-3" />
      ) : (
        <p className="p-4 break-all">{name}</p>
      )}
      <figcaption className="absolute top-2 right-2">
        <IconButton
          label={t('form.download', { name })}
          icon={Download}
          look="plain"
          onClick={() => download(url, name)}
        />
      </figcaption>
    </figure>
  )
}
