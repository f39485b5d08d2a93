import { type RefObject, use, useCallback, useMemo, useRef } from 'react'
import { fieldOf, itemsOf, type Panel } from '../../core/contract/panel.ts'
import { isMedia } from '../client/files.ts'
import { sayFault } from './overlays.tsx'
import { OwnFiles } from './own-files.ts'
import type { Filling } from './panel-fields.tsx'

/**
 * What files that fall on a form, or are pasted, become: the first goes where it fell, the others into free fields of their
 * kind. null: the form asks for no files.
 */
export function useFormFiles(
  panel: Panel,
  parameters: Filling['parameters'],
  values: Filling['values'],
  over: RefObject<string | null>,
  set: Filling['onChange'],
): ((files: File[]) => void) | null {
  const { keep } = use(OwnFiles)
  const latest = useRef(values)
  latest.current = values
  const fields = useMemo(
    () =>
      [...itemsOf(panel.params)].flatMap(({ item, key, hidden }) => {
        const parameter = key === null ? undefined : parameters.get(key)
        if (hidden || key === null || !parameter || Array.isArray(item.options)) return []
        const { upload } = fieldOf(item, parameter)
        return upload ? [{ key, upload }] : []
      }),
    [panel, parameters],
  )
  const media = useCallback(
    async (files: File[]) => {
      let target = over.current
      over.current = null
      const free = fields.filter(({ key }) => !(key in latest.current))
      const rest = free.length > 0 ? free : fields
      for (const file of files.filter(({ name }) => isMedia(name))) {
        const kind = /^(image|video|audio)\//.exec(file.type)?.[1] ?? 'image'
        const place = fields.find(({ key }) => key === target) ?? rest.find(({ upload }) => upload === kind)
        target = null
        if (!place) return
        if (rest.includes(place)) rest.splice(rest.indexOf(place), 1)
        try {
          set(place.key, await keep(file))
        } catch (cause) {
          sayFault(cause)
        }
      }
    },
    [fields, keep, over, set],
  )
  return useMemo(() => (fields.length > 0 ? (files: File[]) => void media(files) : null), [fields, media])
}
