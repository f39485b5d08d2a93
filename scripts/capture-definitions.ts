/**
 * Captures what the nodes of a running ComfyUI look like into resources/object-info.json: node scripts/capture-definitions.ts URL
 * Words that only help a person reading the editor are left out, and so are the names of models and files on that machine.
 */
import { writeFileSync } from 'node:fs'
import { isJsonObject, type Json, type JsonObject, parseJsonWithFloats, writeJson } from '../core/contract/json.ts'

const base = process.argv[2]
if (!base) throw new Error('usage: node scripts/capture-definitions.ts URL')
const get = async (path: string) => parseJsonWithFloats(await (await fetch(new URL(path, base))).text()) as JsonObject

const PROSE = new Set(['tooltip', 'description', 'output_tooltips', 'search_aliases', 'price_badge', 'placeholder'])
const RENDERED = new Set(['essentials_category', 'dev_only', 'has_intermediate_output', 'is_input_list'])
const local = new Set<Json>()
for (const folder of (await get('/models')) as unknown as string[])
  for (const file of (await get(`/models/${folder}`)) as unknown as string[]) local.add(file)

/** In place, so that what was written as a float is written so again. */
function strip<T extends Json>(value: T, node: boolean): T {
  if (Array.isArray(value)) {
    for (let at = value.length - 1; at >= 0; at--) if (local.has(value[at]!)) value.splice(at, 1)
    for (const item of value) strip(item, false)
  } else if (isJsonObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      const prose = PROSE.has(key) && (node || (!isJsonObject(item) && !Array.isArray(item)))
      const rendered = RENDERED.has(key) && (item === false || key === 'essentials_category')
      if (prose || rendered || item === null || (key === 'default' && local.has(item))) delete value[key]
      else strip(item, false)
    }
  }
  return value
}

const stats = (await get('/system_stats')) as { system: { comfyui_version: string } }
const definitions = Object.entries(await get('/object_info')).map(([name, node]) => [name, strip(node, true)] as const)
const lines = definitions.map(([name, node]) => `${writeJson(name)}:${writeJson(node)}`).join(',\n')
writeFileSync(
  new URL('../resources/object-info.json', import.meta.url),
  `{"version":${writeJson(stats.system.comfyui_version)},"definitions":{\n${lines}\n}}\n`,
)
