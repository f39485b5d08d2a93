import {
  isLink,
  type Link,
  type NodeDefinition,
  type ObjectInfo,
  type Prompt,
  type PromptNode,
} from '../../contract/comfyui.ts'
import { AppError, type Facts, fill } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import type { Parameter, ParameterChoice, ParameterRole } from '../../contract/workflow.ts'
import {
  definitionOf,
  type InputDefinition,
  inputNamed,
  isDynamicCombo,
  keysOf,
  uploadOf,
  widgetTypeOf,
} from './definitions.ts'
import { type EditorDocument, type EditorGraph, type EditorNode, type EditorWorkflow, readEditor } from './editor.ts'
import { flatten, keepersOf } from './flatten.ts'
import { looksLikeModel, matchFile, modelFolderOf, namesModelFile } from './models.ts'
import { named, switchTitle } from './names.ts'
import { plain, plainWords, roleSaid } from './role-words.ts'
import { branchesOf, literalsBehind, liveNodes, switchKeys, titleOf, traceTexts } from './trace.ts'

/** `{{name}}`, as templates mark a value that is still needed. */
const placeholder = /\{\{\s*([^{}|]+?)\s*\}\}/g

/**
 * Every literal of a prompt as a parameter: those with a role first, in the order people fill a form. `editor` adds
 * what only the editor's file knows: what happens to a seed between runs, and the author's own choice of inputs.
 */
export function findParameters(prompt: Prompt, definitions: ObjectInfo, editor: EditorWorkflow | null): Parameter[] {
  const texts = traceTexts(prompt, definitions)
  const behind = rolesBehindLinks(prompt, definitions)
  const titled = rolesByTitle(prompt, definitions)
  const switches = switchKeys(prompt)
  const live = liveNodes(prompt, definitions)
  const hints = editor
    ? editorHints(editor, definitions)
    : {
        controls: new Map<string, string>(),
        author: new Map<string, number>(),
        keepers: new Map<string, string>(),
        promoted: new Map<string, string>(),
      }
  const hasCreator = Object.values(prompt).some((node) =>
    createsPicture(node, definitionOf(definitions, node.class_type)),
  )
  const found: Parameter[] = []
  for (const [id, node] of Object.entries(prompt)) {
    const definition = definitionOf(definitions, node.class_type)
    const ofNode = Object.entries(node.inputs).flatMap(([input, value]): Parameter[] => {
      if (isLink(value)) return []
      if (isJsonObject(value) && typeof value.lora === 'string') return loraParts(id, node, input, value, live.has(id))
      const declared = definition ? inputNamed(definition, input, node.inputs) : null
      // The server ignores what its own classes do not declare.
      if (definition && !declared && definition.python_module?.startsWith('custom_nodes') !== true) return []
      const key = `${id}.${input}`
      const own = roleOf(node, definition, input, declared, value, hasCreator)
      const text = own === 'lyrics' ? own : texts.get(key)
      const isSwitch = switches.has(key) ? 'switch' : null
      const role = text ?? behind.get(key) ?? titled.get(key) ?? isSwitch ?? own
      const parameter = describe(id, node, definition, input, declared, value, role)
      if (!live.has(id)) parameter.shown = false
      const control = hints.controls.get(key)
      if (control && isControl(control)) parameter.control = control
      if (hints.promoted.has(key) && live.has(id)) parameter.shown = true
      if (hints.author.has(key)) parameter.shown = parameter.pinned = true
      return [parameter]
    })
    found.push(...ofNode)
  }
  const sized = asTheirTitlesSay(found, titled, live)
  return named(
    order(boundTogether(withPlaceholders(sized), hints.keepers), hints.author),
    definitions,
    prompt,
    live,
    hints.promoted,
  )
}

