import type { FileReference, HistoryEntry, NodeId } from '../../contract/comfyui.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'

/** A file, or a piece of text, that a node of the prompt gave out. */
export type Output =
  | {
      readonly is: 'file'
      readonly node: NodeId
      /** Its place among the node's outputs. */
      readonly index: number
      /** What the node calls its list: images, gifs, audio, 3d … */
      readonly key: string
      readonly file: FileReference
    }
  | { readonly is: 'text'; readonly node: NodeId; readonly index: number; readonly text: string }

/**
 * All that a history entry names, whatever a node calls its lists. Temporary files count only when nothing was saved,
 * as in a workflow that only previews. `urls`: where the files of each node are had, in their order, if not by name.
 * Pure.
 */
export function collectOutputs(
  outputs: HistoryEntry['outputs'],
  urls: Readonly<Record<NodeId, readonly string[]>> = {},
): Output[] {
  const found: Output[] = []
  for (const [node, lists] of Object.entries(outputs)) {
    if (!isJsonObject(lists)) continue
    let index = 0
    let files = 0
    for (const [key, list] of Object.entries(lists)) {
      if (!Array.isArray(list)) continue
      for (const item of list) {
        const file = fileIn(item)
        if (file) {
          const url = urls[node]?.[files++]
          found.push({ is: 'file', node, index: index++, key, file: url === undefined ? file : { ...file, url } })
        } else if (key === 'text' && typeof item === 'string' && item !== '')
          found.push({ is: 'text', node, index: index++, text: item })
      }
    }
  }
  const saved = found.some((output) => output.is === 'file' && output.file.type === 'output')
  return found.filter((output) => output.is === 'text' || output.file.type === (saved ? 'output' : 'temp'))
}

function fileIn(item: Json): FileReference | null {
  if (!isJsonObject(item) || typeof item.filename !== 'string' || item.filename === '') return null
  const { filename, subfolder, type } = item as JsonObject & { filename: string }
  return {
    filename,
    subfolder: typeof subfolder === 'string' ? subfolder : '',
    type: type === 'temp' || type === 'input' ? type : 'output',
  }
}
