import { AppError } from '../../contract/errors.ts'
import type { PublishedSnapshot } from '../../contract/snapshot.ts'
import { textOf } from '../store/bucket.ts'
import type { S3Bucket } from '../store/s3.ts'
import { ABANDONED_MS, type Depot, modelKey, readPublished, type Transfer } from './depot.ts'
import { canonical } from './tree.ts'

/** Object storage, laid out as a folder is. It checks the sha256 of what arrives before anybody can see it. */
export class S3Depot implements Depot {
  readonly #bucket: S3Bucket

  constructor(bucket: S3Bucket) {
    this.#bucket = bucket
  }

  get where() {
    return this.#bucket.where
  }

  packs(signal?: AbortSignal) {
    return this.#sizes('packs/', /\/([0-9a-f]{64})\.pack$/, signal)
  }
  async packBytes(id: string, signal?: AbortSignal) {
    return (await this.#bucket.stat(packKey(id), signal))?.sizeBytes ?? null
  }
  readPack(id: string, from: number, length: number, signal?: AbortSignal) {
    return this.#read(packKey(id), from, length, signal)
  }
  putPack(id: string, file: string, transfer: Transfer) {
    return this.#bucket.putFile(packKey(id), file, id, transfer)
  }
  getPack(id: string, file: string, transfer: Transfer) {
    return this.#bucket.getFile(packKey(id), file, transfer)
  }

  models(signal?: AbortSignal) {
    return this.#sizes('models/', /\/([0-9a-f]{64})$/, signal)
  }
  async modelBytes(sha256: string, signal?: AbortSignal) {
    return (await this.#bucket.stat(modelKey(sha256), signal))?.sizeBytes ?? null
  }
  readModel(sha256: string, from: number, length: number, signal?: AbortSignal) {
    return this.#read(modelKey(sha256), from, length, signal)
  }
  putModel(sha256: string, file: string, transfer: Transfer) {
    return this.#bucket.putFile(modelKey(sha256), file, sha256, transfer)
  }
  getModel(sha256: string, file: string, transfer: Transfer) {
    return this.#bucket.getFile(modelKey(sha256), file, transfer)
  }

  async snapshots(signal?: AbortSignal) {
    return [...(await this.#sizes('snapshots/', /\/([0-9a-f]{64})\.json$/, signal)).keys()]
  }
  async getSnapshot(id: string) {
    const text = await textOf(this.#bucket, `snapshots/${id}.json`)
    return text === null ? null : readPublished(text)
  }
  async putSnapshot(published: PublishedSnapshot, signal?: AbortSignal) {
    await this.#bucket.put(`snapshots/${published.sealed.id}.json`, canonical(published), signal)
    for (const folder of ['packs/', 'models/'])
      await this.#bucket.removeAbandoned(folder, ABANDONED_MS, signal).catch(() => {}) // not every storage lists them
  }

  async #sizes(folder: string, key: RegExp, signal?: AbortSignal) {
    const sizes = new Map<string, number>()
    for await (const { name, sizeBytes } of this.#bucket.list(folder, { signal })) {
      const [, id] = key.exec(name) ?? []
      if (id !== undefined) sizes.set(id, sizeBytes)
    }
    return sizes
  }

  async #read(name: string, from: number, length: number, signal?: AbortSignal) {
    const bytes = await this.#bucket.read(name, from, length, signal)
    if (!bytes) throw new AppError('snapshot.incomplete', { what: name })
    return bytes
  }
}

const packKey = (id: string) => `packs/${id.slice(0, 2)}/${id}.pack`
