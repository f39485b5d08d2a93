import { ArrowRight, Check, Info, Lightbulb, Undo2 } from 'lucide-react'
import { useDeferredValue, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import type { Advice, Change, Parameter, PresetId } from '../../core/contract/workflow.ts'
import { useAsk } from '../client/client.ts'
import type { ChangeDraft, Draft } from '../draft.ts'
import { sayParameter, saySentence, useWords } from '../i18n.ts'
import { Button, Tip } from './basics.tsx'
import { Modal, say } from './overlays.tsx'
import { textOf } from './parameter-control.tsx'

type Sets = Draft['sets']
type Open = PresetId | 'suggestions' | null

/** What a workflow's models and prompt suggest with the values on the form; undefined: not known yet. */
export function useAdvice(workflowId: string, sets: Sets): Advice | undefined {
  const values = useDeferredValue(sets)
  const placeholderData = (before: Advice | undefined) => before
  return useAsk('workflow.presets', { id: workflowId, values }, { placeholderData }).data
}

/** The parameters as the switches now stand: those that count now are shown in place of those that no longer do. */
export function asSwitched(parameters: readonly Parameter[], advice: Advice | undefined): readonly Parameter[] {
  if (!advice || advice.awake.length + advice.asleep.length === 0) return parameters
  return parameters.map((parameter) => {
    const { key, name } = parameter
    if (advice.awake.includes(key)) return { ...parameter, name: name.replace(/ \(not in use\)$/, ''), shown: true }
    return advice.asleep.includes(key) ? { ...parameter, shown: false } : parameter
  })
}

/** Presets for the workflow's models and suggestions for its prompt. Each is shown as the changes it makes before it is. */
export function PresetBar({
  advice,
  parameters,
  sets,
  change,
}: {
  advice: Advice | undefined
  parameters: readonly Parameter[]
  sets: Sets
  change: ChangeDraft
}) {
  const { t } = useWords()
  const [open, setOpen] = useState<Open>(null)
  const [applied, setApplied] = useState<{ before: Sets; after: Sets } | null>(null)
  if (!advice || (advice.presets.length === 0 && advice.suggestions.length === 0)) return null

  const undo = ({ before, after }: { before: Sets; after: Sets }) => {
    change(({ sets }) => {
      const kept = { ...sets }
      for (const key of Object.keys(after)) {
        if (key in before) kept[key] = before[key]!
        else delete kept[key]
      }
      return { sets: kept }
    })
    setApplied(null)
  }
  const apply = (changes: readonly Change[]) => {
    const after = Object.fromEntries(changes.map(({ key, to }) => [key, to]))
    const before = Object.fromEntries(Object.keys(after).flatMap((key) => (key in sets ? [[key, sets[key]!]] : [])))
    change(({ sets }) => ({ sets: { ...sets, ...after } }))
    setApplied({ before, after })
    setOpen(null)
    say({
      title: t('preset.applied', { count: changes.length }),
      action: { label: t('common.undo'), run: () => undo({ before, after }) },
    })
  }
  const stands = applied && Object.entries(applied.after).every(([key, to]) => same(sets[key], to))
  const preset = advice.presets.find(({ id }) => id === open)
  return (
    <fieldset
      aria-label={t('preset.group')}
      className="flex min-h-11 flex-wrap items-center gap-1 border-b border-line px-4 py-1.5"
    >
      {advice.family && (
        <Tip text={t('preset.knownBy', { by: advice.family.by })}>
          <span className="mr-1 min-w-0 truncate text-xs font-medium text-soft">{advice.family.name}</span>
        </Tip>
      )}
      {advice.presets.map(({ id, changes }) => (
        <Button
          key={id}
          size="sm"
          icon={changes.length === 0 ? Check : undefined}
          title={changes.length === 0 ? t('preset.same') : undefined}
          onClick={() => setOpen(id)}
        >
          {t(`preset.${id}`)}
        </Button>
      ))}
      <span className="flex-1" />
      {stands && (
        <Button size="sm" look="quiet" icon={Undo2} onClick={() => undo(applied)}>
          {t('common.undo')}
        </Button>
      )}
      {advice.suggestions.length > 0 && (
        <Button size="sm" look="quiet" icon={Lightbulb} onClick={() => setOpen('suggestions')}>
          {t('preset.suggestions', { count: advice.suggestions.length })}
        </Button>
      )}
      {preset && (
        <Changes
          key={preset.id}
          title={t('preset.title', { preset: t(`preset.${preset.id}`), family: advice.family?.name ?? '' })}
          parts={[{ message: null, changes: preset.changes }]}
          parameters={parameters}
          onApply={apply}
          onClose={() => setOpen(null)}
        />
      )}
      {open === 'suggestions' && (
        <Changes
          title={t('preset.suggestionsTitle')}
          parts={advice.suggestions.map((one) => ({ message: saySentence(one), changes: one.changes }))}
          parameters={parameters}
          onApply={apply}
          onClose={() => setOpen(null)}
        />
      )}
    </fieldset>
  )
}

const same = (one: Json | undefined, other: Json) => one !== undefined && writeJson(one) === writeJson(other)

/** What would be other, and why; each can be left out. Where two parts change one value, the later is not ticked. */
function Changes({
  title,
  parts,
  parameters,
  onApply,
  onClose,
}: {
  title: string
  parts: readonly { message: string | null; changes: readonly Change[] }[]
  parameters: readonly Parameter[]
  onApply: (changes: readonly Change[]) => void
  onClose: () => void
}) {
  const { t } = useWords()
  const rows = parts.flatMap(({ changes }, part) => changes.map((change) => ({ id: `${part} ${change.key}`, change })))
  const [ticked, setTicked] = useState(() => {
    const first = new Map(rows.toReversed().map(({ id, change }) => [change.key, id]))
    return new Set(first.values())
  })
  const tick = (id: string, key: string, on: boolean) => {
    const next = new Set(ticked)
    // one value each: another tick for the same gives way
    for (const row of rows) if (row.change.key === key) next.delete(row.id)
    if (on) next.add(id)
    setTicked(next)
  }
  const chosen = rows.filter(({ id }) => ticked.has(id)).map(({ change }) => change)
  const nameOf = (key: string) => {
    const parameter = parameters.find((one) => one.key === key)
    return parameter ? sayParameter(parameter) : key
  }
  return (
    <Modal
      open
      wide
      onClose={onClose}
      title={title}
      note={rows.length > 0 ? t('preset.note') : undefined}
      footer={
        <>
          <Button onClick={onClose}>{rows.length > 0 ? t('common.cancel') : t('common.close')}</Button>
          {rows.length > 0 && (
            <Button look="primary" disabled={chosen.length === 0} onClick={() => onApply(chosen)}>
              {t('preset.apply', { count: chosen.length })}
            </Button>
          )}
        </>
      }
    >
      {parts.every(({ message, changes }) => message === null && changes.length === 0) && (
        <p className="flex items-center gap-2 pb-2 text-soft">
          <Check size={16} className="text-good" aria-hidden /> {t('preset.same')}
        </p>
      )}
      <div className="flex flex-col gap-3 pb-1">
        {parts.map(
          ({ message, changes }, part) =>
            (message !== null || changes.length > 0) && (
              <div key={String(part)} className="card">
                {message !== null && (
                  <p className="flex items-start gap-2 px-3 py-2">
                    <Info size={15} className="mt-0.5 shrink-0 text-faint" aria-hidden />
                    <span className="min-w-0">{message}</span>
                  </p>
                )}
                {changes.length > 0 && (
                  <ul className={`divide-y divide-line ${message !== null ? 'border-t border-line' : ''}`}>
                    {changes.map((change) => {
                      const id = `${part} ${change.key}`
                      return (
                        <li key={id}>
                          <label className="flex items-start gap-3 px-3 py-2 hover:bg-hover">
                            <input
                              type="checkbox"
                              className="mt-1 size-4 shrink-0 accent-accent"
                              checked={ticked.has(id)}
                              onChange={({ target }) => tick(id, change.key, target.checked)}
                            />
                            <span className="min-w-0 flex-1">
                              <span className="flex flex-wrap items-center gap-x-2">
                                <span className="mr-auto font-medium">{nameOf(change.key)}</span>
                                <span className="num text-soft">{shown(change.from)}</span>
                                <ArrowRight
                                  size={14}
                                  className="shrink-0 text-faint"
                                  aria-label={t('preset.becomes')}
                                />
                                <span className="num font-medium">{shown(change.to)}</span>
                              </span>
                              {message === null && (
                                <span className="block text-xs text-faint">
                                  {saySentence({ ...change, message: change.why })}
                                </span>
                              )}
                            </span>
                          </label>
                        </li>
                      )
                    })}
                  </ul>
                )}
              </div>
            ),
        )}
      </div>
    </Modal>
  )

  function shown(value: Json): string {
    if (typeof value === 'boolean') return t(value ? 'preset.on' : 'preset.off')
    return textOf(value)
  }
}
