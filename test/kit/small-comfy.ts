import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { EnvironmentHere } from '../../core/engine/snapshot/capture.ts'

/** A Python that can make environments; undefined: there is none. */
export const python = ['python3', 'python'].find((program) => {
  try {
    const said = execFileSync(program, ['-c', 'import venv, sys; print(sys.version_info[0])'], { stdio: 'pipe' })
    return said.toString().trim() === '3'
  } catch {
    return false
  }
})

export const put = (file: string, text: string | Buffer) => {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, text)
}

/** A ComfyUI in small, with a Python of its own that has one package, a program and one custom node. */
export function smallComfy(root: string): EnvironmentHere & { packagesDir: string; venv: string } {
  const dir = path.join(root, 'ComfyUI')
  const base = path.join(root, 'base')
  const nodesDir = path.join(base, 'custom_nodes')
  put(path.join(dir, 'main.py'), 'print("up")\n')
  put(path.join(dir, 'comfyui_version.py'), '__version__ = "0.33.0"\n')
  put(path.join(nodesDir, '风格', '__init__.py'), 'NODE_CLASS_MAPPINGS = {}\n')
  const venv = path.join(root, 'venv')
  execFileSync(python!, ['-m', 'venv', '--without-pip', venv])
  const own = process.platform === 'win32' ? path.join(venv, 'Scripts', 'python.exe') : path.join(venv, 'bin', 'python')
  const packagesDir = execFileSync(own, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'])
    .toString()
    .trim()
  put(path.join(packagesDir, 'tiny', '__init__.py'), 'answer = 42\n')
  put(path.join(packagesDir, 'tiny-1.2.dist-info', 'METADATA'), 'Metadata-Version: 2.1\nName: tiny\nVersion: 1.2\n')
  return { dir, python: own, base, nodesDir, packagesDir, venv }
}
export const facts = {
  name: 'desk',
  creator: 'test',
  now: () => 0,
  flags: ['--cpu'],
  models: [],
  nodeClasses: ['B', 'A'],
}
