/**
 * What is encoded for one side of the sampler. Parts are combined; of each, the span that covers the step counts; its
 * texts are encoded one by one and put after one another. Texts are in ComfyUI's syntax.
 */
export interface Words {
  parts: { weight: number; spans: { start: number; end: number; texts: string[] }[] }[]
}
export const wordsOf = (...texts: string[]): Words => ({
  parts: [{ weight: 1, spans: [{ start: 0, end: 1, texts }] }],
})
export const isEmpty = ({ parts }: Words) =>
  parts.every(({ spans }) => spans.every(({ texts }) => texts.every((text) => text.trim() === '')))

/** A network named in a text: `<lora:name:0.8>`. */
export interface Network {
  name: string
  model: number
  clip: number
}
/** What a text had in it besides words, and what of it can only come near. */
export interface Found {
  loras: Network[]
  hypernetworks: Network[]
  /** Tags nobody here knows. */
  tags: string[]
  weighted: boolean
  scheduled: boolean
  alternated: boolean
  combined: boolean
}
export const nothingFound = (): Found => ({
  loras: [],
  hypernetworks: [],
  tags: [],
  weighted: false,
  scheduled: false,
  alternated: false,
  combined: false,
})

/** How deep brackets are followed; deeper ones are taken as they stand. */
const maxDepth = 64

export interface A1111Reading {
  side: 'positive' | 'negative'
  /** Of the sampler; a switch may be told as a step. */
  steps: number
  /** 1 for the second sampling of a hires fix, which sees most switches as past. */
  pass: 0 | 1
  embeddings: readonly string[]
  found: Found
}

/** A text of AUTOMATIC1111 and its kin. */
export function readA1111Text(text: string, { side, steps, pass, embeddings, found }: A1111Reading): Words {
  const bare = takeTags(text, found).replace(/ {2,}/g, ' ')
  const parts = side === 'positive' ? bare.split(/\bAND\b/).slice(0, 64) : [bare]
  if (parts.length > 1) found.combined = true
  const weighted = parts.map((part) => (parts.length > 1 ? weighed(part) : { words: part, weight: 1 }))
  for (const { words, weight } of weighted) if (weight < 0) found.tags.push(`AND ${words.trim()} :${weight}`)
  return {
    parts: weighted
      .filter(({ weight }) => weight >= 0)
      .map(({ words, weight }) => {
        const spans = spansOf(words, steps, pass, found).map(({ start, end, text }) => ({
          start,
          end,
          texts: chunksOf(text).map((chunk) => toComfy(withEmbeddings(chunk, embeddings), found).trim()),
        }))
        return { weight: Math.min(weight, 10), spans }
      }),
  }
}

function chunksOf(text: string): string[] {
  const chunks = text.split(/\bBREAK\b/)
  return [...chunks.slice(0, mostChunks - 1), chunks.slice(mostChunks - 1).join(' ')].slice(0, chunks.length)
}
const mostChunks = 64

/** `a cat :0.8`, one part of several. */
function weighed(part: string): { words: string; weight: number } {
  const colon = part.lastIndexOf(':')
  const written = colon < 0 ? '' : part.slice(colon + 1).trim()
  return isNumber(written) ? { words: part.slice(0, colon), weight: Number(written) } : { words: part, weight: 1 }
}
const isNumber = (written: string) => written.length <= 16 && /^[+-]?(\d+\.?\d*|\.\d+)$/.test(written)

/** Takes `<lora:…>` and its like out of a text. Of two weights the first is the text encoder's, but not everywhere. */
export function takeTags(text: string, found: Found, first: 'clip' | 'model' = 'clip'): string {
  return text.replace(/<([a-zA-Z]+):([^<>]*)>/g, (tag, kind: string, rest: string) => {
    const [name = '', ...values] = rest.split(':').map((one) => one.trim())
    const positional = values.filter((one) => !one.includes('='))
    const named = new Map(values.filter((one) => one.includes('=')).map((one) => one.split('=', 2) as [string, string]))
    const number = (value: string | undefined, otherwise: number) =>
      value !== undefined && value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : otherwise
    const one = number(positional[0], 1)
    const other = number(positional[1], one)
    const clip = number(named.get('te'), first === 'clip' ? one : other)
    const model = number(named.get('unet'), first === 'model' ? one : positional.length > 1 ? other : clip)
    if (name === '') return tag
    if (kind === 'lora' || kind === 'lyco') found.loras.push({ name, model, clip })
    else if (kind === 'hypernet') found.hypernetworks.push({ name, model, clip: model })
    else found.tags.push(tag)
    return ''
  })
}

