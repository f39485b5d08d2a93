import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { InputSpec, ObjectInfo, Prompt } from '../../core/contract/comfyui.ts'
import {
  isJsonObject,
  type Json,
  type JsonObject,
  parseJson,
  parseJsonWithFloats,
  writeJson,
} from '../../core/contract/json.ts'
import {
  choicesOf,
  finalInputs,
  fits,
  type ValidateOptions,
  validatePrompt,
} from '../../core/domain/workflow/validate.ts'

/** Numbers in [0, 1) that are the same for the same seed. */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const SINKS = ['PreviewAny', 'SaveImage', 'PreviewImage', 'SaveLatent', 'SaveAudio']
const DEEPEST = 4
const MOST_NODES = 24

/** Prompts of any class there is, whole or broken in one to four ways; the same for the same seed. */
export class PromptMaker {
  readonly #definitions: ObjectInfo
  readonly #classes: string[]
  readonly #givers: Map<string, [classType: string, slot: number][]>
  #chance: () => number = Math.random
  /** Nodes with all their inputs: only those may feed another, so that a whole prompt has no circle. */
  readonly #whole = new Set<string>()

  constructor(definitions: ObjectInfo) {
    this.#definitions = definitions
    this.#classes = Object.keys(definitions).filter((name) => name !== 'NightshiftHold')
    this.#givers = new Map()
  }

  make(seed: number): { prompt: Prompt; broken: string[] } {
    this.#chance = chanceOf(seed)
    this.#whole.clear()
    const prompt: Prompt = {}
    const outputs = this.#below(5) === 0 ? 2 : 1
    for (let each = 0; each < outputs; each++) this.#chain(prompt)
    const broken: string[] = []
    for (let left = this.#below(5); left > 0; left--) {
      const name = this.#pick(Object.keys(breakers))
      if (breakers[name]!(prompt, this)) broken.push(name)
    }
    return { prompt, broken }
  }

  /** A class, what it needs, and something that shows what it gives. */
  #chain(prompt: Prompt) {
    const classType = this.#pick(this.#classes)
    const id = this.#node(prompt, classType, 0)
    const { output_node, output } = this.#definitions[classType]!
    if (output_node || output.length === 0) return
    const slot = this.#below(output.length)
    const sinks = SINKS.filter((sink) => this.#definitions[sink])
    const fitting = sinks.filter((sink) =>
      Object.values(this.#definitions[sink]!.input.required ?? {}).some(([type]) => fits(output[slot]!, type)),
    )
    const sink = this.#pick(fitting.length > 0 ? fitting : sinks)
    const made = this.#node(prompt, sink, DEEPEST)
    const [socket] = Object.keys(this.#definitions[sink]!.input.required ?? {})
    prompt[made]!.inputs[socket!] = [id, slot]
  }

  #node(prompt: Prompt, classType: string, depth: number): string {
    const id = this.chance() < 0.1 ? `7:${Object.keys(prompt).length}` : String(Object.keys(prompt).length + 1)
    const inputs: JsonObject = {}
    prompt[id] = { class_type: classType, inputs }
    if (this.chance() < 0.3) prompt[id]._meta = { title: `the ${classType}` }
    const definition = this.#definitions[classType]!
    for (let round = 0; round < 3; round++) {
      // a choice made in one round brings its inputs in the next
      for (const [name, { spec, required }] of finalInputs(definition, inputs).specs) {
        if (name in inputs || (!required && this.chance() > 0.35)) continue
        inputs[name] = this.#value(spec, prompt, depth)
      }
    }
    this.#whole.add(id)
    return id
  }

  #value(spec: InputSpec, prompt: Prompt, depth: number): Json {
    const [type, options = {}] = spec
    const choices = choicesOf(spec)
    if (choices) return choices.length > 0 ? this.#pick(choices) : 'none.safetensors'
    if (type === 'COMFY_DYNAMICCOMBO_V3') return this.#pick((options.options as JsonObject[]).map(({ key }) => key!))
    const member = String(type).split(',')[0]!.trim()
    const linked = options.forceInput === true || this.chance() < 0.1
    if (!linked && member === 'BOOLEAN') return this.chance() < 0.5
    if (!linked && member === 'STRING') return this.#pick(['', 'a cat', "it's", '12', 'ä "quoted"\n'])
    if (!linked && (member === 'INT' || member === 'FLOAT')) {
      const [min, max] = [Number(options.min ?? 0), Number(options.max ?? 100)]
      const at = min + Math.min(max - min, 2 ** 40) * this.chance()
      return member === 'INT' ? Math.trunc(at) : Math.round(at * 1000) / 1000
    }
    const earlier = [...this.#whole].flatMap((id) =>
      (this.#definitions[prompt[id]?.class_type ?? '']?.output ?? []).flatMap((given, slot) =>
        fits(given, type) ? [[id, slot]] : [],
      ),
    )
    if (earlier.length > 0 && this.chance() < 0.4) return this.#pick(earlier) as Json
    const givers = this.#giversOf(type)
    if (givers.length === 0 || depth >= DEEPEST || Object.keys(prompt).length >= MOST_NODES)
      return earlier.length > 0 ? (this.#pick(earlier) as Json) : this.#pick<Json>([null, 1, 'x', {}])
    const [classType, slot] = this.#pick(givers)
    return [this.#node(prompt, classType, depth + 1), slot]
  }

  #giversOf(type: string | Json[]): [string, number][] {
    const key = JSON.stringify(type)
    let givers = this.#givers.get(key)
    if (!givers) {
      givers = this.#classes.flatMap((name) =>
        this.#definitions[name]!.output.flatMap((given, slot): [string, number][] =>
          given !== '*' && fits(given, type) ? [[name, slot]] : [],
        ),
      )
      this.#givers.set(key, givers)
    }
    return givers
  }

  chance = () => this.#chance()
  #below = (end: number) => Math.floor(this.#chance() * end)
  #pick = <T>(from: readonly T[]): T => from[this.#below(from.length)]!

  // ---- for the breakers ----

  anyNode(prompt: Prompt): [string, Prompt[string]] {
    return this.#pick(Object.entries(prompt))
  }
  /** An input that is declared, with its spec; undefined where the node has none. */
  anyInput(prompt: Prompt): { id: string; name: string; spec: InputSpec } | undefined {
    const [id, { class_type, inputs }] = this.anyNode(prompt)
    const definition = Object.hasOwn(this.#definitions, class_type) ? this.#definitions[class_type] : undefined
    if (!definition || !isJsonObject(inputs)) return undefined
    const specs = [...finalInputs(definition, inputs).specs]
    if (specs.length === 0) return undefined
    const [name, { spec }] = this.#pick(specs)
    return { id, name, spec }
  }
  anyOf = <T>(from: readonly T[]): T => this.#pick(from)
  newNode(prompt: Prompt): string {
    return this.#node(prompt, this.#pick(this.#classes), DEEPEST)
  }
}

