import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { ModelWatch } from '../../../../main/services/model-watch.ts'
import { eventually } from '../../../kit/eventually.ts'
import { aLora, put } from '../../../kit/model-files.ts'
import { modelsKit } from '../../../kit/models-kit.ts'
import { tempDir } from '../../../kit/temp-dir.ts'
import { turnableClock } from '../../../kit/turnable-clock.ts'

/** A watch on folders; `after` turns the clock until it tells of something, or gives up. */
function kit(...dirs: string[]) {
  const clock = turnableClock()
  let told = 0
  let timers = 0
  const counting = {
    now: clock.now,
    after(ms: number, call: () => void) {
      timers += 1
      return clock.after(ms, call)
    },
  }
  const watch = new ModelWatch({ clock: counting, onChange: () => void told++ })
  onTestFinished(() => watch.close())
  watch.follow(dirs)
  /** Resolves when the watch heard of what was done. */
  const heard = async (act: () => void) => {
    const before = timers
    act()
    await eventually(() => timers > before)
  }
  return { watch, clock, heard, told: () => told }
}

test('a file that comes, grows or goes is told once, when it is quiet; what is no model is not', async () => {
  const dir = tempDir()
  const { clock, heard, told } = kit(dir)
  const file = path.join(dir, 'a.safetensors')
  await heard(() => writeFileSync(file, 'a'))
  clock.turn(1_500)
  await heard(() => appendFileSync(file, 'b'))
  clock.turn(1_500)
  expect(told()).toBe(0)
  clock.turn(600)
  expect(told()).toBe(1)
  await heard(() => rmSync(file))
  clock.turn(2_100)
  expect(told()).toBe(2)
  writeFileSync(path.join(dir, 'a.safetensors.part'), 'x')
  writeFileSync(path.join(dir, 'notes.txt'), 'x')
  await heard(() => mkdirSync(path.join(dir, 'folder'))) // events come in order: the others were passed over
  clock.turn(2_100)
  expect(told()).toBe(3)
})

test('what is copied for long keeps nothing else from being seen', async () => {
  const dir = tempDir()
  const { clock, heard, told } = kit(dir)
  const file = path.join(dir, 'a.gguf')
  await heard(() => writeFileSync(file, 'a'))
  for (let times = 0; times < 31; times++) {
    clock.turn(1_900)
    if (times < 30) await heard(() => appendFileSync(file, 'b'))
  }
  expect(told()).toBe(0)
  appendFileSync(file, 'c') // too late to put it off
  clock.turn(2_100)
  expect(told()).toBe(1)
})

test('folders that are let go are no longer heard; one that is not there yet does no harm', async () => {
  const [one, two] = [tempDir(), tempDir()]
  const { watch, clock, heard, told } = kit(one, path.join(one, 'nowhere'))
  watch.follow([two])
  writeFileSync(path.join(one, 'a.pt'), 'a')
  await heard(() => writeFileSync(path.join(two, 'b.pt'), 'b'))
  clock.turn(2_100)
  expect(told()).toBe(1)
})

test('a model that comes while a folder is looked through for the first time is seen too', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1) })
  const { models, clock } = await modelsKit({ dir })
  clock.turn(2_000) // the first look
  // the folder is listed, and what is in it is read
  while (models.state().scannedAt === null && !models.progress()[0]?.files) await turn()
  put(dir, { 'models/loras/b.safetensors': aLora(2) })
  await eventually(() => {
    clock.turn(1_000)
    return models.page({}).total === 2
  })
})

test('a model that is put into a folder, a new one too, is in the library without a word', async () => {
  const dir = tempDir()
  put(dir, { 'models/loras/a.safetensors': aLora(1) })
  const { models, clock } = await modelsKit({ dir })
  const names = () =>
    models
      .page({})
      .rows.map(({ name }) => name)
      .sort()
  clock.turn(2_000) // the first look
  await eventually(() => names().length === 1)
  const seen = (...wanted: string[]) =>
    eventually(() => {
      clock.turn(1_000)
      return names().join() === wanted.join()
    })
  put(dir, { 'models/loras/b.safetensors': aLora(2) })
  await seen('a.safetensors', 'b.safetensors')
  put(dir, { 'models/loras/new/deep/c.safetensors': aLora(3) })
  await seen('a.safetensors', 'b.safetensors', 'new/deep/c.safetensors')
  rmSync(path.join(dir, 'models/loras/a.safetensors'))
  put(dir, { 'models/loras/new/deep/d.safetensors': aLora(4) })
  await seen('b.safetensors', 'new/deep/c.safetensors', 'new/deep/d.safetensors')
})
