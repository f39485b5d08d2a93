import type {
  InputSpec,
  NodeDefinition,
  NodeErrorReason,
  NodeErrors,
  NodeId,
  ObjectInfo,
  Prompt,
  PromptError,
} from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import {
  compare,
  convert,
  equal,
  float,
  isNumber,
  isTrue,
  PythonError,
  pythonTypeName,
  repr,
  str,
  strIn,
} from './python.ts'
import { compareVersions } from './versions.ts'

export interface ValidateOptions {
  /** Whether the server has this input file, as a prompt names it; unset: every file is taken to be there. */
  hasInputFile?: (name: string) => boolean
  /** Take any name that looks like a model file for one that is installed. */
  assumeModels?: boolean
  /** Validate only these outputs, as `partial_execution_targets` does. */
  targets?: readonly NodeId[]
  /** Leave inputs that take uploads of classes we do not know to those classes. On unless false. */
  guessUploads?: boolean
  /** The server's ComfyUI, which may be older than the one we know best. */
  version?: string | undefined
}

export interface Validation {
  /** What `POST /prompt` answers 400 with; null: accepted, although `node_errors` may name dropped outputs. */
  error: PromptError | null
  node_errors: NodeErrors
  good_outputs: NodeId[]
  /** The prompt with each literal converted to the type of its input, as it is then executed. */
  prompt: Prompt
}

/**
 * Judges a prompt as ComfyUI 0.33 does (execution.py, validate_prompt and validate_inputs): same types, messages and details.
 * Only nodes upstream of an output are looked at. The prompt given is not changed.
 */
export function validatePrompt(prompt: Prompt, definitions: ObjectInfo, options: ValidateOptions = {}): Validation {
  const refused = (error: PromptError, node_errors: NodeErrors = {}): Validation => ({
    error,
    node_errors,
    good_outputs: [],
    prompt,
  })
  const outputs: NodeId[] = []
  for (const [id, node] of Object.entries(prompt)) {
    const classType: Json = node.class_type ?? null
    const definition = typeof classType === 'string' ? ownValue(definitions, classType) : undefined
    if (!definition) return refused(missingNodeType(id, classType, node._meta?.title, options.version))
    if (definition.output_node && (!options.targets || options.targets.includes(id))) outputs.push(id)
  }
  if (outputs.length === 0)
    return refused({ type: 'prompt_no_outputs', message: 'Prompt has no outputs', details: '', extra_info: {} })

  const check = new Check(prompt, definitions, options)
  const node_errors: NodeErrors = {}
  const good_outputs: NodeId[] = []
  const lines: string[] = []
  for (const output of outputs) {
    const { valid, reasons } = check.output(output)
    if (valid) {
      good_outputs.push(output)
      continue
    }
    lines.push(...reasons.map(({ message, details }) => `${message}: ${details}`))
    for (const [id, verdict] of check.verdicts) {
      if (verdict.valid || verdict.reasons.length === 0) continue
      node_errors[id] ??= { errors: verdict.reasons, dependent_outputs: [], class_type: prompt[id]!.class_type }
      node_errors[id].dependent_outputs.push(output)
    }
  }
  if (good_outputs.length > 0) return { error: null, node_errors, good_outputs, prompt: check.converted }
  const error = {
    type: 'prompt_outputs_failed_validation',
    message: 'Prompt outputs failed validation',
    details: lines.join('\n'),
    extra_info: {},
  }
  return refused(error, node_errors)
}

function missingNodeType(
  id: NodeId,
  classType: Json,
  title: string | undefined,
  version: string | undefined,
): PromptError {
  if (isBefore(version, SAYS_MISSING_NODE)) {
    const because =
      classType === null ? 'a node is missing the class_type property.' : `node ${str(classType)} does not exist.`
    const message = `Cannot execute because ${because}`
    return { type: 'invalid_prompt', message, details: `Node ID '#${id}'`, extra_info: {} }
  }
  const message =
    classType === null
      ? `Node '${title || `ID #${id}`}' has no class_type. The workflow may be corrupted or a custom node is missing.`
      : `Node '${title ?? classType}' not found. The custom node may not be installed.`
  return {
    type: 'missing_node_type',
    message,
    details: `Node ID '#${id}'`,
    extra_info: { node_id: id, class_type: classType, node_title: title ?? classType },
  }
}

