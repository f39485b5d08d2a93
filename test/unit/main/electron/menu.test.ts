import { expect, test, vi } from 'vitest'
import { type MenuActions, trayMenu, windowMenu } from '../../../../main/electron/menu.ts'
import { nothingYet } from '../../../../main/electron/night.ts'
import { wordsIn } from '../../../../main/electron/words.ts'

const does: MenuActions = {
  openWorkflow: vi.fn(),
  show: vi.fn(),
  pause: vi.fn(),
  resume: vi.fn(),
  openLogs: vi.fn(),
  about: vi.fn(),
  quit: vi.fn(),
}
const up = { ...nothingYet, link: 'up' as const }
const facts = { platform: 'linux' as const, fromSource: false, words: wordsIn('en'), night: up }
type Item = ReturnType<typeof trayMenu>[number]
const labels = (items: readonly Item[]) => items.map(({ label, type }) => label ?? type)

test('the tray offers what can be done now', () => {
  expect(labels(trayMenu(facts, does))).toEqual([
    'Nothing queued',
    'separator',
    'Pause after the current job',
    'Open Nightshift',
    'Open the queue',
    'separator',
    'Quit',
  ])
  expect(labels(trayMenu({ ...facts, night: { ...up, paused: true } }, does))).toContain('Resume')
  const starting = trayMenu({ ...facts, night: nothingYet }, does)
  expect(starting.find(({ id }) => id === 'pause')?.enabled).toBe(false)
})

test('clicking does it', () => {
  const click = (item: Item | undefined) => item?.click?.(null as never, undefined, null as never)
  click(trayMenu(facts, does).find(({ id }) => id === 'pause'))
  click(trayMenu({ ...facts, night: { ...up, paused: true } }, does).find(({ id }) => id === 'resume'))
  click(trayMenu(facts, does).find(({ label }) => label === 'Open the queue'))
  expect(does.pause).toHaveBeenCalledOnce()
  expect(does.resume).toHaveBeenCalledOnce()
  expect(does.show).toHaveBeenCalledWith('queue')
})

test.each(['en', 'zh-CN'] as const)('in %s every entry has words, on every system', (language) => {
  for (const platform of ['linux', 'win32', 'darwin'] as const) {
    const menu = windowMenu({ ...facts, platform, words: wordsIn(language), fromSource: true }, does)
    const all = menu.flatMap(({ label, submenu }) => [{ label }, ...(submenu as Item[])] as Item[])
    for (const { label, type } of all) expect(label ?? type).toBeTruthy()
    expect(labels(menu)[0]).toBe(platform === 'darwin' ? 'Nightshift' : wordsIn(language).menu.file)
  }
})

test('developer tools are only at hand when started from the sources', () => {
  const roles = (fromSource: boolean) =>
    windowMenu({ ...facts, fromSource }, does).flatMap(({ submenu }) => (submenu as Item[]).map(({ role }) => role))
  expect(roles(false)).not.toContain('toggleDevTools')
  expect(roles(true)).toContain('toggleDevTools')
})
