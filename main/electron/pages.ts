import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { CONTENT_SECURITY_POLICY, mediaTypeOf, ORIGIN, rendererFile } from './addresses.ts'
import type { HostLink } from './host-link.ts'

const SECURITY_HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}
/** From the host; the rest is between it and us. */
const PASSED_ON = [
  'content-type',
  'content-length',
  'content-range',
  'accept-ranges',
  'content-disposition',
  'content-security-policy',
  'cache-control',
  'etag',
  'last-modified',
]
const ASKED = ['range', 'if-none-match', 'if-modified-since', 'if-range', 'content-type']

/** Answers the window's own scheme: the built pages, and `/files/…` from the host. */
export function answerPages(rendererDir: string, link: Pick<HostLink, 'request'>) {
  return async (request: Request): Promise<Response> => {
    const { pathname, search } = new URL(request.url)
    if (request.url.startsWith(`${ORIGIN}/files/`)) return fromHost(request, pathname + search, link)
    if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405)
    const file = rendererFile(rendererDir, request.url)
    if (file === null) return plain(404)
    try {
      const bytes = await readFile(file)
      // the bundler names assets by their content; the page itself must be asked for again
      const forever = path.basename(path.dirname(file)) === 'assets'
      const headers = {
        ...SECURITY_HEADERS,
        'content-type': mediaTypeOf(file),
        'cache-control': forever ? 'max-age=31536000, immutable' : 'no-cache',
      }
      return new Response(new Uint8Array(bytes), { headers })
    } catch {
      return plain(404)
    }
  }
}

async function fromHost(request: Request, path: string, link: Pick<HostLink, 'request'>): Promise<Response> {
  try {
    const headers = Object.fromEntries(
      ASKED.flatMap((name) => (request.headers.has(name) ? [[name, request.headers.get(name) as string]] : [])),
    )
    const reply = await link.request(path, {
      method: request.method,
      headers,
      ...(request.body ? { body: Readable.fromWeb(request.body as ReadableStream) } : {}),
    })
    const passed = new Headers({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
    for (const name of PASSED_ON) {
      const value = reply.headers[name]
      if (typeof value === 'string') passed.set(name, value)
    }
    const status = reply.statusCode ?? 502
    const empty = request.method === 'HEAD' || status === 204 || status === 304
    if (empty) reply.resume()
    return new Response(empty ? null : (Readable.toWeb(reply) as unknown as globalThis.ReadableStream), {
      status,
      headers: passed,
    })
  } catch {
    return plain(503) // the host is away; the page asks again when it is back
  }
}

const plain = (status: number) => new Response(null, { status, headers: SECURITY_HEADERS })
