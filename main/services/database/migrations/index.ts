import { first } from './0001-first.ts'

/** In order; once released a migration never changes, the next one mends it. */
export const migrations: readonly string[] = [first]