const ODD: Json[] = [
  ...[null, true, false, 0, 1, -1, 7.9, 1e6, -0.5, 2 ** 53, 123456789012345678901n, 1e300, 1.5e-7],
  ...[
    '',
    'abc',
    '12',
    '12.0',
    ' 12 ',
    '1_000',
    'nan',
    'inf',
    'True',
    '1e3',
    "it's",
    'tab\there',
    '"both\' quotes',
    'é中\u0007',
  ],
  ...[
    {},
    { a: 1 },
    { __value__: 5 },
    { __value__: 'x' },
    { __value__: [1, 'a', null] },
    { __value__: [] },
    { __value__: {} },
  ],
]
const ODD_LINKS = (id: string): Json[] => [
  ...[
    [],
    [id],
    [id, 0, 0],
    ['no-such-node', 0],
    [id, 99],
    [id, -1],
    [id, -99],
    [id, '0'],
    [id, true],
    [id, 0.5],
    [id, null],
  ],
  ...[
    [5, 0],
    [null, 0],
    [['1'], 0],
    [{}, 0],
    [id, []],
  ],
]
const FILES = ['example.png', 'nope.png', 'example.png [input]', 'example.png [output]', 'sub/nope.png', '', 'a [temp]']

type Breaker = (prompt: Prompt, maker: PromptMaker) => boolean
const setting =
  (values: (spec: InputSpec, prompt: Prompt, maker: PromptMaker) => readonly Json[]): Breaker =>
  (prompt, maker) => {
    const input = maker.anyInput(prompt)
    if (!input) return false
    prompt[input.id]!.inputs[input.name] = maker.anyOf(values(input.spec, prompt, maker))
    return true
  }
