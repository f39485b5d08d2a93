import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { isLink, type Prompt } from '../../core/contract/comfyui.ts'
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

/** Whether two prompts are one but for the numbers of their nodes: each node has one like it, fed by nodes alike. */
export function sameButForNumbers(editors: Prompt, ours: Prompt): boolean {
  const shapes = (prompt: Prompt): string[] => {
    let shape = new Map(Object.entries(prompt).map(([id, { class_type }]) => [id, class_type]))
    for (let round = 0; round < 12; round++) {
      const next = Object.entries(prompt).map(([id, { class_type, inputs }]): [string, string] => {
        const named = Object.keys(inputs).sort()
        const values = named.map((name) => {
          const value = inputs[name]
          return isLink(value) ? [name, shape.get(value[0]) ?? null, value[1]] : [name, value ?? null]
        })
        return [
          id,
          createHash('sha256')
            .update(writeJson([class_type, values]))
            .digest('hex'),
        ]
      })
      shape = new Map(next)
    }
    return [...shape.values()].sort()
  }
  return isDeepStrictEqual(shapes(editors), shapes(ours))
}

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
