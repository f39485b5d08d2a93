/**
 * How often the package of a class that is not there is told right: public graphs whose nodes say where they are from
 * (`cnr_id`, `aux_id`), which is taken away before anybody is asked. Graphs and the Manager's lists are read where they
 * lie and never kept here; the registry, which is asked about the rest, is not asked. A package that no list knows counts apart; each class of a package counts once.
 *
 *   npm run needs:packs -- --graphs FOLDER --lists FOLDER [--wrong 20]
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { isJsonObject, type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { keyOf, readPacks } from '../../core/domain/custom-nodes/packs.ts'
import { withPacks } from '../../core/domain/workflow/node-packs.ts'

const { values } = parseArgs({
  options: { graphs: { type: 'string' }, lists: { type: 'string' }, wrong: { type: 'string', default: '20' } },
})
const { graphs, lists } = values
if (!graphs || !lists) throw new Error('give --graphs FOLDER of workflows and --lists FOLDER of the lists')

const listed = (name: string) => parseJson(readFileSync(path.join(lists, `${name}.json`), 'utf8'))
const packs = readPacks({
  map: listed('extension-node-map'),
  list: listed('custom-node-list'),
  stats: listed('github-stats'),
})

/** Those of the page alone, which no package brings. */
const OF_THE_PAGE = /^(?:GetNode|SetNode|Reroute|PrimitiveNode|Note|MarkdownNote)$/

function* nodesOf(value: Json): Iterable<JsonObject> {
  if (Array.isArray(value)) for (const each of value) yield* nodesOf(each)
  else if (isJsonObject(value)) {
    if (typeof value.type === 'string' && isJsonObject(value.properties)) yield value
    for (const each of Object.values(value)) yield* nodesOf(each!)
  }
}

const alike = (name: string) => name.toLowerCase().replaceAll('_', '-')
const meant = (registryId: string, repository: string) =>
  packs.find(({ key }) => repository !== '' && key === keyOf(`https://github.com/${repository}`)) ??
  packs.find((pack) => registryId !== '' && pack.registryId?.toLowerCase() === registryId.toLowerCase()) ??
  packs.find(({ key }) => registryId !== '' && alike(key.replace(/^.*\//, '')) === alike(registryId))

const seen = new Set<string>()
const wrong: string[] = []
const counts = { classes: 0, right: 0, none: 0, ties: 0, tiesRight: 0, unlisted: 0 }
for (const entry of readdirSync(graphs, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith('.json')) continue
  let graph: Json
  try {
    graph = parseJson(readFileSync(path.join(entry.parentPath, entry.name), 'utf8'))
  } catch {
    continue // no graph
  }
  const truths = new Map<string, Set<string>>()
  for (const { type, properties } of nodesOf(graph)) {
    const { cnr_id, aux_id } = properties as JsonObject
    const [id, repository] = [cnr_id, aux_id].map((said) => (typeof said === 'string' ? said : ''))
    if ((id || repository) && id !== 'comfy-core' && !OF_THE_PAGE.test(String(type)))
      truths.set(String(type), (truths.get(String(type)) ?? new Set()).add(writeJson([id!, repository!])))
  }
  const needs = [...truths.keys()].map((classType) => ({ classType, candidates: [], packs: [] }))
  for (const { classType, packs: told } of withPacks(needs, packs)) {
    const said = [...truths.get(classType)!]
    const once = `${classType} ${said.toSorted().join(' ')}`
    if (seen.has(once)) continue
    seen.add(once)
    const right = said.flatMap((each) => meant(...(parseJson(each) as [string, string]))?.id ?? [])
    if (right.length === 0) {
      counts.unlisted++
      continue
    }
    counts.classes++
    const [first, second] = told
    const isRight = first !== undefined && right.includes(first.id)
    if (!first) counts.none++
    else if (second?.why === first.why) {
      counts.ties++
      if (isRight) counts.tiesRight++
    }
    if (isRight) counts.right++
    else wrong.push(`${classType}: ${right.join(', ')}; told ${told.map(({ id }) => id).join(', ') || 'none'}`)
  }
}
const top1 = counts.classes === 0 ? 0 : counts.right / counts.classes
console.log(writeJson({ packs: packs.length, ...counts, top1: Math.round(top1 * 1e4) / 1e4 }))
for (const line of wrong.slice(0, Number(values.wrong))) console.log(line)
if (top1 < 0.95) process.exitCode = 1
