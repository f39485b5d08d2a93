import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import { defaultOf } from './definitions.ts'
import { type EditorNode, type EditorWorkflow, readEditor } from './editor.ts'
import { type FlatNode, flatten, type Keeper, keepersOf } from './flatten.ts'

/**
 * The workflow as the editor would have saved it with the values of `prompt` in its widgets: a picture that carries it
 * opens with its layout and with what really made it. `editor` is not changed. Braces in texts are what was sent, so the
 * editor must not choose between them again; `asTyped`: they are what a person typed, to be chosen from.
 */
export function withValues(
  editor: EditorWorkflow,
  definitions: ObjectInfo,
  prompt: Prompt,
  { asTyped = false } = {},
): Json {
  const workflow = copy(editor) as JsonObject
  const flat = flatten(readEditor(workflow), definitions)
  const keepers = keepersOf(flat)
  for (const one of flat.nodes) {
    const inputs = prompt[one.id]?.inputs
    if (!inputs) continue
    const written = asTyped ? inputs : literally(one, inputs, keepers)
    for (const [name, used] of Object.entries(written)) {
      const keeper = isLink(used) ? undefined : keepers.get(`${one.id}.${name}`)
      if (keeper) put(keeper, unwrapped(used))
      if (!isLink(used)) putIntoPrimitive(one, name, unwrapped(used))
    }
    append(one, written, keepers)
  }
  return workflow
}

/**
 * Texts in which the editor chooses between `{a|b}`, written so that they come out as they are. It does so for what a
 * node outside of subgraphs keeps itself, and for nothing that comes from a primitive or an instance.
 */
function literally(
  { id, node, context, placement }: FlatNode,
  inputs: Record<string, Json>,
  keepers: Map<string, Keeper>,
) {
  const isOwn = (name: string) => (keepers.get(`${id}.${name}`)?.node ?? node) === node
  const chosen = new Set(
    context.path !== ''
      ? []
      : placement.widgets.flatMap(({ input: { name, options } }) =>
          options.dynamicPrompts === true && isOwn(name) ? [name] : [],
        ),
  )
  if (chosen.size === 0) return inputs
  const escaped = (text: string) => text.replace(/[{}]/g, '\\$&').replace(/\\\|/g, '\\\\|')
  return Object.fromEntries(
    Object.entries(inputs).map(([name, value]) => [
      name,
      chosen.has(name) && typeof value === 'string' ? escaped(value) : value,
    ]),
  )
}

function put({ node, index, name }: Keeper, value: Json) {
  const { raw, offset } = node.keptIn ?? { raw: node.raw, offset: 0 }
  const values = raw.widgets_values
  if (Array.isArray(values) && typeof index === 'number') values[index + offset] = value
  else if (isJsonObject(values) && index !== null) values[index] = value
  const named = node.raw.widgets_values_named
  if (isJsonObject(named) && name !== null && Object.hasOwn(named, name)) named[name] = value
  for (const entry of setAside(node)) {
    const [inner, input] = Array.isArray(entry.originalEntry) ? entry.originalEntry : []
    if (String(inner) === '-1' && input === name && entry.hostValue !== undefined) entry.hostValue = value
  }
}

/** What the editor could not bring over from an older subgraph, and still takes values from. */
function setAside({ raw }: EditorNode): JsonObject[] {
  const kept = isJsonObject(raw.properties) ? raw.properties.proxyWidgetErrorQuarantine : null
  return Array.isArray(kept) ? kept.filter(isJsonObject) : []
}

/** A primitive that an instance turns keeps the value as well as the widgets it feeds. */
function putIntoPrimitive({ node, context }: FlatNode, name: string, value: Json) {
  const input = node.inputs.find((one) => one.name === name)
  const link = input?.link == null ? undefined : context.graph.links.get(input.link)
  const origin = link && context.graph.nodes.get(link.from)
  const values = origin?.type === 'PrimitiveNode' ? origin.raw.widgets_values : null
  if (Array.isArray(values) && values.length > 0) values[0] = value
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
