import { CircleAlert, CircleCheck, CircleEqual } from 'lucide-react'
import { useState } from 'react'
import type { Consent, Proof, ProofPicture, ProofSide, ProofVerdict } from '../../core/contract/publish.ts'
import { proofUrl } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Segmented } from './forms.tsx'
import { Modal } from './overlays.tsx'

const looks = {
  identical: { icon: CircleCheck, tone: 'tone-good' },
  equivalent: { icon: CircleEqual, tone: 'tone-accent' },
  different: { icon: CircleAlert, tone: 'tone-bad' },
} as const satisfies Record<ProofVerdict, unknown>

export function VerdictBadge({ verdict }: { verdict: ProofVerdict }) {
  const { t } = useWords()
  const { icon: Icon, tone } = looks[verdict]
  return (
    <span className={`badge ${tone}`}>
      <Icon aria-hidden />
      {t(`publish.verdicts.${verdict}`)}
    </span>
  )
}

/** What was made here and there, side by side, with where they differ; folded away once it is no news any more. */
export function ProofView({
  id,
  proof,
  consent,
  isNews,
}: {
  id: string
  proof: Proof
  consent: Consent | null
  isNews: boolean
}) {
  const { t, format } = useWords()
  const [open, setOpen] = useState(isNews)
  const [enlarged, setEnlarged] = useState<{ at: number; side: ProofSide } | null>(null)
  const { pictures, verdict, demands, seconds } = proof
  return (
    <section className="flex flex-col gap-3 border-t border-line pt-3" aria-label={t('publish.proof')}>
      <div className="flex flex-wrap items-center gap-2">
        <h3 className="font-medium">{t('publish.proof')}</h3>
        <VerdictBadge verdict={verdict} />
        <span className="num ml-auto text-xs text-faint">
          {t('publish.proofSeconds', {
            desk: format.duration(Math.max(1, Math.round(seconds.desk))),
            endpoint: format.duration(Math.max(1, Math.round(seconds.endpoint))),
          })}
        </span>
      </div>
      <p className="text-xs text-soft">{t(`publish.demands.${demands}`)}</p>
      <details open={open} onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
        <summary className="num text-xs">{t('publish.compared', { count: pictures.length })}</summary>
        <div className="mt-3 flex flex-col gap-3">
          {pictures.map((picture, at) => (
            <article key={`${picture.workflow} ${String(at)}`} className="flex flex-col gap-1.5">
              <div className="flex flex-wrap items-center gap-2 text-xs">
                <span className="font-medium">{picture.workflow}</span>
                <span className="text-faint">{t('publish.node', { node: picture.node })}</span>
                <VerdictBadge verdict={picture.verdict} />
                <Numbers picture={picture} />
              </div>
              <div className="grid grid-cols-3 gap-2">
                {(['desk', 'endpoint', 'difference'] as const).map((side) => (
                  <figure key={side} className="min-w-0">
                    {picture.shows.includes(side) && isPicture(picture, side) ? (
                      <button
                        type="button"
                        className="block w-full overflow-hidden rounded-md border border-line bg-sunken"
                        onClick={() => setEnlarged({ at, side })}
                        aria-label={t('publish.enlarge', { side: t(`publish.sides.${side}`) })}
                      >
                        <img
                          src={proofUrl(id, at, side)}
                          alt={t(`publish.sides.${side}`)}
                          className="aspect-[4/3] w-full object-contain"
                          loading="lazy"
                        />
                      </button>
                    ) : (
                      <div className="grid aspect-[4/3] place-items-center rounded-md border border-dashed border-line p-2 text-center text-xs text-faint">
                        {side === 'difference' && picture.verdict === 'identical'
                          ? t('publish.noDifference')
                          : t('publish.notShown')}
                      </div>
                    )}
                    <figcaption className="mt-1 text-center text-xs text-soft">{t(`publish.sides.${side}`)}</figcaption>
                  </figure>
                ))}
              </div>
            </article>
          ))}
        </div>
      </details>
      {consent && (
        <p className="num text-xs text-soft">
          {t('publish.consentedAt', { by: consent.by, at: format.stamp(consent.at) })}
        </p>
      )}
      {enlarged && (
        <Modal
          open
          wide
          onClose={() => setEnlarged(null)}
          title={pictures[enlarged.at]!.workflow}
          footer={
            <Segmented
              label={t('publish.proof')}
              value={enlarged.side}
              choices={pictures[enlarged.at]!.shows.map((side) => ({ value: side, label: t(`publish.sides.${side}`) }))}
              onChange={(side) => setEnlarged({ ...enlarged, side })}
            />
          }
        >
          <img
            src={proofUrl(id, enlarged.at, enlarged.side)}
            alt={t(`publish.sides.${enlarged.side}`)}
            className="mx-auto max-h-[62vh] max-w-full object-contain"
          />
        </Modal>
      )}
    </section>
  )
}

const isPicture = ({ mediaType }: ProofPicture, side: ProofSide) =>
  side === 'difference' || /^image\/(png|jpeg|webp|gif|avif)$/.test(mediaType)

/** SSIM, how many pixels differ and by how much; or why they cannot be laid on one another. */
function Numbers({ picture: { verdict, ssim, changed, largest, why } }: { picture: ProofPicture }) {
  const { t, format } = useWords()
  if (verdict === 'identical') return null
  const share = changed ?? 0
  const said =
    ssim === null
      ? why && t(`publish.why.${why}`)
      : t('publish.numbers', {
          ssim: (Math.floor(ssim * 10_000) / 10_000).toFixed(4),
          pixels: share > 0 && share < 0.01 ? `<${format.percent(0.01)}` : format.percent(share),
          largest: largest ?? 0,
        })
  return <span className="num text-soft">{said}</span>
}
