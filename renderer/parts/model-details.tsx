import { Link } from '@tanstack/react-router'
import {
  ChevronDown,
  ChevronUp,
  Copy,
  ExternalLink,
  FolderInput,
  Hash,
  ShieldAlert,
  ShieldCheck,
  Trash2,
  TriangleAlert,
  X,
} from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import type { ModelDetail } from '../../core/contract/model.ts'
import { call, modelPictureUrl, refresh, thumbUrl, useAsk, useDo } from '../client/client.ts'
import { saySentence, useWords } from '../i18n.ts'
import { useAsking } from './asking.tsx'
import { Button, ErrorNotice, IconButton, Skeleton } from './basics.tsx'
import { Facts } from './facts.tsx'
import { useTrash } from './model-trash.tsx'
import { say, sayFault } from './overlays.tsx'

/** Everything about one model, beside the list. */
export function ModelDetails({
  id,
  onGo,
  onStep,
  onClose,
}: {
  id: string
  /** It has another id from then on: it was moved. */
  onGo: (id: string) => void
  onStep: (step: number) => void
  onClose: () => void
}) {
  const { t } = useWords()
  const detail = useAsk('model.get', { id })
  const panel = useRef<HTMLElement>(null)
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      const inField = (event.target as HTMLElement).closest('input, textarea, [role=dialog], [role=menu]')
      if (event.key === 'Escape' && !inField) onClose()
    }
    window.addEventListener('keydown', close)
    return () => window.removeEventListener('keydown', close)
  }, [onClose])
  const name = detail.data?.name.split('/').at(-1) ?? ''
  return (
    <aside
      ref={panel}
      aria-label={t('models.details', { name })}
      className="flex w-[340px] shrink-0 flex-col border-l border-line bg-surface min-[1180px]:w-[400px]"
    >
      <header className="flex items-start gap-1 px-4 pt-3 pb-2">
        <h2 className="min-w-0 flex-1 text-base wrap-anywhere">{name}</h2>
        <IconButton label={t('models.before')} icon={ChevronUp} size="sm" onClick={() => onStep(-1)} />
        <IconButton label={t('models.after')} icon={ChevronDown} size="sm" onClick={() => onStep(1)} />
        <IconButton label={t('common.close')} icon={X} size="sm" keys="Esc" onClick={onClose} />
      </header>
      <div className="flex min-h-0 flex-1 flex-col gap-4 overflow-y-auto px-4 pb-6">
        {detail.error ? (
          <ErrorNotice cause={detail.error} onRetry={() => void detail.refetch()} compact />
        ) : detail.data ? (
          <Body detail={detail.data} onGo={onGo} onClose={onClose} />
        ) : (
          <Skeleton rows={5} />
        )}
      </div>
    </aside>
  )
}

