import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { type AgentOptions, startAgent } from '../../agent/agent.ts'
import type { ReleaseAsked, ReleaseView } from '../../core/contract/release.ts'
import { asking, KEY } from './agent-kit.ts'
import { deskAt } from './desk.ts'
import { eventually } from './eventually.ts'
import { tempDir } from './temp-dir.ts'

/** A desk, and agents on its store. */
export function aDesk() {
  const gate = path.join(tempDir(), 'gate')
  const desk = deskAt(tempDir(), tempDir(), { gate })
  const { here, storeDir } = desk
  return {
    ...desk,
    /** What is sent from now on runs until it is let go. */
    hold: () => writeFileSync(gate, ''),
    letGo: () => rmSync(gate),
    async agent(options: Partial<AgentOptions> = {}) {
      const cache = tempDir()
      const logged: { event: string; [fact: string]: unknown }[] = []
      const agent = await startAgent({
        host: '127.0.0.1',
        port: 0,
        names: [],
        origins: [],
        keys: [`${KEY} run,publish`],
        store: storeDir,
        cache,
        worker: [],
        python: here.python,
        env: process.env,
        threads: 1,
        leaseMs: 2_000,
        lookEveryMs: 100,
        pace: { readyLookMs: 25, watchEveryMs: 100, firstPauseMs: 50, stopMs: 2_000, crashes: 2 },
        log: (event, more) => logged.push({ event, ...more }),
        ...options,
      })
      onTestFinished(() => agent.stop(0))
      const ask = asking(agent)
      const view = async (version: number): Promise<ReleaseView> => (await ask(`/v1/releases/${version}`)).json()
      return {
        agent,
        ask,
        logged,
        view,
        /** Where it writes down which processes it started. */
        processes: path.join(options.cache ?? cache, 'agents', '0', 'processes'),
        async publish(asked: Partial<ReleaseAsked>) {
          const reply = await ask('/v1/releases', { body: { models: [], workflows: [], ...asked } })
          expect(reply.status, reply.text).toBe(201)
          return (reply.json() as ReleaseView).version
        },
        /** Once it is so. */
        async until(version: number, is: ReleaseView['state']['is']) {
          await eventually(async () => {
            const { state } = await view(version)
            if (state.is !== is && state.is === 'refused') throw new Error(state.failure.message)
            return state.is === is
          })
          return view(version)
        },
        promote: (version: number) => ask(`/v1/releases/${version}/promote`, { method: 'POST' }),
      }
    },
  }
}

/** A model of this content as a snapshot names it, in a folder that has it under another name. */
export function aModel(text = 'weights') {
  const dir = tempDir()
  const bytes = Buffer.from(text.repeat(1000))
  mkdirSync(path.join(dir, 'somewhere'))
  const file = path.join(dir, 'somewhere', 'else.safetensors')
  writeFileSync(file, bytes)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { dir, file, needed: { folder: 'checkpoints', name: '画风/a.safetensors', size: bytes.length, sha256 } }
}

/** Changes what is in the packs of a store. */
export function spoilPacks(storeDir: string, ids: Iterable<string>) {
  for (const id of ids) {
    const file = path.join(storeDir, 'packs', id.slice(0, 2), `${id}.pack`)
    const bytes = readFileSync(file)
    bytes[20]! ^= 0xff
    rmSync(file)
    writeFileSync(file, bytes)
  }
}
