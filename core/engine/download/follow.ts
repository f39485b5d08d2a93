import { type Dispatcher, request } from 'undici'

const REDIRECTS = 5
type Options = NonNullable<Parameters<typeof request>[1]>
type Reply = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

/**
 * Asks a web address, through redirects; each one is shown to `check` first, which may throw. Whatever is not a redirect
 * is the caller's to judge, and its body the caller's to read.
 */
export async function follow(
  address: string | URL,
  options: Options,
  check: (target: URL) => void = () => {},
): Promise<Reply & { url: string }> {
  let target = URL.parse(String(address))
  for (let redirects = 0; ; redirects++) {
    if (!target || !/^https?:$/.test(target.protocol)) throw new Error('it is no web address')
    check(target)
    const { statusCode, headers, body } = await request(target, options)
    const moved = statusCode >= 301 && statusCode <= 308 && statusCode !== 304
    if (!moved || typeof headers.location !== 'string') return { statusCode, headers, body, url: target.href }
    await body.dump()
    if (redirects === REDIRECTS) throw new Error('it redirects too often')
    target = URL.parse(headers.location, target.href)
  }
}

/** The whole body; one that is larger, or says so, is let go of. */
export async function bytesWithin(
  { headers, body }: Pick<Reply, 'headers' | 'body'>,
  limitBytes: number,
): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  const tooLarge = () => new Error(`it sent more than ${limitBytes / 1024 / 1024} MiB`)
  if (Number(headers['content-length']) > limitBytes) {
    body.on('error', () => {}).destroy()
    throw tooLarge()
  }
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > limitBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
