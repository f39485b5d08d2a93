import path from 'node:path'
import { expect, test } from 'vitest'
import {
  commandIn,
  filesIn,
  isEditorEntry,
  isHarmless,
  isOurs,
  mayOpen,
  optionIn,
  rendererFile,
} from '../../../../main/electron/addresses.ts'

const root = path.resolve('/opt/app/out/renderer')

test.each([
  ['nightshift://app/', 'index.html'],
  ['nightshift://app/index.html?x=1#/queue', 'index.html'],
  ['nightshift://app/assets/index-B3f.js', 'assets/index-B3f.js'],
  ['nightshift://app/%E5%9B%BE.png', '图.png'],
  ['nightshift://app/assets/../index.html', 'index.html'],
])('%s is a file of the pages', (url, file) => {
  expect(rendererFile(root, url)).toBe(path.join(root, file))
})

test.each([
  'nightshift://app/%2e%2e/%2e%2e/package.json',
  'nightshift://app/..%2f..%2fpackage.json',
  'nightshift://app/assets/..%2F..%2F..%2Fetc/passwd',
  'nightshift://app/..%5c..%5cpackage.json',
  'nightshift://app/%00',
  'nightshift://app/C:%2Fwindows%2Fwin.ini',
  'nightshift://app/%E5%9B',
  'nightshift://other/index.html',
  'not an address',
])('%s leads nowhere', (url) => {
  const file = rendererFile(root, url)
  expect(file === null || file.startsWith(root + path.sep)).toBe(true)
  if (!url.includes('%2e%2e/')) expect(file).toBeNull() // those, the URL itself resolves to a file inside
})

test.each([
  ['nightshift://app/index.html', true],
  ['nightshift://app', true],
  ['nightshift://app.evil/index.html', false],
  ['nightshift://other/', false],
  ['https://nightshift/app', false],
  ['file:///nightshift://app/', false],
  [undefined, false],
])('whether %s is a page of ours: %s', (url, expected) => {
  expect(isOurs(url)).toBe(expected)
})

test.each([
  ['https://github.com/comfyanonymous/ComfyUI', 'yes'],
  ['https://docs.comfy.org/x', 'yes'],
  ['https://evilgithub.com/', 'ask'],
  ['https://github.com.evil.example/', 'ask'],
  ['https://someone:secret@github.com/', 'no'],
  ['http://github.com/', 'no'],
  ['http://127.0.0.1:20123/nightshift/enter?ticket=t', 'no'],
  ['http://127.0.0.1:20123/anything', 'no'],
  ['file:///etc/passwd', 'no'],
  ['javascript:alert(1)', 'no'],
  ['ms-settings:', 'no'],
  ['', 'no'],
])('%s goes to the browser: %s', (url, expected) => {
  expect(mayOpen(url)).toBe(expected)
})

test.each([
  ['http://127.0.0.1:20123/nightshift/enter?ticket=t', true],
  ['http://127.0.0.1:20123/other', false],
  ['http://192.0.2.1:20123/nightshift/enter', false],
  ['https://127.0.0.1:20123/nightshift/enter', false],
  ['nonsense', false],
])('%s is the way into an editor: %s', (url, expected) => {
  expect(isEditorEntry(url)).toBe(expected)
})

test.each([
  ['picture.PNG', true],
  ['clip.webm', true],
  ['mesh.glb', true],
  ['setup.exe', false],
  ['run.desktop', false],
  ['page.html', false],
  ['drawing.svg', false],
  ['no-extension', false],
])('opening %s is harmless: %s', (file, expected) => {
  expect(isHarmless(file)).toBe(expected)
})

test('files among the arguments, and nothing else', () => {
  const argv = ['electron', '.', '--hidden', '--data', 'mine.json', 'a.json', '/b/图.PNG', 'c.txt', '--x=d.json']
  expect(filesIn(argv, '/w', false)).toEqual([path.resolve('/w/a.json'), path.resolve('/b/图.PNG')])
  expect(filesIn(['nightshift', 'a.webp'], '/w', true)).toEqual([path.resolve('/w/a.webp')])
})

test.each([
  [['x', '--data', '/d'], '/d'],
  [['x', '--data=/d e'], '/d e'],
  [['x', '--database', '/d'], undefined],
])('the option in %o is %s', (argv, expected) => {
  expect(optionIn(argv, 'data')).toBe(expected)
})

test.each([
  [['nightshift', 'run', 'a.json', '--json'], true, ['run', 'a.json', '--json']],
  [['electron', '.', 'serve'], false, ['serve']],
  [['nightshift', 'a.json'], true, null],
  [['nightshift', '--hidden'], true, null],
  [['nightshift'], true, null],
])('the command in %o', (argv, packaged, expected) => {
  expect(commandIn(argv, packaged)).toEqual(expected)
})
