import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { tempDir } from './temp-dir.ts'

const rehearsal = pathToFileURL(path.resolve(import.meta.dirname, '../../core/engine/rehearsal/server.ts')).href

/** A folder laid out as a ComfyUI's, whose program is the rehearsal; Node is its Python. */
export function comfyFolder({ stepMs = 0, dir = path.join(tempDir(), 'ComfyUI 夜') } = {}) {
  mkdirSync(path.join(dir, 'comfy'), { recursive: true })
  writeFileSync(path.join(dir, 'nodes.py'), '')
  writeFileSync(path.join(dir, 'comfyui_version.py'), '__version__ = "0.33.0"\n')
  writeFileSync(
    path.join(dir, 'comfy', 'cli_args.py'),
    'parser.add_argument("--port", type=int)\nparser.add_argument("--output-directory")\n',
  )
  writeFileSync(
    path.join(dir, 'main.py'),
    `const port = Number(process.argv[process.argv.indexOf('--port') + 1])
     if (process.argv.includes('--fails')) {
       console.error("Traceback (most recent call last):\\nModuleNotFoundError: No module named 'torch'")
       process.exit(1)
     }
     const saves = process.argv.indexOf('--output-directory')
     if (saves > 0) {
       const { mkdirSync, rmSync, symlinkSync } = process.getBuiltinModule('node:fs')
       const output = ${JSON.stringify(path.join(dir, 'output'))}
       mkdirSync(process.argv[saves + 1], { recursive: true })
       rmSync(output, { recursive: true, force: true })
       symlinkSync(process.argv[saves + 1], output)
     }
     console.error('Device: cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync')
     process.on('SIGINT', () => process.exit(0))
     import(${JSON.stringify(rehearsal)}).then(async ({ RehearsalServer }) => {
       const dir = ${JSON.stringify(dir)}
       const server = new RehearsalServer({ dir, port, stepMs: ${stepMs}, assumeModels: true, keepOutput: true })
       await server.start()
       console.error('To see the GUI go to: ' + server.url)
     })`,
  )
  return { dir, python: process.execPath }
}

/** The same, with a Python that can be asked whether it works. */
export function comfyFolderForNodes(given: Parameters<typeof comfyFolder>[0] = {}) {
  const { dir } = comfyFolder(given)
  const python = path.join(path.dirname(dir), 'python')
  writeFileSync(python, `#!/bin/sh\n[ "$1" = -I ] && exit 0\nexec "${process.execPath}" "$@"\n`)
  chmodSync(python, 0o755)
  return { dir, python }
}
