import { CircleAlert, CircleCheck, Download, Link2, LockKeyhole, TriangleAlert } from 'lucide-react'
import { useState, useSyncExternalStore } from 'react'
import type { App } from '../../core/contract/app.ts'
import type { Candidate, GetPlan, GetRow } from '../../core/contract/hub.ts'
import type { InputOf } from '../../core/contract/procedure.ts'
import { refresh, useAsk, useDo } from '../client/client.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { Button, ErrorNotice, Skeleton } from './basics.tsx'
import { Select } from './forms.tsx'
import { Outward } from './outward.tsx'
import { Modal, say, sayFault } from './overlays.tsx'

type Wanted = Pick<InputOf<App, 'catalogue.plan'>, 'items' | 'workflowId'>
type Choices = NonNullable<InputOf<App, 'catalogue.plan'>['choices']>
type Choice = Choices[string]

let wanted: Wanted | null = null
const listeners = new Set<() => void>()
/** Shows what would be fetched for these, before anything is. */
export function askToGet(next: Wanted | null) {
  wanted = next
  for (const listener of listeners) listener()
}
const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

/** What would be fetched, wherever it was asked from. */
export function GetDialog() {
  const asked = useSyncExternalStore(subscribe, () => wanted)
  return asked && <Plan key={JSON.stringify(asked)} asked={asked} />
}

const takeable = ({ state }: GetRow) => state.is === 'ready' || state.is === 'elsewhere'

function Plan({ asked }: { asked: Wanted }) {
  const { t, format } = useWords()
  const [choices, setChoices] = useState<Choices>({})
  const engines = useEngines()
  const [engine, setEngine] = useState(() => localStorage.getItem(ENGINE_KEPT) ?? '')
  const into = engines.length > 1 && engines.includes(engine) ? engine : undefined
  const ask = { ...asked, choices, ...(into !== undefined && { engine: into }) }
  const plan = useAsk('catalogue.plan', ask, { placeholderData: (before) => before, staleTime: 0 })
  const close = () => askToGet(null)
  const get = useDo('catalogue.get', {
    onError: sayFault,
    onSuccess({ rows }) {
      const queued = rows.filter(({ state }) => state.is === 'queued').length
      const linked = rows.filter(({ item, state }) => state.is === 'present' && before(item) === 'elsewhere').length
      const refused = rows.find(({ state, item }) => state.is === 'refused' && before(item) !== 'refused')
      if (refused?.state.is === 'refused') sayFault(refused.state.because)
      else
        say({
          title: [queued > 0 && t('get.queued', { count: queued }), linked > 0 && t('get.linked', { count: linked })]
            .filter(Boolean)
            .join(' '),
          ...(queued > 0 && { action: { label: t('get.seeDownloads'), run: () => location.assign('#/downloads') } }),
        })
      void refresh('workflow.needs', 'download.list', 'model.page', 'catalogue.find')
      close()
    },
  })
  const before = (item: string) => plan.data?.rows.find((row) => row.item === item)?.state.is
  const rows = plan.data?.rows ?? []
  const choose = (item: string, choice: Choice) =>
    setChoices((all) => ({ ...all, [item]: { ...all[item], ...choice } }))
  const taken = rows.filter((row) => takeable(row) && choices[row.item]?.take !== false)
  const sizes = taken.filter(({ state }) => state.is === 'ready').map((row) => chosen(row)?.sizeBytes ?? null)
  const total = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0)
  const unknown = sizes.filter((size) => size === null).length
  const free = plan.data?.freeBytes ?? null
  const tight = free !== null && total > free
  const lacking = rows.filter(({ state }) => state.is !== 'present')
  const there = rows.length - lacking.length
  return (
    <Modal
      open
      wide
      onClose={close}
      title={t(asked.workflowId ? 'get.forWorkflow' : 'get.title')}
      footer={
        <div className="flex w-full flex-wrap items-center gap-x-4 gap-y-2">
          <p className={`num mr-auto text-xs ${tight ? 'text-bad' : 'text-soft'}`} role="status">
            {taken.length > 0 &&
              [
                (total > 0 || unknown === 0) && t('get.total', { size: format.bytes(total) }),
                unknown > 0 && t('get.unknownSizes', { count: unknown }),
                free !== null && t('get.free', { size: format.bytes(free) }),
                tight && t('get.tight'),
              ]
                .filter(Boolean)
                .join(' · ')}
          </p>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button
            look="primary"
            icon={Download}
            busy={get.isPending}
            disabled={taken.length === 0 || plan.isPlaceholderData}
            onClick={() => get.mutate(ask)}
          >
            {t('get.get', { count: Math.max(1, taken.length) })}
          </Button>
        </div>
      }
    >
      {engines.length > 1 && (
        <div className="mb-3 flex items-center gap-3">
          <span className="text-soft">{t('get.engine')}</span>
          <div className="w-72">
            <Select
              aria-label={t('get.engine')}
              value={into ?? ''}
              choices={[
                { value: '', label: t('get.anyEngine', { name: engines[0]! }) },
                ...engines.map((value) => ({ value, label: value })),
              ]}
              onChange={(next) => {
                localStorage.setItem(ENGINE_KEPT, next)
                setEngine(next)
              }}
            />
          </div>
        </div>
      )}
      {plan.error ? (
        <ErrorNotice cause={plan.error} onRetry={() => void plan.refetch()} />
      ) : !plan.data ? (
        <div className="flex flex-col gap-2">
          <p className="text-soft">{t('get.looking')}</p>
          <Skeleton rows={Math.max(2, Math.min(5, asked.items?.length ?? 3))} />
        </div>
      ) : (
        <div className="flex flex-col gap-3" aria-busy={plan.isFetching}>
          <Silent silent={plan.data.silent} />
          {there > 0 && (
            <p className="flex items-center gap-2 text-soft">
              <CircleCheck size={15} className="text-good" aria-hidden />
              {t(lacking.length === 0 ? 'get.allThere' : 'get.someThere', { count: there })}
            </p>
          )}
          <ul className="flex flex-col" aria-label={t('get.files')}>
            {lacking.map((row) => (
              <Row
                key={row.item}
                row={row}
                choice={choices[row.item] ?? {}}
                onChoose={(choice) => choose(row.item, choice)}
              />
            ))}
          </ul>
        </div>
      )}
    </Modal>
  )
}

