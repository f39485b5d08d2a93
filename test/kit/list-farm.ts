import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

/** Servers on loopback, one for each way of answering, and what each was asked. */
export async function listFarm(...ways: ((request: IncomingMessage, response: ServerResponse) => void)[]) {
  const asked: IncomingMessage['headers'][][] = ways.map(() => [])
  const addresses = await Promise.all(
    ways.map(async (way, at) => {
      const server = createServer((request, response) => {
        asked[at]!.push(request.headers)
        way(request, response)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      onTestFinished(() => {
        server.closeAllConnections()
        server.close()
      })
      return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/list.json`)
    }),
  )
  return { addresses, asked }
}

export const gives =
  (body: string, headers: Record<string, string> = {}) =>
  (request: IncomingMessage, response: ServerResponse) => {
    if (headers.etag && request.headers['if-none-match'] === headers.etag) response.writeHead(304).end()
    else response.writeHead(200, headers).end(body)
  }
export const refuses = (status: number) => (_: IncomingMessage, response: ServerResponse) => {
  response.writeHead(status).end('<html>')
}
export const hangs = () => {}
