// Loaded before a .ts file, which an older Node cannot even read: says so in words.
const major = Number(process.versions.node.split('.', 1)[0])
if (major < 24) {
  console.error(
    `Nightshift needs Node 24 or newer; this is Node ${process.versions.node}. On Linux and Windows "npm ci" brings ` +
      'the right one, and "npm run" uses it; on macOS install Node 24 first (https://nodejs.org).',
  )
  process.exit(4)
}
