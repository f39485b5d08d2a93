/**
 * How well the folder and source of a model are told when a workflow does not say them: public graphs whose
 * `properties.models` do, with those and all notes taken out before they are read. The graphs, and another's list of
 * models, are read where they lie and never kept here. In every column only what is taken without asking counts as an
 * answer.
 *
 *   npm run needs:check -- FOLDER [--manager model-list.json] [--graphs 50] [--places FOLDER]
 *
 * `--places`: graphs that nobody is tested on, and whose places of a file are right answers too.
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { MockAgent } from 'undici'
import type { FileRef } from '../../core/contract/hub.ts'
import { isJsonObject, type Json, type JsonObject, parseJson, writeJson } from '../../core/contract/json.ts'
import { folderKind } from '../../core/domain/workflow/sources.ts'
import { bundledDefinitions } from '../../core/engine/definitions.ts'
import type { HubNetwork } from '../../core/engine/hubs/ask.ts'
import { readMeant, sameFile } from '../../core/engine/hubs/link.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import { Catalogue } from '../../main/services/catalogue.ts'
import { inspectFile } from '../../main/services/read-import.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { manager: { type: 'string' }, graphs: { type: 'string', default: '50' }, places: { type: 'string' } },
})
const [folder] = positionals
if (!folder) throw new Error('give the folder of workflows')

type Truth = { name: string; folder: string; ref: FileRef }
type Graph = { file: string; stripped: string; truths: Truth[] }

const hub = parseJson(readFileSync(path.resolve('resources/mirrors.json'), 'utf8')) as {
  kinds: { huggingface: { official: string } }
}
const hosts = [{ hub: 'huggingface', base: hub.kinds.huggingface.official, official: true }] as const

function* nodesOf(value: Json): Iterable<JsonObject> {
  if (Array.isArray(value)) for (const each of value) yield* nodesOf(each)
  else if (isJsonObject(value)) {
    if (typeof value.type === 'string' && isJsonObject(value.properties)) yield value
    for (const each of Object.values(value)) yield* nodesOf(each!)
  }
}

function readGraph(from: string, file: string): Graph | null {
  const graph = parseJson(readFileSync(path.join(from, file), 'utf8'))
  if (!isJsonObject(graph) || !Array.isArray(graph.nodes)) return null
  const truths: Truth[] = []
  for (const node of nodesOf(graph)) {
    const { models } = node.properties as JsonObject
    for (const model of Array.isArray(models) ? models : []) {
      const { name, url, directory } = model as Record<string, string>
      const meant = readMeant(url ?? '', hosts)
      if (name && directory && meant?.is === 'file') truths.push({ name, folder: directory, ref: meant.ref })
    }
    delete (node.properties as JsonObject).models
    if (node.type === 'MarkdownNote' || node.type === 'Note') node.widgets_values = ['']
  }
  delete graph.models
  return truths.length === 0 ? null : { file, stripped: writeJson(graph), truths }
}

const readGraphs = (from: string) =>
  readdirSync(from)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .flatMap((file) => readGraph(from, file) ?? [])
const all = readGraphs(folder)
const others = values.places === undefined ? [] : readGraphs(values.places)
const wanted = Math.min(Number(values.graphs), all.length)
const some = Array.from({ length: wanted }, (_, at) => all[Math.floor((at * all.length) / wanted)]!)

/** Names that several graphs give at several places: any of them is a right answer there. */
const placesOf = new Map<string, FileRef[]>()
for (const { truths } of [...all, ...others])
  for (const { name, ref } of truths)
    placesOf.set(name.toLowerCase(), [...(placesOf.get(name.toLowerCase()) ?? []), ref])

/** Answers as the hub would, if it held nothing but what the graphs name. */
function hubOf(graphs: readonly Graph[]): HubNetwork['cache'] {
  const repos = new Map<string, Set<string>>()
  for (const { truths } of graphs)
    for (const { ref } of truths)
      if (ref.hub === 'huggingface') repos.set(ref.repo, (repos.get(ref.repo) ?? new Set()).add(ref.path))
  const answer = (json: unknown) => ({ at: 0, text: writeJson({ json, next: null }) })
  return {
    get(key) {
      const [, asked] = /^huggingface GET (\S+)/.exec(key) ?? []
      const url = asked === undefined ? null : URL.parse(asked, hosts[0].base)
      if (!url) return null
      const author = url.searchParams.get('author')
      if (author !== null)
        return answer(
          [...repos].flatMap(([id, paths]) =>
            id.startsWith(`${author}/`) ? [{ id, siblings: [...paths].map((rfilename) => ({ rfilename })) }] : [],
          ),
        )
      const [, id = ''] = /^\/api\/models\/([^/]+\/[^/]+)\/revision\//.exec(url.pathname) ?? []
      const paths = repos.get(id)
      return paths
        ? answer({ id, sha: 'c'.repeat(40), siblings: [...paths].map((rfilename) => ({ rfilename, size: 1 })) })
        : null
    },
    set() {},
  }
}