const breakers: Record<string, Breaker> = {
  'input removed': (prompt, maker) => {
    const input = maker.anyInput(prompt)
    return input !== undefined && delete prompt[input.id]!.inputs[input.name]
  },
  'odd value': setting(() => ODD),
  'odd value again': setting(() => ODD),
  'odd link': setting((_, prompt, maker) => ODD_LINKS(maker.anyNode(prompt)[0])),
  'other output': setting((_, prompt, maker) => [[maker.anyNode(prompt)[0], 0]]),
  'other output again': setting((_, prompt, maker) => [[maker.anyNode(prompt)[0], 1]]),
  'other new node': setting((_, prompt, maker) => [[maker.newNode(prompt), 0]]),
  'beyond its limits': (prompt, maker) => {
    for (let tries = 0; tries < 20; tries++) {
      const input = maker.anyInput(prompt)
      const { min, max } = input?.spec[1] ?? {}
      const ends = [min, max].filter((end) => typeof end === 'number' || typeof end === 'bigint')
      if (!input || ends.length === 0) continue
      const end = maker.anyOf(ends)
      const outside = end === min ? -1 : 1
      prompt[input.id]!.inputs[input.name] = typeof end === 'bigint' ? end + BigInt(outside) : end + outside
      return true
    }
    return false
  },
  'no such choice': (prompt, maker) => {
    for (let tries = 0; tries < 20; tries++) {
      const input = maker.anyInput(prompt)
      const choices = input && choicesOf(input.spec)
      if (!input || !choices) continue
      const near = choices.length > 0 ? maker.anyOf(choices) : 'a'
      const strange: Json[] = [
        'nothing like it',
        `${near} `,
        0,
        true,
        null,
        { __value__: [near, 'x'] },
        { __value__: near },
      ]
      prompt[input.id]!.inputs[input.name] = maker.anyOf(strange)
      return true
    }
    return false
  },
  'other file': (prompt, maker) => {
    const loader = Object.values(prompt).find(({ class_type }) => /^(Load|Webcam)/.test(class_type))
    if (!loader || !isJsonObject(loader.inputs)) return false
    const input = maker.anyOf(Object.keys(loader.inputs).length > 0 ? Object.keys(loader.inputs) : ['image'])
    loader.inputs[input] = maker.anyOf<Json>([...FILES, 5, null, true])
    return true
  },
  'loader added': (prompt, maker) => {
    const [, node] = maker.anyNode(prompt)
    const id = `load${Object.keys(prompt).length}`
    prompt[id] = {
      class_type: maker.anyOf([
        'LoadImage',
        'LoadImageMask',
        'LoadImageOutput',
        'LoadLatent',
        'LoadAudio',
        'LoadVideo',
        'Load3D',
      ]),
      inputs: { image: maker.anyOf(FILES), audio: maker.anyOf(FILES), file: maker.anyOf(FILES) },
    }
    if (isJsonObject(node.inputs)) for (const name of Object.keys(node.inputs).slice(0, 1)) node.inputs[name] = [id, 0]
    return true
  },
  'a circle': (prompt, maker) => {
    const input = maker.anyInput(prompt)
    if (!input) return false
    const downstream = Object.entries(prompt).filter(([, { inputs }]) =>
      Object.values(inputs ?? {}).some((value) => Array.isArray(value) && value[0] === input.id),
    )
    prompt[input.id]!.inputs[input.name] = [downstream.length > 0 ? maker.anyOf(downstream)[0] : input.id, 0]
    return true
  },
  'unknown class': (prompt, maker) => {
    const [, node] = maker.anyNode(prompt)
    node.class_type = maker.anyOf(['NoSuchClass', 'constructor', '', "O'Neil"])
    return true
  },
  'no class': (prompt, maker) => {
    const [, node] = maker.anyNode(prompt)
    delete (node as Partial<typeof node>).class_type
    return true
  },
  'no inputs': (prompt, maker) => {
    const [, node] = maker.anyNode(prompt)
    delete (node as Partial<typeof node>).inputs
    return true
  },
  'node removed': (prompt, maker) => Object.keys(prompt).length > 1 && delete prompt[maker.anyNode(prompt)[0]],
  'undeclared inputs': (prompt, maker) => {
    const [id, node] = maker.anyNode(prompt)
    if (isJsonObject(node.inputs)) Object.assign(node.inputs, { surely_not: 5, 'images.image99': [id, 0], 'x.y': 'z' })
    return true
  },
}

// ---- comparing ----

/** All the server says of a prompt, but where in its own files it stood. */
export function verdictOf({ error, node_errors }: { error?: unknown; node_errors?: unknown }): Json {
  const text = writeJson({ error: error ?? null, node_errors: node_errors ?? {} })
  return JSON.parse(text, (key, value) => (key === 'traceback' ? [] : value)) as Json
}

export interface Case {
  seed: number
  broken: string[]
  prompt: Prompt
  reply: JsonObject
}

/** What the server says of each prompt. What it accepts waits behind our own node, and never runs. */
export class RealValidation {
  readonly #url: string
  readonly definitions: ObjectInfo
  readonly options: ValidateOptions

  private constructor(url: string, definitions: ObjectInfo, version: string) {
    this.#url = url
    this.definitions = definitions
    const files = new Set((definitions.LoadImage?.input.required?.image?.[0] ?? []) as Json[])
    this.options = {
      version,
      guessUploads: false,
      hasInputFile: (name) => files.has(name.replace(/ ?\[input\]$/, '')),
    }
  }

