import { createHash, randomBytes } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { AppError } from '../../core/contract/errors.ts'
import { parseJson, writeJson } from '../../core/contract/json.ts'
import type { Key, KeyScope } from '../../core/contract/key.ts'
import type { Clock } from './clock.ts'
import type { Database } from './database/open.ts'

type Deps = { database: Database; clock: Clock; newId: () => string }
type Row = {
  id: string
  name: string
  start: string
  scopes: string
  created_at: number
  used_at: number | null
  revoked_at: number | null
  expires_at: number | null
}

const COLUMNS = 'id, name, start, scopes, created_at, used_at, revoked_at, expires_at'
const START_LETTERS = 8
const NOTE_USE_EVERY_MS = 60_000

/** Keys for other programs: each opens what its scopes say until it is revoked or over, and is kept only as a hash. */
export class Keys {
  readonly events = new EventEmitter<{ revoked: [id: string] }>()
  readonly #deps: Deps

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** The newest first. */
  list(): Key[] {
    const rows = this.#deps.database.prepare<[], Row>(`SELECT ${COLUMNS} FROM keys ORDER BY created_at DESC, id`).all()
    return rows.map(toKey)
  }

  /** `token` is known here and now, and never again. */
  make(name: string, scopes: readonly KeyScope[], expiresAt: number | null = null): { key: Key; token: string } {
    const { database, clock, newId } = this.#deps
    const token = `ns_${randomBytes(32).toString('base64url')}` // long enough that a plain hash keeps it
    const row: Row = {
      id: newId(),
      name,
      start: token.slice(0, START_LETTERS),
      scopes: writeJson([...new Set(scopes)]),
      created_at: clock.now(),
      used_at: null,
      revoked_at: null,
      expires_at: expiresAt,
    }
    database
      .prepare(
        `INSERT INTO keys (${COLUMNS}, hash) VALUES (:id, :name, :start, :scopes, :created_at, NULL, NULL, :expires_at, :hash)`,
      )
      .run({ ...row, hash: hashOf(token) })
    return { key: toKey(row), token }
  }

  /** @throws AppError 'app.not-found' */
  revoke(id: string): Key {
    const { database, clock } = this.#deps
    const row = database
      .prepare<[number, string], Row>(
        `UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? RETURNING ${COLUMNS}`,
      )
      .get(clock.now(), id)
    if (!row) throw new AppError('app.not-found', { what: id })
    this.events.emit('revoked', id)
    return toKey(row)
  }

  /** The key a token is, if it opens this; null: it does not, no more, or not this. */
  enter(token: string, scope: KeyScope): Key | null {
    const { database, clock } = this.#deps
    const now = clock.now()
    const row = database
      .prepare<[string, number], Row>(
        `SELECT ${COLUMNS} FROM keys WHERE hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)`,
      )
      .get(hashOf(token), now)
    if (!row || !toKey(row).scopes.includes(scope)) return null
    if (now - (row.used_at ?? 0) > NOTE_USE_EVERY_MS)
      database.prepare('UPDATE keys SET used_at = ? WHERE id = ?').run(now, row.id)
    return toKey(row)
  }
}

const hashOf = (token: string) => createHash('sha256').update(token).digest('hex')

const toKey = ({ id, name, start, scopes, created_at, used_at, revoked_at, expires_at }: Row): Key => ({
  id,
  name,
  start,
  scopes: parseJson(scopes) as KeyScope[],
  createdAt: created_at,
  usedAt: used_at,
  revokedAt: revoked_at,
  expiresAt: expires_at,
})
