import type { SpeedUp, SpeedUpOffer } from '../../core/contract/engine.ts'
import { saySentence, useWords } from '../i18n.ts'
import { Switch } from './forms.tsx'

/** What makes ComfyUI faster on this card; what does not fit says why, and cannot be chosen. */
export function SpeedUps({
  offers,
  chosen,
  onChange,
}: {
  offers: readonly SpeedUpOffer[]
  chosen: readonly SpeedUp[]
  onChange: (chosen: SpeedUp[]) => void
}) {
  const { t } = useWords()
  if (offers.every(({ why, id }) => why !== null && !chosen.includes(id)))
    return <p className="text-xs text-faint">{t('engine.speedUps.none', { why: saySentence(offers[0]!.why!) })}</p>
  return (
    <fieldset className="flex flex-col gap-2">
      <legend className="label mb-1">{t('engine.speedUps.title')}</legend>
      <p className="text-xs text-faint">{t('engine.speedUps.note')}</p>
      {offers.map(({ id, what, why }) => (
        <Switch
          key={id}
          label={t(`engine.speedUps.${id}`)}
          help={why ? saySentence(why) : what}
          disabled={why !== null && !chosen.includes(id)}
          checked={chosen.includes(id)}
          onChange={(on) => onChange(on ? [...chosen, id] : chosen.filter((each) => each !== id))}
        />
      ))}
    </fieldset>
  )
}
