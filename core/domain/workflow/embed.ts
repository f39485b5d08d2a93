import { isLink, type ObjectInfo, type Prompt } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import { defaultOf } from './definitions.ts'
import { type EditorNode, type EditorWorkflow, readEditor } from './editor.ts'
import { type FlatNode, flatten, promotedTo, type Source, sourceOf } from './flatten.ts'
import type { PlacedWidget } from './widgets.ts'

/**
 * The workflow as the editor would have saved it with the values of `prompt` in its widgets: a picture that carries it
 * opens with its layout and with what really made it. `editor` is not changed.
 */
export function withValues(editor: EditorWorkflow, definitions: ObjectInfo, prompt: Prompt): Json {
  const workflow = copy(editor) as JsonObject
  const flat = flatten(readEditor(workflow), definitions)
  const memo = new Map<string, Source>()
  for (const one of flat.nodes) {
    const inputs = prompt[one.id]?.inputs
    if (!inputs) continue
    const missing: { widget: PlacedWidget; value: Json }[] = []
    for (const widget of one.placement.widgets) {
      const { name } = widget.input
      const used = Object.hasOwn(inputs, name) ? inputs[name] : undefined
      if (used === undefined || isLink(used)) continue
      const value = unwrapped(used)
      const keeper = keeperOf(one, widget, sourceAt(one, name))
      if (keeper) put(keeper.node, keeper.at, name, value)
      else missing.push({ widget, value })
    }
    append(one, missing)
  }
  return workflow

  function sourceAt(one: FlatNode, name: string): Source | null {
    const input = one.node.inputs.find((socket) => socket.name === name && socket.link !== null)
    return input ? sourceOf(one.context, one.node, input, flat, memo) : null
  }
}

/** Where the editor keeps the value of a widget: a primitive, an instance around it, or its own node. */
function keeperOf(
  one: FlatNode,
  widget: PlacedWidget,
  source: Source | null,
): { node: EditorNode; at: number | string } | null {
  if (source?.is === 'value' && source.at) return { node: source.at.node, at: source.at.index }
  const promoted = promotedTo(one, widget.input.name)
  if (promoted) return { node: promoted.at.node, at: promoted.at.index }
  return widget.at === null ? null : { node: one.node, at: widget.at }
}

function put(node: EditorNode, at: number | string, name: string, value: Json) {
  const { raw, offset } = node.keptIn ?? { raw: node.raw, offset: 0 }
  const values = raw.widgets_values
  if (Array.isArray(values) && typeof at === 'number') values[at + offset] = value
  else if (isJsonObject(values)) values[at] = value
  const named = node.raw.widgets_values_named
  if (!isJsonObject(named)) return
  if (Object.hasOwn(named, String(at))) named[at] = value
  if (Object.hasOwn(named, name)) named[name] = value
}

/** Widgets the file had no value for stand at the end of the list; they are written only when one was turned. */
function append({ node }: FlatNode, missing: { widget: PlacedWidget; value: Json }[]) {
  const values = node.raw.widgets_values
  if (node.keptIn || !missing.some(({ widget, value }) => value !== defaultOf(widget.input))) return
  if (isJsonObject(values)) for (const { widget, value } of missing) values[widget.input.name] = value
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