const ENGINE_KEPT = 'nightshift.get-engine'
/** Those that models can be had for. */
function useEngines(): string[] {
  const state = useAsk('model.state', {})
  return [...new Set((state.data?.roots ?? []).flatMap(({ engine }) => engine ?? []))]
}

const chosen = ({ candidates, chosen: at }: GetRow): Candidate | undefined => (at === null ? undefined : candidates[at])
const labelOf = ({ title, name, ref }: Candidate) =>
  ref.hub === 'civitai' || title === name ? `${title} · ${name}` : title

function Row({ row, choice, onChoose }: { row: GetRow; choice: Choice; onChoose: (choice: Choice) => void }) {
  const { t, format } = useWords()
  const { name, folder, candidates, state } = row
  const candidate = chosen(row)
  const canTake = takeable(row)
  const take = canTake && choice.take !== false
  const asksFolder = (state.is === 'asks' && state.what === 'folder') || row.folderBy === 'person'
  return (
    <li className="flex gap-3 border-b border-line py-3 last:border-0">
      <input
        type="checkbox"
        className="mt-1 self-start"
        aria-label={t('get.take', { name })}
        checked={take}
        disabled={!canTake}
        onChange={({ target }) => onChoose({ take: target.checked })}
      />
      <div className="flex min-w-0 flex-1 flex-col gap-1">
        <div className="flex items-baseline gap-3">
          <span className="min-w-0 flex-1 font-medium break-all">{name}</span>
          <span className="num whitespace-nowrap text-soft">
            {candidate?.sizeBytes == null ? '—' : format.bytes(candidate.sizeBytes)}
          </span>
        </div>
        <div className="flex flex-wrap items-center gap-x-2 gap-y-1 text-xs text-faint">
          {asksFolder ? (
            <FolderChoice value={folder} onChange={(next) => onChoose({ folder: next })} />
          ) : (
            folder !== null && (
              <span title={row.folderBy === null ? undefined : t(`get.folderBy.${row.folderBy}`)}>models/{folder}</span>
            )
          )}
          {candidate && (
            <>
              <span
                hidden={candidate.sure === 'author' && row.folderBy !== 'node'}
                className={`badge ${candidate.sure === 'name' ? 'tone-warn' : candidate.sure === 'hash' ? 'tone-good' : ''}`}
                title={t(`get.sureNote.${candidate.sure}`)}
              >
                {t(`get.sure.${candidate.sure}`)}
              </span>
              {candidates.length === 1 &&
                (candidate.page ? (
                  <Outward url={candidate.page}>{candidate.title}</Outward>
                ) : (
                  <span className="break-all">{candidate.title}</span>
                ))}
              {candidate.licence && (
                <span className="badge" title={t('get.licence')}>
                  {candidate.licence}
                </span>
              )}
              {candidate.gated && (
                <span className="badge tone-warn">
                  <LockKeyhole aria-hidden /> {t('get.gated')}
                </span>
              )}
              {candidate.pickle && (
                <span className="badge tone-warn" title={t('get.pickleNote')}>
                  <TriangleAlert aria-hidden /> {t('get.pickle')}
                </span>
              )}
            </>
          )}
          {state.is === 'queued' && <span className="badge tone-accent">{t('get.isQueued')}</span>}
        </div>
        {candidates.length > 1 && (
          <Select
            aria-label={t('get.source', { name })}
            value={row.chosen === null ? '' : String(row.chosen)}
            onChange={(at) => onChoose({ ref: candidates[Number(at)]!.ref })}
            choices={[
              ...(row.chosen === null ? [{ value: '', label: t('get.choose', { count: candidates.length }) }] : []),
              ...candidates.map((each, at) => ({
                value: String(at),
                label: [
                  labelOf(each) +
                    (candidates.some((other) => other !== each && labelOf(other) === labelOf(each))
                      ? ` · ${each.name}`
                      : ''),
                  each.sizeBytes !== null && format.bytes(each.sizeBytes),
                  t(`get.sure.${each.sure}`),
                ]
                  .filter(Boolean)
                  .join(' · '),
              })),
            ]}
          />
        )}
        {state.is === 'elsewhere' && (
          <p className="flex items-start gap-1.5 text-xs text-soft">
            <Link2 size={13} className="mt-0.5 shrink-0 text-good" aria-hidden />
            {t(state.sure === 'hash' ? 'get.elsewhere' : 'get.elsewhereByName', { at: state.at })}
          </p>
        )}
        {state.is === 'refused' && <Refusal because={state.because} />}
        {(state.is === 'unknown' || state.is === 'refused') && (
          <GiveLink unknown={state.is === 'unknown'} onGive={(link) => onChoose({ link })} />
        )}
      </div>
    </li>
  )
}