function Body({ detail, onGo, onClose }: { detail: ModelDetail; onGo: (id: string) => void; onClose: () => void }) {
  const { t, format } = useWords()
  const [asked, ask] = useAsking()
  const { id, flags, faults, belongsIn, places, triggerWords, hashes, metadata, workflows, artifactIds, source } =
    detail
  const name = detail.name.split('/').at(-1)!
  const again = () => void refresh('model.get', 'model.page', 'model.state', 'model.duplicates')
  const { trash } = useTrash(onClose)
  const trust = useDo('model.trust', { onError: sayFault, onSuccess: again })
  const move = useDo('model.move', {
    onError: sayFault,
    onSuccess({ model, from }) {
      again()
      onGo(model.id)
      const undo = () =>
        void call('model.move', { id: model.id, folder: from }).then(({ model: back }) => {
          again()
          onGo(back.id)
        }, sayFault)
      say({ title: t('models.moved', { name, folder: model.folder }), action: { label: t('models.undo'), run: undo } })
    },
  })
  const verify = useDo('model.verify', {
    onError: sayFault,
    onSuccess({ rows: [row] }) {
      again()
      if (!row) return
      const { is, published } = row
      const facts = { name, hub: published?.hub ?? '', title: published?.title ?? '' }
      if (is === 'good' && published) say({ title: t('models.verifiedAs', facts) })
      else say({ title: t(`models.verified.${is}`, facts) }, is === 'good' || is === 'new' ? 'good' : 'bad')
    },
  })
  const copy = (text: string) =>
    void navigator.clipboard.writeText(text).then(() => say({ title: t('models.copied') }), sayFault)
  const risky = flags.includes('unsafe') || flags.includes('unknown-code')
  return (
    <>
      {asked}
      {detail.hasPreview && (
        <img
          src={modelPictureUrl(id, 512)}
          alt=""
          className="max-h-72 w-full rounded-lg bg-[var(--hover)] object-contain"
        />
      )}
      {faults.map((fault) => (
        <p key={fault.code} className="card flex gap-2 border-l-[3px] border-l-bad p-3 text-sm break-words">
          <TriangleAlert size={15} className="mt-0.5 shrink-0 text-bad" aria-hidden />
          {saySentence(fault)}
        </p>
      ))}
      {belongsIn && flags.includes('wrong-folder') && (
        <div className="card flex flex-col gap-2 border-l-[3px] border-l-warn p-3 text-sm">
          {t('models.wrongFolder', { folder: belongsIn })}
          <Button
            size="sm"
            icon={FolderInput}
            busy={move.isPending}
            className="self-start"
            onClick={() => move.mutate({ id, folder: belongsIn })}
          >
            {t('models.move', { folder: belongsIn })}
          </Button>
        </div>
      )}
      <div className="flex flex-wrap gap-2">
        {risky && (
          <Button
            size="sm"
            look="danger"
            icon={ShieldAlert}
            busy={trust.isPending}
            onClick={() =>
              ask({
                title: t('models.trustTitle', { name }),
                note: t('models.trustNote'),
                yes: t('models.trust'),
                danger: true,
                run: () => trust.mutate({ ids: [id] }),
              })
            }
          >
            {t('models.trust')}
          </Button>
        )}
        {flags.includes('trusted') && (
          <Button size="sm" busy={trust.isPending} onClick={() => trust.mutate({ ids: [id], trusted: false })}>
            {t('models.distrust')}
          </Button>
        )}
        <Button size="sm" icon={ShieldCheck} busy={verify.isPending} onClick={() => verify.mutate({ ids: [id] })}>
          {t('models.verify')}
        </Button>
        {detail.sha256 === null && (
          <Button size="sm" icon={Hash} onClick={() => void call('model.hash', { ids: [id] }).catch(sayFault)}>
            {t('models.hashIt')}
          </Button>
        )}
        <Button
          size="sm"
          icon={Trash2}
          busy={trash.isPending}
          onClick={() => {
            const { workflows: count, artifacts: pictures } = detail.usedBy
            const put = () => trash.mutate({ ids: [id] })
            if (count + pictures === 0) put()
            else
              ask({
                title: t('models.trashUsedTitle', { name }),
                note: t('models.trashUsedNote', { workflows: count, pictures }),
                yes: t('models.trash'),
                run: put,
              })
          }}
        >
          {t('models.trash')}
        </Button>
        {source?.url && (
          <a href={source.url} target="_blank" rel="noreferrer" className="btn btn-sm">
            <ExternalLink aria-hidden />
            {t('models.openPage')}
          </a>
        )}
      </div>
      <Note key={detail.note} id={id} note={detail.note} onKept={again} />
      {triggerWords.length > 0 && (
        <section aria-label={t('models.words')}>
          <h3 className="eyebrow mb-1 flex items-center justify-between">
            {t('models.words')}
            <IconButton
              label={t('models.copyWords')}
              icon={Copy}
              size="sm"
              onClick={() => copy(triggerWords.join(', '))}
            />
          </h3>
          <p className="flex flex-wrap gap-1">
            {triggerWords.map((word) => (
              <button
                key={word}
                type="button"
                className="badge max-w-full truncate"
                title={word}
                onClick={() => copy(word)}
              >
                {word}
              </button>
            ))}
          </p>
        </section>
      )}
      <Facts
        title={t('models.about')}
        facts={[
          [t('models.kind'), t(`models.kinds.${detail.kind}`)] as const,
          ...(detail.base ? [[t('models.base'), detail.base] as const] : []),
          [t('models.size'), format.bytes(detail.sizeBytes)] as const,
          ...(detail.precision ? [[t('models.precision'), detail.precision] as const] : []),
          ...(detail.parameters ? [[t('models.parameters'), format.number(detail.parameters)] as const] : []),
          [t('models.format'), detail.format] as const,
          [t('models.modified'), format.stamp(detail.modifiedAt)] as const,
          ...(source
            ? [[t('models.source'), [source.title, source.version].filter(Boolean).join(' · ')] as const]
            : []),
          [t('models.hash'), hashes.sha256 ?? t('models.notHashed')] as const,
          ...(hashes.autoV2 ? [[t('models.autov2'), hashes.autoV2] as const] : []),
        ]}
      />
      <section aria-label={t('models.places')}>
        <h3 className="eyebrow mb-1">{t('models.places')}</h3>
        <ul className="flex flex-col gap-1 text-xs">
          {places.map((place) => (
            <li key={`${place.path} ${place.folder}`} className="break-all">
              <span className="text-faint">{place.folder}</span> {place.path}
              {place.linked && <span className="text-faint"> ({t('models.linked')})</span>}
            </li>
          ))}
        </ul>
      </section>
      {workflows.length > 0 && (
        <section aria-label={t('models.workflows')}>
          <h3 className="eyebrow mb-1">{t('models.workflows')}</h3>
          <ul className="flex flex-col gap-0.5 text-sm">
            {workflows.map((workflow) => (
              <li key={workflow.id} className="truncate">
                <Link to="/workflow/$id" params={{ id: workflow.id }} className="text-accent-ink hover:underline">
                  {workflow.name}
                </Link>
              </li>
            ))}
          </ul>
        </section>
      )}
      {artifactIds.length > 0 && (
        <section aria-label={t('models.pictures')}>
          <h3 className="eyebrow mb-1">{t('models.pictures')}</h3>
          <ul className="grid grid-cols-4 gap-1.5">
            {artifactIds.slice(0, 12).map((artifact) => (
              <li key={artifact}>
                <Link to="/gallery" search={{ open: artifact }} aria-label={t('models.pictures')}>
                  <img
                    src={thumbUrl(artifact, 128)}
                    alt=""
                    loading="lazy"
                    className="aspect-square w-full rounded object-cover"
                  />
                </Link>
              </li>
            ))}
          </ul>
        </section>
      )}
      {workflows.length === 0 && detail.usedBy.artifacts === 0 && (
        <p className="text-xs text-faint">{t('models.unusedNote')}</p>
      )}
      {Object.keys(metadata).length > 0 && (
        <details>
          <summary className="eyebrow cursor-pointer">{t('models.metadata')}</summary>
          <div className="mt-1.5">
            <Facts title={t('models.metadata')} facts={Object.entries(metadata)} />
          </div>
        </details>
      )}
    </>
  )
}

/** Kept when it is left. */
function Note({ id, note, onKept }: { id: string; note: string; onKept: () => void }) {
  const { t } = useWords()
  const [text, setText] = useState(note)
  const keep = useDo('model.note', {
    onError: sayFault,
    onSuccess() {
      onKept()
      say({ title: t('models.noteSaved') })
    },
  })
  return (
    <label className="flex flex-col gap-1">
      <span className="eyebrow">{t('models.note')}</span>
      <textarea
        className="field min-h-16 resize-y text-sm"
        value={text}
        placeholder={t('models.notePlaceholder')}
        onChange={({ target }) => setText(target.value)}
        onBlur={() => text !== note && keep.mutate({ id, note: text })}
      />
    </label>
  )
}
