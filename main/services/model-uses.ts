import type { Artifact } from '../../core/contract/artifact.ts'
import type { Prompt } from '../../core/contract/comfyui.ts'
import { writeJson } from '../../core/contract/json.ts'
import { modelFilesIn } from '../../core/domain/workflow/models.ts'
import type { Database } from './database/open.ts'
import type { QueuedJob } from './queue.ts'

/** A batch that was made, and what with. */
export interface PastBatch {
  readonly batchId: string
  readonly prompt: Prompt
  readonly artifacts: number
  readonly at: number
}
interface Deps {
  readonly database: Database
  /** What was made before uses were written down. */
  readonly pastBatches?: () => Iterable<PastBatch>
}

/** Which pictures each file made, by the name prompts know it by. */
export class ModelUses {
  readonly #deps: Deps

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** Outputs were kept: their prompt's files made them. False: they do not count. */
  made(job: Pick<QueuedJob, 'batch' | 'overrides' | 'batchId'>, kept: readonly Artifact[]): boolean {
    if (kept.length === 0 || kept.every(({ rehearsal }) => rehearsal)) return false
    const files = modelFilesIn(writeJson([job.batch.prompt, job.overrides]))
    this.#used(job.batchId, files, kept.length, kept[0]!.createdAt)
    return true
  }
  #used(batchId: string, files: readonly string[], artifacts: number, at: number) {
    const add = this.#deps.database.prepare(
      `INSERT INTO model_uses (file, batch_id, artifacts, last_at) VALUES (:file, :batchId, :artifacts, :at)
       ON CONFLICT (file, batch_id) DO UPDATE SET artifacts = artifacts + excluded.artifacts, last_at = max(last_at, excluded.last_at)`,
    )
    this.#deps.database.transaction(() => {
      for (const file of files) add.run({ file, batchId, artifacts, at })
    })()
  }

  /** Once: batches that were made before uses were written down. */
  rememberPast() {
    const { database, pastBatches } = this.#deps
    if (!pastBatches || database.prepare('SELECT 1 FROM model_uses LIMIT 1').get()) return
    for (const { batchId, prompt, artifacts, at } of pastBatches())
      this.#used(batchId, modelFilesIn(writeJson(prompt)), artifacts, at)
    this.#used('', [''], 0, 0) // so that it is known to have been done
  }

  /** The latest that any of these made something in. */
  batchesOf(names: ReadonlySet<string>): string[] {
    return this.#deps.database
      .prepare<[string], string>(
        `SELECT DISTINCT batch_id FROM model_uses WHERE file IN (SELECT value FROM json_each(?)) ORDER BY last_at DESC LIMIT 20`,
      )
      .pluck()
      .all(writeJson([...names]))
  }

  totals(): Map<string, { artifacts: number; at: number }> {
    const all = this.#deps.database
      .prepare<[], { file: string; artifacts: number; at: number }>(
        'SELECT file, sum(artifacts) AS artifacts, max(last_at) AS at FROM model_uses GROUP BY file',
      )
      .all()
    return new Map(all.map((use) => [use.file, use]))
  }
}