/** A LoRA kept as one object, as the stacks of custom nodes do: its file, strength and whether it is on. */
function loraParts(id: string, node: PromptNode, input: string, value: JsonObject, live: boolean): Parameter[] {
  const roles: [part: string, role: ParameterRole | null][] = [
    ['lora', 'lora'],
    ['strength', 'strength'],
    ['on', null],
  ]
  return roles.flatMap(([part, role]) => {
    if (value[part] === undefined) return []
    const parameter = describe(id, node, null, `${input}.${part}`, null, value[part], role)
    return [{ ...parameter, shown: parameter.shown && live && value.on !== false }]
  })
}

function describe(
  id: string,
  node: PromptNode,
  definition: NodeDefinition | null,
  input: string,
  declared: InputDefinition | null,
  value: Json,
  role: ParameterRole | null,
): Parameter {
  const title = node._meta?.title || definition?.display_name || node.class_type
  const options = declared?.options ?? {}
  const choices = declared ? (isDynamicCombo(declared) ? keysOf(declared) : declared.choices) : null
  const upload = (declared && uploadOf(declared)) ?? uploadByClass(node.class_type, input)
  return {
    key: `${id}.${input}`,
    name: '',
    node: id,
    input,
    classType: node.class_type,
    nodeTitle: String(title),
    type: declared ? plainType(declared) : typeOfValue(value),
    role,
    default: value,
    ...(options.min !== undefined && { min: options.min }),
    ...(options.max !== undefined && { max: options.max }),
    ...(options.step !== undefined && { step: options.step }),
    ...(choices && choices.length > 0 && { options: choices }),
    ...(options.multiline === true && { multiline: true }),
    ...(upload && { upload }),
    ...(options.dynamicPrompts === true && { dynamicPrompts: true }),
    shown: role !== null && role !== 'filename-prefix',
    pinned: false,
  }
}

const plainType = (declared: InputDefinition) => (isDynamicCombo(declared) ? 'COMBO' : widgetTypeOf(declared))
function typeOfValue(value: Json): string {
  if (typeof value === 'boolean') return 'BOOLEAN'
  if (typeof value === 'bigint') return 'INT'
  if (typeof value === 'number') return Number.isInteger(value) ? 'INT' : 'FLOAT'
  return typeof value === 'string' ? 'STRING' : '*'
}
const isControl = (text: string): text is NonNullable<Parameter['control']> =>
  ['fixed', 'increment', 'decrement', 'randomize', 'increment-wrap'].includes(text)

function uploadByClass(classType: string, input: string): Parameter['upload'] | null {
  if (/^LoadImage(Mask)?$/.test(classType) && input === 'image') return 'image'
  if (/^(LoadVideo|VHS_LoadVideo)$/.test(classType) && /^(file|video)$/.test(input)) return 'video'
  return /^(LoadAudio|VHS_LoadAudioUpload)$/.test(classType) && input === 'audio' ? 'audio' : null
}

/** Inputs whose name alone says what they are for, where the node is of the right kind. */
const byName: Readonly<Record<string, ParameterRole>> = {
  seed: 'seed',
  noise_seed: 'seed',
  steps: 'steps',
  cfg: 'cfg',
  cfg_conds: 'cfg',
  sampler_name: 'sampler',
  scheduler: 'scheduler',
  denoise: 'denoise',
  guidance: 'guidance',
  fps: 'fps',
  frame_rate: 'fps',
  filename_prefix: 'filename-prefix',
  lyrics: 'lyrics',
  aspect_ratio: 'aspect-ratio',
  megapixels: 'megapixels',
  duration: 'duration',
  seconds: 'duration',
}
const sizes: Readonly<Record<string, ParameterRole>> = {
  width: 'width',
  height: 'height',
  batch_size: 'batch-size',
  length: 'length',
  num_frames: 'length',
  empty_latent_width: 'width',
  empty_latent_height: 'height',
}
const folders: Readonly<Record<string, ParameterRole>> = { checkpoints: 'checkpoint', loras: 'lora', vae: 'vae' }
const numeric = new Set(['INT', 'FLOAT'])

