import os from 'node:os'
import { expect, onTestFinished, test, vi } from 'vitest'
import { fetchPublic, isPublic } from '../../../../../core/engine/download/fetch-public.ts'
import { serve } from '../../../../kit/serve.ts'

test.each([
  ['93.184.216.34', true],
  ['198.18.0.7', true],
  ['2606:2800:220:1::1', true],
  ['127.0.0.1', false],
  ['0.0.0.0', false],
  ['10.1.2.3', false],
  ['172.20.0.1', false],
  ['192.168.1.20', false],
  ['169.254.169.254', false],
  ['100.100.100.200', false],
  ['192.0.2.9', false],
  ['203.0.113.9', false],
  ['2001:db8::9', false],
  ['224.0.0.1', false],
  ['255.255.255.255', false],
  ['::1', false],
  ['::', false],
  ['::ffff:127.0.0.1', false],
  ['::ffff:a00:1', false],
  ['64:ff9b::a00:1', false],
  ['2002:7f00:1::', false],
  ['fd00::1', false],
  ['fe80::1', false],
  ['ff02::1', false],
  ['not an address', false],
])('%s is of the internet: %s', (address, expected) => {
  expect(isPublic(address)).toBe(expected)
})

test('an address of this machine is none of the internet, whoever else knows it', () => {
  const own = { family: 'IPv4', address: '93.184.216.35', netmask: '', mac: '', internal: false, cidr: null } as const
  const spy = vi.spyOn(os, 'networkInterfaces').mockReturnValue({ eth0: [own] })
  onTestFinished(() => spy.mockRestore())
  expect([isPublic('93.184.216.34'), isPublic('93.184.216.35')]).toEqual([true, false])
})

const here = { limitBytes: 1000, mayReach: () => true }
const refused = (reason: string | RegExp) => ({
  code: 'input.unreachable',
  facts: { reason: typeof reason === 'string' ? reason : expect.stringMatching(reason) },
})

test('a file is fetched through redirects, and from nowhere inside, however it is written', async () => {
  let asked = 0
  const { url } = await serve(({ url }, reply) => {
    asked++
    if (url === '/file') reply.end('picture')
    else reply.writeHead(302, { location: url === '/once' ? '/file' : '/round' }).end()
  })
  expect((await fetchPublic(`${url}/once`, here)).bytes.toString()).toBe('picture')
  await expect(fetchPublic(`${url}/round`, here)).rejects.toMatchObject(refused('it redirects too often'))
  asked = 0
  const port = new URL(url).port
  for (const host of ['127.0.0.1', 'localhost', '[::1]', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]'])
    await expect(fetchPublic(`http://${host}:${port}/file`, { limitBytes: 1000 })).rejects.toMatchObject(
      refused('it is not on the internet'),
    )
  expect(asked).toBe(0)
})

test('a redirect from the internet to inside is not followed', async () => {
  const { url: inside } = await serve((_, reply) => reply.end('secret'))
  const { url: outside } = await serve((_, reply) => reply.writeHead(302, { location: `${inside}/x` }).end())
  let first = true
  const mayReach = () => {
    const may = first
    first = false
    return may
  }
  await expect(fetchPublic(outside, { limitBytes: 1000, mayReach })).rejects.toMatchObject(
    refused('it is not on the internet'),
  )
})

test('what is larger than allowed is let go of, whether it says so or not', async () => {
  const { url } = await serve(({ url }, reply) => {
    if (url === '/said') reply.writeHead(200, { 'content-length': 5000 })
    const more = () => {
      while (!reply.destroyed && reply.write('x'.repeat(100)));
    }
    reply.on('drain', more)
    more()
  })
  await expect(fetchPublic(`${url}/said`, here)).rejects.toMatchObject(refused(/more than/))
  await expect(fetchPublic(`${url}/endless`, here)).rejects.toMatchObject(refused(/more than/))
})

test('no answer in time, a wrong status, another protocol: each says why, without a password', async () => {
  const { url } = await serve(({ url }, reply) => {
    if (url === '/missing') reply.writeHead(404).end()
  })
  await expect(fetchPublic(`${url}/silent`, { ...here, timeoutMs: 50 })).rejects.toMatchObject(refused(/time/))
  await expect(fetchPublic(`${url}/missing`, here)).rejects.toMatchObject(refused('HTTP 404'))
  await expect(fetchPublic('file:///etc/passwd', here)).rejects.toMatchObject(refused('it is no web address'))
  await expect(fetchPublic(`${url.replace('//', '//me:secret@')}/missing`, here)).rejects.not.toMatchObject({
    facts: { url: expect.stringContaining('secret') },
  })
})