  static async open(url: string): Promise<RealValidation> {
    const ask = async (path: string) => (await fetch(new URL(path, url))).text()
    await ask('/object_info') // a folder that a class makes while it is described is in the next answer
    const definitions = parseJsonWithFloats(await ask('/object_info')) as unknown as ObjectInfo
    if (!definitions.NightshiftHold)
      throw new Error('copy test/conformance/conformance_pack.py into custom_nodes of that server, and start it again')
    const { system } = parseJson(await ask('/system_stats')) as { system: JsonObject }
    const real = new RealValidation(url, definitions, String(system.comfyui_version))
    await real.#post('/prompt', { prompt: { '1': { class_type: 'NightshiftHold', inputs: { seconds: 3600 } } } })
    return real
  }

  /** Prompts it cannot answer at all (500) are left out. */
  async *ask(count: number, from: number): AsyncGenerator<Case> {
    const maker = new PromptMaker(this.definitions)
    for (let seed = from; seed < from + count; seed++) {
      const { prompt, broken } = maker.make(seed)
      const { status, text } = await this.#post('/prompt', { prompt, prompt_id: randomUUID() })
      if (status === 200 || status === 400)
        yield { seed, broken, prompt, reply: parseJsonWithFloats(text) as JsonObject }
      if (seed % 50 === 0) await this.#post('/queue', { clear: true })
    }
  }

  async close() {
    await this.#post('/queue', { clear: true })
    await this.#post('/interrupt', {})
  }

  async #post(path: string, body: unknown) {
    const headers = { 'content-type': 'application/json' }
    const reply = await fetch(new URL(path, this.#url), { method: 'POST', headers, body: writeJson(body) })
    return { status: reply.status, text: await reply.text() }
  }
}

export type Outcome = 'same' | 'different' | 'beyond-stack'

/** An older ComfyUI runs in a circle until Python's stack ends; where that is, depends on how deep it already was. */
export function compareVerdicts(
  { prompt, reply }: Case,
  definitions: ObjectInfo,
  options: ValidateOptions,
): { outcome: Outcome; ours: Json; theirs: Json } {
  const ours = verdictOf(validatePrompt(prompt, definitions, options))
  const theirs = verdictOf(reply)
  if (isDeepStrictEqual(ours, theirs)) return { outcome: 'same', ours, theirs }
  return { outcome: writeJson(theirs).includes('maximum recursion depth') ? 'beyond-stack' : 'different', ours, theirs }
}

/** Types of errors in a reply, and `accepted`. */
export function typesIn({ error, node_errors }: JsonObject): string[] {
  const top = isJsonObject(error) ? String(error.type) : 'accepted'
  const nodes = Object.values((node_errors ?? {}) as Record<string, { errors: JsonObject[] }>)
  return [top, ...nodes.flatMap(({ errors }) => errors.map(({ type }) => String(type)))]
}

const PROSE = new Set(['tooltip', 'description', 'output_tooltips', 'search_aliases', 'placeholder', 'price_badge'])

/** Small cases of every kind, with the definitions they need and without their prose: kept for tests without a server. */
export function sampleOf(cases: readonly Case[], definitions: ObjectInfo, most: number) {
  const small = cases.filter((one) => Object.keys(one.prompt).length <= 5 && writeJson(one).length <= 6_000)
  const chosen = new Set<Case>()
  const covered = new Map<string, number>()
  for (let quota = 1; chosen.size < Math.min(most, small.length); quota++) {
    for (const one of small) {
      const kinds = [...one.broken, ...typesIn(one.reply)]
      if (chosen.size === most || chosen.has(one) || kinds.every((kind) => (covered.get(kind) ?? 0) >= quota)) continue
      for (const kind of kinds) covered.set(kind, (covered.get(kind) ?? 0) + 1)
      chosen.add(one)
    }
  }
  const classes = new Set(
    [...chosen].flatMap(({ prompt }) => Object.values(prompt).map(({ class_type }) => class_type)),
  )
  const known = Object.entries(definitions).filter(([name]) => classes.has(name))
  const bare = (value: unknown) => parseJsonWithFloats(writeJson(value)) as JsonObject
  return {
    definitions: Object.fromEntries(known.map(([name, definition]) => [name, withoutProse(bare(definition))])),
    cases: [...chosen].map((one) => ({ ...one, reply: withoutProse(bare(one.reply)) })),
  }
}

/** In place, so that floats stay known as floats. */
function withoutProse<T extends Json>(value: T): T {
  if (Array.isArray(value)) for (const item of value) withoutProse(item)
  else if (isJsonObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      if (PROSE.has(key) && (typeof item === 'string' || Array.isArray(item) || key === 'price_badge'))
        delete value[key]
      else if (key === 'traceback') value[key] = []
      else withoutProse(item)
    }
  }
  return value
}