function roleOf(
  node: PromptNode,
  definition: NodeDefinition | null,
  input: string,
  declared: InputDefinition | null,
  value: Json,
  hasCreator: boolean,
): ParameterRole | null {
  const { class_type, inputs } = node
  const upload = (declared && uploadOf(declared)) ?? uploadByClass(class_type, input)
  if (upload) return upload === 'image' && /Mask$/.test(class_type) ? 'mask' : upload
  const folder = modelFolderOf(class_type, input, value)
  if (folder) return folders[folder] ?? 'model'
  if (declared?.type === 'COMBO' && looksLikeModel(declared, value)) return 'model'
  if (definition === null && typeof value === 'string' && namesModelFile(value))
    return /lora/i.test(input) ? 'lora' : /vae/i.test(class_type) ? 'vae' : 'model'
  const type = declared ? plainType(declared) : typeOfValue(value)
  const name = input.slice(input.lastIndexOf('.') + 1)
  const isPlaceholder = typeof value === 'string' && value.includes('{{')
  const role = Object.hasOwn(byName, name) ? byName[name]! : null
  switch (role) {
    case 'seed':
      return (numeric.has(type) || isPlaceholder) && inputs.add_noise !== 'disable' ? role : null
    case 'steps':
    case 'denoise':
      return (numeric.has(type) || isPlaceholder) &&
        (!definition || gives(definition, ['LATENT', 'SIGMAS', 'GUIDER', 'IMAGE', 'VIDEO']))
        ? role
        : null
    case 'cfg':
    case 'guidance':
    case 'fps':
      return numeric.has(type) || isPlaceholder ? role : null
    case 'sampler':
    case 'scheduler':
      return !declared || type === 'COMBO' ? role : null
    case 'filename-prefix':
    case 'lyrics':
      return type === 'STRING' ? role : null
    case 'aspect-ratio':
      return type === 'COMBO' || (definition === null && type === 'STRING') ? role : null
    case 'megapixels':
      return type === 'FLOAT' && (definition === null || !gives(definition, ['IMAGE', 'MASK']) || !hasCreator)
        ? role
        : null
    case 'duration':
      return (numeric.has(type) || type === 'COMBO') && !(definition && gives(definition, ['CONDITIONING']))
        ? role
        : null
    default:
  }
  if (Object.hasOwn(sizes, name) && (numeric.has(type) || isPlaceholder)) {
    const made = createsPicture(node, definition)
    const scaled =
      !hasCreator &&
      (name === 'width' || name === 'height') &&
      definition !== null &&
      gives(definition, ['IMAGE', 'LATENT'])
    return made || scaled ? sizes[name]! : null
  }
  if (/^strength(_model)?$/.test(name) && numeric.has(type)) {
    return /lora|controlnet/i.test(class_type) ? 'strength' : null
  }
  return null
}

const gives = (definition: NodeDefinition, types: string[]) =>
  definition.output.some((output) => typeof output === 'string' && types.includes(output))

/** Makes the empty picture or video everything starts from, so its size is the size. */
function createsPicture({ class_type, inputs }: PromptNode, definition: NodeDefinition | null): boolean {
  const names = Object.keys(inputs)
  if (!['width', 'height'].every((side) => names.some((name) => name === side || name === `empty_latent_${side}`)))
    return false
  if (!definition) {
    const made =
      names.some((name) => /batch|frames|length/.test(name)) || /empty|latent|resolution|aspect/i.test(class_type)
    return (
      made && !names.some((name) => isLink(inputs[name]!) && /^(image|pixels|samples|latent|video|mask)/.test(name))
    )
  }
  if (!gives(definition, ['LATENT', 'IMAGE'])) return false
  return !Object.entries(inputs).some(([name, value]) => {
    const type = isLink(value) ? inputNamed(definition, name, inputs)?.type : undefined
    return type === 'LATENT' || (type === 'IMAGE' && !gives(definition, ['CONDITIONING', 'LATENT']))
  })
}

