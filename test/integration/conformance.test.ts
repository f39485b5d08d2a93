import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Json, parseJson } from '../../core/contract/json.ts'
import { RehearsalServer } from '../../core/engine/rehearsal/server.ts'
import { play, scenes } from '../conformance/scenes.ts'
import { tempDir } from '../kit/temp-dir.ts'

test('the rehearsal answers and tells as was recorded from ComfyUI 0.33.0', async () => {
  const file = new URL('../fixtures/comfyui-0.33.0/conformance.json', import.meta.url)
  const recorded = parseJson(readFileSync(file, 'utf8')) as Record<string, Json>
  const rehearsal = new RehearsalServer({ dir: tempDir(), stepMs: 0 })
  await rehearsal.start()
  try {
    expect(await play(rehearsal.url)).toEqual(recorded)
    expect(Object.keys(recorded)).toEqual(scenes.map(({ name }) => name))
  } finally {
    await rehearsal.stop()
  }
})
