import type { NodeDefinition } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import {
  childrenOf,
  defaultOf,
  editorsOwn,
  type InputDefinition,
  inputsOf,
  isDynamicCombo,
  isWidget,
  keysOf,
  uploadOf,
  widgetTypeOf,
} from './definitions.ts'
import type { EditorNode } from './editor.ts'

/** A widget with its value, and where the file keeps it. */
export interface PlacedWidget {
  input: InputDefinition
  value: Json
  /** Position in `widgets_values`, or its key where that is an object; null: the file holds no value. */
  at: number | string | null
  /** What the editor does with the value after each queueing. */
  control: string | null
}
export interface Placement {
  widgets: PlacedWidget[]
  /** Stored values no widget takes. */
  leftOver: Json[]
  /** How many values the file stores, and how many would be taken. */
  actual: number
  expected: number
  /** Widgets that got a value of a foreign type. */
  misfits: string[]
  /** Widgets the file has no value for. */
  defaulted: string[]
  /** Nothing says what the values are for. */
  unknown: boolean
}

const controls = new Set<Json>(['fixed', 'increment', 'decrement', 'randomize', 'increment-wrap'])
/** The first editors stored a switch, "random after every generation". */
const controlOf = (value: Json | undefined): string | null => {
  if (typeof value === 'boolean') return value ? 'randomize' : 'fixed'
  return typeof value === 'string' && controls.has(value) ? value : null
}
/** Keys that packs store beside the values of their widgets. */
const notWidgets = new Set(['videopreview', 'preview', 'audiopreview', 'upload', 'image_preview'])

/** Brings the stored values of a node to its widgets. */
export function placeWidgets(node: EditorNode, definition: NodeDefinition | null): Placement {
  const stored = node.raw.widgets_values
  const named = isJsonObject(node.raw.widgets_values_named) ? node.raw.widgets_values_named : null
  const values = Array.isArray(stored) ? stored : isJsonObject(stored) ? listOf(stored) : []
  if (definition === null) return values === null ? placeUnknownByKey(stored as JsonObject) : placeUnknown(node, values)
  if (node.type === 'CustomCombo' && values) return placeCustomCombo(definition, values)
  const powerLoras = node.type === 'Power Lora Loader (rgthree)' ? placePowerLoras(values ?? []) : null
  if (powerLoras) return powerLoras
  const byKey = values === null ? (stored as JsonObject) : null
  const placement = byKey ? placeByKey(definition, byKey) : placeByPosition(definition, values ?? [])
  return named ? withNamed(definition, placement, named) : placement
}

/** `{"0": …, "length": n}` is a list too; null for an object of names. */
function listOf(stored: JsonObject): Json[] | null {
  const keys = Object.keys(stored).filter((key) => key !== 'length')
  if (!keys.every((key) => /^\d{1,4}$/.test(key)) || (keys.length === 0 && !('length' in stored))) return null
  const size = Math.max(-1, ...keys.map(Number)) + 1
  return Array.from({ length: size }, (_, index) => stored[index] ?? null)
}

/** How older editors differed in what they stored. */
interface Variant {
  /** Sockets that were once widgets kept their values. */
  forced: boolean
  control: boolean
  upload: boolean
  audioUi: boolean
}

function placeByPosition(definition: NodeDefinition, values: Json[]): Placement {
  const added = editorsOwn(definition)
  const replaced = (input: InputDefinition) => added.find(({ name }) => name === input.name)
  const declared = inputsOf(definition).map((input) => replaced(input) ?? input)
  const own = added.filter((input) => !declared.includes(input))
  const has = (test: (input: InputDefinition) => boolean) => declared.some(test)
  const choices = (varies: boolean, first: boolean) => (varies ? [first, !first] : [first])
  let best: (Placement & { misfit: number }) | null = null
  for (const control of choices(has(takesControl), true)) {
    for (const upload of choices(
      has((input) => uploadOf(input) !== null),
      true,
    )) {
      for (const audioUi of choices(
        has((input) => input.options.audio_upload === true),
        false,
      )) {
        for (const forced of choices(
          has((input) => input.options.forceInput === true),
          false,
        )) {
          const placed = placeAs({ forced, control, upload, audioUi }, declared, own, values)
          if (best === null || placed.misfit < best.misfit) best = placed
          if (placed.misfit === 0) return placed
        }
      }
    }
  }
  return best!
}

const takesControl = (input: InputDefinition) =>
  (input.type === 'INT' || input.type === 'COMBO') && controlSlots(input) > 0