/** A sampler's seed may come from a primitive, also by way of switches: then that one is the seed. */
function rolesBehindLinks(prompt: Prompt, definitions: ObjectInfo): Map<string, ParameterRole> {
  const roles = new Map<string, ParameterRole>()
  const assign = (link: Link, input: string, type: string, role: ParameterRole, depth = 0) => {
    const behind = literalsBehind(link, type, prompt, definitions)
    // Only what holds the value as it is, not one of the numbers it is computed from.
    const [key = ''] = behind
    const carried = key.endsWith('.value') || key.endsWith(`.${input}`)
    if (behind.length === 1 && carried && !roles.has(key)) roles.set(key, role)
    if (depth < 8) for (const branch of branchesOf(link, prompt)) assign(branch, input, type, role, depth + 1)
  }
  for (const node of Object.values(prompt)) {
    const definition = definitionOf(definitions, node.class_type)
    if (!definition) continue
    for (const [input, value] of Object.entries(node.inputs)) {
      if (!isLink(value)) continue
      const declared = inputNamed(definition, input, node.inputs)
      if (!declared || !['INT', 'FLOAT', 'COMBO'].includes(plainType(declared))) continue
      const role = roleOf(node, definition, input, declared, null, true)
      if (role) assign(value, input, plainType(declared), role)
    }
  }
  return roles
}

/** A number on its own is what its author calls it, however it is computed with afterwards. */
function rolesByTitle(prompt: Prompt, definitions: ObjectInfo): Map<string, ParameterRole> {
  const roles = new Map<string, ParameterRole>()
  for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
    const { value } = inputs
    if ((typeof value !== 'number' && typeof value !== 'bigint') || !/primitive|constant|int|float/i.test(class_type))
      continue
    const role = roleSaid(switchTitle(titleOf(prompt, definitions, id)))
    if (role && titledRoles.has(role)) roles.set(`${id}.value`, role)
  }
  return roles
}
const titledRoles = new Set<ParameterRole>([
  ...(['seed', 'width', 'height', 'length', 'fps', 'duration', 'steps', 'cfg', 'batch-size'] as const),
])

/** Where the author made a number for the width, sizes within the graph are details. */
function asTheirTitlesSay(parameters: Parameter[], titled: Map<string, ParameterRole>, live: ReadonlySet<string>) {
  const said = new Set(
    [...titled].flatMap(([key, role]) => (live.has(key.slice(0, key.lastIndexOf('.'))) ? [role] : [])),
  )
  const details: (ParameterRole | null)[] = (['width', 'height', 'length', 'fps'] as const).filter((role) =>
    said.has(role),
  )
  return parameters.map((parameter) =>
    details.includes(parameter.role) && !titled.has(parameter.key)
      ? { ...parameter, shown: parameter.pinned }
      : parameter,
  )
}

/** What the editor's file says of inputs, by `NODE.INPUT`. */
function editorHints(editor: EditorWorkflow, definitions: ObjectInfo) {
  const controls = new Map<string, string>()
  /** In the order the author put them in. */
  const author = new Map<string, number>()
  const document = readEditor(editor)
  const flat = flatten(document, definitions)
  for (const { id, placement } of flat.nodes) {
    for (const { input, control } of placement.widgets)
      if (control !== null) controls.set(`${id}.${input.name}`, control)
  }
  const { promoted, aliases } = promotedWidgets(document)
  const extra = isJsonObject(editor.extra) ? editor.extra : {}
  const app = isJsonObject(extra.linearData) ? extra.linearData.inputs : null
  for (const entry of Array.isArray(app) ? app : []) {
    if (!Array.isArray(entry)) continue
    const [, node = String(entry[0])] = /^[0-9a-f-]{36}:(.+):[^:]+$/.exec(String(entry[0])) ?? []
    const key = `${node}.${String(entry[1])}`
    for (const each of aliases.get(key) ?? [key]) author.set(each, author.size)
  }
  const numbers = new Map<object, number>()
  const keepers = new Map<string, string>()
  for (const [key, { node, index, name }] of keepersOf(flat)) {
    const raw = node.keptIn?.raw ?? node.raw
    const number = numbers.get(raw) ?? numbers.size
    numbers.set(raw, number)
    keepers.set(key, `${number} ${index ?? name} ${node.keptIn?.offset ?? 0}`)
  }
  return { controls, author, keepers, promoted }
}

