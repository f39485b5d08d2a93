import { randomUUID } from 'node:crypto'
import { WebSocket } from 'ws'
import { isJsonObject, type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'

/** A server as it is, without our client in between: what it answers and tells, word for word. */
export class Probe {
  readonly url: string
  readonly clientId = randomUUID()
  /** Marks this run's files, so that two runs against one server never meet. */
  readonly mark = randomUUID().slice(0, 8)
  #socket: WebSocket | undefined
  #events: JsonObject[] = []
  #wake: () => void = () => {}

  constructor(url: string) {
    this.url = url.replace(/\/*$/, '')
  }

  async open() {
    const socket = new WebSocket(`${this.url.replace(/^http/, 'ws')}/ws?clientId=${this.clientId}`)
    this.#socket = socket
    socket.on('message', (data, isBinary) => {
      if (!isBinary) this.#events.push(parseJson(data.toString()) as JsonObject)
      this.#wake()
    })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    await this.until((event) => event.type === 'status')
    this.#events = []
  }

  close() {
    this.#socket?.terminate()
  }

  async get(path: string, headers: Record<string, string> = {}) {
    const reply = await fetch(`${this.url}${path}`, { headers })
    return { status: reply.status, headers: reply.headers, text: await reply.text() }
  }

  async post(path: string, body: Json | string | FormData) {
    const form = body instanceof FormData
    const reply = await fetch(`${this.url}${path}`, {
      method: 'POST',
      body: form ? body : typeof body === 'string' ? body : writeJson(body),
      headers: form ? {} : { 'content-type': 'application/json' },
    })
    return { status: reply.status, text: await reply.text() }
  }

  async getJson(path: string): Promise<Json> {
    return parseJson((await this.get(path)).text)
  }

  /** Queues a prompt for our socket; with its id. */
  async queue(prompt: Json, extra: JsonObject = {}) {
    const prompt_id = randomUUID()
    const { status, text } = await this.post('/prompt', { prompt, prompt_id, client_id: this.clientId, ...extra })
    return { promptId: prompt_id, status, text }
  }

  /** What has been told since the last time, once an event like this was among it. */
  async until(isLast: (event: JsonObject) => boolean, withinMs = 60_000): Promise<JsonObject[]> {
    const deadline = performance.now() + withinMs
    for (;;) {
      const at = this.#events.findIndex(isLast)
      if (at >= 0) return this.#events.splice(0, at + 1)
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`not told within ${withinMs} ms; told: ${this.#events.map(({ type }) => type)}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  untilEnd(promptId: string) {
    return this.until(({ type, data }) => type === 'executing' && isEndOf(data, promptId))
  }
}
const isEndOf = (data: Json | undefined, promptId: string) =>
  isJsonObject(data) && data.prompt_id === promptId && data.node === null

export interface Scene {
  name: string
  /** The first ComfyUI that answers like this; an older one is not asked. */
  since?: string
  run(probe: Probe): Promise<Json>
}

// ---- prompts ----

const empty = (inputs: JsonObject = {}): JsonObject => ({
  class_type: 'EmptyImage',
  inputs: { width: 64, height: 64, batch_size: 1, color: 1, ...inputs },
})
const scale = (from: Json, inputs: JsonObject = {}): JsonObject => ({
  class_type: 'ImageScale',
  inputs: { image: from, upscale_method: 'lanczos', width: 96, height: 96, crop: 'disabled', ...inputs },
})
const save = (from: Json, prefix = 'conform'): JsonObject => ({
  class_type: 'SaveImage',
  inputs: { images: from, filename_prefix: prefix },
})
const without = (node: JsonObject, input: string): JsonObject => {
  const inputs = { ...(node.inputs as JsonObject) }
  delete inputs[input]
  return { ...node, inputs }
}
const sampler = (inputs: JsonObject): JsonObject => ({
  class_type: 'KSampler',
  inputs: { seed: 1, steps: 2, cfg: 4, sampler_name: 'euler', scheduler: 'normal', denoise: 1, ...inputs },
})

/** What a refusal says, with what differs between two equal servers left out. */
function verdict(status: number, text: string): Json {
  if (status === 500) return { status }
  const reply = parseJson(text) as { error?: JsonObject; node_errors?: Record<string, JsonObject> }
  const nodes = Object.entries(reply.node_errors ?? {}).map(([id, node]) => {
    const errors = (node.errors as JsonObject[]).map(({ type, message, details, extra_info }) => ({
      type,
      message,
      details,
      extra: Object.keys(extra_info as JsonObject).toSorted(),
    }))
    // the server keeps inputs and outputs in sets: their order is chance
    const ordered = errors.toSorted((a, b) => (writeJson(a) < writeJson(b) ? -1 : 1))
    return [
      id,
      { errors: ordered, class_type: node.class_type, outputs: (node.dependent_outputs as string[]).toSorted() },
    ]
  })
  const { type = null, message = null, details = null } = reply.error ?? {}
  const sorted = typeof details === 'string' ? details.split('\n').toSorted().join('\n') : details
  return { status, error: type === null ? null : { type, message, details: sorted }, nodes: Object.fromEntries(nodes) }
}

const refusal = (name: string, prompt: Json, options: { since?: string; extra?: JsonObject } = {}): Scene => ({
  name,
  since: options.since,
  async run(probe) {
    const { promptId, status, text } = await probe.queue(prompt, options.extra)
    if (status === 200) await probe.untilEnd(promptId)
    return verdict(status, text)
  },
})

const refusals: Scene[] = [
  refusal('empty prompt', {}),
  refusal('no output node', { 1: empty() }),
  refusal('unknown class', { 1: { class_type: 'NoSuchNode', inputs: {} } }, { since: '0.12' }),
  refusal(
    'unknown class with a title',
    { 1: { class_type: 'X', inputs: {}, _meta: { title: 'T' } } },
    { since: '0.12' },
  ),
  refusal('no class_type', { 1: { inputs: {} }, 2: save(['1', 0]) }, { since: '0.12' }),
  refusal('input missing', { 1: without(empty(), 'width'), 2: save(['1', 0]) }),
  refusal('two inputs missing', { 1: without(without(empty(), 'width'), 'color'), 2: save(['1', 0]) }),
  refusal('input missing at the output', { 1: empty(), 2: without(save(['1', 0]), 'images') }),
  refusal('value not in list', { 1: empty(), 2: scale(['1', 0], { upscale_method: 'nope' }), 3: save(['2', 0]) }),
  refusal(
    'value with an apostrophe not in list',
    { 1: empty(), 2: scale(['1', 0], { upscale_method: "it's" }), 3: save(['2', 0]) },
    { since: '0.33' },
  ),
  refusal(
    'number in a list of texts',
    { 1: empty(), 2: scale(['1', 0], { crop: 1 }), 3: save(['2', 0]) },
    { since: '0.33' },
  ),
  refusal('value not in a long list', {
    1: sampler({
      sampler_name: 'nope',
      model: ['2', 0],
      positive: ['2', 1],
      negative: ['2', 1],
      latent_image: ['2', 0],
    }),
    2: empty(),
    3: save(['2', 0]),
    4: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } },
  }),
  refusal('link to nowhere', { 2: scale(['99', 0]), 3: save(['2', 0]) }),
  refusal('link to nowhere at the output', { 3: save(['99', 0]) }),
  refusal('link by number', { 1: empty(), 3: save([1, 0]) }),
  refusal('link beyond the outputs', { 1: empty(), 3: save(['1', 7]) }),
  refusal('link with a text as slot', { 1: empty(), 3: save(['1', 'x']) }),
  refusal('link of three', { 1: empty(), 3: save(['1', 0, 0]) }),
  refusal('too small', { 1: empty({ width: 0 }), 3: save(['1', 0]) }),
  refusal('too big', { 1: empty({ width: 16385 }), 3: save(['1', 0]) }),
  refusal('too big a seed', {
    1: sampler({
      seed: 18446744073709551616n,
      model: ['2', 0],
      positive: ['2', 0],
      negative: ['2', 0],
      latent_image: ['2', 0],
    }),
    2: empty(),
    4: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } },
  }),
  refusal('not a number', { 1: empty({ width: 'abc' }), 3: save(['1', 0]) }),
  refusal('a fraction in text', { 1: empty({ width: '7.5' }), 3: save(['1', 0]) }),
  refusal('null as a number', { 1: empty({ width: null }), 3: save(['1', 0]) }),
  refusal('object as a number', { 1: empty({ width: { a: 1 } }), 3: save(['1', 0]) }),
  refusal('wrapped value', { 1: empty({ width: { __value__: 32 } }), 3: save(['1', 0]) }),
  refusal('number in text, fraction as a whole number', {
    1: empty({ width: ' 32 ', height: 33.9 }),
    3: save(['1', 0]),
  }),
  refusal('fraction out of range', {
    1: empty(),
    2: { class_type: 'ImageScaleBy', inputs: { image: ['1', 0], upscale_method: 'area', scale_by: 99 } },
    3: save(['2', 0]),
  }),
  refusal('wrong type', {
    1: { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
    3: save(['1', 0]),
  }),
  refusal('input file missing', {
    1: { class_type: 'LoadImage', inputs: { image: 'no such.png' } },
    3: save(['1', 0]),
  }),
  refusal('one output of two dropped', {
    1: empty(),
    2: { class_type: 'LoadImage', inputs: { image: 'no such.png' } },
    3: save(['1', 0]),
    4: save(['2', 0]),
  }),
  refusal('one fault below two outputs', {
    1: empty({ width: 0 }),
    3: save(['1', 0]),
    4: save(['1', 0]),
    5: save(['6', 0]),
    6: empty(),
  }),
  refusal('a fault in a node nobody needs', { 1: empty(), 2: empty({ width: 0 }), 3: save(['1', 0]) }),
  refusal('an input nobody knows', { 1: empty({ colour: 5 }), 3: save(['1', 0]) }),
  refusal('a cycle', { 1: scale(['2', 0]), 2: scale(['1', 0]), 3: save(['2', 0]) }, { since: '0.20' }),
  refusal('a node without inputs', { 1: { class_type: 'EmptyImage' }, 3: save(['1', 0]) }),
  refusal('a node that is a text', { 1: 'EmptyImage', 3: save(['1', 0]) }, { since: '0.33' }),
  refusal(
    'only the outputs asked for',
    { 1: empty(), 2: save(['1', 0]), 3: save(['9', 0]) },
    { extra: { partial_execution_targets: ['2'] } },
  ),
  refusal(
    'none of the outputs asked for',
    { 1: empty(), 2: save(['1', 0]) },
    { extra: { partial_execution_targets: ['1'] } },
  ),
  refusal('an id that is none', { 1: empty(), 2: save(['1', 0]) }, { since: '0.24', extra: { prompt_id: 'mine' } }),
  refusal(
    'dynamic choice with an input missing',
    {
      1: empty(),
      2: {
        class_type: 'ResizeImageMaskNode',
        inputs: { input: ['1', 0], scale_method: 'area', resize_type: 'scale dimensions', 'resize_type.width': 64 },
      },
      3: save(['2', 0]),
    },
    { since: '0.10' },
  ),
  refusal(
    'dynamic choice with a value out of range',
    {
      1: empty(),
      2: {
        class_type: 'ResizeImageMaskNode',
        inputs: {
          input: ['1', 0],
          scale_method: 'area',
          resize_type: 'scale dimensions',
          'resize_type.width': -1,
          'resize_type.height': 64,
          'resize_type.crop': 'nope',
        },
      },
      3: save(['2', 0]),
    },
    { since: '0.10' },
  ),
  refusal(
    'growing inputs without any',
    { 2: { class_type: 'BatchImagesNode', inputs: {} }, 3: save(['2', 0]) },
    { since: '0.10' },
  ),
  {
    name: 'no prompt at all',
    run: async (probe) => {
      const { status, text } = await probe.post('/prompt', { client_id: probe.clientId })
      return verdict(status, text)
    },
  },
  {
    name: 'a prompt that is no JSON',
    run: async (probe) => ({ status: (await probe.post('/prompt', '{"prompt":')).status }),
  },
]

// ---- what is told ----

/** `progress_state 1:finished 2:running@0/1`, `executed 3 images=1`, … */
function spoken(events: readonly JsonObject[]): string[] {
  return events.map(({ type, data }) => {
    const facts = (data ?? {}) as JsonObject
    switch (type) {
      case 'status':
        return `status ${((facts.status as JsonObject).exec_info as JsonObject).queue_remaining}`
      case 'execution_cached':
        return `execution_cached ${(facts.nodes as string[]).toSorted().join(' ')}`
      case 'progress_state':
        return `progress_state ${Object.entries(facts.nodes as Record<string, JsonObject>)
          .map(([id, node]) => `${id}:${node.state}@${node.value}/${node.max}`)
          .join(' ')}`
      case 'progress':
        return `progress ${facts.node} ${facts.value}/${facts.max}`
      case 'executing':
        return `executing ${facts.node}`
      case 'executed':
        return `executed ${facts.node} ${shapeOf(facts.output ?? null)}`
      case 'execution_error':
        return `execution_error ${facts.node_id} ${facts.node_type} ${facts.exception_type}`
      case 'execution_interrupted':
        return `execution_interrupted ${facts.node_id} ${facts.node_type}`
    }
    return String(type)
  })
}
const shapeOf = (output: Json) =>
  isJsonObject(output)
    ? Object.entries(output)
        .map(([key, list]) => `${key}=${Array.isArray(list) ? list.length : '?'}`)
        .join(' ')
    : 'null'

/** An entry of the history, with its files by their names. */
function remembered(entry: Json | undefined): Json {
  if (!isJsonObject(entry)) return null
  const { status_str, completed, messages } = entry.status as Record<string, Json>
  const outputs = Object.entries(entry.outputs as Record<string, JsonObject>).map(([id, output]) => [
    id,
    parseJson(
      writeJson(output)
        .replace(/temp_[a-z0-9]{5}/g, 'temp_xxxxx')
        .replace(/_\d{5}_/g, '_00000_'),
    ),
  ])
  return {
    status_str: status_str!,
    completed: completed!,
    messages: (messages as Json[][]).map(([type]) => type!),
    outputs: Object.fromEntries(outputs),
    keys: Object.keys(entry).toSorted(),
  }
}

/** `anyOrder`: the server keeps outputs in a set, so which branch comes first is chance. */
const told = (name: string, prompts: (probe: Probe) => Json[], options: { anyOrder?: true } = {}): Scene => ({
  name,
  async run(probe) {
    const seen: Json[] = []
    for (const prompt of prompts(probe)) {
      const { promptId, status } = await probe.queue(prompt)
      if (status !== 200) return { status }
      const all = spoken(await probe.untilEnd(promptId))
      const events = options.anyOrder ? all.filter((line) => !line.startsWith('progress_state')).toSorted() : all
      const entry = ((await probe.getJson(`/history/${promptId}`)) as JsonObject)[promptId]
      seen.push({ events, history: parseJson(writeJson(remembered(entry)).replaceAll(probe.mark, 'MARK')) })
    }
    return seen
  },
})
const chance = () => Math.floor(Math.random() * 0xffffff)

const stories: Scene[] = [
  told('three nodes, again, and with one value changed', ({ mark }) => {
    const color = chance()
    const prompt = (width: number) => ({
      1: empty({ color }),
      2: scale(['1', 0], { width }),
      3: save(['2', 0], `a${mark}`),
    })
    return [prompt(96), prompt(96), prompt(97)]
  }),
  told(
    'two branches from one picture',
    ({ mark }) => [
      {
        1: empty({ color: chance() }),
        2: scale(['1', 0]),
        3: save(['2', 0], `b${mark}`),
        4: { class_type: 'ImageInvert', inputs: { image: ['1', 0] } },
        5: save(['4', 0], `b${mark}`),
      },
    ],
    { anyOrder: true },
  ),
  told('a picture shown and not saved, with a batch of two', () => [
    { 1: empty({ color: chance(), batch_size: 2 }), 2: { class_type: 'PreviewImage', inputs: { images: ['1', 0] } } },
  ]),
  told('a node that passes its picture on after saving', ({ mark }) => [
    { 1: empty({ color: chance() }), 2: save(['1', 0], `sub folder/%width%x%height%${mark}`) },
  ]),
  told('inputs of unequal depth', ({ mark }) => [
    {
      9: save(['8', 0], `c${mark}`),
      8: {
        class_type: 'ImageBlend',
        inputs: { image1: ['3', 0], image2: ['4', 0], blend_factor: 0.5, blend_mode: 'screen' },
      },
      1: empty({ color: chance() }),
      3: scale(['2', 0]),
      2: scale(['1', 0]),
      4: empty({ color: chance() }),
    },
  ]),
  told('a node that fails', () => [{ 1: empty({ color: chance() }), 2: save(['1', 0], '../../outside') }]),
  told('text', ({ mark }) => [
    {
      1: { class_type: 'StringConcatenate', inputs: { string_a: 'a', string_b: mark, delimiter: ' ' } },
      2: { class_type: 'PreviewAny', inputs: { source: ['1', 0] } },
    },
  ]),
  {
    name: 'waiting prompts: order, removal, places',
    async run(probe) {
      const slow = Object.fromEntries(
        Array.from({ length: 40 }, (_, index) => [
          `s${index}`,
          scale([index === 0 ? '1' : `s${index - 1}`, 0], { width: 1500, height: 1500 + index }),
        ]),
      )
      const first = await probe.queue({
        1: empty({ width: 1500, height: 1500, color: chance() }),
        ...slow,
        2: save(['s39', 0]),
      })
      const quick = () => ({ 1: empty({ color: chance() }), 2: save(['1', 0]) })
      const second = await probe.queue(quick())
      const third = await probe.queue(quick(), { front: true })
      const fourth = await probe.queue(quick())
      const names: Record<string, string> = {
        [first.promptId]: '1',
        [second.promptId]: '2',
        [third.promptId]: '3',
        [fourth.promptId]: '4',
      }
      await probe.until(
        ({ type, data }) => type === 'execution_start' && (data as JsonObject).prompt_id === first.promptId,
      )
      const queue = (await probe.getJson('/queue')) as Record<string, [number, string, ...Json[]][]>
      const places = queue.queue_pending!.toSorted((a, b) => a[0] - b[0]).map(([, id]) => names[id] ?? 'other')
      const removed = await probe.post('/queue', { delete: [second.promptId] })
      await probe.post('/interrupt', { prompt_id: second.promptId }) // runs not: nothing happens
      await probe.post('/interrupt', { prompt_id: first.promptId })
      const events = [...(await probe.untilEnd(first.promptId)), ...(await probe.untilEnd(fourth.promptId))]
      const ends = events.filter(({ type }) => /^execution_(success|error|interrupted)$/.test(String(type)))
      return {
        running: queue.queue_running!.map(([, id]) => names[id] ?? 'other'),
        places,
        item: queue.queue_running![0]!.length,
        removed: removed.status,
        ends: ends.map(({ type, data }) => `${names[String((data as JsonObject).prompt_id)]} ${type}`),
        second: await probe.getJson(`/history/${second.promptId}`),
      }
    },
  },
]

// ---- routes ----

async function uploaded(probe: Probe, name: string, bytes: string, fields: Record<string, string> = {}): Promise<Json> {
  const form = new FormData()
  form.set('image', new Blob([bytes]), name)
  for (const [key, value] of Object.entries(fields)) form.set(key, value)
  const { status, text } = await probe.post('/upload/image', form)
  return { status, reply: status === 200 ? parseJson(text.replaceAll(probe.mark, 'MARK')) : null }
}
const keysOf = (value: Json | undefined) => (isJsonObject(value) ? Object.keys(value).toSorted() : [])

const routes: Scene[] = [
  {
    name: 'routes without effect',
    async run(probe) {
      const answers: JsonObject = {}
      const paths = [
        '/queue',
        '/api/queue',
        '/prompt',
        '/history/none',
        '/object_info/NoSuchNode',
        '/models/nope',
        '/embeddings',
        '/jobs',
        '/nothing',
        '/api/nothing',
      ]
      for (const path of paths) {
        const { status, text } = await probe.get(path)
        answers[path] = { status, body: status === 200 ? parseJson(text) : null }
      }
      return answers
    },
  },
  {
    name: 'what it is',
    since: '0.33',
    async run(probe) {
      const stats = (await probe.getJson('/system_stats')) as { system: JsonObject; devices: JsonObject[] }
      const needed = ['argv', 'comfyui_version', 'os', 'python_version', 'ram_free', 'ram_total']
      return {
        system: needed.filter((key) => key in stats.system),
        device: keysOf(stats.devices[0]),
        features: keysOf(await probe.getJson('/features')),
        version: stats.system.comfyui_version!,
      }
    },
  },
  {
    name: 'a node definition',
    since: '0.33',
    async run(probe) {
      const { EmptyImage } = (await probe.getJson('/object_info/EmptyImage')) as Record<string, JsonObject>
      return { input: EmptyImage!.input!, output: EmptyImage!.output!, output_node: EmptyImage!.output_node! }
    },
  },
  {
    name: 'uploads and their names',
    async run(probe) {
      const name = `up ${probe.mark}.txt`
      return [
        await uploaded(probe, name, 'one'),
        await uploaded(probe, name, 'one'),
        await uploaded(probe, name, 'two'),
        await uploaded(probe, name, 'three', { overwrite: 'true' }),
        await uploaded(probe, name, 'four', { subfolder: 'a/b', type: 'temp' }),
        await uploaded(probe, name, 'five', { subfolder: '../../x' }),
        await uploaded(probe, name, 'six', { type: 'elsewhere' }),
      ]
    },
  },
  {
    name: 'files and parts of files',
    async run(probe) {
      const name = `view ${probe.mark}.txt`
      await uploaded(probe, name, '0123456789')
      const view = (query: Record<string, string>, headers?: Record<string, string>) =>
        probe.get(`/view?${new URLSearchParams({ type: 'input', ...query })}`, headers)
      const statuses: JsonObject = {}
      for (const [label, query] of Object.entries<Record<string, string>>({
        whole: { filename: name },
        annotated: { filename: `${name} [input]`, type: 'output' },
        missing: { filename: 'none.png' },
        empty: { filename: '' },
        absolute: { filename: '/etc/passwd' },
        dots: { filename: '../x.png' },
        'strange type': { filename: name, type: 'elsewhere' },
        'outside by subfolder': { filename: name, subfolder: '../..' },
      }))
        statuses[label] = (await view(query)).status
      statuses['no name'] = (await probe.get('/view')).status
      const part = await view({ filename: name }, { range: 'bytes=4-' })
      const beyond = await view({ filename: name }, { range: 'bytes=40-' })
      return { statuses, part: [part.status, part.text, part.headers.get('content-range')], beyond: beyond.status }
    },
  },
  {
    name: 'bodies that are none',
    async run(probe) {
      const answers: JsonObject = {}
      for (const path of ['/queue', '/history', '/free', '/interrupt'])
        answers[path] = (await probe.post(path, 'x')).status
      return answers
    },
  },
  {
    name: 'cancelling jobs',
    since: '0.25',
    async run(probe) {
      const { status, text } = await probe.post(`/api/jobs/${randomUUID()}/cancel`, {})
      return { status, reply: parseJson(text) }
    },
  },
  {
    name: 'another page may not ask',
    async run(probe) {
      const headers: Record<string, string> = { origin: 'http://example.com' }
      return { status: (await probe.get('/queue', headers)).status }
    },
  },
]

export const scenes: readonly Scene[] = [...refusals, ...stories, ...routes]

/** Each scene's outcome by name; a scene that cannot be played gives its error. */
export async function play(url: string, wanted: readonly Scene[] = scenes): Promise<Record<string, Json>> {
  const outcomes: Record<string, Json> = {}
  for (const scene of wanted) {
    const probe = new Probe(url)
    try {
      await probe.open()
      outcomes[scene.name] = await scene.run(probe)
    } catch (cause) {
      outcomes[scene.name] = { threw: cause instanceof Error ? cause.message : String(cause) }
    } finally {
      probe.close()
    }
  }
  return outcomes
}
