import { lookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import os from 'node:os'
import { Agent } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { reasonOf } from '../comfy/client.ts'
import { bytesWithin, follow } from './follow.ts'

// two lists: one would take every IPv4 address for its form within IPv6
const inside = { ipv4: new BlockList(), ipv6: new BlockList() }
// 198.18.0.0/15 is left out: proxies of many people answer every name with an address of theirs in it
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const)
  inside.ipv4.addSubnet(net, bits, 'ipv4')
for (const [net, bits] of [
  ['::', 96], // unspecified, loopback, and IPv4 written as IPv6
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2001::', 32],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const)
  inside.ipv6.addSubnet(net, bits, 'ipv6')

/** Whether an address of the internet, rather than of this machine, its network, or a cloud's own services. */
export function isPublic(address: string): boolean {
  const family = ({ 4: 'ipv4', 6: 'ipv6' } as const)[isIP(address)]
  return family !== undefined && !inside[family].check(address, family) && !isOfThisMachine(address)
}

/** Also one that the internet knows: from here it leads past the wall that is before it. */
const isOfThisMachine = (address: string) =>
  Object.values(os.networkInterfaces()).some((all) => all?.some((each) => each.address === address))

/** A name's addresses, only those that may be reached: what is checked here is what is connected to. */
export function lookupAmong(mayReach: (address: string) => boolean): LookupFunction {
  return (host, options, done) => {
    lookup(host, { ...options, all: true }, (cause, found) => {
      const usable = cause ? [] : found.filter(({ address }) => mayReach(address))
      const [first] = usable
      if (cause || !first) done(cause ?? new NotPublic(NOT_PUBLIC), '', 4)
      else if (options.all) done(null, usable as never)
      else done(null, first.address, first.family)
    })
  }
}
export class NotPublic extends Error {}

export interface PublicRequest {
  limitBytes: number
  timeoutMs?: number
  signal?: AbortSignal
  /** For tests: which addresses may be asked. */
  mayReach?: (address: string) => boolean
}

/**
 * A file from an address that somebody else's file named: http(s) only, from the internet only, whatever the name
 * resolves to and wherever it redirects, of a bounded size, within a bounded time. Nothing of ours goes along.
 * @throws AppError 'input.unreachable'
 */
export async function fetchPublic(url: string, asked: PublicRequest): Promise<{ url: string; bytes: Buffer }> {
  const { limitBytes, timeoutMs = 20_000, mayReach = isPublic } = asked
  const agent = new Agent({
    connect: {
      timeout: 8_000,
      lookup: lookupAmong(mayReach),
    },
  })
  const limits = [AbortSignal.timeout(timeoutMs), asked.signal].filter((given) => given !== undefined)
  const signal = AbortSignal.any(limits)
  try {
    const reply = await follow(url, { dispatcher: agent, signal }, (target) => {
      const host = target.hostname.replace(/^\[|\]$/g, '')
      if (isIP(host) && !mayReach(host)) throw new Error(NOT_PUBLIC)
      target.username = target.password = ''
    })
    if (reply.statusCode !== 200) {
      await reply.body.dump()
      throw new Error(`HTTP ${reply.statusCode}`)
    }
    return { url: reply.url, bytes: await bytesWithin(reply, limitBytes) }
  } catch (cause) {
    asked.signal?.throwIfAborted()
    throw new AppError('input.unreachable', { url: withoutUser(url), reason: reasonOf(cause) }, { cause })
  } finally {
    await agent.destroy()
  }
}

const NOT_PUBLIC = 'it is not on the internet'
const withoutUser = (url: string) => url.replace(/\/\/[^/@]*@/, '//').slice(0, 300)
