import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AppError } from '../../core/contract/errors.ts'
import type { StagedModel } from '../../core/contract/hub.ts'
import type { Model } from '../../core/contract/model.ts'
import { isModelFile } from '../../core/contract/model-file.ts'
import { safeFileName } from '../../core/domain/artifact-name.ts'
import type { Models } from './models.ts'

interface Deps {
  readonly dataDir: string
  readonly models: Pick<Models, 'inspect' | 'import'>
  readonly newId: () => string
}

/** Model files that a browser sends: kept aside until it is known where they belong. What is left over goes at the next start. */
export class ModelStaging {
  readonly #deps: Deps
  readonly #dir: string
  readonly #waiting = new Map<string, string>()
  #cleared: Promise<void> | undefined

  constructor(deps: Deps) {
    this.#deps = deps
    this.#dir = path.join(deps.dataDir, 'cache', 'sent-models')
  }

  /** @throws AppError 'model.not-a-model', 'model.no-place', 'model.taken' */
  async add(name: string, body: Readable): Promise<StagedModel> {
    this.#cleared ??= rm(this.#dir, { recursive: true, force: true })
    await this.#cleared
    if (!isModelFile(name)) throw new AppError('model.not-a-model', { name, reason: 'it is of another kind' })
    const id = this.#deps.newId()
    const dir = path.join(this.#dir, id)
    const file = path.join(dir, safeFileName(name))
    await mkdir(dir, { recursive: true })
    try {
      await pipeline(body, createWriteStream(file, { flags: 'wx' }))
      const { folder } = await this.#deps.models.inspect(file)
      if (folder !== null) return { model: await this.#put(id, file, folder), staged: null }
      this.#waiting.set(id, file)
      return { model: null, staged: id }
    } catch (cause) {
      await rm(dir, { recursive: true, force: true })
      throw cause
    }
  }

  /** @throws AppError 'app.not-found', and those of `add` */
  async file(id: string, folder: string): Promise<Model> {
    const file = this.#waiting.get(id)
    if (!file) throw new AppError('app.not-found', { what: 'The file' })
    return this.#put(id, file, folder)
  }

  async #put(id: string, file: string, folder: string): Promise<Model> {
    const model = await this.#deps.models.import(file, { how: 'move', folder })
    this.#waiting.delete(id)
    await rm(path.join(this.#dir, id), { recursive: true, force: true })
    return model
  }
}
