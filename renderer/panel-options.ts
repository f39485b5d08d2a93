import { isJsonObject, type Json, writeJson } from '../core/contract/json.ts'
import type { PanelItem, PanelOption } from '../core/contract/panel.ts'

interface Parts {
  readonly value: string
  readonly label?: string
  readonly thumbnail?: string
}
const partsOf = (option: PanelOption): Parts => {
  if (!isJsonObject(option)) return { value: said(option as Json) }
  const { value, label, thumbnail } = option as { value: Json; label?: string; thumbnail?: string }
  return { value: said(value), label, thumbnail }
}
const said = (value: Json) => (typeof value === 'string' ? value : writeJson(value))

/** Choices as a person edits them, one a line: `value | label | address of a small picture`. */
export const linesOf = ({ options }: Pick<PanelItem, 'options'>): string =>
  Array.isArray(options)
    ? options
        .map((option) => {
          const { value, label, thumbnail } = partsOf(option)
          return [value, ...(label || thumbnail ? [label ?? ''] : []), ...(thumbnail ? [thumbnail] : [])].join(' | ')
        })
        .join('\n')
    : ''

/** The opposite. What `before` says beyond its line stays with a choice of the same value; none: no choices of its own. */
export function optionsIn(text: string, { options: before }: Pick<PanelItem, 'options'>): PanelOption[] | undefined {
  const known = Array.isArray(before) ? before : []
  const options = text.split('\n').flatMap((line): PanelOption[] => {
    const [value = '', label = '', thumbnail = ''] = line.split(/\s\|(?=\s|$)/).map((part) => part.trim())
    if (value === '') return []
    const same = known.find((option) => partsOf(option).value === value)
    if (same !== undefined) {
      const parts = partsOf(same)
      if ((parts.label ?? '') === label && (parts.thumbnail ?? '') === thumbnail) return [same]
    }
    if (label === '' && thumbnail === '')
      return [isJsonObject(same) ? ((same as { value: Json }).value as string) : (same ?? value)]
    const {
      label: _,
      thumbnail: __,
      ...rest
    } = (isJsonObject(same) ? same : { value: same ?? value }) as Record<string, Json>
    return [{ ...rest, ...(label && { label }), ...(thumbnail && { thumbnail }) } as PanelOption]
  })
  return options.length > 0 ? options : undefined
}
