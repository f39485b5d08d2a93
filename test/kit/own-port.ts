import { freePort } from '../../core/engine/process/ports.ts'

// below what systems hand out themselves, so that nobody gets it while its server is away; a hundred for each who asks
const mine = 20_000 + (Number(process.env.VITEST_POOL_ID ?? process.pid) % 100) * 100
let next = mine

/** A port for a server that goes and comes back at its address. */
export async function ownPort(): Promise<number> {
  const port = await freePort(next)
  if (port === null) throw new Error(`no port is free from ${next}`)
  next = port + 1 < mine + 100 ? port + 1 : mine
  return port
}
