import type { ObjectInfo } from '../../core/contract/comfyui.ts'
import { isJsonObject, type JsonObject, writeJson } from '../../core/contract/json.ts'
import { nodesOf } from './declare.ts'

export const features = [
  'subgraphs',
  'promoted widgets',
  'autogrow',
  'dynamic combos',
  'group nodes',
  'primitives and reroutes',
] as const
export type Feature = (typeof features)[number]

/** What is hard to convert in a workflow. */
export function featuresOf(workflow: JsonObject, definitions: ObjectInfo): Feature[] {
  const nodes = nodesOf(workflow)
  const { subgraphs } = isJsonObject(workflow.definitions) ? workflow.definitions : {}
  const ids = new Set(Array.isArray(subgraphs) ? subgraphs.flatMap((one) => (isJsonObject(one) ? [one.id] : [])) : [])
  const instances = nodes.filter(({ type }) => typeof type === 'string' && ids.has(type))
  const declares = (type: string) =>
    nodes.some((node) => {
      const definition = typeof node.type === 'string' && Object.hasOwn(definitions, node.type)
      return definition && writeJson(definitions[node.type as string]!.input).includes(`"${type}"`)
    })
  const has: Record<Feature, boolean> = {
    subgraphs: instances.length > 0,
    'promoted widgets': instances.some(isPromoting),
    autogrow: declares('COMFY_AUTOGROW_V3'),
    'dynamic combos': declares('COMFY_DYNAMICCOMBO_V3'),
    'group nodes': nodes.some(({ type }) => typeof type === 'string' && /^workflow[/>]/.test(type)),
    'primitives and reroutes': nodes.some(({ type }) => type === 'Reroute' || type === 'PrimitiveNode'),
  }
  return features.filter((feature) => has[feature])
}

function isPromoting({ inputs, properties, widgets_values }: JsonObject): boolean {
  const proxies = isJsonObject(properties) ? properties.proxyWidgets : null
  return (
    (Array.isArray(proxies) && proxies.length > 0) ||
    (Array.isArray(widgets_values) && widgets_values.length > 0) ||
    (Array.isArray(inputs) && inputs.some((input) => isJsonObject(input) && isJsonObject(input.widget)))
  )
}
