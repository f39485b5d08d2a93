import { isLink, type Link, type ObjectInfo, type Prompt, type PromptNode } from '../../contract/comfyui.ts'
import { definitionOf, inputsOf } from './definitions.ts'

/** What tells the parts of a prompt apart that do the same; English, and the words of resources/locales names.json. */
const passes = ['first pass', 'second pass', 'third pass']

const linksOf = ({ inputs }: PromptNode) => Object.values(inputs).filter((value): value is Link => isLink(value))

/** A node that denoises: it takes a latent and a model, or a guider, and gives a latent. */
function isSampler({ class_type, inputs }: PromptNode, definitions: ObjectInfo): boolean {
  const definition = definitionOf(definitions, class_type)
  if (!definition) return 'sampler_name' in inputs && isLink(inputs.latent_image ?? null)
  const types = inputsOf(definition).map(({ type }) => type)
  const drives = types.includes('GUIDER') || (types.includes('MODEL') && types.includes('CONDITIONING'))
  return drives && types.includes('LATENT') && definition.output.includes('LATENT')
}

/** Everything a node is made of, up to the next samplers. */
function reach(from: string, prompt: Prompt, samplers: ReadonlySet<string>) {
  const nodes = new Set([from])
  const before = new Set<string>()
  const waiting = linksOf(prompt[from]!)
  for (let link = waiting.pop(); link; link = waiting.pop()) {
    const [id] = link
    if (nodes.has(id) || !Object.hasOwn(prompt, id)) continue
    if (samplers.has(id)) {
      before.add(id)
      continue
    }
    nodes.add(id)
    waiting.push(...linksOf(prompt[id]!))
  }
  return { nodes, before }
}

const texts = (nodes: Iterable<string>, prompt: Prompt) =>
  [...nodes].flatMap((id) => [
    prompt[id]!.class_type,
    ...Object.values(prompt[id]!.inputs).filter((value) => typeof value === 'string' && value.length < 300),
  ]) as string[]

/** The samplers, and everything they are made of. */
export function samplingNodes(prompt: Prompt, definitions: ObjectInfo): ReadonlySet<string> {
  const samplers = Object.keys(prompt).filter((id) => isSampler(prompt[id]!, definitions))
  const nodes = new Set(samplers)
  const waiting = samplers.flatMap((id) => linksOf(prompt[id]!))
  for (let link = waiting.pop(); link; link = waiting.pop()) {
    const [id] = link
    if (nodes.has(id) || !Object.hasOwn(prompt, id)) continue
    nodes.add(id)
    waiting.push(...linksOf(prompt[id]!))
  }
  return nodes
}

/**
 * Which sampling a node serves where several follow each other: `base` and `refiner`, `high noise` and `low noise`, or
 * the first, second and third pass. Nodes that serve several are in none.
 */
export function stagesOf(prompt: Prompt, definitions: ObjectInfo): ReadonlyMap<string, string> {
  const samplers = new Set(Object.keys(prompt).filter((id) => isSampler(prompt[id]!, definitions)))
  const stages = new Map<string, string>()
  if (samplers.size < 2 || samplers.size > passes.length) return stages
  const reaches = [...samplers].map((id) => reach(id, prompt, samplers))
  const first = reaches.filter(({ before }) => before.size === 0)
  if (first.length !== 1) return stages
  const chain = [first[0]!]
  for (let next = chain; next.length === 1; ) {
    const ids = chain.flatMap(({ nodes }) => [...nodes].slice(0, 1))
    next = reaches.filter((each) => !chain.includes(each) && [...each.before].every((id) => ids.includes(id)))
    if (next.length === 1) chain.push(next[0]!)
  }
  if (chain.length !== samplers.size) return stages
  const names = namesOf(chain.map(({ nodes }) => texts(nodes, prompt)))
  chain.forEach(({ nodes }, at) => {
    for (const id of nodes) {
      if (chain.filter((each) => each.nodes.has(id)).length === 1) stages.set(id, names[at]!)
    }
  })
  return stages
}

function namesOf(said: string[][]): string[] {
  const says = (at: number, words: RegExp) => said[at]!.some((text) => words.test(text))
  if (said.length === 2) {
    if (says(0, /high.?noise/i) && says(1, /low.?noise/i)) return ['high noise', 'low noise']
    if (says(1, /refiner/i)) return ['base', 'refiner']
  }
  return passes
}

/** Where in the picture an area stands, in thirds of what lies beside it. */
export const regions = [
  ['top left', 'top', 'top right'],
  ['left', 'center', 'right'],
  ['bottom left', 'bottom', 'bottom right'],
] as const
const third = (start: number, size: number): number => {
  if (size > 0.8) return 1
  const middle = start + size / 2
  return middle < 0.4 ? 0 : middle > 0.6 ? 2 : 1
}

/** The part of the picture a text is for, where conditions are set to areas: `left`, `bottom right`. */
export function regionsOf(prompt: Prompt, definitions: ObjectInfo): ReadonlyMap<string, string> {
  const areas = Object.values(prompt).filter(
    ({ class_type, inputs }) =>
      /^ConditioningSetArea(Percentage)?$/.test(class_type) &&
      ['x', 'y', 'width', 'height'].every((name) => typeof inputs[name] === 'number'),
  )
  const sides = areas.map(({ class_type, inputs }) => {
    const { x, y, width, height } = inputs as Record<string, number>
    return { part: class_type.endsWith('Percentage'), x: x!, y: y!, width: width!, height: height! }
  })
  const pixels = sides.filter(({ part }) => !part)
  const canvas = {
    width: Math.max(1, ...pixels.map(({ x, width }) => x + width)),
    height: Math.max(1, ...pixels.map(({ y, height }) => y + height)),
  }
  const found = new Map<string, string | null>()
  areas.forEach((area, at) => {
    const { part, x, y, width, height } = sides[at]!
    const { width: wide, height: high } = part ? { width: 1, height: 1 } : canvas
    const region = regions[third(y / high, height / high)]![third(x / wide, width / wide)]!
    const waiting = linksOf(area)
    const seen = new Set<string>()
    for (let link = waiting.pop(); link; link = waiting.pop()) {
      const [id] = link
      const node = Object.hasOwn(prompt, id) ? prompt[id]! : null
      const gives = node && definitionOf(definitions, node.class_type)?.output
      if (!node || seen.has(id) || (gives && !gives.some((type) => type === 'CONDITIONING' || type === 'STRING')))
        continue
      seen.add(id)
      found.set(id, found.has(id) && found.get(id) !== region ? null : region)
      waiting.push(...linksOf(node))
    }
  })
  const sure = [...found].filter((entry): entry is [string, string] => entry[1] !== null)
  const texts = sure.filter(([id]) => Object.values(prompt[id]!.inputs).some((value) => typeof value === 'string'))
  // two in one place are not told apart by it, and then neither are the others
  return new Map(new Set(texts.map(([, region]) => region)).size === texts.length ? sure : [])
}
