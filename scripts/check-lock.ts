// A lock in which an optional platform package has no entry makes `npm ci` fail on some machines: find it here instead.
import { readFileSync } from 'node:fs'

type Locked = { optionalDependencies?: Record<string, string>; resolved?: string }
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Locked> }
const names = new Set(
  Object.keys(packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)),
)
const faults = Object.entries(packages).flatMap(([path, { optionalDependencies = {}, resolved }]) => [
  ...Object.keys(optionalDependencies)
    .filter((name) => !names.has(name))
    .map((name) => `${path || 'package.json'} wants ${name}, which the lock lacks`),
  ...(resolved ? [`${path} names a registry; the client’s own serves`] : []),
])
for (const fault of faults) console.error(fault)
console.log(`package-lock.json: ${names.size} packages, ${faults.length} faults`)
process.exitCode = faults.length === 0 ? 0 : 1