/** Values stored after the widget's own: its control, and a combo's filter text. */
function controlSlots({ type, name, options }: InputDefinition): number {
  const flag = options.control_after_generate
  if (type === 'COMBO') return flag ? 2 : 0
  if (type !== 'INT') return 0
  return flag || (flag === undefined && (name === 'seed' || name === 'noise_seed')) ? 1 : 0
}

function placeAs(
  variant: Variant,
  declared: InputDefinition[],
  own: InputDefinition[],
  values: Json[],
): Placement & { misfit: number } {
  const widgets: PlacedWidget[] = []
  const misfits: string[] = []
  const defaulted: string[] = []
  let misfit = 0
  let at = 0
  let expected = 0
  const skip = (fits: (value: Json) => boolean) => {
    expected++
    if (at >= values.length) return
    if (fits(values[at]!)) at++
    else misfit += 1
  }
  const take = (input: InputDefinition, following: InputDefinition | undefined) => {
    const type = widgetTypeOf(input)
    if (type === 'IMAGECOMPARE') {
      widgets.push({ input, value: defaultOf(input), at: null, control: null }) // shown, never stored
      return
    }
    if (type === 'LOAD_3D' && widgets.some((widget) => widget.input.name === 'model_file')) takeButtons(modelButtons)
    expected++
    if (at >= values.length) {
      widgets.push({ input, value: defaultOf(input), at: null, control: null })
      // A linked widget needs no value, and one that is optional may be newer than the file.
      if (!own.includes(input)) {
        defaulted.push(input.name)
        misfit += input.required ? 0.2 : 0.1
      }
    } else {
      const stored = values[at]!
      const value =
        stored === null && (type === 'COMBO' || isDynamicCombo(input)) ? (firstChoice(input) ?? null) : stored
      const degree = misfitOf(input, value)
      if (degree >= 1) misfits.push(input.name)
      misfit += degree
      widgets.push({ input, value, at: at++, control: null })
    }
    const widget = widgets.at(-1)!
    const keepsControl = takesControl(input) ? variant.control : looksControlled(input, values[at], following)
    if (keepsControl && (takesControl(input) || at < values.length)) {
      widget.control = controlOf(values[at])
      skip((value) => controlOf(value) !== null)
      if (controlSlots(input) === 2) skip((value) => typeof value === 'string')
    }
    const { remote } = input.options
    if (isJsonObject(remote) && remote.refresh_button === true) {
      if (typeof values[at] === 'boolean') skip(() => true)
      takeButtons([['refresh', 'refresh']])
    }
    if (type === 'BOUNDING_BOX')
      for (const _side of ['x', 'y', 'width', 'height']) skip((side) => typeof side === 'number')
    if (isDynamicCombo(input)) takeAll(childrenOf(input, widget.value))
  }
  const takeAll = (these: InputDefinition[]) => {
    these.forEach((input, index) => {
      if (isWidget(input)) take(input, these[index + 1])
      else if (input.options.forceInput === true && variant.forced && valueTypes.has(input.type)) skip(() => true)
    })
  }
  /** Buttons whose values the editor sends as well. */
  const takeButtons = (buttons: readonly (readonly [string, string])[]) => {
    for (const [name, value] of buttons) {
      const stored = values[at] === value
      widgets.push({ input: undeclared(name), value, at: stored ? at : null, control: null })
      if (stored) skip(() => true)
    }
  }
  takeAll(declared.filter((input) => input.required))
  const uploading = declared.find((input) => input.required && uploadOf(input) !== null)
  if (uploading?.options.audio_upload === true && variant.audioUi) skip((value) => value === null || value === '')
  if (uploading && variant.upload) skip((value) => typeof value === 'string' || typeof value === 'object')
  takeAll([...declared.filter((input) => !input.required), ...own])
  const compared = widgets.some(({ input }) => input.type === 'IMAGECOMPARE') // older editors stored what was shown
  const leftOver = compared ? [] : values.slice(at)
  misfit += leftOver.filter((value) => !isEmpty(value)).length * 0.6 + leftOver.length * 0.05
  return { widgets, leftOver, actual: values.length, expected, misfits, defaulted, unknown: false, misfit }
}

/** The buttons beside a 3D model's file, with what they store. */
const modelButtons = [
  ['upload 3d model', 'upload3dmodel'],
  ['upload extra resources', 'uploadExtraResources'],
  ['clear', 'clear'],
] as const
const firstChoice = (input: InputDefinition) => (isDynamicCombo(input) ? keysOf(input) : input.choices)?.[0]

