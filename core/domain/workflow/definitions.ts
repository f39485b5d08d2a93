import type { InputSpec, NodeDefinition, ObjectInfo } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'

/** One input of a node class, as its definition declares it. */
export interface InputDefinition {
  name: string
  /** ComfyUI's type in one word; every form of a combo is COMBO. */
  type: string
  options: JsonObject
  /** A combo's choices; null for what is none, or whose choices come from elsewhere. */
  choices: Json[] | null
  required: boolean
}

/** Own keys only: a class may be called `constructor`. */
export const definitionOf = (definitions: ObjectInfo, classType: string): NodeDefinition | null =>
  Object.hasOwn(definitions, classType) ? definitions[classType]! : null

const declared = new WeakMap<object, InputDefinition[]>()

/** The inputs of a class in the editor's order; hidden ones are the server's own. */
export function inputsOf(definition: { input?: NodeDefinition['input']; input_order?: NodeDefinition['input_order'] }) {
  const known = declared.get(definition)
  if (known) return known
  const inputs = (['required', 'optional'] as const).flatMap((section) => {
    const specs = definition.input?.[section] ?? {}
    const order = definition.input_order?.[section] ?? []
    const names = [...order.filter((name) => Object.hasOwn(specs, name)), ...Object.keys(specs)]
    return [...new Set(names)].map((name) => readSpec(name, specs[name]!, section === 'required'))
  })
  declared.set(definition, inputs)
  return inputs
}

function readSpec(name: string, spec: InputSpec, required: boolean): InputDefinition {
  const [type, extra] = Array.isArray(spec) ? spec : [spec]
  const options = isJsonObject(extra) ? extra : {}
  if (Array.isArray(type)) return { name, type: 'COMBO', options, choices: type, required }
  const choices = type === 'COMBO' && Array.isArray(options.options) ? options.options : null
  return { name, type: String(type), options, choices, required }
}

/** Widgets the editor gives to a class by itself, after those of its definition. */
export function editorsOwn({ name }: Pick<NodeDefinition, 'name'>): InputDefinition[] {
  const own = (name: string, type: string) => [{ name, type, options: {}, choices: null, required: true }]
  if (name === 'SaveGLB' || name === 'Preview3D') return own('image', 'PREVIEW_3D')
  return name === 'Load3DAdvanced' ? own('viewport_state', 'LOAD_3D_ADVANCED') : []
}

/** Types the editor draws a widget for; others are sockets. */
const widgetTypes = new Set([
  ...['INT', 'FLOAT', 'STRING', 'BOOLEAN', 'COMBO', 'COMFY_DYNAMICCOMBO_V3', 'MARKDOWN', 'IMAGEUPLOAD', 'COLOR'],
  ...['IMAGECOMPARE', 'BOUNDING_BOX', 'CHART', 'GALLERIA', 'PAINTER', 'TEXTAREA', 'CURVE', 'RANGE', 'AUDIO_UI'],
  ...['AUDIOUPLOAD', 'AUDIO_RECORD', 'WEBCAM', 'LOAD_3D', 'LOAD_3D_ANIMATION', 'LOAD_3D_ADVANCED', 'PREVIEW_3D'],
  ...['COMPOSITOR', 'COLORS', 'BOUNDING_BOXES', 'VIDEO_EDIT'],
])

export function isWidget({ type, options }: InputDefinition): boolean {
  if (options.forceInput === true || type === '*') return false
  if (options.socketless === true) return true // drawn by a script of its own, still stored
  return widgetTypes.has(type) || (typeof options.widgetType === 'string' && widgetTypes.has(options.widgetType))
}

/** The type its widget has: a socket of several types says which. */
export const widgetTypeOf = ({ type, options }: InputDefinition): string =>
  !widgetTypes.has(type) && typeof options.widgetType === 'string' ? options.widgetType : type

