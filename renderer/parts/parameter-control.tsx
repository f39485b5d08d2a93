import { Dices, Upload } from 'lucide-react'
import { use, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import type { Parameter } from '../../core/contract/workflow.ts'
import { chooseFiles } from '../client/files.ts'
import { type Say, useWords } from '../i18n.ts'
import { IconButton } from './basics.tsx'
import { BareSwitch, Combobox, Select } from './forms.tsx'
import { sayFault } from './overlays.tsx'
import { OwnFiles } from './own-files.ts'

const isNumeric = ({ type }: Parameter) => type === 'INT' || type === 'FLOAT'
const INTEGER = /^[+-]?\d+$/
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/

/** A value as a person reads it: text as it is, the name of a kept file, numbers with every digit. */
export function textOf(value: Json): string {
  if (typeof value !== 'string') return value === null ? '' : writeJson(value)
  return /^input:[0-9a-f]+\/(.+)$/s.exec(value)?.[1] ?? value
}

/** What a choice goes by among its fellows. */
export const idOf = (value: Json) => (typeof value === 'string' ? value : writeJson(value))

/** "1 – 8192", where the node says so; enormous bounds say nothing. */
export function rangeOf({ min, max }: Parameter): string | null {
  const tells = (bound: Json | undefined) => bound !== undefined && Math.abs(Number(bound)) < 1e9
  if (tells(min) && tells(max)) return `${textOf(min!)} – ${textOf(max!)}`
  if (tells(min) && Number(min) !== 0) return `≥ ${textOf(min!)}`
  return tells(max) ? `≤ ${textOf(max!)}` : null
}

/** What is plainly wrong with a value while it is typed; the host checks all of it before anything is queued. */
export function faultOf(parameter: Parameter, value: Json, t: Say): string | null {
  if (!isNumeric(parameter)) return null
  const text = textOf(value).trim()
  if (text === '') return t('value.needed')
  if (/\{\{.*\}\}/.test(text)) return null
  if (parameter.type === 'INT' ? !INTEGER.test(text) : !NUMBER.test(text))
    return parameter.type === 'INT' ? t('value.wholeNumber') : t('value.number')
  if (parameter.role === 'seed' && text === '-1') return null
  // as numbers, which is exact enough to compare: bounds are either small or 2^64
  if (parameter.min !== undefined && Number(text) < Number(parameter.min))
    return t('value.atLeast', { min: textOf(parameter.min) })
  if (parameter.max !== undefined && Number(text) > Number(parameter.max))
    return t('value.atMost', { max: textOf(parameter.max) })
  return null
}

/** One step up or down, without losing digits of a seed. */
function stepped(parameter: Parameter, text: string, direction: 1 | -1): string {
  if (parameter.type === 'INT' && INTEGER.test(text)) {
    const next = BigInt(text) + BigInt(Math.max(1, Number(parameter.step ?? 1))) * BigInt(direction)
    const { min, max } = parameter
    if (min !== undefined && next < BigInt(Math.trunc(Number(min)))) return text
    if (max !== undefined && Number(next) > Number(max)) return text
    return String(next)
  }
  if (!NUMBER.test(text)) return text
  const step = Number(parameter.step ?? 0.1)
  const digits = Math.max((text.split('.')[1] ?? '').length, (String(step).split('.')[1] ?? '').length)
  const next = Number((Number(text) + step * direction).toFixed(digits))
  const low = parameter.min === undefined ? next : Math.max(next, Number(parameter.min))
  return String(parameter.max === undefined ? low : Math.min(low, Number(parameter.max)))
}

/** Whether a file is under way, and what lets the person choose one; it is kept, and `onChange` given its ref. */
export function useOwnFile(kind: NonNullable<Parameter['upload']>, onChange: (ref: string) => void) {
  const [sending, setSending] = useState(false)
  const { keep } = use(OwnFiles)
  async function choose() {
    const [file] = await chooseFiles(`${kind}/*`)
    if (!file) return
    setSending(true)
    try {
      onChange(await keep(file))
    } catch (cause) {
      sayFault(cause)
    } finally {
      setSending(false)
    }
  }
  return [sending, () => void choose()] as const
}

/** The control that fits a parameter: its own choices, range, lines, files. */
export function ParameterControl({
  parameter,
  value,
  onChange,
  ids,
}: {
  parameter: Parameter
  value: Json
  onChange: (value: Json) => void
  ids: { id?: string; 'aria-label'?: string; 'aria-describedby'?: string; 'aria-invalid'?: true }
}) {
  const { t } = useWords()
  const { type, options, upload, role, multiline } = parameter
  const [sending, send] = useOwnFile(upload ?? 'image', onChange)

  if (type === 'BOOLEAN')
    return <BareSwitch {...ids} checked={value === true || value === 'true'} onChange={onChange} />
  if (options || upload) {
    const chosen = idOf(value)
    const known = (options ?? []).map((option) => ({ value: idOf(option), label: textOf(option) }))
    const all = known.some((choice) => choice.value === chosen)
      ? known
      : [
          { value: chosen, label: textOf(value) || t('value.none'), note: upload ? undefined : t('value.notOnWorker') },
          ...known,
        ]
    const choose = (next: string | null) => {
      if (next !== null) onChange((options ?? []).find((option) => idOf(option) === next) ?? next)
    }
    return (
      <div className="flex gap-1.5">
        {all.length > 8 || upload ? (
          <Combobox {...ids} value={chosen} choices={all} onChange={choose} />
        ) : (
          <Select {...ids} value={chosen} choices={all} onChange={choose} />
        )}
        {upload && (
          <IconButton label={t('value.chooseFile')} icon={Upload} look="plain" busy={sending} onClick={send} />
        )}
      </div>
    )
  }
  if (isNumeric(parameter)) {
    const text = textOf(value)
    return (
      <div className="flex gap-1.5">
        <input
          {...ids}
          inputMode={type === 'INT' ? 'numeric' : 'decimal'}
          autoComplete="off"
          spellCheck={false}
          value={text}
          onChange={({ target }) => onChange(target.value)}
          onKeyDown={(event) => {
            if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return
            event.preventDefault()
            onChange(stepped(parameter, text.trim(), event.key === 'ArrowUp' ? 1 : -1))
          }}
          className="field num"
        />
        {role === 'seed' && (
          <IconButton
            label={t('value.randomSeed')}
            icon={Dices}
            look="plain"
            aria-pressed={text.trim() === '-1'}
            onClick={() => onChange(text.trim() === '-1' ? parameter.default : '-1')}
          />
        )}
      </div>
    )
  }
  if (multiline || role === 'prompt' || role === 'negative')
    return (
      <textarea
        {...ids}
        value={textOf(value)}
        onChange={({ target }) => onChange(target.value)}
        className="field"
        rows={role === 'prompt' ? 4 : 2}
      />
    )
  return (
    <input
      {...ids}
      value={textOf(value)}
      autoComplete="off"
      onChange={({ target }) => onChange(target.value)}
      className="field"
    />
  )
}

export const isWide = ({ multiline, role }: Parameter) => multiline === true || role === 'prompt' || role === 'negative'
