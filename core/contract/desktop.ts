import { z } from 'zod'
import { ArtifactId } from './artifact.ts'
import type { Envelope } from './errors.ts'
import { command } from './procedure.ts'

const nothing = z.object({})
const SubscriptionId = z.int().nonnegative()

/** renderer ⇄ the window's own process, over the same channel as the app's contract; in a browser there is none. */
export const desktop = {
  /** In the program the system opens such files with. */
  'desktop.openArtifact': command(z.object({ id: ArtifactId }), nothing),
  /** In the folder it lies in. */
  'desktop.revealArtifact': command(z.object({ id: ArtifactId }), nothing),
  /** The files follow the mouse out of the window; call it from `dragstart`. */
  'desktop.startDrag': command(z.object({ ids: z.array(ArtifactId).min(1).max(200) }), nothing),
  'desktop.chooseFolder': command(
    z.object({ from: z.string().default('') }),
    z.object({ path: z.string().nullable() }),
  ),
  /** https only; a place that is not well known is asked about first. */
  'desktop.openExternal': command(z.object({ url: z.url().max(2048) }), z.object({ opened: z.boolean() })),
  'desktop.subscribe': command(z.object({ id: SubscriptionId, since: z.number().nullable() }), nothing),
  'desktop.unsubscribe': command(z.object({ id: SubscriptionId }), nothing),
}
export type Desktop = typeof desktop

/**
 * An event for a page. Besides the contract's names: `reset` (what was missed is no longer kept: ask for everything
 * again) and `connection` (`disconnected`: the host died; `connected`: it is back), which repeats the last `seq`.
 */
export interface BridgeFrame {
  readonly seq: number
  readonly name: string
  readonly payload: unknown
}

/** `window.bridge`: all that a page in the window can do and a page in a browser cannot. */
export interface Bridge {
  readonly platform: string
  call(name: string, input: unknown): Promise<Envelope>
  /** Frames after `since` (null: from now on), until the function it returns is called. */
  subscribe(since: number | null, listener: (frame: BridgeFrame) => void): () => void
  /** Where a dropped or chosen `File` lies on this machine; empty for one made in the page. */
  pathForFile(file: object): string
  openArtifact(id: string): Promise<Envelope>
  revealArtifact(id: string): Promise<Envelope>
  startDrag(ids: readonly string[]): void
  /** null: the person chose none. */
  chooseFolder(from?: string): Promise<string | null>
  openExternal(url: string): Promise<Envelope>
}