/**
 * What the author put on the outside of subgraphs: `NODE.INPUT` → how it is labelled there. `aliases`: the same by the
 * node around, `76.text`, or by the node within it alone, `6.text`.
 */
function promotedWidgets({ root, subgraphs }: EditorDocument) {
  const promoted = new Map<string, string>()
  const aliases = new Map<string, string[]>()
  for (const instance of root.nodes.values()) {
    const definition = subgraphs.get(instance.type)
    if (!definition) continue
    const found = (key: string, label: string, name: string) => {
      promoted.set(key, label)
      const within = key.slice(key.slice(0, key.indexOf('.')).lastIndexOf(':') + 1)
      for (const alias of [`${instance.id}.${name}`, within]) {
        if (root.nodes.has(alias.slice(0, alias.indexOf('.'))) && alias === within) continue // that one is meant
        aliases.set(alias, [...(aliases.get(alias) ?? []), key])
      }
    }
    /** Follows one outer name inwards, through subgraphs within. */
    const follow = (graph: EditorGraph, path: string, name: string, tell: (key: string) => void, depth: number) => {
      const input = graph.inputs.find((one) => one.name === name)
      for (const key of input?.links ?? []) {
        const link = graph.links.get(key)
        const node = link && graph.nodes.get(link.to)
        const slot = link && node?.inputs[link.toSlot]
        if (node && slot) enter(node, `${path}:${node.id}`, slot.widget ?? slot.name, tell, depth)
      }
    }
    const enter = (node: EditorNode, path: string, name: string, tell: (key: string) => void, depth: number) => {
      const within = subgraphs.get(node.type)
      if (!within) tell(`${path}.${name}`)
      else if (depth < 10) follow(within, path, name, tell, depth + 1)
    }
    for (const { name, label } of definition.inputs) {
      const outer = instance.inputs.find((one) => one.name === name)
      if (outer?.link) continue // comes from another node
      follow(definition, instance.id, name, (key) => found(key, label ?? name, name), 0)
    }
    for (const entry of Array.isArray(instance.properties.proxyWidgets) ? instance.properties.proxyWidgets : []) {
      const [inner, widget] = Array.isArray(entry) ? entry.map(String) : []
      const node = inner === undefined ? undefined : definition.nodes.get(inner)
      if (!node || widget === undefined) continue
      enter(node, `${instance.id}:${node.id}`, widget, (key) => promoted.has(key) || found(key, widget, widget), 0)
    }
  }
  return { promoted, aliases }
}

/**
 * `{{name}}` as a whole value names its parameter; the same name elsewhere is the same parameter. Within a text each
 * becomes a parameter of its own, beside the text.
 */
