import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { Mirror, Mirrors } from '../../core/contract/mirror.ts'
import { Network } from '../../main/services/network.ts'
import { openSecrets } from '../../main/services/secrets.ts'
import { KeptSettings } from '../../main/services/settings.ts'
import { testDatabase } from './queue-kit.ts'
import { serve } from './serve.ts'
import { tempDir } from './temp-dir.ts'
import { turnableClock } from './turnable-clock.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void

export const aFile = randomBytes(100_000)
export const itsHash = createHash('sha256').update(aFile).digest('hex')
export const hostOf = (url: string) => new URL(url).host

/** Gives `aFile`, after a while and in pieces if told to. */
export const givesFile =
  ({ afterMs = 0, bytes = aFile }: { afterMs?: number; bytes?: Buffer } = {}): Answer =>
  (_, response) =>
    void setTimeout(() => response.end(bytes), afterMs)
export const sendsTo =
  (url: string): Answer =>
  (_, response) =>
    void response.writeHead(302, { location: url }).end()

/** An official host with a file that is known, and hosts that stand in for it as `huggingface`. */
export async function hubWith(official: Answer, ...others: ((officialUrl: string) => Answer)[]) {
  const asked: string[] = []
  const heard = (name: string, answer: Answer) => (request: IncomingMessage, response: ServerResponse) => {
    asked.push(`${name} ${request.url} ${request.headers.authorization ?? '-'}`)
    answer(request, response)
  }
  const { url } = await serve(heard('official', official))
  const places = await Promise.all(others.map((other, at) => serve(heard(`mirror-${at}`, other(url)))))
  const kind = (kinds: Partial<Mirrors['kinds']> = {}): Partial<Mirrors> => ({
    kinds: {
      huggingface: {
        official: url,
        standsIn: [hostOf(url)],
        checks: [{ is: 'file', url: `${url}/known.bin`, sha256: itsHash, sizeBytes: aFile.length }],
      },
      ...kinds,
    },
    accounts: {
      huggingface: { hosts: [hostOf(url)], page: 'https://hub.invalid/tokens', check: `${url}/whoami` },
    },
    mirrors: places.map((place): Mirror => ({ standsInFor: hostOf(url), pattern: `${place.url}{path}` })),
  })
  return { url, mirrors: places.map((place) => place.url), asked, kind }
}

/** The service with these places alone, in a data folder of its own. */
export function networkKit(
  places: Partial<Mirrors>,
  {
    env = {},
    timeZone = 'Europe/Berlin',
    dataDir = tempDir(),
    database = testDatabase(),
    clock = turnableClock(),
    run = () => Promise.reject(new Error('no such program')),
  }: Partial<{
    env: NodeJS.ProcessEnv
    timeZone: string
    dataDir: string
    database: ReturnType<typeof testDatabase>
    clock: ReturnType<typeof turnableClock>
    run: (command: string, args: readonly string[]) => Promise<string>
  }> = {},
) {
  const resourcesDir = path.join(dataDir, 'resources')
  mkdirSync(resourcesDir, { recursive: true })
  writeFileSync(path.join(resourcesDir, 'mirrors.json'), JSON.stringify(places))
  const settings = new KeptSettings(database)
  const secrets = openSecrets(dataDir)
  const said: string[] = []
  const network = new Network({
    dataDir,
    resourcesDir,
    database,
    settings,
    secrets,
    clock,
    version: '1.0.0',
    locale: 'en',
    timeZone,
    env,
    platform: 'linux',
    run,
    log: (event, facts) => said.push(`${event} ${JSON.stringify(facts)}`),
  })
  onTestFinished(() => network.stop())
  return { network, settings, secrets, clock, database, dataDir, said }
}