function Refusal({ because }: { because: Extract<GetRow['state'], { is: 'refused' }>['because'] }) {
  const { message, remedy } = sayFailure(because)
  const { page } = because.facts
  return (
    <div className="flex items-start gap-1.5 text-xs" role="alert">
      <CircleAlert size={13} className="mt-0.5 shrink-0 text-bad" aria-hidden />
      <p className="min-w-0 break-words">
        {message} <span className="text-soft">{remedy}</span>{' '}
        {typeof page === 'string' && /^https?:/.test(page) && (
          <Outward url={page}>{URL.parse(page)?.host ?? page}</Outward>
        )}
      </p>
    </div>
  )
}

/** Nobody knows it; the person may. */
function GiveLink({ unknown, onGive }: { unknown: boolean; onGive: (link: string) => void }) {
  const { t } = useWords()
  const [link, setLink] = useState('')
  return (
    <form
      className="flex flex-wrap items-center gap-2"
      onSubmit={(event) => {
        event.preventDefault()
        if (link.trim() !== '') onGive(link.trim())
      }}
    >
      {unknown && <p className="w-full text-xs text-warn">{t('get.unknown')}</p>}
      <input
        className="field field-sm min-w-48 flex-1"
        value={link}
        spellCheck={false}
        placeholder={t('get.linkHint')}
        aria-label={t('get.link')}
        onChange={({ target }) => setLink(target.value)}
      />
      <Button size="sm" type="submit" disabled={link.trim() === ''}>
        {t('get.useLink')}
      </Button>
    </form>
  )
}

/** ComfyUI's own, and those that lie on this machine. */
const FOLDERS =
  'checkpoints diffusion_models text_encoders vae loras controlnet clip_vision upscale_models embeddings style_models latent_upscale_models model_patches audio_encoders vae_approx ipadapter'.split(
    ' ',
  )
export function FolderChoice({ value, onChange }: { value: string | null; onChange: (folder: string) => void }) {
  const { t } = useWords()
  const state = useAsk('model.state', {})
  const here = (state.data?.roots ?? []).flatMap(({ folders }) => folders.map(({ folder }) => folder))
  const all = [...new Set([...FOLDERS, ...here, ...(value === null ? [] : [value])])]
  return (
    <Select
      aria-label={t('get.folder')}
      value={value ?? ''}
      onChange={onChange}
      choices={[
        ...(value === null ? [{ value: '', label: t('get.chooseFolder') }] : []),
        ...all.map((folder) => ({ value: folder, label: `models/${folder}` })),
      ]}
    />
  )
}

/** Hubs and lists that could not be asked: what they would have said is missing. */
export function Silent({ silent }: { silent: GetPlan['silent'] }) {
  if (silent.length === 0) return null
  return (
    <ul className="flex flex-col gap-1">
      {silent.map(({ from, because }) => {
        const { message, remedy } = sayFailure(because)
        return (
          <li key={from} className="flex items-start gap-1.5 text-xs text-soft">
            <TriangleAlert size={13} className="mt-0.5 shrink-0 text-warn" aria-hidden />
            <span className="min-w-0 break-words">
              <span className="block">{message}</span>
              <span className="block text-faint">{remedy}</span>
            </span>
          </li>
        )
      })}
    </ul>
  )
}