function withPlaceholders(parameters: Parameter[]): Parameter[] {
  const byPlaceholder = new Map<string, Parameter>()
  return parameters.flatMap((parameter) => {
    const { default: value } = parameter
    const marks = typeof value === 'string' ? [...value.matchAll(placeholder)] : []
    if (typeof value !== 'string' || marks.length === 0) return [parameter]
    const whole = marks.length === 1 && marks[0]![0] === value.trim()
    const made = [...new Set(marks.map(([, name]) => name!))].flatMap((name) => {
      const key = whole ? parameter.key : `${parameter.key}{{${name}}}`
      const first = byPlaceholder.get(name)
      if (first) {
        first.also = [...(first.also ?? []), key]
        return []
      }
      const own: Parameter = whole
        ? { ...parameter, name, role: parameter.role ?? 'placeholder', shown: true }
        : {
            ...pick(parameter),
            key,
            name,
            type: 'STRING',
            role: 'placeholder',
            default: `{{${name}}}`,
            shown: true,
            pinned: false,
          }
      byPlaceholder.set(name, own)
      return [own]
    })
    return whole ? made : [...made, { ...parameter, shown: false }]
  })
}
const pick = ({ node, input, classType, nodeTitle }: Parameter) => ({ node, input, classType, nodeTitle })

/**
 * Inputs that only make sense together: what the editor keeps once (a primitive, a subgraph's input), the same text for
 * several encoders of one side (base and refiner, G and L), the settings of samplers that share one schedule. The first
 * with a role stands for all; the others can still be set alone.
 */
function boundTogether(parameters: Parameter[], keepers: Map<string, string>): Parameter[] {
  const kept = bind(parameters, ({ key, default: value }) => {
    const keeper = keepers.get(key)
    return keeper === undefined ? null : `${keeper} ${String(value)}`
  })
  return bind(kept, ({ role, default: value, classType }) => {
    const text = (role === 'prompt' || role === 'negative') && typeof value === 'string' && value.trim() !== ''
    const schedule =
      classType === 'KSamplerAdvanced' &&
      (role === 'steps' || role === 'cfg' || role === 'sampler' || role === 'scheduler')
    return text || schedule ? `${role} ${String(value)}` : null
  })
}

function bind(parameters: Parameter[], groupOf: (parameter: Parameter) => string | null): Parameter[] {
  const groups = new Map<string, Parameter[]>()
  for (const parameter of parameters) {
    const group = groupOf(parameter)
    if (group === null) continue
    const members = groups.get(group)
    if (members) members.push(parameter)
    else groups.set(group, [parameter])
  }
  const bound = new Map<string, Parameter>()
  for (const members of groups.values()) {
    if (members.length < 2) continue
    const leader = members.find(({ pinned }) => pinned) ?? members.find(({ role }) => role !== null) ?? members[0]!
    const others = members.filter((member) => member !== leader)
    const also = [...(leader.also ?? []), ...others.flatMap(({ key, also = [] }) => [key, ...also])]
    bound.set(leader.key, { ...leader, also: [...new Set(also)] })
    for (const other of others) bound.set(other.key, { ...other, role: null, shown: false, pinned: false })
  }
  return parameters.map((parameter) => bound.get(parameter.key) ?? parameter)
}

const roleOrder: readonly ParameterRole[] = [
  ...(['prompt', 'negative', 'lyrics', 'placeholder', 'image', 'mask', 'video', 'audio', 'switch', 'seed'] as const),
  ...([
    'aspect-ratio',
    'megapixels',
    'width',
    'height',
    'batch-size',
    'duration',
    'length',
    'fps',
    'steps',
    'cfg',
    'guidance',
    'sampler',
    'scheduler',
    'denoise',
  ] as const),
  ...(['checkpoint', 'lora', 'strength', 'vae', 'model', 'filename-prefix'] as const),
]
function order(parameters: Parameter[], author: ReadonlyMap<string, number>): Parameter[] {
  const rank = ({ key, role, pinned }: Parameter) =>
    pinned ? (author.get(key) ?? 0) - author.size - 1 : role === null ? roleOrder.length : roleOrder.indexOf(role)
  return parameters
    .map((parameter, index) => ({ parameter, index }))
    .sort((one, other) => rank(one.parameter) - rank(other.parameter) || one.index - other.index)
    .map(({ parameter }) => parameter)
}

