import { isJsonObject, type JsonObject } from '../../core/contract/json.ts'
import { type Feature, features } from './features.ts'

export interface Result {
  name: string
  is: 'equal' | 'differing' | 'not exportable'
  features: Feature[]
  nodes: number
  differences: string[]
  /** Titles are compared, and counted apart. */
  titles: string[]
  /** Losses our conversion tells of, for which it would not run. */
  refused: string[]
  error?: string
}
export interface Collection {
  name: string
  results: Result[]
  /** JSON that is no workflow: an index, a list of options. */
  others: string[]
}

const outcomes = ['equal', 'differing', 'not exportable'] as const

function counts(results: Result[]) {
  return outcomes.map((is) => results.filter((result) => result.is === is).length)
}

export function summary(collections: Collection[]): string {
  return collections
    .map(({ name, results, others }) => {
      const lines = [`${name}: ${results.length} workflows, ${others.length} other files`]
      for (const is of outcomes) {
        const these = results.filter((result) => result.is === is)
        const names = is === 'equal' ? '' : these.map((one) => `\n    ${one.name}`).join('')
        lines.push(`  ${is.padEnd(15)}${these.length}${names}`)
      }
      for (const feature of features) {
        const these = results.filter((result) => result.features.includes(feature))
        const [equal, differing, not] = counts(these)
        lines.push(`  with ${feature}: ${these.length}, equal ${equal}, differing ${differing}, not exportable ${not}`)
      }
      lines.push(`  titles differ in ${results.filter(({ titles }) => titles.length > 0).length}`)
      const refused = results.filter(({ refused }) => refused.length > 0)
      lines.push(`  refused by our conversion: ${refused.length}${refused.map(({ name }) => `\n    ${name}`).join('')}`)
      return lines.join('\n')
    })
    .join('\n')
}

const table = (rows: (string | number)[][]) => {
  const [head = [], ...body] = rows
  const rule = head.map((_, column) => (column === 0 ? '---' : '--:'))
  return [head, rule, ...body].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
const listed = (results: Result[], line: (result: Result) => string) =>
  results.map((result) => `- \`${result.name}\`: ${line(result)}`).join('\n')

/** docs/fidelity.md: totals, and every workflow by name. */
export function report(collections: Collection[], facts: { stats: JsonObject; declared: string[] }): string {
  const { comfyui_version, comfy_package_versions } = facts.stats
  const packages = Array.isArray(comfy_package_versions) ? comfy_package_versions.filter(isJsonObject) : []
  const versions = packages
    .filter(({ name }) => /frontend|templates/.test(String(name)))
    .map(({ name, installed }) => `${name} ${installed}`)
  const totals = table([
    ['Collection', 'Workflows', 'Equal', 'Differing', 'Not exportable', 'Titles differ', 'Refused'],
    ...collections.map(({ name, results }) => [
      name,
      results.length,
      ...counts(results),
      results.filter(({ titles }) => titles.length > 0).length,
      results.filter(({ refused }) => refused.length > 0).length,
    ]),
  ])
  const byFeature = collections.flatMap(({ name, results }) =>
    features.flatMap((feature) => {
      const these = results.filter((result) => result.features.includes(feature))
      return these.length === 0 ? [] : [[name, feature, these.length, ...counts(these)]]
    }),
  )
  return `# Fidelity

Is the prompt we convert a workflow to the one today's editor exports? Measured with

\`\`\`sh
npm run fidelity -- --comfyui URL --templates DIR --docs docs/fidelity.md
\`\`\`

against ComfyUI ${comfyui_version} (${versions.join(', ')}). This page is written by that command.

## Totals

${totals}

- **Equal**: the same nodes, classes, links and values, node by node. An integer beyond 2^53 is compared as the double the
  editor reads it as; ours keeps every digit. Nothing else is let pass.
- **Not exportable**: the editor gives an error, or another value at each export (a picture it takes while exporting).
- **Titles differ**: \`_meta.title\` of a node whose title nobody changed. The editor takes it from its own translations,
  we from the server's definition. Titles are not part of what runs.
- **Refused**: our conversion tells of a loss and does not run without \`--allow-loss\`.

${table([['Collection', 'With', 'Workflows', 'Equal', 'Differing', 'Not exportable'], ...byFeature])}

## Method

- Every JSON under DIR that holds a workflow counts; the others (indexes, options) are named below.
- The editor is the one the server serves, in Chromium, with its settings as they come. Each workflow is opened with its
  own \`loadGraphData\` as a template is, and exported with its own \`graphToPrompt\`. Requests that would change the
  server are answered in its place.
- Our conversion gets the very same \`object_info\`.
- Classes the server lacks are declared to the editor through its request for \`object_info\`, and to our conversion, from
  what the workflows say of them: ${facts.declared.map((type) => `\`${type}\``).join(', ') || 'none'}.
- What differs is exported once more in a new page, so that nothing another workflow left there counts.
- An editor's own file that repeats a number in two graphs gets new numbers when it is opened; so it does with us.
- Group nodes of old are made into subgraphs with new numbers when today's editor opens them, and of a connection that
  enters several of their nodes it keeps one. Ours are converted as the editors did that had them, which is what the
  prompts beside such workflows say; here they count as differing.
- Where an instance of a subgraph stores null for a value it shows, today's editor exports null, which no server takes; we
  export the value inside. Here that counts as differing.
- Text replacements of the moment of queueing (\`{a|b}\`, dates in file names) are left to the batch.
${collections.map(chapter).join('')}`
}

function chapter({ name, results, others }: Collection): string {
  const those = (is: Result['is']) => results.filter((result) => result.is === is)
  const [equal, differing, not] = outcomes.map(those) as [Result[], Result[], Result[]]
  const refused = results.filter((one) => one.refused.length > 0)
  const parts = [
    `\n## ${name}\n`,
    differing.length > 0 ? `Differing:\n\n${listed(differing, ({ differences }) => differences.join('; '))}\n` : '',
    not.length > 0 ? `Not exportable:\n\n${listed(not, ({ error = '' }) => error.split('\n')[0] ?? '')}\n` : '',
    refused.length > 0 ? `Refused:\n\n${listed(refused, (one) => one.refused.join(' '))}\n` : '',
    `<details><summary>Equal: ${equal.length}</summary>\n\n${equal.map((one) => one.name).join(', ')}\n\n</details>\n`,
    others.length > 0 ? `No workflows: ${others.join(', ')}\n` : '',
  ]
  return parts.filter((part) => part !== '').join('\n')
}
