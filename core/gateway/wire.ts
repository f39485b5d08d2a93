import { request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Dispatcher } from 'undici'
import { AppError } from '../contract/errors.ts'
import { writeJson } from '../contract/json.ts'
import type { ComfyAddress } from '../engine/comfy/address.ts'

/** @throws AppError 'app.port-in-use' | 'app.port-refused' */
export async function listen(server: Server, host: string, port: number) {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  }).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EADDRINUSE') throw new AppError('app.port-in-use', { port }, { cause })
    throw new AppError('app.port-refused', { host, port, reason: cause.code ?? cause.message }, { cause })
  })
}

export function json(reply: ServerResponse, status: number, body: unknown) {
  reply.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(writeJson(body))
}

/** What may be passed of what ComfyUI answered. */
export async function passReply(
  answer: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>,
  reply: ServerResponse,
) {
  for (const name of ['content-type', 'content-length', 'content-range', 'accept-ranges', 'content-disposition'])
    if (answer.headers[name]) reply.setHeader(name, answer.headers[name])
  reply.writeHead(answer.statusCode)
  await pipeline(answer.body, reply).catch(() => reply.destroy())
}

/** Joins a socket that somebody opened with one of ComfyUI's; `refuse` answers where that does not come about. */
export function passUpgrade(
  request: IncomingMessage,
  stream: Duplex,
  head: Buffer,
  { url, header }: ComfyAddress,
  path: string,
  refuse: () => void,
) {
  const target = new URL(path, url)
  const headers: Record<string, string> = { connection: 'Upgrade', upgrade: 'websocket', host: target.host }
  for (const name of ['sec-websocket-key', 'sec-websocket-version'] as const)
    headers[name] = request.headers[name] ?? ''
  if (header) headers[header.name] = header.value
  const upstream = (target.protocol === 'https:' ? httpsRequest : httpRequest)(target, { headers })
  stream.on('close', () => upstream.destroy())
  upstream.on('error', refuse)
  upstream.on('response', refuse)
  upstream.on('upgrade', (response, other, first) => {
    const accept = response.headers['sec-websocket-accept'] ?? ''
    stream.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    stream.write(first)
    other.write(head)
    other.on('error', () => stream.destroy())
    other.on('close', () => stream.destroy())
    stream.on('close', () => other.destroy())
    other.pipe(stream).pipe(other)
  })
  upstream.end()
}

/** A whole body. @throws AppError 'app.too-large', after which the reply can still be given */
export async function bytesOf(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const tooLarge = (size: number) =>
    new AppError('app.too-large', {
      name: 'The request',
      sizeMiB: Math.ceil(size / 2 ** 20),
      limitMiB: limitBytes / 2 ** 20,
    })
  const said = Number(request.headers['content-length'] ?? 0)
  if (said > limitBytes) throw tooLarge(said)
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limitBytes) throw tooLarge(size)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
export const textOf = async (request: IncomingMessage, limitBytes: number) =>
  (await bytesOf(request, limitBytes)).toString('utf8')