/** In the order and under the names a person chose; parameters they have not seen yet follow. */
export function arrange(parameters: readonly Parameter[], choices: readonly ParameterChoice[]): Parameter[] {
  const byKey = new Map(parameters.map((parameter) => [parameter.key, parameter]))
  const arranged = choices.flatMap(({ key, name, shown, pinned }) => {
    const parameter = byKey.get(key)
    byKey.delete(key)
    return parameter ? [{ ...parameter, name: name || parameter.name, shown, pinned }] : []
  })
  return [...arranged, ...byKey.values()]
}

/** Full width made plain, and no space where a bracket already parts the words. */
const folded = (name: string) =>
  name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\s_-]+/g, ' ')
    .replace(/ ?([()]) ?/g, '$1')
    .trim()

/**
 * The parameter a person means: by key, name, role (`negative`, 提示词) or input (`ckpt_name`), in any case and with any
 * of space, `-` and `_` between words. `sayIn`: names in other languages that count as well.
 * @throws AppError 'parameter.unknown', 'parameter.ambiguous'
 */
export function resolveParameter(
  parameters: readonly Parameter[],
  nameOrKey: string,
  sayIn: readonly ((parameter: Parameter) => string)[] = [],
): Parameter {
  const asked = nameOrKey.trim()
  const exact = parameters.find(({ key }) => key === asked) ?? parameters.find(({ name }) => name === asked)
  if (exact) return exact
  const wanted = folded(asked)
  const said = plain(asked)
  const ways: ((parameter: Parameter) => boolean)[] = [
    ({ name }) => folded(name) === wanted,
    (parameter) => sayIn.some((say) => folded(say(parameter)) === wanted),
    ({ role, shown }) => role !== null && shown && folded(role) === wanted,
    ({ role }) => role !== null && folded(role) === wanted,
    ({ role, shown }) => shown && plainWords.get(role ?? '')?.includes(said) === true,
    ({ input, shown }) => shown && folded(input) === wanted,
    ({ input }) => folded(input) === wanted,
    ({ nodeTitle, classType, input }) =>
      [`${nodeTitle}.${input}`, `${classType}.${input}`].some((way) => folded(way) === wanted),
  ]
  for (const way of ways) {
    const found = parameters.filter(way)
    if (found.length === 1) return found[0]!
    if (found.length > 1) {
      const candidates = found.map(({ key, name }) => `${key} (${name})`).join(', ')
      throw new AppError('parameter.ambiguous', { name: asked, candidates })
    }
  }
  throw new AppError('parameter.unknown', { name: asked })
}

/** Why a value does not fit. Other languages: resources/locales, problems.json, under the same codes. */
export const valueSentences = {
  'value.not-whole': 'must be a whole number, not {value}',
  'value.not-number': 'must be a number, not {value}',
  'value.not-between': 'must be between {min} and {max}',
  'value.seed-not-between': 'must be between {min} and {max} (or -1 for a new random seed)',
  'value.too-small': 'must be at least {min}',
  'value.too-big': 'must be at most {max}',
  'value.not-boolean': 'must be true or false, not {value}',
  'value.not-text': 'must be text',
  'value.empty': 'must not be empty',
  'value.needed': 'must be filled in',
  'value.not-a-choice': 'must be one of {choices}, not {value}',
} as const
type ValueCode = keyof typeof valueSentences

/** A new random seed for each job. */
export const randomSeed = -1

/**
 * A value as it stands in a table or on a command line, as the node takes it; ranges and choices are checked as the
 * server checks them.
 * @throws AppError 'parameter.bad-value'
 */
