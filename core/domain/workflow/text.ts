import type { Prompt } from '../../contract/comfyui.ts'

/** Without `/* … *\/` and `// …` to the end of the line; as in the editor this takes the rest of an address too. */
export const stripComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n\r\u2028\u2029]*/g, '')

interface Choice {
  /** Where each alternative ends: the bars, then the closing brace or the end of the text. */
  readonly ends: number[]
}

/**
 * `{a|b}` becomes one of its alternatives, which may hold choices themselves; `\{`, `\}` and `\|` are plain characters.
 * A brace that is never closed closes at the end of the text.
 */
export function expandChoices(text: string, random: () => number): string {
  if (!/[{\\]/.test(text)) return text
  const choices = findChoices(text)
  const spans: [from: number, to: number][] = [[0, text.length]]
  let chosen = ''
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [from, to] = span
    let at = from
    while (at < to) {
      const choice = choices.get(at)
      if (choice) {
        const { ends } = choice
        const pick = Math.floor(random() * ends.length)
        spans.push([ends.at(-1)! + 1, to], [pick === 0 ? at + 1 : ends[pick - 1]! + 1, ends[pick]!])
        break
      }
      if (text[at] === '\\' && at + 1 < to && '{}|'.includes(text[at + 1]!)) at++
      chosen += text[at++]
    }
  }
  return chosen
}

/** Every `{` that opens a choice, by position, found in one pass however deep they nest. */
function findChoices(text: string): Map<number, Choice> {
  const choices = new Map<number, Choice>()
  const open: Choice[] = []
  for (let at = 0; at < text.length; at++) {
    const sign = text[at]
    if (sign === '\\') at++
    else if (sign === '{') {
      const choice = { ends: [] }
      choices.set(at, choice)
      open.push(choice)
    } else if (sign === '|') open.at(-1)?.ends.push(at)
    else if (sign === '}') open.pop()?.ends.push(at)
  }
  for (const choice of open) choice.ends.push(text.length)
  return choices
}

/** `d M h m s`, doubled for a leading zero, `yy` and `yyyy`; `H` is `h`, since both count to 23. */
export function formatDate(format: string, now: Date): string {
  const numbers: Record<string, number> = {
    d: now.getDate(),
    M: now.getMonth() + 1,
    h: now.getHours(),
    H: now.getHours(),
    m: now.getMinutes(),
    s: now.getSeconds(),
  }
  return format.replace(/yyyy|yy|([dMhHms])\1?/g, (found) => {
    if (found === 'yyyy') return String(now.getFullYear())
    if (found === 'yy') return String(now.getFullYear()).slice(-2)
    return String(numbers[found[0]!]).padStart(found.length, '0')
  })
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a file name may not hold them
const NOT_IN_A_FILE_NAME = /[/?<>\\:*|"\u0000-\u001f\u007f]/g

/**
 * `%date:FORMAT%`, and `%Node.widget%` with the value that widget has in `prompt`; the node goes by its title or class.
 * What names nothing, or more than one node, stays: the server has tokens of its own (`%width%`, `%year%` …).
 */
export function replaceTokens(text: string, { now, prompt }: { now: Date; prompt: Prompt }): string {
  return text.replace(/%(date:[^%\n]*|[^%\s][^%\n]*\.[^%\n]+)%/g, (whole, token: string) => {
    if (token.startsWith('date:')) return formatDate(token.slice(5), now)
    const dot = token.lastIndexOf('.')
    const value = widgetValue(prompt, token.slice(0, dot), token.slice(dot + 1))
    return value === undefined ? whole : value.replace(NOT_IN_A_FILE_NAME, '_')
  })
}

function widgetValue(prompt: Prompt, name: string, widget: string): string | undefined {
  const nodes = Object.values(prompt)
  const byClass = nodes.filter((node) => node.class_type === name)
  const named = byClass.length > 0 ? byClass : nodes.filter((node) => node._meta?.title === name)
  const value = named.length === 1 ? named[0]!.inputs[widget] : undefined
  if (value === undefined || value === null || typeof value === 'object') return undefined
  return String(value)
}
