import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import { defaultOf } from './definitions.ts'
import { type EditorWorkflow, readEditor } from './editor.ts'
import { type FlatNode, flatten, type Keeper, keepersOf } from './flatten.ts'

/**
 * The workflow as the editor would have saved it with the values of `prompt` in its widgets: a picture that carries it
 * opens with its layout and with what really made it. `editor` is not changed.
 */
export function withValues(editor: EditorWorkflow, definitions: ObjectInfo, prompt: Prompt): Json {
  const workflow = copy(editor) as JsonObject
  const flat = flatten(readEditor(workflow), definitions)
  const keepers = keepersOf(flat)
  for (const one of flat.nodes) {
    const inputs = prompt[one.id]?.inputs
    if (!inputs) continue
    for (const [name, used] of Object.entries(inputs)) {
      const keeper = isLink(used) ? undefined : keepers.get(`${one.id}.${name}`)
      if (keeper) put(keeper, unwrapped(used))
    }
    append(one, inputs, keepers)
  }
  return workflow
}

function put({ node, index, name }: Keeper, value: Json) {
  const { raw, offset } = node.keptIn ?? { raw: node.raw, offset: 0 }
  const values = raw.widgets_values
  if (Array.isArray(values) && typeof index === 'number') values[index + offset] = value
  else if (isJsonObject(values) && index !== null) values[index] = value
  const named = node.raw.widgets_values_named
  if (isJsonObject(named) && name !== null && Object.hasOwn(named, name)) named[name] = value
}

/** Widgets the file had no value for stand at the end of the list; they are written only when one was turned. */
function append({ id, node, placement }: FlatNode, inputs: Record<string, Json>, keepers: Map<string, Keeper>) {
  const missing = placement.widgets.flatMap(({ input }) => {
    const used = keepers.has(`${id}.${input.name}`) ? undefined : inputs[input.name]
    return used === undefined || isLink(used) ? [] : [{ input, value: unwrapped(used) }]
  })
  if (node.keptIn || !missing.some(({ input, value }) => value !== defaultOf(input))) return
  const values = node.raw.widgets_values
  if (isJsonObject(values)) for (const { input, value } of missing) values[input.name] = value
  else if (Array.isArray(values)) values.push(...missing.map(({ value }) => value))
  else node.raw.widgets_values = missing.map(({ value }) => value)
}

const unwrapped = (value: Json): Json =>
  isJsonObject(value) && value.__value__ !== undefined ? value.__value__ : value

function copy(value: Json): Json {
  if (Array.isArray(value)) return value.map(copy)
  if (!isJsonObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copy(item)]))
}