/** The value a number widget takes when a primitive turns it: the nearest on its steps. */
export function turned(input: InputDefinition, value: Json): Json {
  const { step, round, min, max } = input.options
  const type = widgetTypeOf(input)
  if (typeof value !== 'number') return value
  if (type === 'INT') {
    const size = Number(step ?? 1) || 1
    const offset = size === 1 ? 0 : Number(min ?? 0) % size
    return Math.round((value - offset) / size) * size + offset
  }
  if (type !== 'FLOAT') return value
  const digits = Math.max(0, -Math.floor(Math.log10(Number(step ?? 0.5))))
  const nearest = Number(round || (digits > 0 ? 10 ** -digits : 0))
  if (!nearest) return value
  const rounded = Number((Math.round(value / nearest) * nearest).toFixed(digits))
  return Math.min(Math.max(rounded, Number(min ?? 0)), Number(max ?? 2048))
}

const valueTypes = new Set(['INT', 'FLOAT', 'STRING', 'BOOLEAN', 'COMBO'])
export const isEmpty = (value: Json) => value === null || value === '' || value === 'image'

/** An INT of a pack that is a seed by its name only. */
function looksControlled(input: InputDefinition, next: Json | undefined, following: InputDefinition | undefined) {
  if (input.type !== 'INT' || !/seed/i.test(input.name) || next === undefined || !controls.has(next)) return false
  return !following?.choices?.includes(next)
}

/** 0: the value may stand there; 1: it cannot be meant for this widget. */
function misfitOf(input: InputDefinition, value: Json): number {
  if (value === null) return 0.02
  if (isDynamicCombo(input)) return keysOf(input).includes(value) ? 0 : 1
  switch (widgetTypeOf(input)) {
    case 'INT':
      return typeof value === 'bigint' || typeof value === 'number' ? (Number.isInteger(Number(value)) ? 0 : 0.3) : 1
    case 'FLOAT':
      return typeof value === 'number' || typeof value === 'bigint' ? 0 : 1
    case 'BOOLEAN':
      return typeof value === 'boolean' ? 0 : 1
    case 'STRING':
      return typeof value === 'string' ? 0 : 1
    case 'COMBO': {
      if (input.choices?.includes(value) || (Array.isArray(value) && input.options.multiselect)) return 0
      if (typeof value === 'object') return 1
      if (!input.choices || input.choices.length === 0) return typeof value === 'string' ? 0 : 0.5
      return input.choices.some((choice) => typeof choice === typeof value) ? 0.15 : 1
    }
    default:
      return 0
  }
}

function placeByKey(definition: NodeDefinition, stored: JsonObject): Placement {
  const widgets: PlacedWidget[] = []
  const defaulted: string[] = []
  const taken = new Set<string>()
  const misfits: string[] = []
  const takeAll = (inputs: InputDefinition[]) => {
    for (const input of inputs) {
      const has = Object.hasOwn(stored, input.name)
      if (!isWidget(input) && !has) continue
      if (input.options.forceInput === true) continue
      if (!has) defaulted.push(input.name)
      const value = has ? stored[input.name]! : defaultOf(input)
      if (has && isWidget(input) && misfitOf(input, value) >= 1) misfits.push(input.name)
      const control = stored[`${input.name}_control`] ?? stored.control_after_generate
      widgets.push({
        input,
        value,
        at: has ? input.name : null,
        control: takesControl(input) && controls.has(control ?? null) ? String(control) : null,
      })
      taken.add(input.name)
      if (isDynamicCombo(input)) takeAll(childrenOf(input, value))
    }
  }
  takeAll(inputsOf(definition))
  const rest = Object.entries(stored).filter(([key]) => !taken.has(key) && !notWidgets.has(key) && !controlKey(key))
  // Packs add widgets by their own script (a video format's options): they belong into the prompt as they are.
  for (const [key, value] of rest) {
    widgets.push({ input: undeclared(key), value, at: key, control: null })
  }
  const size = Object.keys(stored).length
  return { widgets, leftOver: [], actual: size, expected: size, misfits, defaulted, unknown: false }
}

const controlKey = (key: string) => key === 'control_after_generate' || key.endsWith('_control')

const undeclared = (name: string): InputDefinition => ({
  name,
  type: '*',
  options: {},
  choices: null,
  required: false,
})

