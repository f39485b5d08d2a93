import type { Values } from '../../contract/batch.ts'
import type { ObjectInfo, Prompt } from '../../contract/comfyui.ts'
import { type Facts, fill } from '../../contract/errors.ts'
import type { Json } from '../../contract/json.ts'
import type { Advice, Change, Parameter } from '../../contract/workflow.ts'
import { placesOf } from '../batch/materialise.ts'
import {
  type Chosen,
  changeTo,
  choose,
  chosenValue,
  isWithin,
  type Known,
  playing,
  presetsFor,
  recognise,
  stepsIn,
} from './presets.ts'
import { liveNodes } from './trace.ts'

/** What a prompt and the values beside it suggest. Other languages: resources/locales, problems.json, under the same codes. */
export const suggestionSentences = {
  'suggest.upright': 'The prompt asks for something tall (“{word}”): an upright picture shows more of it.',
  'suggest.wide': 'The prompt asks for something wide (“{word}”): a wide picture shows more of it.',
  'suggest.square': 'The prompt asks for something round or square (“{word}”): a square picture suits it.',
  'suggest.ratio': 'The prompt names the proportions {word}.',
  'suggest.size-multiple': '{family} needs sides that are multiples of {multiple}; others are cut or refused.',
  'suggest.size-large':
    '{width} × {height} is far more than {family} was made for: things tend to appear twice. Make it smaller here and enlarge it afterwards.',
  'suggest.size-small': '{width} × {height} is far less than {family} was made for: pictures come out crude.',
  'suggest.photo': 'A photograph looks more natural when the prompt is followed less strictly.',
  'suggest.drawing': 'Drawings and flat styles come out clearer when the prompt is followed more strictly.',
  'suggest.words': 'The picture is to show words: with more steps they are spelt better.',
  'suggest.words-poor':
    'The picture is to show words, and {family} cannot spell. A newer model, such as Qwen-Image, Z-Image or FLUX, can.',
  'suggest.long':
    'The prompt is about {tokens} tokens long; {family} reads it 77 at a time, and what comes late counts less. Begin with what matters most.',
  'suggest.negative-unused': 'At CFG {cfg} the negative prompt does nothing: {family} is not guided away from it.',
  'suggest.negative-unused-here': 'At CFG {cfg} the negative prompt does nothing.',
  'suggest.too-many-steps':
    'The model was made for {steps} steps ({source}); more take longer and may spoil the picture.',
  'suggest.too-few-steps':
    '{family} is not done after {now} steps; {steps} is the least that its makers suggest ({source}).',
  'suggest.cfg-built-in':
    'The model has its guidance built in ({source}): CFG {now} takes twice the time and burns the colours.',
  'suggest.scheduler': 'The {now} schedule was not made for {family}, and leaves noise in the picture.',
  'suggest.english':
    '{family} learnt English only, and will hardly understand a prompt in Chinese. Translate it first.',
  'suggest.frames': '{family} makes frames in groups of {group} and one more: {now} would be cut to {to}.',
} as const
type Code = keyof typeof suggestionSentences

type Suggestion = Advice['suggestions'][number]

/** Presets and suggestions for a workflow with the values on its form. */
export function advise(
  prompt: Prompt,
  definitions: ObjectInfo,
  parameters: readonly Parameter[],
  values: Values,
): Advice {
  const chosen = choose(prompt, definitions, parameters, values)
  const known = recognise(chosen)
  return {
    family: known && { id: known.family.id, name: known.family.name, by: known.by },
    presets: presetsFor(chosen, known),
    suggestions: suggestionsFor(chosen, known),
    ...switched(parameters, liveNodes(prompt, definitions), chosen.live),
  }
}

/** What the switches brought into use, and what they took out of it. */
function switched(parameters: readonly Parameter[], before: ReadonlySet<string>, now: ReadonlySet<string>) {
  const keys = (came: ReadonlySet<string>, went: ReadonlySet<string>) =>
    parameters.flatMap((parameter) => {
      if (parameter.role === null || parameter.role === 'filename-prefix') return []
      const nodes = placesOf(parameter).map(({ node }) => node)
      return nodes.some((node) => came.has(node)) && !nodes.some((node) => went.has(node)) ? [parameter.key] : []
    })
  return { awake: keys(now, before), asleep: keys(before, now) }
}

