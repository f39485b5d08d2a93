import { AppError } from '../../contract/errors.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import { isManagerSnapshot } from '../custom-nodes/manager-snapshot.ts'

/**
 * JSON that people take for a workflow and is none, each refused in its own words.
 * @throws AppError 'import.other-program', 'import.template-index', 'import.node-templates', 'import.run-record',
 * 'import.object-info', 'import.node-snapshot'
 */
export function refuseOtherKinds(name: string, value: Json) {
  if (Array.isArray(value)) {
    const items = value.filter(isJsonObject)
    if (items.length === 0 || items.length < value.length) return
    if (items.every(isTemplateCategory)) throw new AppError('import.template-index', { name })
    if (
      items.every(({ id, type, wires, z }) => id !== undefined && type !== undefined && (wires || z || type === 'tab'))
    )
      throw new AppError('import.other-program', { name, program: 'Node-RED' })
    return
  }
  if (!isJsonObject(value)) return
  const program = programOf(value)
  if (program !== null) throw new AppError('import.other-program', { name, program })
  if (isManagerSnapshot(value)) throw new AppError('import.node-snapshot', { name })
  if (isNodeTemplates(value)) throw new AppError('import.node-templates', { name })
  if (isTemplateCategory(value)) throw new AppError('import.template-index', { name })
  const items = Object.values(value)
  if (items.length > 0 && items.every(isProgress)) throw new AppError('import.run-record', { name })
  if (items.length > 0 && items.every(isDefinition)) throw new AppError('import.object-info', { name })
}

/** ComfyUI's list of templates, or one category of it. */
const isTemplateCategory = ({ templates }: JsonObject) =>
  Array.isArray(templates) && templates.length > 0 && templates.every((one) => isJsonObject(one) && 'name' in one)
/** Pieces an old editor saved: `{templates: [{name, data}]}`. */
const isNodeTemplates = (value: JsonObject) =>
  isTemplateCategory(value) && (value.templates as JsonObject[]).every(({ data }) => typeof data === 'string')
/** How far a node came: `{max, value, start, last_updated, images}`. */
const isProgress = (item: Json) =>
  isJsonObject(item) && 'max' in item && 'value' in item && ('last_updated' in item || 'images' in item)
const isDefinition = (item: Json) =>
  isJsonObject(item) && isJsonObject(item.input) && Array.isArray(item.output) && 'output_node' in item

/** Whose graph it is; null: ComfyUI's, or no graph. */
function programOf(value: JsonObject): string | null {
  const { nodes, edges, connections, links } = value
  const list = Array.isArray(nodes) ? nodes.filter(isJsonObject) : []
  if (isJsonObject(value.data) && Array.isArray(value.data.nodes) && Array.isArray(value.data.edges)) return 'Langflow'
  if (value.app !== undefined && value.kind === 'app' && isJsonObject(value.workflow)) return 'Dify'
  if (
    isJsonObject(connections) &&
    list.some(({ parameters, type }) => parameters !== undefined && /\./.test(String(type)))
  )
    return 'n8n'
  if ((Array.isArray(edges) || isJsonObject(edges)) && links === undefined) {
    const invoked = Array.isArray(nodes) ? list : isJsonObject(nodes) ? Object.values(nodes).filter(isJsonObject) : []
    if (invoked.some(({ type, data }) => type === 'invocation' || (isJsonObject(data) && 'nodePack' in data)))
      return 'InvokeAI'
    if (invoked.some(({ class_type }) => class_type !== undefined)) return null
    if (isJsonObject(nodes) && invoked.some(({ is_intermediate, use_cache }) => is_intermediate ?? use_cache))
      return 'InvokeAI'
    if (invoked.some(({ data }) => isJsonObject(data) && isJsonObject(data.node))) return 'Langflow'
    if (invoked.length > 0) return 'another node editor'
  }
  // Litegraph comes with its own nodes; ComfyUI has none of them.
  if (
    list.length > 0 &&
    list.every(({ type }) => /^(basic|math|math3d|events|widget|graph|logic|network|graphics)\/\w/.test(String(type)))
  )
    return 'another LiteGraph editor'
  return null
}