export const isDynamicCombo = ({ type }: InputDefinition) => type === 'COMFY_DYNAMICCOMBO_V3'

/** The inputs that a dynamic combo brings while `selected` is chosen, under their dotted names. */
export function childrenOf(input: InputDefinition, selected: Json | undefined): InputDefinition[] {
  const option = optionsOf(input).find(({ key }) => key === selected)
  if (!option || !isJsonObject(option.inputs)) return []
  const children = inputsOf({ input: option.inputs as NodeDefinition['input'] })
  return children.map((child) => ({ ...child, name: `${input.name}.${child.name}` }))
}
const optionsOf = ({ options }: InputDefinition): JsonObject[] =>
  Array.isArray(options.options) ? options.options.filter(isJsonObject) : []
export const keysOf = (input: InputDefinition): Json[] => optionsOf(input).map(({ key }) => key ?? null)

/**
 * The input a name in a prompt stands for, given the values beside it: itself, a child of a dynamic combo or slot, or
 * a member of an autogrowing one.
 */
export function inputNamed(
  definition: NodeDefinition,
  name: string,
  values: Record<string, Json>,
): InputDefinition | null {
  return findNamed(inputsOf(definition), name, values)
}
function findNamed(inputs: InputDefinition[], name: string, values: Record<string, Json>): InputDefinition | null {
  for (const input of inputs) {
    if (input.name === name) return input
    if (!name.startsWith(`${input.name}.`)) continue
    if (isDynamicCombo(input)) return findNamed(childrenOf(input, values[input.name]), name, values)
    if (input.type === 'COMFY_AUTOGROW_V3' || input.type === 'COMFY_DYNAMICSLOT_V3') return memberOf(input, name)
  }
  return null
}
function memberOf(input: InputDefinition, name: string): InputDefinition {
  const template = isJsonObject(input.options.template) ? input.options.template : input.options
  const holder = (isJsonObject(template.input) ? template.input : template.inputs) as
    | NodeDefinition['input']
    | undefined
  const [member] = isJsonObject(holder) ? inputsOf({ input: holder }) : []
  return { ...(member ?? { type: '*', options: {}, choices: null }), name, required: false }
}

/** What the editor puts into a widget that has no stored value; null: nothing, which then is not in the prompt. */
export function defaultOf(input: InputDefinition): Json {
  const { default: given } = input.options
  if (isDynamicCombo(input)) return keysOf(input)[0] ?? null // it looks for no default
  const type = widgetTypeOf(input)
  if (type === 'COMBO') return given || (input.choices?.[0] ?? (input.options.remote ? 'Loading...' : null))
  if (given !== undefined && given !== null) return given
  switch (type) {
    case 'INT':
    case 'FLOAT':
      return 0
    case 'BOOLEAN':
      return false
    case 'COLOR':
      return '#000000'
    case 'IMAGECOMPARE':
      return ['', '']
    case 'BOUNDING_BOX':
      return { x: 0, y: 0, width: 512, height: 512 }
    case 'RANGE':
      return { min: 0, max: 1 }
    case 'CURVE': {
      const [from, to]: Json[][] = [
        [0, 0],
        [1, 1],
      ]
      return { points: [from!, to!], interpolation: 'monotone_cubic' }
    }
    case 'COLORS':
    case 'BOUNDING_BOXES':
    case 'GALLERIA':
      return []
    case 'CHART':
    case 'COMPOSITOR':
      return {}
    case 'VIDEO_EDIT':
      return { trim: { start_time: 0, duration: 0 }, crop: { x: 0, y: 0, width: 0, height: 0 } }
    default:
      return ''
  }
}

/** Options whose value is a file that can be uploaded. */
export function uploadOf({ options }: InputDefinition): 'image' | 'video' | 'audio' | null {
  if (options.image_upload || options.animated_image_upload) return 'image'
  if (options.video_upload) return 'video'
  return options.audio_upload ? 'audio' : null
}
