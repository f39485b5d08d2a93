import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '../..')

/** Names that a room imports from electron as values. */
function imported(folder: string): string[] {
  const names = readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'))
    .flatMap((file) => {
      const source = readFileSync(path.join(root, folder, file), 'utf8')
      return [...source.matchAll(/import \{([^}]*)\} from 'electron'/g)].flatMap(([, list = '']) =>
        list
          .split(',')
          .map((name) => name.trim())
          .filter((name) => name !== '' && !name.startsWith('type ')),
      )
    })
  return [...new Set(names)].sort()
}

/** What `import { … } from 'electron'` gives: the declaration's CrossProcessExports. */
function declared(): Set<string> {
  const text = readFileSync(path.join(root, 'node_modules/electron/electron.d.ts'), 'utf8')
  const all = text.slice(text.indexOf('namespace CrossProcessExports'))
  return new Set([...all.matchAll(/^ {4}(?:const|class) (\w+)/gm)].map(([, name]) => name as string))
}

test('all that main takes from Electron, the stand-in has and Electron declares', async () => {
  process.env.STAND_IN_UTILITY = '1' // this process is no app
  const standIn = await import('./stand-in/electron.ts')
  const names = imported('main')
  expect(names.length).toBeGreaterThan(10)
  expect(names.filter((name) => !(name in standIn))).toEqual([])
  expect(names.filter((name) => !declared().has(name))).toEqual([])
})

test('all that the preload takes, a sandboxed preload is given and Electron declares', () => {
  const names = imported('preload')
  expect(names).toEqual(['contextBridge', 'ipcRenderer', 'webUtils'])
  expect(names.filter((name) => !declared().has(name))).toEqual([])
})

test('the stand-in has nothing that Electron does not', async () => {
  process.env.STAND_IN_UTILITY = '1'
  const { default: everything } = await import('./stand-in/electron.ts')
  expect(Object.keys(everything).filter((name) => !declared().has(name))).toEqual([])
})
