import type { IncomingMessage, ServerResponse } from 'node:http'
import { serve } from './serve.ts'

/** Servers on loopback, one for each way of answering, and what each was asked. */
export async function listFarm(...ways: ((request: IncomingMessage, response: ServerResponse) => void)[]) {
  const asked: IncomingMessage['headers'][][] = ways.map(() => [])
  const addresses = await Promise.all(
    ways.map(async (way, at) => {
      const { url } = await serve((request, response) => {
        asked[at]!.push(request.headers)
        way(request, response)
      })
      return new URL(`${url}/list.json`)
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