/** Newer editors write names beside the list: those are sure. */
function withNamed(definition: NodeDefinition, placement: Placement, named: JsonObject): Placement {
  const byName = placeByKey(definition, named)
  const sure = new Map(
    byName.widgets.filter(({ at, input }) => at !== null && input.type !== '*').map((w) => [w.input.name, w]),
  )
  if (sure.size === 0) return placement
  const positions = new Map(placement.widgets.map((widget) => [widget.input.name, widget]))
  const widgets = byName.widgets
    .filter(({ input }) => input.type !== '*')
    .map((widget) => {
      const placed = positions.get(widget.input.name)
      if (!sure.has(widget.input.name)) return placed ?? widget
      return { ...widget, at: placed?.at ?? null, control: placed?.control ?? widget.control }
    })
  const names = new Set(widgets.map(({ input }) => input.name))
  const editors = placement.widgets.filter(({ input }) => !names.has(input.name) && isEditorsOwn(input))
  const defaulted = widgets
    .filter(({ at, input }) => at === null && !sure.has(input.name))
    .map(({ input }) => input.name)
  return {
    ...placement,
    widgets: [...widgets, ...editors],
    defaulted,
    misfits: [],
    leftOver: [],
    expected: placement.actual,
    unknown: false,
  }
}

const isEditorsOwn = ({ type }: InputDefinition) => type === '*' || type === 'PREVIEW_3D' || type === 'LOAD_3D_ADVANCED'

/** A class nobody here knows: its sockets that stand for widgets name them, in order. */
function placeUnknown(node: EditorNode, values: Json[] | null): Placement {
  const stored = values ?? []
  const names = widgetNames(node)
  const widgets: PlacedWidget[] = []
  let at = 0
  for (const name of names) {
    if (at >= stored.length) break
    const widget: PlacedWidget = { input: undeclared(name), value: stored[at]!, at, control: null }
    at++
    if (/seed/i.test(name) && controls.has(stored[at] ?? null)) widget.control = String(stored[at++])
    widgets.push(widget)
  }
  const leftOver = stored.slice(at)
  const unknown = leftOver.some((value) => !isEmpty(value)) || names.length > widgets.length
  return {
    widgets: unknown ? [] : widgets,
    leftOver: unknown ? stored : leftOver,
    actual: stored.length,
    expected: names.length,
    misfits: [],
    defaulted: [],
    unknown: unknown && stored.length > 0,
  }
}

function widgetNames(node: EditorNode): string[] {
  const sockets = node.inputs.flatMap(({ widget }) => (widget === null ? [] : [widget]))
  const ue = node.properties.ue_properties
  const connectable = isJsonObject(ue) && isJsonObject(ue.widget_ue_connectable) ? ue.widget_ue_connectable : {}
  const listed = Object.keys(connectable)
  return listed.length > sockets.length ? listed : sockets
}

function placeUnknownByKey(stored: JsonObject): Placement {
  const entries = Object.entries(stored).filter(([key]) => !notWidgets.has(key) && !controlKey(key))
  return {
    widgets: entries.map(([key, value]) => ({ input: undeclared(key), value, at: key, control: null })),
    leftOver: [],
    actual: entries.length,
    expected: entries.length,
    misfits: [],
    defaulted: [],
    unknown: false,
  }
}

/** rgthree's loader makes its widgets by script: one object for each LoRA, under lora_1, lora_2 … */
function placePowerLoras(values: Json[]): Placement {
  const widgets: PlacedWidget[] = []
  let count = 0
  values.forEach((value, at) => {
    if (isJsonObject(value) && 'lora' in value) {
      widgets.push({ input: undeclared(`lora_${++count}`), value, at, control: null })
    } else if (isJsonObject(value) && 'type' in value) {
      widgets.push({ input: undeclared(String(value.type)), value, at, control: null })
    } else if (value === '' && at > 0) {
      widgets.push({ input: undeclared('➕ Add Lora'), value, at, control: null })
    }
  })
  const size = values.length
  return { widgets, leftOver: [], actual: size, expected: size, misfits: [], defaulted: [], unknown: false }
}

/** The editor draws this one's choices by itself: the choice, its index, then each option. The server takes them all. */
function placeCustomCombo(definition: NodeDefinition, values: Json[]): Placement {
  const [choice = undeclared('choice')] = inputsOf(definition)
  const names = [choice, undeclared('index'), ...values.slice(2).map((_, index) => undeclared(`option${index + 1}`))]
  const widgets = names.flatMap((input, at): PlacedWidget[] =>
    at < values.length ? [{ input, value: values[at]!, at, control: null }] : [],
  )
  const size = values.length
  return { widgets, leftOver: [], actual: size, expected: size, misfits: [], defaulted: [], unknown: false }
}
