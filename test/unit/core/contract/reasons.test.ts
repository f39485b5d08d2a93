import { createServer } from 'node:net'
import { Agent, request } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import { AppError, toFailure } from '../../../../core/contract/errors.ts'
import { reasonKeys, sayReason } from '../../../../core/contract/reasons.ts'
import { reasonOf } from '../../../../core/engine/comfy/client.ts'
import { explain } from '../../../../main/language.ts'
import en from '../../../../resources/locales/en/reasons.json' with { type: 'json' }
import { serve } from '../../../kit/serve.ts'

/** Why a request fails, as it is kept. */
async function whyNot(url: string, options: ConstructorParameters<typeof Agent>[0] = {}): Promise<string> {
  const dispatcher = new Agent(options)
  onTestFinished(() => dispatcher.destroy())
  const cause = await request(url, { dispatcher }).then(
    ({ body }) =>
      body.text().then(
        () => null,
        (cause: unknown) => cause,
      ),
    (cause: unknown) => cause,
  )
  if (cause === null) throw new Error('it was answered')
  return reasonOf(cause)
}
/** A server that does this with every connection. */
function raw(serveOne: (socket: import('node:net').Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    serveOne(socket)
  })
  onTestFinished(() => void server.close())
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)))
}

test('what Node says of real failures is said plainly', async () => {
  const silent = await raw(() => {})
  const { url } = await serve((_, reply) => void reply.end('plain'))
  const cutting = await raw((socket) => socket.destroy())
  const halfway = await raw((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf'))
  const babbling = await raw((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'))
  const said = async (...asked: Parameters<typeof whyNot>) => sayReason(await whyNot(...asked), en)
  expect(await said(`https://${new URL(url).host}/`)).toBe(en['not-encrypted'])
  expect(await said(`http://127.0.0.1:${cutting}/`)).toBe(en.cut)
  expect(await said(`http://127.0.0.1:${halfway}/`)).toBe(en.cut)
  expect(await said(`http://127.0.0.1:${babbling}/`)).toBe(en['not-http'])
  expect(await said(`http://127.0.0.1:${silent}/`, { headersTimeout: 50 })).toBe(en['no-answer'])
  // a port that is given to nobody, and a name that no resolver is asked for: some know every other
  expect(await said('http://127.0.0.1:1/')).toBe('the connection to 127.0.0.1:1 was refused; nothing listens there')
  expect(await said('http://nobody..invalid/')).toBe('the name nobody..invalid could not be looked up')
})

test.each([
  ['Connect Timeout Error (attempted address: hub.example:443, timeout: 10000ms)', 'slow-connect'],
  ['self-signed certificate in certificate chain', 'untrusted-certificate'],
  ['unable to get local issuer certificate', 'untrusted-certificate'],
  ['certificate has expired', 'expired-certificate'],
  [
    "Hostname/IP does not match certificate's altnames: Host: a.example. is not in the cert's altnames",
    'other-certificate',
  ],
  ['Proxy response (407) !== 200 when HTTP Tunneling', 'proxy-password'],
  ['HTTP 404', 'http-404'],
  ['HTTP 418', 'http'],
  ['ENOSPC: no space left on device, write', 'disk-full'],
  ['it stalled', 'stalled'],
] as const)('%s', (reason, key) => {
  expect(sayReason(reason, en)).toBe(en[key].replace('{status}', '418'))
})

test('of several sources each keeps its name; what nobody knows and what a program printed stay as they are', () => {
  const reason =
    'a.example: connect ECONNREFUSED 10.0.0.1:443; b.example:81 2: HTTP 503: overloaded; c.example: out of luck'
  expect(sayReason(reason, en)).toBe(
    'a.example: the connection to 10.0.0.1:443 was refused; nothing listens there; b.example:81 2: it has trouble of its own (HTTP 503): overloaded; c.example: out of luck',
  )
  const printed = 'error: failed\nconnect ECONNREFUSED 10.0.0.1:443'
  expect(sayReason(printed, en)).toBe(printed)
  expect(sayReason("EACCES: permission denied, open '/models/a'", en)).toBe('/models/a may not be written or read')
  expect(sayReason('connect ECONNREFUSED', en)).toBe(en['refused-somewhere'])
})

test('every reason has words, and a failure is told with them in both languages', () => {
  expect(reasonKeys.filter((key) => !(key in en))).toEqual([])
  const failure = toFailure(new AppError('hub.unreachable', { hub: 'Civitai', reason: 'hub.example: read ECONNRESET' }))
  expect(explain(failure, 'en').message).toBe('Civitai does not answer: hub.example: the connection was cut')
  expect(explain(failure, 'zh-CN').message).toContain('hub.example: 连接被切断')
})
