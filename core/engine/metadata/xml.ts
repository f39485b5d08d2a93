import type { Texts } from './text.ts'

/** What stands in the elements of an XMP packet or an SVG, by element; a list item counts to what the list belongs to. */
export function readXmp(xml: string, texts: Texts) {
  for (const { name, text } of xmlTexts(xml)) texts.putLoose(name, text)
}

const MOST_DEPTH = 200
const WORTH_KEEPING = /[{[]|Steps: /
const ATTRIBUTE = /([\w:.-]{1,100})\s{0,9}=\s{0,9}(?:"([^"]*)"|'([^']*)')/g

/** One pass, whatever the text: no entities of its own, no checking. Only texts that may hold JSON or parameters. */
function* xmlTexts(xml: string): Generator<{ name: string; text: string }> {
  const open: string[] = []
  const worth = (text: string) => WORTH_KEEPING.test(text)
  const here = () => open.findLast((name) => !/^(li|Alt|Seq|Bag|Description)$/.test(name)) ?? 'xml'
  let text = ''
  const ended = function* () {
    if (worth(text)) yield { name: here(), text: text.trim() }
    text = ''
  }
  for (let at = 0; at < xml.length; ) {
    const tag = xml.indexOf('<', at)
    text += unescaped(xml.slice(at, tag < 0 ? xml.length : tag))
    if (tag < 0) break
    if (xml.startsWith('<![CDATA[', tag)) {
      const end = xml.indexOf(']]>', tag)
      text += xml.slice(tag + 9, end < 0 ? xml.length : end)
      at = end < 0 ? xml.length : end + 3
      continue
    }
    if (xml.startsWith('<!--', tag)) {
      const end = xml.indexOf('-->', tag)
      const comment = xml.slice(tag + 4, end < 0 ? xml.length : end)
      if (worth(comment)) yield { name: 'comment', text: comment.trim() }
      at = end < 0 ? xml.length : end + 3
      continue
    }
    const end = endOfTag(xml, tag)
    const inside = xml.slice(tag + 1, end)
    at = end + 1
    yield* ended()
    if (inside.startsWith('/')) open.pop()
    else if (/^[A-Za-z_]/.test(inside)) {
      if (worth(inside))
        for (const [, key = '', double, single] of inside.matchAll(ATTRIBUTE)) {
          const value = unescaped(double ?? single ?? '')
          if (worth(value)) yield { name: localName(key), text: value }
        }
      if (!inside.endsWith('/') && open.length < MOST_DEPTH) open.push(localName(/^[^\s/>]+/.exec(inside)![0]))
    }
  }
  yield* ended()
}

/** A `>` within quotes does not end a tag. */
function endOfTag(xml: string, from: number): number {
  let quote = ''
  for (let at = from + 1; at < xml.length; at++) {
    const letter = xml[at]!
    if (quote !== '') {
      if (letter === quote) quote = ''
    } else if (letter === '>') return at
    else if (letter === '"' || letter === "'") quote = letter
  }
  return xml.length
}

const localName = (name: string) => name.slice(name.indexOf(':') + 1).slice(0, 100)

const ENTITIES: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }
const unescaped = (text: string) =>
  text.includes('&')
    ? text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(lt|gt|amp|quot|apos));/gi, (whole, hex, decimal, name) => {
        if (name) return ENTITIES[name.toLowerCase()]!
        const code = Number.parseInt(hex ?? decimal, hex ? 16 : 10)
        return code <= 0x10ffff ? String.fromCodePoint(code) : whole
      })
    : text
