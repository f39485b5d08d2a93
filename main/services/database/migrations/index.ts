import { first } from './0001-first.ts'
import { panels } from './0002-panels.ts'
import { engines } from './0003-engines.ts'
import { downloads } from './0004-downloads.ts'
import { keys } from './0005-keys.ts'
import { models } from './0006-models.ts'
import { modelTrash } from './0007-model-trash.ts'
import { publications } from './0008-publications.ts'
import { keyExpiry } from './0009-key-expiry.ts'
import { endpoints } from './0010-endpoints.ts'
import { tasks } from './0011-tasks.ts'

/** In order; once released a migration never changes, the next one mends it. */
export const migrations: readonly string[] = [
  first,
  panels,
  engines,
  downloads,
  keys,
  models,
  modelTrash,
  publications,
  keyExpiry,
  endpoints,
  tasks,
]
