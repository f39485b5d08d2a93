import { createServer as createHttpServer, request } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** What a proxy was asked for, and by whom. */
export interface Asked {
  readonly target: string
  readonly user: string | null
}
export interface ProxyServer {
  readonly host: string
  readonly asked: Asked[]
}

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/**
 * Proxies that lead every name to this machine, so that a name nobody else resolves is one that the proxy resolved.
 * With `user` (`name:password`) whoever does not say so is refused.
 */
export async function httpProxy(user: string | null = null): Promise<ProxyServer> {
  const asked: Asked[] = []
  const says = (header: string | undefined) =>
    header ? Buffer.from(header.replace(/^Basic /, ''), 'base64').toString() : null
  const server = createHttpServer((incoming, response) => {
    const by = says(incoming.headers['proxy-authorization'])
    asked.push({ target: incoming.url!, user: by })
    if (user !== null && by !== user) return void response.writeHead(407).end()
    const target = new URL(incoming.url!)
    const { 'proxy-authorization': _, ...headers } = incoming.headers
    const onward = request(
      { host: '127.0.0.1', port: target.port, path: target.pathname + target.search, method: incoming.method, headers },
      (reply) => {
        response.writeHead(reply.statusCode!, reply.headers)
        reply.pipe(response)
      },
    )
    incoming.pipe(onward.on('error', () => response.destroy()))
  })
  server.on('connect', (incoming, socket: Socket, head) => {
    const by = says(incoming.headers['proxy-authorization'])
    asked.push({ target: incoming.url!, user: by })
    if (user !== null && by !== user) return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
    const onward = connect(Number(incoming.url!.split(':').at(-1)), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.write(head)
      join(onward, socket)
    })
    onward.on('error', () => socket.destroy())
  })
  return { host: await listen(server), asked }
}

/** RFC 1928 and 1929: CONNECT by name or IPv4. */
export async function socksProxy(user: string | null = null): Promise<ProxyServer> {
  const asked: Asked[] = []
  const server = createServer(async (socket) => {
    const read = reader(socket)
    try {
      const [, count] = await read(2)
      const methods = await read(count!)
      const method = user === null ? 0 : 2
      if (!methods.includes(method)) return void socket.end(Buffer.from([5, 0xff]))
      socket.write(Buffer.from([5, method]))
      let by: string | null = null
      if (user !== null) {
        const [, nameLength] = await read(2)
        const name = (await read(nameLength!)).toString()
        const [length] = await read(1)
        by = `${name}:${(await read(length!)).toString()}`
        socket.write(Buffer.from([1, by === user ? 0 : 1]))
        if (by !== user) return void socket.end()
      }
      const [, , , kind] = await read(4)
      const host = kind === 3 ? (await read((await read(1))[0]!)).toString() : [...(await read(4))].join('.')
      const port = (await read(2)).readUInt16BE()
      asked.push({ target: `${host}:${port}`, user: by })
      const onward = connect(port, '127.0.0.1', () => {
        socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        onward.write(read.rest())
        join(onward, socket)
      })
      onward.on('error', () => socket.destroy())
    } catch {
      socket.destroy()
    }
  })
  return { host: await listen(server), asked }
}

function join(one: Socket, other: Socket) {
  one.pipe(other)
  other.pipe(one)
  one.on('error', () => other.destroy())
  other.on('close', () => one.destroy())
}

/** Takes bytes as they are wanted. */
function reader(socket: Socket) {
  let kept = Buffer.alloc(0)
  let wake = () => {}
  const hear = (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk])
    wake()
  }
  socket.on('data', hear)
  const read = async (count: number): Promise<Buffer> => {
    while (kept.length < count) {
      const { promise, resolve } = Promise.withResolvers<void>()
      wake = resolve
      await promise
    }
    const taken = kept.subarray(0, count)
    kept = kept.subarray(count)
    return taken
  }
  read.rest = () => {
    socket.off('data', hear)
    return kept
  }
  return read
}

/** Takes connections and says nothing. */
export async function silentProxy(): Promise<{ host: string }> {
  return { host: await listen(createServer(() => {})) }
}
