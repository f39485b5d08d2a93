import { z } from 'zod'
import { type Json, parseJson, writeJson } from '../core/contract/json.ts'
import { Release, type ReleaseAsked } from '../core/contract/release.ts'
import { type Bucket, textOf } from '../core/engine/store/bucket.ts'

/** Which release serves. `served`: those that ever did. */
const Live = z.object({ version: z.int().min(1), since: z.int(), served: z.array(z.int()) })
export type Live = z.infer<typeof Live>

const LIVE = 'live.json'
const nameOf = (version: number) => `releases/${version}.json`

/** What was published to a store: `releases/<n>.json`, each made once, and `live.json`. All agents of the store read them. */
export class ReleaseBook {
  readonly #bucket: Bucket
  readonly #now: () => number
  /** They never change. */
  readonly #known = new Map<number, Release>()

  constructor(bucket: Bucket, now: () => number) {
    this.#bucket = bucket
    this.#now = now
  }

  /** The newest first. */
  async versions(): Promise<number[]> {
    const versions: number[] = []
    for await (const { name } of this.#bucket.list('releases/')) {
      const [, version] = /^releases\/([1-9]\d{0,8})\.json$/.exec(name) ?? []
      if (version) versions.push(Number(version))
    }
    return versions.toSorted((a, b) => b - a)
  }

  /** null: there is none. */
  async get(version: number): Promise<Release | null> {
    const known = this.#known.get(version)
    if (known) return known
    const text = await textOf(this.#bucket, nameOf(version))
    if (text === null) return null
    const release = Release.parse(parseJson(text))
    this.#known.set(version, release)
    return release
  }

  /** Under the next version; whoever else asks at the same time has another. */
  async add(asked: ReleaseAsked): Promise<Release> {
    for (let [version = 0] = await this.versions(); ; ) {
      const release: Release = { ...asked, version: ++version, createdAt: this.#now() }
      if (await this.#bucket.create(nameOf(version), writeJson(release as unknown as Json))) return release
    }
  }

  async live(): Promise<Live | null> {
    const text = await textOf(this.#bucket, LIVE)
    return text === null ? null : Live.parse(parseJson(text))
  }

  async promote(version: number): Promise<Live> {
    const before = await this.live()
    if (before?.version === version) return before
    const served = [...new Set([...(before?.served ?? []), version])]
    const live = { version, since: this.#now(), served }
    await this.#bucket.put(LIVE, writeJson(live))
    return live
  }
}