/** The ComfyUI that first answers so. */
const SAYS_MISSING_NODE = '0.11.1'
const SAYS_CYCLE = '0.19.3'
const JUDGES_NEWER_COMBOS = '0.3.76'

/** Choices that are a tuple in Python, which object_info does not tell; a look at every core class found one. */
const inTuple = new Set(['LoraSave.lora_type'])

interface Verdict {
  valid: boolean
  reasons: NodeErrorReason[]
}

class Check {
  readonly verdicts = new Map<NodeId, Verdict>()
  readonly converted: Prompt
  readonly #prompt: Prompt
  readonly #definitions: ObjectInfo
  readonly #options: ValidateOptions

  constructor(prompt: Prompt, definitions: ObjectInfo, options: ValidateOptions) {
    this.#prompt = prompt
    this.#definitions = definitions
    this.#options = options
    this.converted = { ...prompt }
  }

  output(id: NodeId): Verdict {
    try {
      return this.#walk(id)
    } catch (cause) {
      if (!(cause instanceof PythonError)) throw cause
      const reason = {
        type: 'exception_during_validation',
        message: 'Exception when validating node',
        details: cause.message,
        extra_info: { exception_type: cause.type, traceback: [] },
      }
      const verdict = { valid: false, reasons: [reason] }
      this.verdicts.set(id, verdict)
      return verdict
    }
  }

