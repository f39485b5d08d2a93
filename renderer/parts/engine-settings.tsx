import { useState } from 'react'
import type { EngineCard, EngineView, Gpu } from '../../core/contract/engine.ts'
import { refresh, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, ErrorNotice } from './basics.tsx'
import { Field, Switch } from './forms.tsx'
import { Modal } from './overlays.tsx'

/** Words split at spaces, quoted ones kept whole. */
const split = (text: string) =>
  [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) => double ?? single ?? bare ?? '')
const join = (flags: readonly string[]) => flags.map((flag) => (/\s/.test(flag) ? `"${flag}"` : flag)).join(' ')

/** On which cards an engine runs, and with what flags. */
export function EngineSettingsForm({
  engine,
  gpus,
  onClose,
}: {
  engine: EngineView
  gpus: readonly Gpu[]
  onClose: () => void
}) {
  const { t } = useWords()
  const { name, settings } = engine
  const [cards, setCards] = useState(settings.cards)
  const [flags, setFlags] = useState(join(settings.flags))
  const [withCustomNodes, setWithCustomNodes] = useState(settings.withCustomNodes)
  const [autoStart, setAutoStart] = useState(settings.autoStart)
  const [hung, setHung] = useState(settings.hungMinutes === null ? '' : String(settings.hungMinutes))
  const set = useDo('engine.set', {
    onSuccess() {
      void refresh('engine.list', 'worker.list')
      onClose()
    },
  })
  const own = gpus.flatMap((gpu) =>
    gpu.index === null ? [] : [{ card: String(gpu.index), label: `${gpu.index}: ${gpu.name}` }],
  )
  const choices = [{ card: 'auto', label: t('engine.cardAuto') }, ...own, { card: 'cpu', label: t('engine.cardCpu') }]
  const has = (card: string) => cards.find((each) => each.card === card)
  function toggle(card: string, on: boolean) {
    const fresh: EngineCard = { card, flags: [], port: null }
    const numbered = cards.filter((each) => /^\d+$/.test(each.card))
    if (!/^\d+$/.test(card)) setCards([has(card) ?? fresh])
    else if (on) setCards([...numbered, fresh])
    else setCards(numbered.length > 1 ? numbered.filter((each) => each.card !== card) : [{ ...fresh, card: 'auto' }])
  }
  const change = (card: string, more: Partial<EngineCard>) =>
    setCards(cards.map((each) => (each.card === card ? { ...each, ...more } : each)))
  return (
    <Modal
      open
      wide
      onClose={onClose}
      title={t('engine.settingsOf', { name })}
      note={t('engine.settingsNote')}
      footer={
        <>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" type="submit" form="engine-settings" busy={set.isPending}>
            {t('common.save')}
          </Button>
        </>
      }
    >
      <form
        id="engine-settings"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault()
          set.mutate({
            name,
            settings: {
              cards,
              flags: split(flags),
              withCustomNodes,
              autoStart,
              hungMinutes: hung === '' ? null : Number(hung),
            },
          })
        }}
      >
        <fieldset className="flex flex-col gap-2">
          <legend className="label mb-1">{t('engine.cards')}</legend>
          {choices.map(({ card, label }) => {
            const chosen = has(card)
            return (
              <div key={card} className="flex flex-wrap items-center gap-3">
                <label className="flex min-w-52 flex-1 items-center gap-2">
                  <input
                    type={/^\d+$/.test(card) ? 'checkbox' : 'radio'}
                    checked={chosen !== undefined}
                    onChange={({ target }) => toggle(card, target.checked)}
                    className="size-4 accent-[var(--accent)]"
                  />
                  {label}
                </label>
                {chosen && (
                  <>
                    <input
                      aria-label={t('engine.flagsOf', { card: label })}
                      placeholder={t('engine.flagsOfCard')}
                      value={join(chosen.flags)}
                      onChange={({ target }) =>
                        change(card, { flags: target.value === '' ? [] : target.value.split(' ') })
                      }
                      className="field field-sm w-52 font-mono"
                    />
                    <input
                      aria-label={t('engine.portOf', { card: label })}
                      placeholder={t('engine.portAny')}
                      inputMode="numeric"
                      pattern="[0-9]*"
                      value={chosen.port ?? ''}
                      onChange={({ target }) => {
                        const port = Number(target.value)
                        change(card, { port: port >= 1 && port <= 65_535 ? port : null })
                      }}
                      className="field field-sm num w-28"
                    />
                  </>
                )}
              </div>
            )
          })}
        </fieldset>
        <Field label={t('engine.flags')} help={t('engine.flagsNote')}>
          {(ids) => (
            <input
              {...ids}
              value={flags}
              spellCheck={false}
              autoComplete="off"
              placeholder="--preview-method auto"
              onChange={({ target }) => setFlags(target.value)}
              className="field font-mono"
            />
          )}
        </Field>
        <Switch
          label={t('engine.useNodes')}
          help={t('engine.useNodesNote')}
          checked={withCustomNodes}
          onChange={setWithCustomNodes}
        />
        <Switch
          label={t('engine.autoStart')}
          help={t('engine.autoStartNote')}
          checked={autoStart}
          onChange={setAutoStart}
        />
        <Field label={t('engine.hung')} help={t('engine.hungNote')}>
          {(ids) => (
            <input
              {...ids}
              type="number"
              min={1}
              max={1440}
              value={hung}
              onChange={({ target }) => setHung(target.value)}
              className="field num w-28"
            />
          )}
        </Field>
        {set.error && <ErrorNotice compact cause={set.error} />}
      </form>
    </Modal>
  )
}
