import type { Editor } from './editor.ts'

/** What the editor made of a file; `places`: where each node of the root graph lies, rounded. */
export type Reopened = { prompt: string; places: Record<string, [number, number]> } | { error: string }

/** The part of the editor's own page that is used here; it lives in the browser. */
interface EditorWindow {
  app?: {
    handleFile: (file: File) => Promise<void>
    graphToPrompt: () => Promise<{ output: unknown }>
    rootGraph: { nodes: { id: number | string; pos: ArrayLike<number> }[] }
  }
}

const TIMEOUT_MS = 60_000

/** As a person would: a file dropped on the canvas, then exported for the API. */
export async function openFile(
  editor: Editor,
  { name, mediaType, bytes }: { name: string; mediaType: string; bytes: Uint8Array },
): Promise<Reopened> {
  const page = await editor.page()
  const base64 = Buffer.from(bytes).toString('base64')
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Reopened>((resolve) => {
    timer = setTimeout(() => resolve({ error: `nothing came within ${TIMEOUT_MS / 1000} s` }), TIMEOUT_MS)
  })
  const opened = page.evaluate(openInPage, { name, mediaType, base64 }).catch(({ message }) => ({ error: message }))
  const result = await Promise.race([opened, late])
  clearTimeout(timer)
  if ('error' in result) await editor.reopen()
  return result
}

async function openInPage({
  name,
  mediaType,
  base64,
}: Record<'name' | 'mediaType' | 'base64', string>): Promise<Reopened> {
  const { app } = window as EditorWindow
  if (!app) return { error: 'the editor is gone' }
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
  await app.handleFile(new File([bytes], name, { type: mediaType }))
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
  const { output } = await app.graphToPrompt()
  const places = app.rootGraph.nodes.map(({ id, pos }) => [id, [Math.round(pos[0]!), Math.round(pos[1]!)]])
  return { prompt: JSON.stringify(output), places: Object.fromEntries(places) }
}

/** What the editor on the page would send; null: it shows nothing yet. */
export async function exportInPage(): Promise<string | null> {
  const { app } = window as EditorWindow
  if (!app || app.rootGraph.nodes.length === 0) return null
  return JSON.stringify((await app.graphToPrompt()).output)
}