/** Each with its reason, and the changes it would make; without changes it is only good to know. */
export function suggestionsFor(chosen: Chosen, known: Known | null): Suggestion[] {
  const found: Suggestion[] = []
  const suggest = (code: Code, facts: Facts, ...wanted: (readonly [Parameter, Json])[]) => {
    const because = [code, suggestionSentences[code]] as const
    const changes = wanted
      .map(([parameter, to]): Change | null => changeTo(chosen, parameter, to, because, facts))
      .filter((change) => change !== null)
    // what is so already need not be said
    if (wanted.length > 0 && changes.length === 0) return
    const message = fill(suggestionSentences[code], facts)
    found.push({
      id: `${code.replace('suggest.', '')} ${changes.map(({ key }) => key).join(' ')}`.trim(),
      message,
      code,
      facts: facts as Suggestion['facts'],
      changes,
    })
  }
  const text = textOf(chosen)
  suggestSize(chosen, known, text, suggest)
  if (known) {
    suggestSampling(chosen, known, suggest)
    suggestByText(chosen, known, text, suggest)
  }
  suggestNegative(chosen, known, suggest)
  return found
}
type Suggest = (code: Code, facts: Facts, ...wanted: (readonly [Parameter, Json])[]) => void

const textOf = (chosen: Chosen): string =>
  playing(chosen, 'prompt')
    .map((parameter) => chosenValue(chosen, parameter))
    .filter((value) => typeof value === 'string')
    .join('\n')

const words = {
  upright:
    /\b(portrait|headshot|full[- ]body|vertical|phone wallpaper|book cover|movie poster|skyscraper|waterfall|fashion (photo|shot|editorial))\b|人像|肖像|全身|半身|竖版|竖幅|竖屏|手机壁纸|海报|写真/i,
  wide: /\b(landscape|panorama|panoramic|wide[- ]?(angle|shot)|establishing shot|cityscape|skyline|seascape|banner|desktop wallpaper|cinematic (shot|still|wide)|vista)\b|风景|全景|横版|横幅|横屏|宽幅|电脑壁纸|远景|天际线|海岸线/i,
  square:
    /\b(icon|logo|avatar|sticker|emblem|album cover|app icon|profile picture|mandala)\b|图标|头像|徽标|贴纸|专辑封面|标志/i,
} as const
const photo =
  /\b(photo(graph|graphy|realistic|real)?|dslr|35 ?mm|85 ?mm|bokeh|raw photo|canon|nikon|film still|kodak)\b|照片|摄影|写实|实拍|胶片|单反/i
const drawing =
  /\b(anime|manga|cartoon|illustration|watercolou?r|oil painting|flat (design|colou?r)|vector|line ?art|pixel art|comic|sketch|cel[- ]shaded)\b|动漫|漫画|插画|水彩|油画|卡通|扁平|线稿|像素|国画/i
