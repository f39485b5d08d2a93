import { isDeepStrictEqual } from 'node:util'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'

/** How two prompts differ, node by node: nodes, classes, links, values. Empty: they are equal. */
export function differencesBetween(editors: Prompt, ours: Prompt): string[] {
  const ids = new Set([...Object.keys(editors), ...Object.keys(ours)])
  return [...ids].flatMap((id) => {
    const [theirs, our] = [editors[id], ours[id]]
    if (!theirs) return [`${id}: a node ${our!.class_type} the editor has not`]
    if (!our) return [`${id}: the editor's node ${theirs.class_type} is missing`]
    const at = `${id} ${theirs.class_type}`
    if (theirs.class_type !== our.class_type) return [`${at}: class ${our.class_type}`]
    const names = new Set([...Object.keys(theirs.inputs), ...Object.keys(our.inputs)])
    return [...names].flatMap((name) => {
      if (isEqual(theirs.inputs[name], our.inputs[name])) return []
      return [`${at}.${name}: editor ${shown(theirs.inputs[name])}, ours ${shown(our.inputs[name])}`]
    })
  })
}

/** The inputs of the same workflow that the editor exported unlike twice: pictures it takes at that moment. */
export function madeAnew(first: Prompt, second: Prompt): Set<string> {
  const names = Object.entries(first).flatMap(([id, { inputs }]) =>
    Object.keys(inputs).flatMap((name) => (isEqual(inputs[name], second[id]?.inputs[name]) ? [] : [`${id}.${name}`])),
  )
  return new Set(names)
}

/** A prompt without some of its inputs, named `NODE.INPUT`. */
export const without = (prompt: Prompt, names: Set<string>): Prompt =>
  Object.fromEntries(
    Object.entries(prompt).map(([id, node]) => {
      const inputs = Object.entries(node.inputs).filter(([name]) => !names.has(`${id}.${name}`))
      return [id, { ...node, inputs: Object.fromEntries(inputs) }]
    }),
  )

/** Titles are for people; they are compared on their own. */
export function titlesThatDiffer(editors: Prompt, ours: Prompt): string[] {
  return Object.entries(editors).flatMap(([id, { _meta, class_type }]) => {
    const our = ours[id]
    if (!our || _meta?.title === our._meta?.title) return []
    return [`${id} ${class_type}: editor ${shown(_meta?.title)}, ours ${shown(our._meta?.title)}`]
  })
}

/** The editor reads integers beyond 2^53 as the nearest double; ours keep every digit. Nothing else is let pass. */
function isEqual(editors: Json | undefined, ours: Json | undefined): boolean {
  const rounded = (value: Json | undefined): Json | undefined => {
    if (typeof value === 'bigint') return Number(value)
    if (Array.isArray(value)) return value.map((item) => rounded(item) as Json)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, rounded(item) as Json]))
  }
  return isDeepStrictEqual(rounded(editors), rounded(ours))
}

function shown(value: Json | undefined): string {
  if (value === undefined) return 'nothing'
  const text = writeJson(value)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}
