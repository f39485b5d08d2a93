import { expect, test } from 'vitest'
import { app } from '../../../../core/contract/app.ts'
import { Settings, SettingsChange } from '../../../../core/contract/settings.ts'

test('a change of one setting leaves the others alone', () => {
  expect(app['settings.set'].input.parse({ theme: 'dark' })).toEqual({ theme: 'dark' })
})

test('every setting can be changed', () => {
  expect(Object.keys(SettingsChange.shape)).toEqual(Object.keys(Settings.shape))
})
