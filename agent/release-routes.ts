import { AppError } from '../core/contract/errors.ts'
import { type Json, parseJson } from '../core/contract/json.ts'
import { ReleaseAsked } from '../core/contract/release.ts'
import type { DoorRoute, RouteAsked } from '../core/gateway/fc/asked.ts'
import { json } from '../core/gateway/wire.ts'
import type { Lifecycle } from './lifecycle.ts'

const ASKED_LIMIT_BYTES = 64 * 2 ** 20

/** `/v1/releases` and `/v1/log`, for keys that may publish. */
export const releaseRoutes = (lifecycle: Lifecycle): DoorRoute[] => [
  { prefix: '/v1/releases', scope: 'publish', serve: (asked) => releases(lifecycle, asked) },
  {
    prefix: '/v1/log',
    scope: 'publish',
    async serve({ method, path, reply }) {
      if (method !== 'GET' || path !== '/v1/log') throw new AppError('app.not-found', { what: path.slice(0, 100) })
      json(reply, 200, { rows: await lifecycle.lines() })
    },
  },
]

async function releases(lifecycle: Lifecycle, { method, path, body, reply, request }: RouteAsked) {
  const [, number, act] = /^\/v1\/releases(?:\/([1-9]\d{0,8})(?:\/(promote))?)?$/.exec(path) ?? []
  const missing = new AppError('app.not-found', { what: path.slice(0, 100) })
  if (path === '/v1/releases') {
    if (method === 'GET') return json(reply, 200, { rows: await lifecycle.list() })
    if (method !== 'POST') throw missing
    const view = await lifecycle.publish(readAsked((await body(ASKED_LIMIT_BYTES)).toString('utf8')))
    return json(reply, 201, view)
  }
  request.resume()
  if (number === undefined || method !== (act === undefined ? 'GET' : 'POST')) throw missing
  const version = Number(number)
  const view = await (act === undefined ? lifecycle.view(version) : lifecycle.promote(version))
  if (!view) throw missing
  json(reply, 200, view)
}

/** @throws AppError 'app.bad-request' */
function readAsked(text: string): ReleaseAsked {
  let said: Json
  try {
    said = parseJson(text)
  } catch (cause) {
    throw new AppError('app.bad-request', { reason: 'the body is no JSON' }, { cause })
  }
  const read = ReleaseAsked.safeParse(said)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new AppError('app.bad-request', { reason: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}` })
}