const silent: HubNetwork['cache'] = { get: () => null, set() {} }
/** Nobody is asked: what is not in the cache fails at once. */
const unplugged = new MockAgent()
unplugged.disableNetConnect()
const network = (cache: HubNetwork['cache']): HubNetwork => ({
  dispatcherFor: () => unplugged,
  hosts: () => hosts,
  tokenFor: () => null,
  cache,
  now: () => 1,
  userAgent: 'check',
})

const manager = values.manager === undefined ? undefined : parseJson(readFileSync(values.manager, 'utf8'))
const own = readFileSync(path.resolve('resources/models.json'), 'utf8')
const noOwn = writeJson({ publishers: JSON.parse(own).publishers, models: [] })

const catalogueOf = (ownList: string, managerList: Json | undefined, cache: HubNetwork['cache']) =>
  new Catalogue({
    network: network(cache),
    own: async () => ownList,
    manager: async () => ({ list: managerList, from: { fetchedAt: null, url: null, licence: '', because: null } }),
    shelf: {
      roots: () => [],
      folderFor: (_engine, kind) => path.join('/models', kind),
      bySha256: () => null,
      byName: () => null,
      page: () => ({ rows: [], total: 0, bytes: 0 }),
      takeIn: async () => null,
      sha256Of: async () => '',
    },
    downloads: {
      add: () => {
        throw new Error('nothing is fetched')
      },
      open: () => [],
      cameFrom: () => [],
    },
    needsOf: async () => [],
  })

async function measure(graphs: readonly Graph[], catalogue: Catalogue) {
  const said = { needs: 0, folders: 0, answered: 0, exact: 0, right: 0, asked: 0, unknown: 0, unlabelled: 0 }
  const wrong = new Set<string>()
  for (const { file, stripped, truths } of graphs) {
    const { models } = inspectFile(file, bytesSource(Buffer.from(stripped)), {
      ...bundledDefinitions(),
      from: 'bundled',
    })
    const known = models.filter(({ file: name }) => truths.some((truth) => sameName(truth.name, name)))
    const { rows } = await catalogue.plan({ items: [], needs: known, choices: {} })
    for (const row of rows) {
      const mine = truths.filter(({ name }) => sameName(name, row.name))
      said.needs += 1
      if (mine.some((truth) => folderKind(truth.folder) === folderKind(row.folder ?? ''))) said.folders += 1
      else wrong.add(`${file}: folder of ${row.name} is ${mine.map((truth) => truth.folder).join()}, not ${row.folder}`)
      const chosen = row.chosen === null ? undefined : row.candidates[row.chosen]
      said.unlabelled += row.candidates.filter(({ sure }) => !sure).length
      if (!chosen) {
        if (row.state.is === 'unknown') said.unknown += 1
        else said.asked += 1
        continue
      }
      said.answered += 1
      if (mine.some(({ ref }) => sameFile(ref, chosen.ref))) said.exact += 1
      if ((placesOf.get(baseName(row.name)) ?? []).some((ref) => sameFile(ref, chosen.ref))) said.right += 1
      else wrong.add(`${row.name}: ${writeJson(chosen.ref)}`)
    }
  }
  return { said, wrong }
}
const baseName = (name: string) => name.replaceAll('\\', '/').replace(/^.*\//s, '').toLowerCase()
const sameName = (one: string, other: string) => baseName(one) === baseName(other)
const percent = (part: number, whole: number) => (whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`)

/** Of those graphs whose truths our own list was not written from, nothing can be said: it was written after all of them. */
const ways: [string, Catalogue][] = [
  ['our list', catalogueOf(own, undefined, silent)],
  ['Manager’s list alone', catalogueOf(noOwn, manager, silent)],
  ['both lists', catalogueOf(own, manager, silent)],
  ['hub by name alone (as the graphs tell of it)', catalogueOf(noOwn, undefined, hubOf(all))],
  ['lists, then hub', catalogueOf(own, manager, hubOf(all))],
]
for (const graphs of [some, all]) {
  console.log(`\n${graphs.length} graphs of ${all.length}`)
  for (const [name, catalogue] of ways) {
    const { said, wrong } = await measure(graphs, catalogue)
    const { needs, folders, answered, exact, right, asked, unknown, unlabelled } = said
    console.log(
      `  ${name}: ${needs} files; right folder ${percent(folders, needs)}; answered ${percent(answered, needs)}, ` +
        `of these at the very place ${percent(exact, answered)}, at a place some graph names ${percent(right, answered)}; ` +
        `asked ${asked}, unknown ${unknown}, without a label ${unlabelled}`,
    )
    if (graphs === some) for (const line of wrong) console.log(`    ${line}`)
  }
}
