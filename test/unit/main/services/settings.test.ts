import { expect, test } from 'vitest'
import { Settings } from '../../../../core/contract/settings.ts'
import { KeptSettings } from '../../../../main/services/settings.ts'
import { testDatabase } from '../../../kit/queue-kit.ts'

test('what was set is kept and told, the rest has its default', () => {
  const database = testDatabase()
  const settings = new KeptSettings(database)
  const told: Settings[] = []
  settings.events.on('changed', (all) => told.push(all))
  expect(settings.get()).toEqual(Settings.parse({}))
  settings.set({ theme: 'dark', outputDir: '/pictures' })
  settings.set({ theme: 'light' })
  expect(new KeptSettings(database).get()).toEqual({ ...Settings.parse({}), theme: 'light', outputDir: '/pictures' })
  expect(told.map(({ theme }) => theme)).toEqual(['dark', 'light'])
})

test('a value of another version falls back to its default without spoiling the others', () => {
  const database = testDatabase()
  const settings = new KeptSettings(database)
  settings.set({ textMagic: false })
  database.prepare(`INSERT INTO settings (key, value) VALUES ('theme', '"sepia"'), ('gone', '1')`).run()
  expect(settings.get()).toEqual({ ...Settings.parse({}), textMagic: false })
})
