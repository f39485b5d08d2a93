import { expect, test } from 'vitest'
import { app } from '../../../../core/contract/app.ts'
import { Settings, SettingsChange } from '../../../../core/contract/settings.ts'

test('a change of one setting leaves the others alone', () => {
  expect(app['settings.set'].input.parse({ theme: 'dark' })).toEqual({ theme: 'dark' })
})

test('every setting can be changed, but for the network, which has a way of its own', () => {
  const all = new Set(Object.keys(Settings.shape))
  expect(new Set([...Object.keys(SettingsChange.shape), 'network'])).toEqual(all)
  expect(Object.keys(app)).toContain('network.set')
})
