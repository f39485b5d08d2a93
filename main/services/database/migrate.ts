import type { Database } from 'better-sqlite3'
import { AppError } from '../../../core/contract/errors.ts'

/** Brings the database up to date: all or nothing, and never a file from the future. */
export function migrate(database: Database, migrations: readonly string[]) {
  const upgrade = database.transaction(() => {
    const at = database.pragma('user_version', { simple: true }) as number
    if (at > migrations.length) throw new AppError('database.newer-than-app', { at, known: migrations.length })
    for (const sql of migrations.slice(at)) database.exec(sql)
    if (at < migrations.length) database.pragma(`user_version = ${migrations.length}`)
  })
  upgrade.immediate() // takes the write lock before it looks, so two front doors never upgrade at once
}