/** `[from:to:when]` and `[a|b]`: the text of each span of steps, as fractions of the whole. */
function spansOf(
  text: string,
  steps: number,
  pass: 0 | 1,
  found: Found,
): { start: number; end: number; text: string }[] {
  const switches = new Set<number>()
  const closing = closingBrackets(text)
  const at = (step: number, from: number, to: number, depth: number): string => {
    let out = ''
    let plainFrom = from
    for (let place = from; place < to; place++) {
      if (text[place] === '\\') place++
      else if (text[place] === '[') {
        const close = closing.get(place)
        if (close === undefined || close >= to || depth >= maxDepth) continue
        const { cuts, isChoice } = partsOf(text, place + 1, close, closing)
        const written = cuts.length > 1 && !isChoice ? text.slice(...cuts.at(-1)!).trim() : ''
        const when = isNumber(written) ? stepOf(written, steps, pass) : null
        let inner: string
        if (isChoice) {
          found.alternated = true
          inner = at(step, ...cuts[0]!, depth + 1)
        } else if (when !== null && cuts.length <= 3) {
          found.scheduled = true
          if (when >= 1 && when < steps) switches.add(when)
          const chosen = step >= when ? cuts[cuts.length - 2]! : cuts.length === 3 ? cuts[0]! : null
          inner = chosen === null ? '' : at(step, ...chosen, depth + 1)
        } else inner = `[${at(step, place + 1, close, depth + 1)}]`
        out += text.slice(plainFrom, place) + inner
        place = close
        plainFrom = close + 1
      }
    }
    return out + text.slice(plainFrom, to)
  }
  const spans = [{ start: 0, end: 1, text: at(0, 0, text.length, 0) }]
  for (let step = 0, turns = 0; turns < 32; turns++) {
    step = Math.min(...[...switches].filter((one) => one > step)) // a bracket within one may add more
    if (!Number.isFinite(step)) break
    const before = spans.at(-1)!
    const words = at(step, 0, text.length, 0)
    if (words === before.text) continue
    before.end = step / steps
    spans.push({ start: step / steps, end: 1, text: words })
  }
  return spans
}

/** Fractions have a point; in the second pass they count from 1.0, and steps from the first pass's end. */
function stepOf(written: string, steps: number, pass: 0 | 1): number {
  const value = Number(written)
  return Math.trunc(written.includes('.') ? (value - pass) * steps : value - pass * steps)
}

/** Which `]` closes each `[`; round brackets nest with them. */
function closingBrackets(text: string): Map<number, number> {
  const closing = new Map<number, number>()
  const open: number[] = []
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]
    if (letter === '\\') at++
    else if (letter === '[' || letter === '(') open.push(at)
    else if (letter === ']' || letter === ')') {
      const last = open.at(-1)
      if (last === undefined || (text[last] === '[') !== (letter === ']')) continue
      open.pop()
      closing.set(last, at)
    }
  }
  return closing
}

/** The pieces between the `:` or `|` of one bracket, those of inner brackets left alone. */
function partsOf(text: string, from: number, to: number, closing: Map<number, number>) {
  const cuts: [number, number][] = []
  let start = from
  let isChoice = false
  for (let at = from; at < to; at++) {
    const letter = text[at]
    if (letter === '\\') at++
    else if (letter === '[' || letter === '(') at = closing.get(at) ?? at
    else if (letter === ':' || letter === '|') {
      if (letter === '|') isChoice = true
      cuts.push([start, at])
      start = at + 1
    }
  }
  cuts.push([start, to])
  return { cuts, isChoice }
}

interface Piece {
  text: string
  weight: number
}

/** The same words with the same weights as ComfyUI writes them; a text both read alike stays as it is. */
function toComfy(text: string, found: Found): string {
  const meant = merged(a1111Pieces(text))
  if (meant.some(({ weight }) => weight !== 1)) found.weighted = true
  const read = comfyPieces(text)
  return read !== null && sameAs(meant, merged(read)) ? text : writePieces(meant)
}

export const writePieces = (pieces: readonly Piece[]) =>
  pieces
    .map(({ text, weight }) => {
      const escaped = text.replace(/[()]/g, '\\$&')
      return weight === 1 || text.trim() === '' ? escaped : `(${escaped}:${weight})`
    })
    .join('')

const round = (weight: number) => Math.round(weight * 1000) / 1000

export function merged(pieces: readonly Piece[]): Piece[] {
  const all: Piece[] = []
  for (const { text, weight } of pieces) {
    if (text === '') continue
    const last = all.at(-1)
    if (last && last.weight === round(weight)) last.text += text
    else all.push({ text, weight: round(weight) })
  }
  return all
}
const sameAs = (one: Piece[], other: Piece[]) =>
  one.length === other.length &&
  one.every(({ text, weight }, at) => text === other[at]!.text && weight === other[at]!.weight)

