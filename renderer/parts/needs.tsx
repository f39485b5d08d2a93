import { Check, CircleCheck, Coins, Download, TriangleAlert, X } from 'lucide-react'
import type { ReactNode } from 'react'
import type { Inspection, ModelNeed, NodeLists, NodePack, VramNeed, Workflow } from '../../core/contract/workflow.ts'
import { useAsk } from '../client/client.ts'
import { sayFailure, saySentence, useWords } from '../i18n.ts'
import { Button } from './basics.tsx'
import { askToGet } from './get-plan.tsx'
import { InstallMissing } from './node-change.tsx'
import { Outward } from './outward.tsx'

const HINTS = new Set(['comfyui-too-old', 'definitions-cached'])

/** What a workflow needs before it runs, and which of it each server has. */
export function Needs({ workflow: { id, inspection } }: { workflow: Workflow }) {
  const { t } = useWords()
  const asked = useAsk('workflow.needs', { id })
  const { models, customNodes, paid, vram, nodeLists, definitions } = asked.data ?? inspection
  const from =
    definitions.from === 'bundled' ? t('workflow.bundled', { version: definitions.version ?? '' }) : definitions.from
  const { madeWith } = inspection
  const hints = inspection.problems.filter(({ code }) => HINTS.has(code))
  return (
    <div className="flex flex-col gap-5" aria-busy={asked.isFetching}>
      <div className="flex flex-col gap-1.5">
        <p className="text-xs text-faint">
          {t('workflow.definitionsFrom', { from })}
          {madeWith?.comfyui && ` ${t('workflow.savedWith', { version: madeWith.comfyui })}`}
          {madeWith?.editor && ` ${t('workflow.savedIn', { version: madeWith.editor })}`}
        </p>
        {hints.map((hint) => (
          <p key={hint.code} className="flex items-start gap-2">
            <TriangleAlert size={15} className="mt-0.5 shrink-0 text-warn" aria-hidden />
            <span className="min-w-0 break-words">{saySentence(hint)}</span>
          </p>
        ))}
      </div>
      {paid.length > 0 && <Paid paid={paid} />}
      {models.length + customNodes.length + paid.length === 0 && (
        <p className="flex items-center gap-2 text-soft">
          <CircleCheck size={16} className="text-good" aria-hidden /> {t('workflow.noNeeds')}
        </p>
      )}
      {models.length > 0 && <Models models={models} onGet={() => askToGet({ items: [], workflowId: id })} />}
      {models.length > 0 && vram && <Vram vram={vram} />}
      {customNodes.length > 0 && <CustomNodes customNodes={customNodes} lists={nodeLists} waiting={asked.isLoading} />}
    </div>
  )
}

function Section({ id, title, note, children }: { id: string; title: ReactNode; note?: string; children: ReactNode }) {
  return (
    <section aria-labelledby={id}>
      <h2 id={id} className="flex items-center gap-2">
        {title}
      </h2>
      {note && <p className="text-xs text-faint">{note}</p>}
      <div className="mt-2">{children}</div>
    </section>
  )
}

function Paid({ paid }: { paid: readonly string[] }) {
  const { t } = useWords()
  const account = useAsk('account.get', {})
  return (
    <Section
      id="needs-paid"
      title={
        <>
          <Coins size={15} className="text-warn" aria-hidden /> {t('workflow.paid')}
          <span className="badge tone-warn">{paid.length}</span>
        </>
      }
      note={t('workflow.paidNote')}
    >
      <p className="break-words">{paid.join(', ')}</p>
      {account.data && !account.data.isSet && <p className="text-xs text-warn">{t('workflow.paidNoKey')}</p>}
    </Section>
  )
}