  /** Depth first along the links, on a stack of our own: a chain of ten thousand nodes must not overflow the engine's. */
  #walk(root: NodeId): Verdict {
    const stack: { id: NodeId; steps: Generator<NodeId, Verdict, Verdict> }[] = []
    const visiting: NodeId[] = []
    let next: NodeId | undefined = root
    let answer: Verdict | undefined
    let raised: PythonError | undefined
    for (;;) {
      if (next !== undefined) {
        const known: Verdict | undefined = this.verdicts.get(next) ?? this.#cycle(next, visiting)
        if (known) answer = known
        else {
          stack.push({ id: next, steps: this.#node(next) })
          visiting.push(next)
        }
        next = undefined
      }
      const frame = stack.at(-1)
      if (!frame) {
        if (raised) throw raised
        return answer!
      }
      try {
        const step: IteratorResult<NodeId, Verdict> = raised
          ? frame.steps.throw(raised)
          : frame.steps.next(answer as Verdict)
        raised = undefined
        answer = undefined
        if (!step.done) {
          next = step.value
          continue
        }
        answer = step.value
      } catch (cause) {
        if (!(cause instanceof PythonError)) throw cause
        raised = cause
      }
      stack.pop()
      visiting.pop()
    }
  }

  #cycle(id: NodeId, visiting: NodeId[]): Verdict | undefined {
    const from = visiting.indexOf(id)
    if (from < 0) return undefined
    // it ran in the circle until Python gave up, and what was said of that was overwritten on the way back
    if (isBefore(this.#options.version, SAYS_CYCLE)) return { valid: false, reasons: [] }
    const path = [...visiting.slice(from), id]
    const details = path.map((node) => `${node} (${this.#prompt[node]!.class_type})`).join(' -> ')
    const cycle_nodes = [...new Set(path)]
    for (const node_id of cycle_nodes) {
      const reason = {
        type: 'dependency_cycle',
        message: 'Dependency cycle detected',
        details,
        extra_info: { node_id, cycle_nodes },
      }
      this.verdicts.set(node_id, { valid: false, reasons: [reason] })
    }
    return this.verdicts.get(id)
  }

  /** Yields each upstream node whose verdict it needs. */
  *#node(id: NodeId): Generator<NodeId, Verdict, Verdict> {
    const node = this.#prompt[id]!
    if (!isJsonObject(node.inputs)) throw new PythonError('KeyError', `'inputs'`)
    const definition = this.#definitions[node.class_type]!
    const { specs, dynamic } = finalInputs(definition, node.inputs)
    const check = ownCheckOf(node.class_type, this.#options.version)
    const types: JsonObject = {}
    const converted: JsonObject = { ...node.inputs }
    const errors: NodeErrorReason[] = []
    let valid = true

    for (const [name, { spec, required }] of specs) {
      const received = ownValue(node.inputs, name)
      const config = [spec[0], spec[1] ?? {}] as Json
      if (received === undefined) {
        if (required)
          errors.push({
            type: 'required_input_missing',
            message: 'Required input is missing',
            details: dynamic ? name.split('.').at(-1)! : name,
            extra_info: { input_name: name },
          })
        continue
      }
      if (!Array.isArray(received)) {
        const judgedElsewhere = check
          ? check.takesAll === true || check.takes.includes(name)
          : this.#options.guessUploads !== false && judgesUpload(spec)
        const error = this.#literal(name, spec, received, converted, judgedElsewhere, node.class_type)
        if (error) errors.push(error)
        continue
      }
      const error = this.#link(name, spec, received, types, check?.takesTypes === true)
      if (error) {
        errors.push(error)
        continue
      }
      const upstream = received[0] as NodeId
      try {
        if (!(yield upstream).valid) valid = false
      } catch (cause) {
        if (!(cause instanceof PythonError)) throw cause
        valid = false
        const reason = {
          type: 'exception_during_inner_validation',
          message: 'Exception when validating inner node',
          details: cause.message,
          extra_info: {
            input_name: name,
            input_config: config,
            exception_message: cause.message,
            exception_type: cause.type,
            traceback: [],
            linked_node: received,
          },
        }
        this.verdicts.set(upstream, { valid: false, reasons: [reason] })
      }
    }

    if (check)
      errors.push(
        ...ownRefusals(
          check,
          node.class_type,
          { inputs: converted, specs, types, v3: isV3(definition) },
          this.#options,
        ),
      )
    this.converted[id] = { ...node, inputs: converted }
    const before = this.verdicts.get(id) ?? { valid: true, reasons: [] }
    const verdict = { valid: before.valid && valid && errors.length === 0, reasons: [...before.reasons, ...errors] }
    this.verdicts.set(id, verdict)
    return verdict
  }

  #link(name: string, spec: InputSpec, link: Json[], types: JsonObject, anyType: boolean): NodeErrorReason | undefined {
    const config = [spec[0], spec[1] ?? {}] as Json
    if (link.length !== 2)
      return {
        type: 'bad_linked_input',
        message: 'Bad linked input, must be a length-2 list of [node_id, slot_index]',
        details: name,
        extra_info: { input_name: name, input_config: config, received_value: link },
      }
    const [from, slot] = link as [Json, Json]
    const source = typeof from === 'string' ? ownValue(this.#prompt, from) : undefined
    if (!source) {
      if (Array.isArray(from) || isJsonObject(from))
        throw new PythonError('TypeError', `unhashable type: '${pythonTypeName(from)}'`)
      throw new PythonError('KeyError', repr(from))
    }
    const definition = this.#definitions[source.class_type]!
    const holder = isV3(definition) ? 'list' : 'tuple'
    const index = typeof slot === 'boolean' ? Number(slot) : slot
    if (!Number.isInteger(index))
      throw new PythonError('TypeError', `${holder} indices must be integers or slices, not ${pythonTypeName(slot)}`)
    const outputs = Array.isArray(definition.output) ? definition.output : []
    const given = outputs.at(index as number)
    if (given === undefined || (index as number) >= outputs.length)
      throw new PythonError('IndexError', `${holder} index out of range`)
    types[name] = given
    if (anyType || fits(given, spec[0])) return undefined
    return {
      type: 'return_type_mismatch',
      message: 'Return type mismatch between linked nodes',
      details: `${name}, received_type(${str(given)}) mismatch input_type(${str(spec[0])})`,
      extra_info: { input_name: name, input_config: config, received_type: given, linked_node: link },
    }
  }

  /** Puts the converted value into `converted`, or says what is wrong with it. */
  #literal(
    name: string,
    [type, limits = {}]: InputSpec,
    received: Json,
    converted: JsonObject,
    judgedElsewhere: boolean,
    classType: string,
  ): NodeErrorReason | undefined {
    const config = [type, limits] as Json
    let value = isJsonObject(received) && '__value__' in received ? received.__value__! : received
    try {
      value = convert(type, value)
    } catch (cause) {
      if (!(cause instanceof PythonError)) throw cause
      return {
        type: 'invalid_input_type',
        message: `Failed to convert an input value to a ${type} value`,
        details: `${name}, ${str(value)}, ${cause.message}`,
        extra_info: {
          input_name: name,
          input_config: config,
          received_value: value,
          exception_message: cause.message,
        },
      }
    }
    converted[name] = value
    if (judgedElsewhere) return undefined
    const wrong = (kind: string, message: string, details = name, input_config: Json = config): NodeErrorReason => ({
      type: kind,
      message,
      details,
      extra_info: { input_name: name, input_config, received_value: value },
    })
    const said = type === 'FLOAT' ? float(value as number | bigint) : str(value)
    if ('min' in limits && compare(value, '<', limits, 'min'))
      return wrong('value_smaller_than_min', `Value ${said} smaller than min of ${strIn(limits, 'min')}`)
    if ('max' in limits && compare(value, '>', limits, 'max'))
      return wrong('value_bigger_than_max', `Value ${said} bigger than max of ${strIn(limits, 'max')}`)

    const choices = choicesOf([type, limits])
    const older = isBefore(this.#options.version, JUDGES_NEWER_COMBOS)
    if (!choices || (older && !Array.isArray(type))) return undefined
    const chosen = limits.multiselect && Array.isArray(value) ? value : [value]
    const strangers = chosen.filter(
      (item) => !choices.some((choice) => equal(choice, item)) && !(this.#options.assumeModels && isModelFile(item)),
    )
    if (strangers.length === 0) return undefined
    const long = choices.length > 20
    const shown = inTuple.has(`${classType}.${name}`) ? `(${str(choices).slice(1, -1)})` : str(choices)
    const list = long ? `(list of length ${choices.length})` : shown
    return wrong(
      'value_not_in_list',
      'Value not in list',
      `${name}: ${older ? `'${str(value)}'` : strangers.map(repr).join(', ')} not in ${list}`,
      long ? null : config,
    )
  }
}

// ---- input schemas ----

type FinalSpecs = Map<string, { spec: ReadSpec; required: boolean }>
type InputGroups = { required?: Record<string, InputSpec>; optional?: Record<string, InputSpec> }

/** The choices of a combo, old style or new; undefined for any other type. */
export function choicesOf([type, options]: InputSpec): Json[] | undefined {
  if (Array.isArray(type)) return type
  if (type !== 'COMBO') return undefined
  return Array.isArray(options?.options) ? options.options : []
}

type ReadSpec = [type: string | Json[], options: JsonObject]
/** What a custom node declares may be anything. */
function readSpec(declared: unknown): ReadSpec {
  const [type, options] = Array.isArray(declared) ? (declared as Json[]) : [declared as Json]
  return [
    typeof type === 'string' || Array.isArray(type) ? type : str(type ?? null),
    isJsonObject(options) ? options : {},
  ]
}
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : [])
const MOST_MEMBERS = 10_000

/**
 * The inputs a node has once its dynamic ones are unfolded by the values present: `images` → `images.image0`, …
 * A dynamic combo whose choice is missing or unknown vanishes, as it does on the server.
 */
export function finalInputs(definition: NodeDefinition, inputs: JsonObject): { specs: FinalSpecs; dynamic: boolean } {
  const specs: FinalSpecs = new Map()
  let dynamic = false
  const add = (groups: InputGroups, prefix: string) => {
    for (const group of ['required', 'optional'] as const)
      for (const [name, declared] of Object.entries(isJsonObject(groups[group]) ? groups[group] : {})) {
        const id = prefix + name
        const spec = readSpec(declared)
        const [, options] = spec
        if (prefix) dynamic = true
        if (spec[0] === 'COMFY_DYNAMICCOMBO_V3') {
          const key = ownValue(inputs, id)
          if (key === undefined) continue
          const option = list(options.options).find((each) => isJsonObject(each) && equal(each.key ?? null, key))
          if (!isJsonObject(option)) continue
          dynamic = true
          add((option.inputs ?? {}) as InputGroups, `${id}.`)
        } else if (spec[0] === 'COMFY_DYNAMICSLOT_V3') {
          if (!(id in inputs)) continue
          dynamic = true
          add((options.inputs ?? {}) as InputGroups, `${id}.`)
        } else if (spec[0] === 'COMFY_AUTOGROW_V3') {
          dynamic = true
          if (isJsonObject(options.template)) grow(options.template, `${id}.`)
          continue
        }
        specs.set(id, { spec, required: group === 'required' })
      }
  }
  const grow = (template: JsonObject, prefix: string) => {
    const groups = Object.entries(isJsonObject(template.input) ? template.input : {})
    const [group, members] = groups.find(([, some]) => isJsonObject(some) && Object.keys(some).length > 0) ?? []
    if (!isJsonObject(members)) return
    const spec = readSpec(Object.values(members)[0])
    const length = Math.min(Number(template.max) || 0, MOST_MEMBERS)
    const names = Array.isArray(template.names)
      ? template.names.map(String)
      : Array.from({ length }, (_, index) => `${template.prefix}${index}`)
    names.forEach((name, index) => {
      const required = group === 'required' && index < Number(template.min)
      specs.set(prefix + name, { spec, required })
    })
  }
  if (isJsonObject(definition.input)) add(definition.input as InputGroups, '')
  const inOrder = [...specs].sort(([, a], [, b]) => Number(b.required) - Number(a.required))
  return { specs: new Map(inOrder), dynamic }
}

/** Whether an output of one type may feed an input of another; each may be a comma-separated union. */
export function fits(given: string | Json[], wanted: string | Json[]): boolean {
  if (equal(given, wanted)) return true
  const free = ['*', 'COMFY_MATCHTYPE_V3']
  if (free.includes(given as string) || free.includes(wanted as string)) return true
  if (Array.isArray(given)) return wanted === 'COMBO'
  if (Array.isArray(wanted)) return false
  const members = (type: string) => type.split(',').map((name) => name.trim())
  const [from, to] = [members(given), members(wanted)]
  return from.includes('*') || to.includes('*') || from.some((type) => to.includes(type))
}

/** Classes written for the newer node interface announce every flag, even when it is false; older ones, what is true. */
const isV3 = ({ deprecated, experimental, api_node }: NodeDefinition) =>
  deprecated !== undefined && experimental !== undefined && api_node !== undefined

// ---- what nodes check themselves ----

/** The check a class brings (VALIDATE_INPUTS of nodes.py, validate_inputs of newer ones), as far as it is known here. */
interface OwnCheck {
  /** The Python class, as an exception names it; unset: as the node's. */
  readonly name?: string
  readonly since?: string
  readonly until?: string
  /** Inputs it takes, and so judges itself; those it cannot do without. */
  readonly takes: readonly string[]
  readonly needs: readonly string[]
  /** It judges every input. */
  readonly takesAll?: boolean
  /** It is given the types of what is linked, and judges those too. */
  readonly takesTypes?: boolean
  /** null: nothing to say against it. */
  judge(values: JsonObject, types: JsonObject, options: ValidateOptions): string | null
}

const file = (input: string, word: string, more: Partial<OwnCheck> = {}): OwnCheck => ({
  takes: [input],
  needs: [input],
  ...more,
  judge(values, _types, { hasInputFile }) {
    const name = values[input]!
    if (more.takesAll && (!isTrue(name) || name === 'none')) return null
    if (typeof name !== 'string')
      throw new PythonError('AttributeError', `'${pythonTypeName(name)}' object has no attribute 'endswith'`)
    return name === '' || !hasInputFile || hasInputFile(name) ? null : `Invalid ${word} file: ${name}`
  },
})
const anything = (input: string, needs: readonly string[], more: Partial<OwnCheck> = {}): OwnCheck => ({
  takes: [input],
  needs,
  ...more,
  judge: () => null,
})

const CAMERA = ['horizontal_movement', 'vertical_movement', 'pan', 'tilt', 'roll', 'zoom']
const OWN_CHECKS: Record<string, OwnCheck> = {
  LoadImage: file('image', 'image'),
  LoadImageMask: file('image', 'image'),
  LoadImageOutput: file('image', 'image', { name: 'LoadImage' }),
  WebcamCapture: file('image', 'image', { name: 'LoadImage' }),
  LoadLatent: file('latent', 'latent'),
  LoadAudio: file('audio', 'audio'),
  LoadVideo: file('file', 'video'),
  Load3D: file('model_file', '3D model', { takesAll: true, since: '0.3.65' }),
  Load3DAdvanced: file('model_file', '3D model', { takesAll: true }),
  CustomCombo: anything('choice', ['choice'], { takesAll: true, name: 'CustomComboNode' }),
  ModelAttentionBackend: anything('attention', ['attention']),
  SelectModelDevice: anything('device', [], { name: 'SelectModelDeviceNode' }),
  SelectCLIPDevice: anything('device', [], { name: 'SelectCLIPDeviceNode' }),
  SelectVAEDevice: anything('device', [], { name: 'SelectVAEDeviceNode' }),
  FluxProUltraImageNode: {
    takes: ['aspect_ratio'],
    needs: ['aspect_ratio'],
    judge(values, _types, { version }) {
      const before = isBefore(version, '0.3.65')
      if (values.aspect_ratio === null) {
        const said = `'NoneType' object has no attribute 'split'`
        if (before) return said
        throw new PythonError('AttributeError', said)
      }
      if (before) return oddRatioBefore(str(values.aspect_ratio!))
      refuseOddRatio(str(values.aspect_ratio!))
      return null
    },
  },
  KlingCameraControls: {
    takes: CAMERA,
    needs: CAMERA,
    until: '0.3.65',
    judge(values) {
      for (const name of CAMERA) {
        const value = values[name]!
        if (!isNumber(value) && typeof value !== 'boolean')
          throw new PythonError('TypeError', `must be real number, not ${pythonTypeName(value)}`)
        if (Number(value) !== 0) return null
      }
      return 'Invalid camera control configs: at least one of the values must be non-zero'
    },
  },
  TripoConversionNode: {
    takes: [],
    needs: [],
    takesTypes: true,
    judge(_values, types) {
      const type = ownValue(types, 'original_model_task_id')
      if (type === undefined) throw new PythonError('KeyError', `'original_model_task_id'`)
      if (['MODEL_TASK_ID', 'RIG_TASK_ID', 'RETARGET_TASK_ID'].includes(type as string)) return null
      return 'original_model_task_id must be MODEL_TASK_ID, RIG_TASK_ID or RETARGET_TASK_ID type'
    },
  },
}
const UPLOADS = ['image_upload', 'video_upload', 'audio_upload', 'animated_image_upload']

/** X:Y between 1:4 and 4:1. @throws PythonError */
function refuseOddRatio(ratio: string) {
  const refuse = (said: string): never => {
    throw new PythonError('ValueError', said)
  }
  const parts = ratio.split(':')
  if (parts.length !== 2) refuse(`Aspect ratio must be 'X:Y' (e.g., 16:9), got '${ratio}'.`)
  const [x, y] = parts.map((part) => {
    const digits = part.trim()
    return /^[+-]?\d+(_\d+)*$/.test(digits) ? Number(digits.replaceAll('_', '')) : Number.NaN
  }) as [number, number]
  if (Number.isNaN(x) || Number.isNaN(y)) refuse(`Aspect ratio must contain integers separated by ':', got '${ratio}'.`)
  if (x <= 0 || y <= 0) refuse(`Aspect ratio parts must be positive integers, got ${x}:${y}.`)
  const shown = (value: number) => float(Number(value.toPrecision(2))).replace(/\.0$/, '')
  if (x / y < 0.25) refuse(`Aspect ratio \`${shown(x / y)}\` must be ≤ 0.25.`) // as it says itself
  if (x / y > 4) refuse(`Aspect ratio \`${shown(x / y)}\` must be ≤ 4.`)
}

/** As 0.3.64 says it. */
function oddRatioBefore(ratio: string): string | null {
  const parts = ratio.split(':')
  if (parts.length !== 2) return `Aspect ratio must be in the format X:Y, such as 16:9, but was ${ratio}.`
  const [x, y] = parts.map((part) => (/^\s*[+-]?\d+\s*$/.test(part) ? Number(part) : Number.NaN)) as [number, number]
  if (Number.isNaN(x) || Number.isNaN(y))
    return `Aspect ratio must contain numbers separated by ':', such as 16:9, but was ${ratio}.`
  if (y === 0) return 'division by zero'
  if (x / y < 0.25) return `Aspect ratio cannot reduce to any less than 1:4 (0.25), but was ${ratio} (${float(x / y)}).`
  if (x / y > 4) return `Aspect ratio cannot reduce to any greater than 4:1 (4.0), but was ${ratio} (${float(x / y)}).`
  return null
}

/** A custom node that takes uploads checks the file itself, since the list of a folder cannot name sub-folders. */
const judgesUpload = ([, options]: InputSpec) => UPLOADS.some((upload) => options?.[upload] === true)

function ownCheckOf(classType: string, version: string | undefined): OwnCheck | undefined {
  const check = ownValue(OWN_CHECKS, classType)
  if (check?.since !== undefined && isBefore(version, check.since)) return undefined
  return check?.until !== undefined && !isBefore(version, check.until) ? undefined : check
}

/** Runs a class's own check on the values its function would be given. @throws PythonError */
function ownRefusals(
  check: OwnCheck,
  classType: string,
  { inputs, specs, types, v3 }: { inputs: JsonObject; specs: FinalSpecs; types: JsonObject; v3: boolean },
  options: ValidateOptions,
): NodeErrorReason[] {
  const given: JsonObject = {}
  for (const [name, value] of Object.entries(inputs)) {
    if (!specs.has(name) || !(check.takesAll || check.takes.includes(name))) continue
    given[name] = isLinkLike(value) ? null : value
  }
  const names = [...Object.keys(given), ...(check.takesTypes ? ['input_types'] : [])]
  const missing = check.needs.filter((name) => !(name in given))
  if (missing.length > 0) {
    const called = `${check.name ?? classType}.${v3 ? 'validate_inputs' : 'VALIDATE_INPUTS'}()`
    const count = `${missing.length} required positional argument${missing.length > 1 ? 's' : ''}`
    throw new PythonError('TypeError', `${called} missing ${count}: ${enumerate(missing.map((name) => `'${name}'`))}`)
  }
  const said = check.judge(given, types, options)
  return said === null ? [] : names.flatMap((name) => refusal(name, `${name} - ${said}`))
}

/** `'a'`; `'a' and 'b'`; `'a', 'b', and 'c'`. */
const enumerate = (names: readonly string[]) =>
  names.length < 3 ? names.join(' and ') : `${names.slice(0, -1).join(', ')}, and ${names.at(-1)}`

/** What the server takes for a link when it gathers values (graph_utils.py, is_link). */
const isLinkLike = (value: Json) =>
  Array.isArray(value) &&
  value.length === 2 &&
  typeof value[0] === 'string' &&
  (isNumber(value[1]) || typeof value[1] === 'boolean')

const isBefore = (version: string | undefined, than: string) =>
  version !== undefined && compareVersions(version, than) < 0

const refusal = (input: string, details: string): NodeErrorReason[] => [
  {
    type: 'custom_validation_failed',
    message: 'Custom validation failed for node',
    details,
    extra_info: { input_name: input },
  },
]

const MODEL_FILE = /\.(safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx|pkl|yaml|vae)$/i
const isModelFile = (value: Json) => typeof value === 'string' && MODEL_FILE.test(value)

const ownValue = <T>(record: Record<string, T>, key: string): T | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined
