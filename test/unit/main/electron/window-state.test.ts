import { expect, test } from 'vitest'
import { placeWindow, WindowState } from '../../../../main/electron/window-state.ts'

const screen = { x: 0, y: 0, width: 1920, height: 1040 }
const left = { x: -2560, y: 0, width: 2560, height: 1400 }
const small = { x: 0, y: 0, width: 1024, height: 600 }
const comfortable = { width: 1280, height: 860 }

test.each([
  ['never opened: comfortable, left to the system where', null, [screen], comfortable],
  ['never opened on a small screen: no larger than it', null, [small], { width: 1024, height: 600 }],
  ['where it was', { x: 100, y: 80, width: 1000, height: 700 }, [screen], { x: 100, y: 80, width: 1000, height: 700 }],
  [
    'on the second screen',
    { x: -2000, y: 90, width: 1000, height: 700 },
    [screen, left],
    { x: -2000, y: 90, width: 1000, height: 700 },
  ],
  ['the second screen is gone', { x: -2000, y: 90, width: 1000, height: 700 }, [screen], comfortable],
  ['only a sliver would be seen', { x: 1850, y: 90, width: 1000, height: 700 }, [screen], comfortable],
  [
    'half out of sight: pulled in whole',
    { x: 1500, y: 600, width: 1000, height: 700 },
    [screen],
    { x: 920, y: 340, width: 1000, height: 700 },
  ],
  [
    'its title bar above the screen: not reachable',
    { x: 100, y: -300, width: 1000, height: 700 },
    [screen],
    comfortable,
  ],
  [
    'larger than the screen it is on now',
    { x: 0, y: 0, width: 1900, height: 1000 },
    [small],
    { x: 0, y: 0, width: 1024, height: 600 },
  ],
  ['absurdly small', { x: 10, y: 10, width: 3, height: 3 }, [screen], comfortable],
  ['no screen at all', { x: 10, y: 10, width: 900, height: 600 }, [], comfortable],
])('a window opens %s', (_name, saved, screens, expected) => {
  expect(placeWindow(saved, screens)).toEqual(expected)
})

test('a damaged state file is mended part by part', () => {
  expect(WindowState.parse({ bounds: { x: 'a' }, maximised: true, theme: 'pink', language: 'en', more: 1 })).toEqual({
    bounds: null,
    maximised: true,
    theme: 'system',
    language: 'en',
  })
})
