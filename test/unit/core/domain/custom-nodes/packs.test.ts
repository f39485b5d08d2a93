import { expect, test } from 'vitest'
import {
  isPackList,
  isStats,
  packsMeant,
  readPacks,
  searchPacks,
  tellPack,
} from '../../../../../core/domain/custom-nodes/packs.ts'

// the shapes of ComfyUI-Manager's lists as of August 2026
const list = {
  custom_nodes: [
    {
      author: 'Ada',
      title: 'Impact Pack',
      id: 'comfyui-impact-pack',
      reference: 'https://github.com/Ada/ComfyUI-Impact-Pack',
      files: ['https://github.com/Ada/ComfyUI-Impact-Pack.git'],
      install_type: 'Git-Clone',
      description: 'Detects [a/faces](https://x.y/z) <b>and</b> details.',
      pip: ['ultralytics'],
      apt_dependency: ['ffmpeg'],
    },
    {
      author: 'Bo',
      title: 'Two scripts',
      reference: 'https://gist.github.com/Bo/Scripts',
      files: ['https://raw.githubusercontent.com/Bo/Scripts/main/one.py'],
      install_type: 'copy',
      description: '',
    },
    {
      author: 'Bo',
      title: 'Two scripts, the other',
      reference: 'https://gist.github.com/Bo/Scripts',
      files: ['https://raw.githubusercontent.com/Bo/Scripts/main/two.py'],
      install_type: 'copy',
      description: '',
    },
    {
      author: 'Cy',
      title: 'Faces',
      reference: 'htps://github.com/Cy/faces/tree/main',
      files: [],
      install_type: 'git',
      description: 'face tools',
    },
  ],
}
const map = {
  'https://github.com/ada/comfyui-impact-pack/': [['FaceDetailer', 'SAMLoader'], { title_aux: 'Impact' }],
  'https://raw.githubusercontent.com/Bo/Scripts/main/two.py': [['Two'], {}],
  'https://github.com/Di/Unlisted': [['FaceSwap'], { title_aux: 'Unlisted' }],
}
const stats = {
  'https://github.com/Ada/ComfyUI-Impact-Pack': { stars: 2500, last_update: '2026-01-02 03:04:05' },
  'https://github.com/Di/Unlisted': { stars: -1, last_update: 'FAILED' },
}
const packs = readPacks({ list, map, stats } as never)

test('the lists become one, however their addresses are spelt', () => {
  expect(packs.map(({ id, how, classNames, stars }) => [id, how, classNames, stars])).toEqual([
    ['Ada/ComfyUI-Impact-Pack', 'git', ['FaceDetailer', 'SAMLoader'], 2500],
    ['Bo/Scripts', 'files', [], null],
    ['https://raw.githubusercontent.com/Bo/Scripts/main/two.py', 'files', ['Two'], null],
    ['Cy/faces', 'git', [], null],
    ['Di/Unlisted', 'git', ['FaceSwap'], null],
  ])
  expect(tellPack(packs[0]!)).toEqual({
    id: 'Ada/ComfyUI-Impact-Pack',
    registryId: 'comfyui-impact-pack',
    title: 'Impact Pack',
    author: 'Ada',
    description: 'Detects faces and details.',
    url: 'https://github.com/Ada/ComfyUI-Impact-Pack',
    how: 'git',
    stars: 2500,
    updatedAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    classes: 2,
    pip: ['ultralytics'],
    system: ['ffmpeg'],
  })
})

test.each([
  ['faces', ['Cy/faces', 'Di/Unlisted', 'Ada/ComfyUI-Impact-Pack']],
  ['impact pack', ['Ada/ComfyUI-Impact-Pack']],
  ['facedetailer', ['Ada/ComfyUI-Impact-Pack']],
  ['Face Detailer', ['Ada/ComfyUI-Impact-Pack']],
  ['face', ['Cy/faces', 'Ada/ComfyUI-Impact-Pack', 'Di/Unlisted']],
  ['bo scripts', ['Bo/Scripts', 'https://raw.githubusercontent.com/Bo/Scripts/main/two.py']],
  ['ada', ['Ada/ComfyUI-Impact-Pack']],
  ['details faces', ['Ada/ComfyUI-Impact-Pack']],
  ['nobody', []],
])('a search for %s', (text, ids) => {
  expect(searchPacks(packs, text).map(({ pack }) => pack.id)).toEqual(ids)
})

test('a hit says which classes were meant', () => {
  expect(searchPacks(packs, 'sam')[0]).toMatchObject({ pack: { title: 'Impact Pack' }, classes: ['SAMLoader'] })
})

test.each([
  ['comfyui-impact-pack', ['Impact Pack']],
  ['ADA/comfyui-impact-pack', ['Impact Pack']],
  ['https://github.com/ada/ComfyUI-Impact-Pack.git', ['Impact Pack']],
  ['git@github.com:Ada/ComfyUI-Impact-Pack.git', ['Impact Pack']],
  ['impact pack', ['Impact Pack']],
  ['Faces', ['Faces']],
  ['unlisted', ['Unlisted']],
  ['two', []],
])('%s means', (item, titles) => {
  expect(packsMeant(packs, item).map(({ title }) => title)).toEqual(titles)
})

test('a page of a proxy is none of the lists', () => {
  for (const other of [{}, [], 'no', { custom_nodes: [] }, { custom_nodes: [{}] }, { message: 'not found' }]) {
    expect(isPackList(other as never)).toBe(false)
    expect(isStats(other as never)).toBe(false)
  }
  expect([isPackList(list as never), isStats(stats)]).toEqual([true, true])
})