/** `(more)`, `(much more:1.5)`, `[less]`; weights of nested brackets multiply. */
function a1111Pieces(text: string): Piece[] {
  const pieces: Piece[] = []
  const round: number[] = []
  const square: number[] = []
  const multiply = (from: number | undefined, factor: number) => {
    for (let at = from ?? pieces.length; at < pieces.length; at++) pieces[at]!.weight *= factor
  }
  const pattern =
    /\\([()[\]\\])|([([])|:\s{0,8}([+-]?(?:\d{1,9}\.?\d{0,9}|\.\d{1,9}))\s{0,8}\)|([)\]])|[^\\()[\]:]+|[\\:]/gy
  for (const [whole, escaped, opening, weight, closing] of text.matchAll(pattern)) {
    const stack = opening === '(' ? round : square
    if (escaped !== undefined) pieces.push({ text: escaped, weight: 1 })
    else if (opening !== undefined && stack.length < maxDepth) stack.push(pieces.length)
    else if (weight !== undefined && round.length > 0) multiply(round.pop(), Number(weight))
    else if (closing === ')' && round.length > 0) multiply(round.pop(), 1.1)
    else if (closing === ']' && square.length > 0) multiply(square.pop(), 1 / 1.1)
    else pieces.push({ text: whole, weight: 1 })
  }
  for (const from of round) multiply(from, 1.1)
  for (const from of square) multiply(from, 1 / 1.1)
  return pieces
}

/** ComfyUI's own reading: only round brackets, and a number in them stands for itself. null: brackets do not match. */
function comfyPieces(text: string): Piece[] | null {
  const closing = new Map<number, number>()
  const open: number[] = []
  const isEscape = (at: number) => text[at] === '\\' && (text[at + 1] === '(' || text[at + 1] === ')')
  for (let at = 0; at < text.length; at++) {
    if (isEscape(at)) at++
    else if (text[at] === '(') open.push(at)
    else if (text[at] === ')') {
      const start = open.pop()
      if (start === undefined) return null
      closing.set(start, at)
    }
  }
  if (open.length > 0) return null
  const unescaped = (from: number, to: number) => text.slice(from, to).replace(/\\([()])/g, '$1')
  const pieces: Piece[] = []
  const read = (from: number, to: number, weight: number, depth: number) => {
    let start = from
    for (let at = from; at < to; at++) {
      if (isEscape(at)) at++
      const close = text[at] === '(' ? closing.get(at) : undefined
      if (close === undefined || depth >= maxDepth) continue
      pieces.push({ text: unescaped(start, at), weight })
      const inner = text.slice(at + 1, close)
      const colon = inner.lastIndexOf(':')
      const written = colon > 0 ? inner.slice(colon + 1).trim() : ''
      if (isNumber(written)) read(at + 1, at + 1 + colon, Number(written), depth + 1)
      else read(at + 1, close, weight * 1.1, depth + 1)
      at = close
      start = close + 1
    }
    pieces.push({ text: unescaped(start, to), weight })
  }
  read(0, text.length, 1, 0)
  return pieces
}

/** ComfyUI knows an embedding by its prefix only. */
function withEmbeddings(text: string, names: readonly string[]): string {
  let all = text
  for (const name of names) {
    const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    all = all.replace(new RegExp(`(?<![\\w:])(?<!embedding:)${escaped}(?![\\w])`, 'gi'), `embedding:${name}`)
  }
  return all
}

/** NovelAI: `{more}` and `[less]` by 5 %, and `1.2::words::`. */
export function readNovelAiText(text: string, found: Found): string {
  const pieces: Piece[] = []
  let level = 0
  let factor = 1
  const pattern = /([{[])|([}\]])|(-?(?:\d{1,9}\.?\d{0,9}|\.\d{1,9}))::|(::)|[^{}[\]:\d.-]+|[\d.-]|:/gy
  for (const [whole, opening, closing, weight, end] of text.matchAll(pattern)) {
    if (opening !== undefined) level += opening === '{' ? 1 : -1
    else if (closing !== undefined) level -= closing === '}' ? 1 : -1
    else if (weight !== undefined) factor = Number(weight)
    else if (end !== undefined) factor = 1
    else pieces.push({ text: whole, weight: factor * 1.05 ** Math.max(-maxDepth, Math.min(maxDepth, level)) })
  }
  const all = merged(pieces)
  if (all.some(({ weight }) => weight !== 1)) found.weighted = true
  return writePieces(all).trim()
}

/** InvokeAI: `word+`, `(some words)1.2`, `(words)--`. What else it knows (`.blend`, `.and`, `.swap`) is left and told. */
export function readInvokeText(text: string, found: Found): string {
  const weights = (signs: string, number: string | undefined) =>
    round(number === undefined ? (signs[0] === '-' ? 0.9 : 1.1) ** Math.min(signs.length, maxDepth) : Number(number))
  const bare = takeTags(text, found)
  if (/\)\.(blend|and|swap)\(/.test(bare)) found.scheduled = true
  const pattern =
    /\(([^()]{1,2000})\)(?:(\d{1,9}\.?\d{0,9}|\.\d{1,9})|([+]{1,64}|-{1,64}(?=[\s,.)]|$)))|([\p{L}\p{N}_]{1,200})([+]{1,64}|-{1,64})(?=[\s,.)]|$)/gu
  return bare
    .replace(
      pattern,
      (_, words: string | undefined, number: string | undefined, signs: string, word: string, after: string) => {
        found.weighted = true
        return `(${words ?? word}:${weights(signs ?? after ?? '+', number)})`
      },
    )
    .trim()
}
