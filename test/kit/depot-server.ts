import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import path from 'node:path'
import { Agent } from 'undici'
import { onTestFinished } from 'vitest'
import type { Depot } from '../../core/engine/snapshot/depot.ts'
import { HttpDepot, type HttpDepotOptions } from '../../core/engine/snapshot/http-depot.ts'
import { DepotDoor, type DepotDoorOptions } from '../../core/gateway/depot-door.ts'
import { bytesOf } from '../../core/gateway/wire.ts'
import { serve } from './serve.ts'
import { tempDir } from './temp-dir.ts'

export interface DepotServer {
  readonly url: string
  /** `PUT /v1/packs/<id> 202`, as they were answered; `cut` where they were not. */
  readonly answers: string[]
  /** Called before each request; true: it did something itself. */
  fault: ((request: IncomingMessage, reply: ServerResponse) => boolean) | null
  /** As after a crash: a new one on the same folders, at the same address. */
  restart(): void
}

/** An agent's store behind its door, without anything else of an agent. */
export async function serveDepot(
  depot: Depot,
  options: Partial<Omit<DepotDoorOptions, 'depot'>> = {},
): Promise<DepotServer> {
  const { incoming = path.join(tempDir(), 'incoming'), mirrors = [], ...more } = options
  const newDoor = () => new DepotDoor({ depot, incoming, mirrors, mayReach: () => true, retryMs: 5, ...more })
  let door = newDoor()
  const doors = [door]
  const answer: RequestListener = (request, reply) => {
    const { method = 'GET', url = '/' } = request
    reply.on('close', () =>
      server.answers.push(
        `${method} ${url.replace(/[0-9a-f]{52}(?=\b|\/)/, '')} ${reply.headersSent ? reply.statusCode : 'cut'}`,
      ),
    )
    request.on('error', () => {})
    if (server.fault?.(request, reply)) return
    const asked = {
      method,
      path: url.split('?', 1)[0]!,
      search: new URLSearchParams(),
      request,
      body: (limitBytes: number) => bytesOf(request, limitBytes),
      reply,
      requestId: 'test',
      caller: { id: 'test', scopes: ['publish' as const] },
    }
    const route = door.routes.find(({ prefix }) => asked.path.startsWith(prefix))
    if (route) void route.serve(asked)
    else reply.writeHead(404).end()
  }
  const server: DepotServer = {
    url: (await serve(answer)).url,
    answers: [],
    fault: null,
    restart() {
      door = newDoor()
      doors.push(door)
    },
  }
  onTestFinished(async () => {
    for (const each of doors) await each.stop()
  })
  return server
}

/** A client that does not wait long. */
export function httpDepot(url: string, more: Partial<HttpDepotOptions> = {}): HttpDepot {
  const dispatcher = new Agent()
  onTestFinished(() => dispatcher.destroy())
  return new HttpDepot({ url, key: 'sk_test', dispatcher, retryMs: 5, ...more })
}
