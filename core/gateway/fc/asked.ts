import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { AppError } from '../../contract/errors.ts'
import { type Json, tryJson } from '../../contract/json.ts'
import type { KeyScope } from '../../contract/key.ts'
import type { Caller } from '../callers.ts'

/** `prefix`, as /v1/packs: it, and all below it. What `serve` throws is answered. */
export interface DoorRoute {
  readonly prefix: string
  readonly scope: KeyScope
  serve(asked: RouteAsked): Promise<void>
}
export interface RouteAsked {
  readonly method: string
  readonly path: string
  readonly search: URLSearchParams
  /** To be read itself only where its bytes are checked by their hash. */
  readonly request: IncomingMessage
  /** A whole body, as it was signed. @throws AppError 'app.too-large' | 'agent.refused' */
  readonly body: (limitBytes: number) => Promise<Buffer>
  readonly reply: ServerResponse
  readonly requestId: string
  readonly caller: Caller
}
/** One of the API. */
export interface Asked extends RouteAsked {
  /** Without /api before it. */
  readonly route: string
  readonly headers: IncomingHttpHeaders
}

export const UPLOAD_LIMIT_BYTES = 256 * 2 ** 20

/** @throws AppError 'app.bad-request' */
export function parsed(text: string): Json {
  const said = tryJson(text)
  if (said === undefined) throw new AppError('app.bad-request', { reason: 'the body is no JSON' })
  return said
}
