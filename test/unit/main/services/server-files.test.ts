import { expect, test } from 'vitest'
import type { WorkerHealth } from '../../../../core/contract/worker.ts'
import type { Inspection } from '../../../../core/contract/workflow.ts'
import { ServerFiles } from '../../../../main/services/server-files.ts'
import { aParameter } from '../../../kit/batch-kit.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

function kit(there: Record<string, string[] | 'broken' | 'away'>) {
  const asked: string[] = []
  const clock = turnableClock()
  const health = (id: string): WorkerHealth =>
    there[id] === 'away'
      ? { is: 'disabled' }
      : { is: 'ready', comfyuiVersion: null, devices: [], queueLength: 0, latencyMs: 1 }
  const fleet = {
    get: (id: string) =>
      id in there
        ? {
            id,
            health: health(id),
            async hasInput(name: string) {
              asked.push(`${id} ${name}`)
              if (there[id] === 'broken') throw new Error('gone')
              return there[id]!.includes(name)
            },
          }
        : undefined,
  }
  return { files: new ServerFiles({ fleet, clock }), asked, clock }
}

test('names are told that any of the workers lacks; who cannot say lacks nothing', async () => {
  const { files } = kit({ one: ['a.png', 'b.png'], two: ['a.png'], three: 'broken', four: 'away' })
  const lacking = await files.lacking(['one', 'two', 'three', 'four', 'unknown'], ['a.png', 'b.png', 'c.png'])
  expect(lacking).toEqual(
    new Map([
      ['c.png', 'one'],
      ['b.png', 'two'],
    ]),
  )
})

test('an answer holds a while, then it is asked again', async () => {
  const { files, asked, clock } = kit({ one: ['a.png'] })
  await files.lacking(['one'], ['a.png', 'a.png'])
  await files.lacking(['one'], ['a.png'])
  expect(asked).toEqual(['one a.png'])
  clock.turn(16_000)
  await files.lacking(['one'], ['a.png'])
  expect(asked).toHaveLength(2)
})

test('an inspection gets a problem for each input file its worker lacks, placeholders and local files aside', async () => {
  const { files } = kit({ one: ['a.png'] })
  const image = (key: string, file: string) => aParameter(key, { name: 'Image', upload: 'image', default: file })
  const parameters = [image('1.image', 'a.png'), image('2.image', 'b.png'), image('3.image', '{{photo}}')]
  const inspection = { parameters, problems: [], definitions: { from: 'one' } } as unknown as Inspection
  expect((await files.judge(inspection)).problems).toEqual([
    expect.objectContaining({ kind: 'bad-value', code: 'missing-input-file', node: '2', input: 'image' }),
  ])
  const bundled = { ...inspection, definitions: { from: 'bundled' } }
  expect(await files.judge(bundled)).toBe(bundled)
})