function Models({ models, onGet }: { models: readonly ModelNeed[]; onGet: () => void }) {
  const { t, format } = useWords()
  const rows = new Map(models.map((need) => [`${need.folder}/${need.file}`, need]))
  const lacks = models.some((need) => need.present !== true && !need.workers.some(({ present }) => present))
  const workers = [...new Set(models.flatMap((need) => need.workers.map(({ worker }) => worker)))]
  return (
    <Section
      id="needs-models"
      title={
        <>
          {t('workflow.models')} <span className="badge">{rows.size}</span>
          {lacks && (
            <Button size="sm" icon={Download} className="ml-auto" onClick={onGet}>
              {t('get.needed')}
            </Button>
          )}
        </>
      }
    >
      <div className="card overflow-x-auto">
        <table className="w-full border-collapse text-left">
          <thead>
            <tr className="border-b border-line text-xs text-faint">
              <th scope="col" className="px-3 py-1.5 font-medium">
                {t('workflow.modelFile')}
              </th>
              <th scope="col" className="px-3 py-1.5 text-right font-medium">
                {t('workflow.modelSize')}
              </th>
              {(workers.length > 0 ? workers : [t('workflow.there')]).map((worker) => (
                <th key={worker} scope="col" className="max-w-40 truncate px-3 py-1.5 font-medium" title={worker}>
                  {worker}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {[...rows].map(([key, need]) => (
              <tr key={key} className="border-b border-line last:border-0">
                <th scope="row" className="min-w-56 px-3 py-2 font-normal">
                  <span className="block font-medium break-all">{need.file}</span>
                  <span className="flex flex-wrap gap-x-2 text-xs text-faint">
                    models/{need.folder}
                    {need.sources.slice(0, 3).map(({ url }) => (
                      <Outward key={url} url={url}>
                        {URL.parse(url)?.host ?? url}
                      </Outward>
                    ))}
                  </span>
                </th>
                <td className="num px-3 py-2 text-right whitespace-nowrap text-soft">
                  {need.sizeBytes === null ? '—' : format.bytes(need.sizeBytes)}
                </td>
                {workers.length === 0 ? (
                  <Presence present={need.present} />
                ) : (
                  workers.map((worker) => {
                    const found = need.workers.find((each) => each.worker === worker)
                    return <Presence key={worker} present={found?.present ?? null} as={found?.as} />
                  })
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  )
}

function Presence({ present, as }: { present: boolean | null; as?: string | undefined }) {
  const { t } = useWords()
  const said = present === null ? 'workflow.presentUnknown' : present ? 'workflow.present' : 'workflow.missing'
  return (
    <td className="px-3 py-2">
      <span
        className={`badge ${present === null ? '' : present ? 'tone-good' : 'tone-bad'}`}
        title={as === undefined ? undefined : t('workflow.presentAs', { name: as })}
      >
        {present === true && <Check size={13} aria-hidden />}
        {present === false && <X size={13} aria-hidden />}
        {t(said)}
      </span>
      {as !== undefined && <span className="block text-xs text-faint break-all">{as}</span>}
    </td>
  )
}

function Vram({ vram: { aboutBytes, because } }: { vram: VramNeed }) {
  const { t, format } = useWords()
  const { data } = useAsk('worker.list', {})
  const cards = (data?.rows ?? []).flatMap(({ id, kind, health }) => {
    if (kind === 'rehearsal' || health.is !== 'ready') return []
    const vramBytes = Math.max(0, ...health.devices.filter(({ type }) => type !== 'cpu').map((it) => it.vramTotalBytes))
    return vramBytes > 0 ? [{ id, vramBytes }] : []
  })
  return (
    <Section id="needs-vram" title={t('workflow.vram')} note={t('workflow.vramNote')}>
      {aboutBytes === null ? (
        <p className="text-soft">
          {t('workflow.vramUnknown')}
          {because.length > 0 && <span className="text-faint"> {because.map(({ name }) => name).join(', ')}</span>}
        </p>
      ) : (
        <>
          <p>
            {t('workflow.vramAbout', { size: format.bytes(aboutBytes) })}{' '}
            <span className="text-xs text-faint break-words">
              {because
                .map(({ what, name, bytes }) => `${name || t(`vram.${what}`)} ${format.bytes(bytes ?? 0)}`)
                .join(' + ')}
            </span>
          </p>
          <ul className="mt-1.5 flex flex-wrap gap-2">
            {cards.map(({ id, vramBytes }) => (
              <li key={id} className={`badge ${vramBytes >= aboutBytes ? 'tone-good' : 'tone-warn'}`}>
                {t(vramBytes >= aboutBytes ? 'workflow.vramFits' : 'workflow.vramTight', {
                  worker: id,
                  size: format.bytes(vramBytes),
                })}
              </li>
            ))}
          </ul>
        </>
      )}
    </Section>
  )
}

type CustomNodesProps = {
  customNodes: Inspection['customNodes']
  lists: NodeLists | undefined
  waiting: boolean
}
function CustomNodes({ customNodes, lists, waiting }: CustomNodesProps) {
  const { t, format } = useWords()
  return (
    <Section
      id="needs-nodes"
      title={
        <>
          {t('workflow.customNodes')} <span className="badge tone-warn">{customNodes.length}</span>
        </>
      }
      note={t('workflow.customNodesRemedy')}
    >
      <div className="mb-2 empty:hidden">
        <InstallMissing needs={customNodes} />
      </div>
      <ul className="card divide-y divide-line">
        {customNodes.map(({ classType, packs }) => (
          <li key={classType} className="px-3 py-2">
            <span className="font-medium break-all">{classType}</span>
            {packs.length === 0 ? (
              <span className="block text-xs text-faint">
                {t(`workflow.${waiting ? 'packsWaiting' : lists?.fetchedAt == null ? 'packUnknown' : 'noPack'}`)}
              </span>
            ) : (
              <ul className="mt-1 flex flex-col gap-1">
                {packs.map((pack) => (
                  <Pack key={pack.id} pack={pack} />
                ))}
              </ul>
            )}
          </li>
        ))}
      </ul>
      {lists && (
        <p className="mt-2 text-xs text-faint break-words">
          {lists.because && <span className="text-warn">{sayFailure(lists.because).message} </span>}
          {lists.fetchedAt !== null &&
            t('workflow.packsFrom', { when: format.stamp(lists.fetchedAt), licence: lists.licence })}
        </p>
      )}
    </Section>
  )
}

function Pack({ pack: { id, title, url, why, version } }: { pack: NodePack }) {
  const { t } = useWords()
  return (
    <li className="flex flex-wrap items-center gap-2 text-xs">
      {url === null ? <span className="break-all">{title}</span> : <Outward url={url}>{title}</Outward>}
      {title !== id && <span className="text-faint break-all">{id}</span>}
      {version !== undefined && <span className="num text-faint break-all">{version}</span>}
      <span className="badge">{t(`packWhy.${why}`)}</span>
    </li>
  )
}
