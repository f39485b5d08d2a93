import { type CustomNodeLoad, type StartupFacts, type StartupPhase, startupPhases } from '../../contract/engine.ts'

/** What one line of ComfyUI's log says about its start. */
export interface StartupNews {
  readonly phase?: StartupPhase
  readonly facts?: Partial<Omit<StartupFacts, 'customNodes'>>
  readonly customNode?: CustomNodeLoad
  /** Its address, told once it listens there. */
  readonly url?: string
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
const COLOURS = /\x1b\[[0-9;?]*[A-Za-z]/g
/** ComfyUI from 0.30 on names the level before each message. */
const LEVEL = /^\[(?:DETAIL|DEBUG|INFO|WARNING|ERROR|CRITICAL)\] /

/** A line as its writer meant it, without colours. */
export const plain = (line: string) => line.replace(COLOURS, '')

type Reader = [RegExp, (found: string[]) => StartupNews]
const fact = (phase: StartupPhase | undefined, name: keyof StartupFacts): ((found: string[]) => StartupNews) => {
  return ([, value]) => ({ ...(phase && { phase }), facts: { [name]: value!.trim() } })
}

const readers: Reader[] = [
  [/^\*\* ComfyUI startup time:|^Prestartup times for custom nodes:/, () => ({ phase: 'preparing' })],
  [/^(?:Setting \w+ directory to:|Adding extra search path )/, () => ({ phase: 'preparing' })],
  [/^Checkpoint files will always be loaded safely/, () => ({ phase: 'devices' })],
  [
    /^Total VRAM (\d+) MB, total RAM (\d+) MB/,
    ([, vram, ram]) => ({ phase: 'devices', facts: { vramMiB: Number(vram), ramMiB: Number(ram) } }),
  ],
  [/^pytorch version: (.+)/, fact('devices', 'torchVersion')],
  [/^Set vram state to: (.+)/, fact('devices', 'vramState')],
  [/^Device: (.+)/, fact('devices', 'device')],
  [
    /^Using ((?:[\w ]*?)attention|sub quadratic optimization for attention|split optimization for attention)/,
    ([, how]) => ({ phase: 'devices', facts: { attention: how! } }),
  ],
  [/^(?:\*\* )?Python version: (\S+)/, fact(undefined, 'pythonVersion')],
  [/^ComfyUI version: (.+)/, fact('nodes', 'comfyuiVersion')],
  [/^(?:ComfyUI frontend version|comfyui-frontend-package version): (.+)/, fact('nodes', 'frontendVersion')],
  [/^\[Prompt Server\] web root:/, () => ({ phase: 'nodes' })],
  [/^Cannot import .+ module for custom nodes:/, () => ({ phase: 'nodes' })],
  [/^Import times for custom nodes:/, () => ({ phase: 'nodes' })],
  [
    /^\s+(\d+(?:\.\d+)?) seconds( \((?:PRESTARTUP|IMPORT) FAILED\))?: (.+)/,
    ([, seconds, failed, folder]) => ({
      customNode: { folder: folder!.trim(), seconds: Number(seconds), failed: failed !== undefined },
    }),
  ],
  [/^(?:Context impl SQLiteImpl|Running upgrade |Database upgraded from )/, () => ({ phase: 'database' })],
  [/^Starting server/, () => ({ phase: 'listening' })],
  [/^To see the GUI go to: (\S+)/, ([, url]) => ({ phase: 'listening', url: url! })],
]

/** null: the line says nothing about the start. */
export function readStartupLine(line: string): StartupNews | null {
  const text = plain(line).replace(LEVEL, '')
  for (const [pattern, read] of readers) {
    const found = pattern.exec(text)
    if (found) return read(found as unknown as string[])
  }
  return null
}

/** A start as its lines tell it, one after the other. A phase never goes back: alembic speaks early on too. */
export class StartupStory {
  phase: StartupPhase = 'launching'
  facts: StartupFacts = { customNodes: [] }
  url: string | null = null

  /** Whether anything is new. */
  hear(line: string): boolean {
    const news = readStartupLine(line)
    if (!news) return false
    const { phase, facts, customNode, url } = news
    if (phase && startupPhases.indexOf(phase) > startupPhases.indexOf(this.phase)) this.phase = phase
    if (facts) this.facts = { ...this.facts, ...facts }
    if (customNode) this.#add(customNode)
    if (url) this.url = url
    return true
  }

  /** A pack is timed before the start proper and again when imported. */
  #add(load: CustomNodeLoad) {
    const before = this.facts.customNodes.find(({ folder }) => folder === load.folder)
    const together = before
      ? { ...load, seconds: before.seconds + load.seconds, failed: before.failed || load.failed }
      : load
    this.facts = {
      ...this.facts,
      customNodes: [...this.facts.customNodes.filter((each) => each !== before), together],
    }
  }
}