export function coerceValue(parameter: Parameter, raw: Json): Json {
  const refuse = (code: ValueCode, facts: Facts) =>
    new AppError('parameter.bad-value', {
      name: parameter.name,
      reason: fill(valueSentences[code], facts),
      code,
      ...facts,
    })
  const text = typeof raw === 'string' ? raw.trim() : null
  switch (parameter.type) {
    case 'INT':
    case 'FLOAT': {
      const value = parameter.type === 'INT' ? wholeNumber(text ?? raw) : anyNumber(text ?? raw)
      if (value === null)
        throw refuse(parameter.type === 'INT' ? 'value.not-whole' : 'value.not-number', { value: shown(raw) })
      if (parameter.role === 'seed' && Number(value) === randomSeed) return randomSeed
      const { min, max } = parameter
      if ((isNumber(min) && value < min) || (isNumber(max) && value > max))
        throw refuse(rangeCode(min, max, parameter.role === 'seed'), { min: min ?? null, max: max ?? null })
      return value
    }
    case 'BOOLEAN': {
      if (typeof raw === 'boolean') return raw
      const word = String(text ?? raw).toLowerCase()
      if (/^(true|yes|on|1|是|真|开)$/.test(word)) return true
      if (/^(false|no|off|0|否|假|关)$/.test(word)) return false
      throw refuse('value.not-boolean', { value: shown(raw) })
    }
    case 'COMBO':
      return chosen(parameter, raw, refuse)
    case 'STRING':
      if (raw === null) return ''
      if (typeof raw === 'object') throw refuse('value.not-text', {})
      return String(raw)
    default:
      return raw
  }
}

const isNumber = (value: Json | undefined): value is number | bigint =>
  typeof value === 'number' || typeof value === 'bigint'
const exactly = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value

function wholeNumber(raw: Json): number | bigint | null {
  if (typeof raw === 'bigint') return exactly(raw)
  if (typeof raw === 'number') return Number.isInteger(raw) ? raw : null
  if (typeof raw !== 'string') return null
  const digits = /^([+-]?)(\d{1,40})(?:\.0*)?$/.exec(raw)
  if (digits) return exactly(BigInt(digits[2]!) * (digits[1] === '-' ? -1n : 1n))
  const value = /^[+-]?\d+(\.\d+)?e\+?\d{1,2}$/i.test(raw) ? Number(raw) : Number.NaN // a spreadsheet's 1E+05
  return Number.isSafeInteger(value) ? value : null
}

function anyNumber(raw: Json): number | bigint | null {
  if (isNumber(raw)) return Number.isFinite(Number(raw)) ? raw : null
  if (typeof raw !== 'string' || !/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?$/i.test(raw)) return null
  const value = Number(raw)
  return Number.isFinite(value) ? value : null
}

function rangeCode(min: Json | undefined, max: Json | undefined, seed: boolean): ValueCode {
  if (isNumber(min) && isNumber(max)) return seed ? 'value.seed-not-between' : 'value.not-between'
  return isNumber(min) ? 'value.too-small' : 'value.too-big'
}

function chosen(parameter: Parameter, raw: Json, refuse: (code: ValueCode, facts: Facts) => AppError): Json {
  const { options, upload, role, default: standing } = parameter
  if (raw === null) throw refuse('value.empty', {})
  if (typeof raw === 'object') return Array.isArray(raw) ? { __value__: raw } : raw
  if (!options || options.length === 0 || upload) return raw
  const same =
    options.find((option) => option === raw) ?? options.find((option) => String(option) === String(raw).trim())
  if (same !== undefined) return same
  const alike = matchFile(options, String(raw).trim())
  if (alike !== null) return alike
  // A list of files is one server's own: where the workflow's own file is not in it either, it says nothing.
  const isFile = role === 'checkpoint' || role === 'lora' || role === 'vae' || role === 'model'
  if (isFile && !options.includes(standing)) return raw
  const first = options.slice(0, 8).map(String).join(', ')
  const choices = options.length > 8 ? `${first}, … (${options.length})` : first
  throw refuse('value.not-a-choice', { choices, value: shown(raw) })
}

const shown = (value: Json) => (typeof value === 'object' ? 'a list' : `"${String(value).slice(0, 60)}"`)
