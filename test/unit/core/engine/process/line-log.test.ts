import { readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { LineLog } from '../../../../../core/engine/process/line-log.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'
import { tempDir } from '../../../../kit/temp-dir.ts'

function kit({ rotateAtBytes }: { rotateAtBytes?: number } = {}) {
  let now = Date.UTC(2026, 10, 21)
  const dir = tempDir()
  const file = path.join(dir, 'local.log')
  const log = new LineLog(file, { now: () => now, rotateAtBytes })
  const heard: string[] = []
  const reader = log.reader((line) => heard.push(line))
  return { dir, file, log, heard, reader, turn: (ms: number) => (now += ms) }
}
const texts = async (log: LineLog, query: Partial<Parameters<LineLog['read']>[0]> = {}) =>
  (await log.read({ limit: 200, ...query })).map(({ text }) => text)

test('lines are whole however the bytes come, without colours; of a bar only its last state stays', async () => {
  const { log, heard, reader } = kit()
  const bytes = Buffer.from('\x1b[32m[INFO]\x1b[0m 你好\r\n 10%|#   |\r 50%|##  |\r100%|####|\nno newline at the end')
  for (let at = 0; at < bytes.length; at += 3) reader.write(bytes.subarray(at, at + 3))
  reader.end()
  expect(await texts(log)).toEqual(['[INFO] 你好', '100%|####|', 'no newline at the end'])
  expect(heard).toHaveLength(3)
})

test('it is read backwards in pages, searched, and followed', async () => {
  const { log, reader } = kit({ rotateAtBytes: 2_000 })
  reader.write(Buffer.from(Array.from({ length: 120 }, (_, index) => `line ${index + 1}\n`).join('')))
  reader.write(Buffer.from('Error: FOUND me\n'))
  expect(await texts(log, { limit: 2 })).toEqual(['line 120', 'Error: FOUND me'])
  expect(await texts(log, { limit: 2, before: 120 })).toEqual(['line 118', 'line 119'])
  expect(await texts(log, { search: 'found' })).toEqual(['Error: FOUND me'])
  expect(await texts(log, { after: 119, limit: 1 })).toEqual(['line 120'])
})

test('another start continues the count', async () => {
  const { log, file, reader } = kit()
  reader.write(Buffer.from('one\ntwo\n'))
  log.close()
  const later = new LineLog(file, { now: Date.now })
  await later.open()
  later.note('three')
  expect((await later.read({ limit: 9 })).map(({ n, text }) => [n, text])).toEqual([
    [1, 'one'],
    [2, 'two'],
    [3, 'three'],
  ])
})

test('what looks like a secret is not kept', async () => {
  const { log, reader } = kit()
  reader.write(Buffer.from('Authorization: Bearer abcdef1234567890\nhttps://u:pass@host/x\n'))
  expect((await texts(log)).join('\n')).not.toMatch(/abcdef1234567890|pass@/)
})

test('a flood of 100 MB is bounded on disk and in memory, quick, and told', async () => {
  const { dir, log, reader, turn } = kit()
  reader.write(Buffer.from('before\n'))
  const chunk = Buffer.from('x'.repeat(99).concat('\n').repeat(655))
  const before = process.memoryUsage().rss
  const took = stopwatch()
  for (let bytes = 0; bytes < 100 * 1024 * 1024; bytes += chunk.length) {
    reader.write(chunk)
    turn(2)
  }
  expect(took()).toBeLessThan(5_000)
  turn(1_000)
  reader.write(Buffer.from('after\n'))
  const bytes = readdirSync(dir).reduce((sum, name) => sum + statSync(path.join(dir, name)).size, 0)
  expect(bytes).toBeLessThan(20 * 1024 * 1024)
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024)
  const last = await texts(log, { limit: 2 })
  expect(last[1]).toBe('after')
  expect(last[0]).toMatch(/^… \d+ lines left out/)
})

test('the last words of a flood are remembered, in whatever pieces they come', () => {
  const { log, reader } = kit()
  reader.write(Buffer.from('x\n'.repeat(2_000_000)))
  for (const piece of ['the flood', ' is over\n', 'MemoryErr', 'or\n']) reader.write(Buffer.from(piece))
  expect(log.lastLines(2)).toEqual(['the flood is over', 'MemoryError'])
})

test('a line without end is cut', async () => {
  const { log, reader } = kit()
  for (let index = 0; index < 10; index++) reader.write(Buffer.from('y'.repeat(64 * 1024)))
  reader.write(Buffer.from('\nnext\n'))
  const [cut, next] = await texts(log)
  expect(cut!.length).toBeLessThan(5_000)
  expect(next).toBe('next')
})