const spelt =
  /(?<!^)["“「『][^"”」』\n]{1,40}["”」』]|\b(text|words?|letters|title|caption|slogan|typography) (that |which )?(says?|saying|reads?|reading)\b|\b(says|reading)\s*[:"“]|写着|文字[:：“"]|字样|标语/i

const isChinese = (text: string) => {
  const han = text.match(/\p{Script=Han}/gu)?.length ?? 0
  return han >= 2 && han / Math.max(1, text.replace(/\s/g, '').length) > 0.2
}
/** About as many as CLIP makes of it: a word is 1.3, a sign of its own or a Chinese character 1. */
function tokensIn(text: string): number {
  const latin = text.match(/[\p{L}\p{N}']+/gu)?.filter((word) => !/\p{Script=Han}/u.test(word)).length ?? 0
  const han = text.match(/\p{Script=Han}/gu)?.length ?? 0
  const signs = text.match(/[,.;:!?()|]/g)?.length ?? 0
  return Math.round(latin * 1.3 + han * 2 + signs)
}

function suggestSize(chosen: Chosen, known: Known | null, text: string, suggest: Suggest) {
  const family = known?.family
  const wish = shapeIn(text)
  const [ratios] = playing(chosen, 'aspect-ratio')
  if (ratios && wish) {
    const to = optionFor(ratios, wish)
    if (to !== null) suggest(wish.code, { word: wish.word }, [ratios, to])
  }
  const [width, ...moreWidths] = playing(chosen, 'width')
  const [height, ...moreHeights] = playing(chosen, 'height')
  if (!width || !height || moreWidths.length + moreHeights.length > 0) return
  const now = { width: Number(chosenValue(chosen, width)), height: Number(chosenValue(chosen, height)) }
  if (!(now.width > 0 && now.height > 0)) return
  const facts = { ...now, family: family?.name ?? '' }
  const isVideo = family?.frames !== undefined
  if (family?.pixels && !isVideo) {
    const share = (now.width * now.height) / family.pixels
    const [toWidth, toHeight] = sizeOf(family.pixels, now.width / now.height, family)
    const both = [
      [width, toWidth],
      [height, toHeight],
    ] as const
    if (share > 2.2) return suggest('suggest.size-large', facts, ...both)
    if (share < 0.45) return suggest('suggest.size-small', facts, ...both)
  }
  const multiple = family?.multiple ?? 8
  const round = (side: number) => Math.max(multiple, Math.round(side / multiple) * multiple)
  const direct = width.input !== 'value' && height.input !== 'value' // else something still computes with them
  if (direct && (now.width % multiple !== 0 || now.height % multiple !== 0)) {
    const named = { family: family?.name ?? 'ComfyUI', multiple }
    return suggest('suggest.size-multiple', named, [width, round(now.width)], [height, round(now.height)])
  }
  if (!wish || family?.edits || playing(chosen, 'image').length > 0) return
  const isSo = shapeOf(now.width / now.height) === wish.shape
  if (wish.code !== 'suggest.ratio' && isSo) return
  const [toWidth, toHeight] = sizeOf(
    now.width * now.height,
    wish.ratio,
    isVideo ? { multiple } : (family ?? { multiple }),
  )
  suggest(wish.code, { word: wish.word }, [width, toWidth], [height, toHeight])
}

type Shape = 'upright' | 'wide' | 'square'
interface Wish {
  readonly code: 'suggest.upright' | 'suggest.wide' | 'suggest.square' | 'suggest.ratio'
  readonly shape: Shape
  readonly ratio: number
  readonly word: string
}
const shapeOf = (ratio: number): Shape => (ratio > 1.1 ? 'wide' : ratio < 0.9 ? 'upright' : 'square')

/** What shape the words ask for; null: none, or several. */
function shapeIn(text: string): Wish | null {
  const named = /(?<![\d.:])(\d{1,2})\s*[:：]\s*(\d{1,2})(?![\d.:])/.exec(text)
  if (named && !/\(/.test(text.slice(Math.max(0, named.index - 1), named.index))) {
    const ratio = Number(named[1]) / Number(named[2])
    if (ratio >= 0.3 && ratio <= 3.5) return { code: 'suggest.ratio', shape: shapeOf(ratio), ratio, word: named[0] }
  }
  const found = (['upright', 'wide', 'square'] as const).flatMap((shape) => {
    const word = words[shape].exec(text)?.[0]
    return word === undefined ? [] : [{ shape, word }]
  })
  if (found.length !== 1) return null
  const { shape, word } = found[0]!
  return { code: `suggest.${shape}`, shape, ratio: { upright: 2 / 3, wide: 3 / 2, square: 1 }[shape], word }
}

interface Sizing {
  readonly multiple: number
  readonly pixels?: number
  readonly sizes?: readonly (readonly [number, number])[]
}
/** The size of these pixels and proportions; one its makers trained where it is about as large as those. */
function sizeOf(pixels: number, ratio: number, { multiple, pixels: native, sizes }: Sizing): readonly [number, number] {
  if (sizes && native && Math.abs(pixels / native - 1) < 0.35)
    return sizes.toSorted((one, other) => distance(one, ratio) - distance(other, ratio))[0]!
  const round = (side: number) => Math.max(multiple, Math.round(side / multiple) * multiple)
  return [round(Math.sqrt(pixels * ratio)), round(Math.sqrt(pixels / ratio))]
}
const distance = ([width, height]: readonly [number, number], ratio: number) =>
  Math.abs(Math.log(width / height / ratio))

/** `9:16 (Portrait)` among the choices, nearest to what is wished for. */
function optionFor(parameter: Parameter, { code, ratio, shape }: Wish): Json | null {
  const options = (parameter.options ?? []).flatMap((option) => {
    const [, wide, high] = /^\s*(\d+(?:\.\d+)?)\s*[:x×]\s*(\d+(?:\.\d+)?)/.exec(String(option)) ?? []
    return wide === undefined ? [] : [{ option, ratio: Number(wide) / Number(high) }]
  })
  const now = options.find(({ option }) => option === parameter.default)
  if (code !== 'suggest.ratio' && now && shapeOf(now.ratio) === shape) return null
  const near = options.toSorted((a, b) => Math.abs(Math.log(a.ratio / ratio)) - Math.abs(Math.log(b.ratio / ratio)))
  return near[0]?.option ?? null
}

function suggestSampling(chosen: Chosen, { family, speed }: Known, suggest: Suggest) {
  const made = speed ? (stepsIn(speed.file) ?? speed.steps) : family.steps.balanced
  const source = speed?.source ?? family.source
  const quick = speed !== null || family.distilled === true
  const [steps, ...moreSteps] = playing(chosen, 'steps')
  const now = steps && Number(chosenValue(chosen, steps))
  if (
    steps &&
    now !== undefined &&
    moreSteps.length === 0 &&
    playing(chosen, 'denoise').every((one) => Number(chosenValue(chosen, one)) === 1)
  ) {
    if (quick && now > made * 2 + 2) suggest('suggest.too-many-steps', { steps: made, source }, [steps, made])
    if (!quick && now > 0 && now < family.steps.fast / 2)
      suggest('suggest.too-few-steps', { family: family.name, now, steps: family.steps.fast, source }, [
        steps,
        family.steps.fast,
      ])
  }
  const wanted = speed ? speed.cfg : family.cfg?.[0]
  const [cfg, ...moreCfgs] = playing(chosen, 'cfg')
  if (
    cfg &&
    moreCfgs.length === 0 &&
    quick &&
    wanted !== undefined &&
    Number(chosenValue(chosen, cfg)) > Math.max(wanted + 1, 2)
  )
    suggest('suggest.cfg-built-in', { source, now: Number(chosenValue(chosen, cfg)) }, [cfg, wanted])
  for (const scheduler of family.flow ? playing(chosen, 'scheduler') : []) {
    const name = String(chosenValue(chosen, scheduler))
    if (/^(karras|exponential)$/.test(name))
      suggest('suggest.scheduler', { now: name, family: family.name }, [scheduler, family.scheduler ?? 'simple'])
  }
  const [length, ...moreLengths] = playing(chosen, 'length')
  if (length && moreLengths.length === 0 && family.frames) {
    const frames = Number(chosenValue(chosen, length))
    const to = Math.floor((frames - 1) / family.frames) * family.frames + 1
    if (frames > 1 && to !== frames)
      suggest('suggest.frames', { family: family.name, group: family.frames, now: frames, to }, [length, to])
  }
}

function suggestByText(chosen: Chosen, { family, speed }: Known, text: string, suggest: Suggest) {
  if (family.english && isChinese(text)) suggest('suggest.english', { family: family.name })
  const tokens = tokensIn(text)
  if (family.clipOnly && playing(chosen, 'prompt').length === 1 && tokens > 85)
    suggest('suggest.long', { tokens, family: family.name })
  const spells = spelt.test(text) && family.frames === undefined
  if (spells && family.misspells) suggest('suggest.words-poor', { family: family.name })
  if (speed || family.distilled || family.edits) return
  const [steps, ...moreSteps] = playing(chosen, 'steps')
  if (
    spelt.test(text) &&
    !family.misspells &&
    steps &&
    moreSteps.length === 0 &&
    Number(chosenValue(chosen, steps)) < family.steps.balanced
  )
    suggest('suggest.words', {}, [steps, family.steps.balanced])
  const isPhoto = photo.test(text)
  const isDrawing = drawing.test(text)
  if (isPhoto === isDrawing) return
  const range = family.guidance ?? family.cfg
  const [knob, ...others] = playing(chosen, family.guidance ? 'guidance' : 'cfg')
  if (!range || !knob || others.length > 0) return
  const [best, low, high] = range
  const now = Number(chosenValue(chosen, knob))
  const tidy = (value: number) => Math.round(value * 2) / 2
  if (!isWithin(now, range)) return
  if (isPhoto && now > best) suggest('suggest.photo', {}, [knob, tidy((low + best) / 2)])
  if (isDrawing && now < best) suggest('suggest.drawing', {}, [knob, tidy((best + high) / 2)])
}

function suggestNegative(chosen: Chosen, known: Known | null, suggest: Suggest) {
  const negative = playing(chosen, 'negative').some((one) => String(chosenValue(chosen, one)).trim() !== '')
  const cfgs = playing(chosen, 'cfg').map((one) => Number(chosenValue(chosen, one)))
  if (!negative || cfgs.length === 0 || cfgs.some((cfg) => cfg !== 1)) return
  if (known) suggest('suggest.negative-unused', { cfg: 1, family: known.family.name })
  else suggest('suggest.negative-unused-here', { cfg: 1 })
}
