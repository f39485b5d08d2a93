import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { EngineState } from '../../core/contract/engine.ts'
import { LineLog } from '../../core/engine/process/line-log.ts'
import { type Pace, Supervisor } from '../../core/engine/process/supervisor.ts'
import { portsOfOthers } from './ports-of-others.ts'
import { tempDir } from './temp-dir.ts'

export const fakeComfy = path.join(import.meta.dirname, 'fake-comfy.mjs')

export const quick: Partial<Pace> = {
  readyLookMs: 20,
  watchEveryMs: 30,
  answerWithinMs: 5_000,
  hungIdleMs: 60_000,
  tellSilentMs: 60_000,
  firstPauseMs: 20,
  longestPauseMs: 50,
  stopMs: 4_000,
}

/** A supervisor of a program that behaves as its flags say. */
export function supervise(
  flags: readonly string[] = [],
  {
    port = null as number | null,
    pace = {} as Partial<Pace>,
    command = process.execPath,
    dir = tempDir(),
    hungAfterMs = undefined as (() => number | null) | undefined,
    /** Between the choice of its port and its start. */
    whenChosen = (_port: number) => Promise.resolve(),
  } = {},
) {
  const starts = path.join(dir, 'starts')
  const asked = path.join(dir, 'asked')
  const log = new LineLog(path.join(dir, 'engine.log'), { now: Date.now })
  const supervisor = new Supervisor({
    id: 'local',
    launch: async (at) => {
      await whenChosen(at)
      const args = [fakeComfy, '--port', String(at), '--starts', starts, '--asked', asked, ...flags]
      return { command, args, cwd: dir, env: process.env }
    },
    port,
    taken: () => portsOfOthers,
    stateDir: path.join(dir, 'state'),
    log,
    newId: randomUUID,
    now: Date.now,
    pace: { ...quick, ...pace },
    hungAfterMs,
  })
  const states: EngineState[] = []
  supervisor.events.on('state', (state) => states.push(state))
  onTestFinished(async () => {
    await supervisor.stop()
    log.close()
  })
  return {
    dir,
    log,
    supervisor,
    states,
    /** How often the program was asked how it is, over all its lives. */
    asked: () => (existsSync(asked) ? readFileSync(asked, 'utf8').length : 0),
    /** Every process started so far, in order. */
    started: () => (existsSync(starts) ? readFileSync(starts, 'utf8').trim().split('\n').map(Number) : []),
  }
}
