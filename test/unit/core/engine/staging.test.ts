import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { outputFolder, sweepOutputs } from '../../../../core/engine/staging.ts'
import { tempDir } from '../../../kit/temp-dir.ts'

const ended = '11111111-2222-4333-8444-555555555555'
const running = '11111111-2222-4333-8444-666666666666'

test('on one volume a ComfyUI saves in its own folder, also when the pictures’ folder is not there yet', async () => {
  const dir = tempDir()
  const own = path.join(dir, 'base', 'output')
  const pictures = path.join(dir, 'pictures', '夜')
  expect(await outputFolder(own, { picturesDir: pictures, name: 'local', mark: 'm' })).toBe(own)
  expect(readdirSync(dir)).toEqual(['base'])
  expect(readdirSync(own)).toEqual([])
})

/** A second volume, where the machine has one that anybody may write to. */
const other = '/dev/shm'
const twoVolumes = existsSync(other) && statSync(other).dev !== statSync(tmpdir()).dev

test.skipIf(!twoVolumes)(
  'on another volume it saves in a folder beside the pictures, which a person can see',
  async () => {
    const pictures = mkdtempSync(path.join(other, 'nightshift-test-'))
    onTestFinished(() => rmSync(pictures, { recursive: true }))
    const own = path.join(tempDir(), 'output')
    expect(await outputFolder(own, { picturesDir: pictures, name: '夜', mark: 'm' })).toBe(
      path.join(pictures, 'ComfyUI 夜'),
    )
    expect(readdirSync(pictures)).toEqual(['ComfyUI 夜'])
    expect(readdirSync(path.join(pictures, 'ComfyUI 夜'))).toEqual([])
  },
)

test('the files of prompts that have ended go; those of one that runs, of a person and of strangers stay', async () => {
  const dir = tempDir()
  const ours = path.join(dir, 'nightshift')
  mkdirSync(ours)
  const names = [`${ended}_00001_.png`, `${ended}_00002_.png`, `${running}_00001_.png`, 'mine.png', `${ended}.txt`]
  for (const name of names) writeFileSync(path.join(ours, name), '')
  writeFileSync(path.join(dir, 'ComfyUI_00001_.png'), '')
  expect(await sweepOutputs(dir, (id) => id === ended)).toBe(2)
  expect(readdirSync(ours).toSorted()).toEqual([`${ended}.txt`, `${running}_00001_.png`, 'mine.png'].toSorted())
  expect(readdirSync(dir)).toContain('ComfyUI_00001_.png')
  expect(await sweepOutputs(path.join(dir, 'not there'), () => true)).toBe(0)
})
