import { type Browser, chromium, type Page } from 'playwright'
import type { ObjectInfo } from '../../core/contract/comfyui.ts'
import { type Json, parseJson, writeJson } from '../../core/contract/json.ts'
import { findBrowser } from '../../scripts/find-browser.ts'

/** What the editor made of a workflow: the text it would post to the server, or why it posts nothing. */
export type EditorExport = { prompt: string } | { error: string }

/** The part of the editor's own page that is used here; it lives in the browser. */
interface EditorWindow {
  app?: {
    rootGraph: {
      configure: (...args: unknown[]) => unknown
      add: (node: EditorNode) => void
      serialize: () => unknown
    }
    extensionManager: { spinner: boolean }
    loadGraphData: (graph: unknown, clean: boolean, view: boolean, name: string, options: object) => Promise<void>
    graphToPrompt: () => Promise<{ output: unknown }>
  }
  LiteGraph?: { registered_node_types: Record<string, unknown>; createNode: (type: string) => EditorNode | null }
}
interface EditorNode {
  constructor: { nodeData?: { input?: Record<string, Record<string, unknown>> } }
  widgets?: { name: string; value: unknown; options?: { values?: unknown } }[]
}

/** The real editor in a real browser, served by a ComfyUI at `url`, which it may read and not change. */
export class Editor {
  #url: string
  #browser: Browser | null = null
  #page: Page | null = null
  #declared: ObjectInfo = {}
  #loaded = 0
  /** How many workflows one page takes before it is opened anew; the editor keeps parts of each. */
  #perPage: number

  constructor(url: string, perPage = 20) {
    this.#url = url
    this.#perPage = perPage
  }

  /** Classes the server lacks; the editor is told of them as if it had them. */
  async declare(definitions: ObjectInfo) {
    this.#declared = definitions
    await this.reopen()
  }

  /** Types of nodes that exist without the server: notes, reroutes, primitives. */
  async ownTypes(): Promise<Set<string>> {
    const page = await this.#open()
    const types = await page.evaluate(() =>
      Object.keys((window as EditorWindow).LiteGraph?.registered_node_types ?? {}),
    )
    return new Set(types)
  }

  /** As a person would: opened as a template, then exported for the API. */
  async export(name: string, workflow: Json, timeoutMs: number): Promise<EditorExport> {
    if (this.#loaded >= this.#perPage) await this.reopen()
    const page = await this.#open()
    this.#loaded++
    const text = writeJson(workflow)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<EditorExport>((resolve) => {
      timer = setTimeout(() => resolve({ error: `nothing came within ${timeoutMs / 1000} s` }), timeoutMs)
    })
    const exported = page.evaluate(exportInPage, { name, text }).catch((cause: Error) => ({ error: cause.message }))
    const result = await Promise.race([exported, late])
    clearTimeout(timer)
    if ('error' in result) await this.reopen()
    return result
  }

  /** A new node of each class, and of each choice that brings other inputs, as the editor saves them. */
  async newNodes(types: string[]): Promise<Json> {
    const page = await this.#open()
    return parseJson(await page.evaluate(newNodesInPage, types))
  }

  /** The page that holds the editor, for one workflow more. */
  async page(): Promise<Page> {
    if (this.#loaded >= this.#perPage) await this.reopen()
    this.#loaded++
    return this.#open()
  }

  async reopen() {
    await this.#page?.context().close()
    this.#page = null
    this.#loaded = 0
  }

  async close() {
    await this.#browser?.close()
    this.#browser = null
    this.#page = null
  }

  async #open(): Promise<Page> {
    if (this.#page) return this.#page
    this.#browser ??= await chromium.launch({
      executablePath: await findBrowser(),
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--enable-unsafe-swiftshader'],
    })
    const context = await this.#browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US' })
    await context.route(
      (address) => !address.href.startsWith(this.#url),
      (route) => route.abort(),
    )
    await context.route('**/api/settings', (route) =>
      route.request().method() === 'GET' ? route.fulfill({ json: settings }) : route.fulfill({ json: {} }),
    )
    await context.route(/\/api\/(?!settings)/, (route) => {
      const request = route.request()
      if (request.method() === 'GET') return route.fallback()
      // An upload is answered as the server would; what the editor makes of it goes into its export.
      const name = /filename="([^"]*)"/.exec(request.postData() ?? '')?.[1]
      return route.fulfill({ json: name === undefined ? {} : { name, subfolder: '', type: 'temp' } })
    })
    await context.route('**/api/object_info', async (route) => {
      const answer = await route.fetch()
      const definitions = parseJson(await answer.text()) as object
      await route.fulfill({ response: answer, body: writeJson({ ...definitions, ...this.#declared }) })
    })
    const page = await context.newPage()
    await page.goto(this.#url)
    await page.waitForFunction(() => (window as EditorWindow).app?.extensionManager.spinner === false, null, {
      timeout: 120_000,
    })
    this.#page = page
    return page
  }
}

/** A person who has been here before, in English, and keeps no drafts; all else as the editor comes. */
const settings = { 'Comfy.TutorialCompleted': true, 'Comfy.Workflow.Persist': false, 'Comfy.Locale': 'en' }

async function exportInPage({ name, text }: { name: string; text: string }): Promise<EditorExport> {
  const { app } = window as EditorWindow
  if (!app) return { error: 'the editor is gone' }
  let refused: unknown
  const { rootGraph } = app
  const configure = rootGraph.configure
  rootGraph.configure = (...args) => {
    try {
      return configure.apply(rootGraph, args)
    } catch (cause) {
      refused = cause // the editor shows it and goes on with half a graph
      throw cause
    }
  }
  try {
    await app.loadGraphData(JSON.parse(text), true, true, name, { openSource: 'template', deferWarnings: true })
    if (refused !== undefined) return { error: `not opened: ${refused}` }
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    const { output } = await app.graphToPrompt()
    return { prompt: JSON.stringify(output) }
  } catch (cause) {
    return { error: String(cause) }
  } finally {
    rootGraph.configure = configure
  }
}

async function newNodesInPage(types: string[]): Promise<string> {
  const { app, LiteGraph } = window as EditorWindow
  if (!app || !LiteGraph) throw new Error('the editor is gone')
  const { rootGraph } = app
  await app.loadGraphData({ version: 0.4, nodes: [], links: [] }, true, true, 'new', { deferWarnings: true })
  for (const type of types) {
    const first = LiteGraph.createNode(type)
    if (!first) continue
    rootGraph.add(first)
    const specs: Record<string, unknown> = {
      ...first.constructor.nodeData?.input?.required,
      ...first.constructor.nodeData?.input?.optional,
    }
    const dynamic = (first.widgets ?? []).filter(({ name }) => {
      const spec = specs[name]
      return Array.isArray(spec) && spec[0] === 'COMFY_DYNAMICCOMBO_V3'
    })
    for (const { name, options } of dynamic) {
      for (const choice of Array.isArray(options?.values) ? options.values.slice(1) : []) {
        const node = LiteGraph.createNode(type)
        if (!node) continue
        rootGraph.add(node)
        const widget = node.widgets?.find((one) => one.name === name)
        if (widget) widget.value = choice
      }
    }
  }
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
  return JSON.stringify(rootGraph.serialize())
}
