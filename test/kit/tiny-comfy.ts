import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import sharp from 'sharp'
import { tempDir } from './temp-dir.ts'

/** A uv of this machine, on the path or in a Python; null: none. Nothing is fetched. */
export function uvHere(): string | null {
  for (const [command, args] of [
    ['uv', ['--version']],
    ['python3', ['-c', 'import uv; print(uv.find_uv_bin())']],
  ] as const) {
    const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' })
    if (status === 0) return command === 'uv' ? 'uv' : stdout.trim()
  }
  return null
}

/** A Python that uv can make environments of; null: none. */
export function pythonHere(): string | null {
  for (const command of ['python3.12', 'python3.11', 'python3.13', 'python3.10', 'python3']) {
    const code = 'import sys; print(sys.executable) if (3,10) <= sys.version_info < (3,14) else sys.exit(1)'
    const { status, stdout } = spawnSync(command, ['-c', code], { encoding: 'utf8' })
    if (status === 0) return stdout.trim()
  }
  return null
}

/** An archive of files that are stored as they are. */
export function zipOf(files: Record<string, string>): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const [name, text] of Object.entries(files)) {
    const [bytes, path] = [Buffer.from(text), Buffer.from(name)]
    const head = Buffer.alloc(26)
    head.writeUInt16LE(20, 0)
    head.writeUInt32LE(crc32(bytes), 10)
    head.writeUInt32LE(bytes.length, 14)
    head.writeUInt32LE(bytes.length, 18)
    head.writeUInt16LE(path.length, 22)
    parts.push(Buffer.from('PK\x03\x04', 'latin1'), head, path, bytes)
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE((0o100644 << 16) >>> 0, 6)
    tail.writeUInt32LE(at, 10)
    directory.push(Buffer.from('PK\x01\x02\x14\x03', 'latin1'), head, tail, path)
    at += 30 + path.length + bytes.length
  }
  const listed = Buffer.concat(directory)
  const end = Buffer.alloc(18)
  const count = Object.keys(files).length
  end.writeUInt16LE(count, 4)
  end.writeUInt16LE(count, 6)
  end.writeUInt32LE(listed.length, 8)
  end.writeUInt32LE(at, 12)
  return Buffer.concat([...parts, listed, Buffer.from('PK\x05\x06', 'latin1'), end])
}

/** A wheel of one module. */
export function wheel(dir: string, name: string, version: string, { code = '', requires = [] as string[] } = {}) {
  const info = `${name}-${version}.dist-info`
  const metadata = [
    'Metadata-Version: 2.1',
    `Name: ${name}`,
    `Version: ${version}`,
    ...requires.map((each) => `Requires-Dist: ${each}`),
  ]
  const files: Record<string, string> = {
    [`${name}/__init__.py`]: `__version__ = "${version}"\n${code}`,
    [`${info}/METADATA`]: `${metadata.join('\n')}\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  }
  files[`${info}/RECORD`] = [...Object.keys(files), `${info}/RECORD`].map((file) => `${file},,`).join('\n')
  writeFileSync(path.join(dir, `${name}-${version}-py3-none-any.whl`), zipOf(files))
}

const git = (dir: string, ...args: string[]) =>
  execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', '-c', 'commit.gpgsign=false', ...args], {
    cwd: dir,
    encoding: 'utf8',
  }).trim()

/**
 * A repository that is installed and started as ComfyUI is, and paints one picture, with the wheels it needs. Its second
 * commit is version 0.2.0, its third does not start. `begins`: what its program does first.
 */
export async function tinyComfy(begins = '') {
  const root = tempDir()
  const source = path.join(root, 'ComfyUI 源')
  const wheels = path.join(root, 'wheels')
  mkdirSync(path.join(source, 'comfy'), { recursive: true })
  mkdirSync(wheels)
  const write = (name: string, text: string) => writeFileSync(path.join(source, name), text)
  write('main.py', begins + (await tinyServer()))
  write('nodes.py', '')
  write(
    'comfy/cli_args.py',
    ['--port', '--base-directory', '--use-sage-attention'].map((flag) => `parser.add_argument("${flag}")`).join('\n'),
  )
  write('requirements.txt', 'torch\ntinydep>=1\n')
  write('comfyui_version.py', '__version__ = "0.1.0"\n')
  git(source, 'init', '-q', '-b', 'master')
  const commit = (message: string) => {
    git(source, 'add', '-A')
    git(source, 'commit', '-qm', message)
    return git(source, 'rev-parse', 'HEAD')
  }
  const commits = [commit('one')]
  write('comfyui_version.py', '__version__ = "0.2.0"\n')
  commits.push(commit('two'))
  write('main.py', 'import a_module_that_is_not_there\n')
  commits.push(commit('three'))
  wheel(wheels, 'torch', '2.13.0+cpu')
  wheel(wheels, 'torch', '9.9.9')
  wheel(wheels, 'tinydep', '1.5.0', { requires: ['torch'] })
  wheel(wheels, 'pip', '99.0')
  return { root, source, wheels, commits }
}

/** Python that answers as ComfyUI does, with its custom nodes, and paints one picture. */
export async function tinyServer(): Promise<string> {
  const png = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#369' } })
    .png()
    .toBuffer()
  return SERVER.replace('PNG', png.toString('base64'))
}

const SERVER = `import base64, importlib.util, json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import torch, tinydep
from comfyui_version import __version__
port = int(sys.argv[sys.argv.index("--port") + 1])
png = base64.b64decode("PNG")
prompts = {}
infos = {"EmptyImage": "nodes", "SaveImage": "nodes"}
def load(folder, name):
    path = os.path.join(folder, name)
    module = os.path.splitext(name)[0] if os.path.isfile(path) else name
    file = path if os.path.isfile(path) else os.path.join(path, "__init__.py")
    try:
        spec = importlib.util.spec_from_file_location(path.replace(".", "_x_"), file)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        for each in loaded.NODE_CLASS_MAPPINGS:
            infos[each] = "custom_nodes." + module
        return True
    except Exception as error:
        print(f"Cannot import {path} module for custom nodes: {error}", file=sys.stderr)
        return False
if "--base-directory" in sys.argv:
    folder = os.path.join(sys.argv[sys.argv.index("--base-directory") + 1], "custom_nodes")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    loads = [(name, load(folder, name)) for name in names if not name.endswith(".disabled") and name != "__pycache__"]
    print("Import times for custom nodes:", file=sys.stderr)
    for name, good in loads:
        print(f"   0.0 seconds{'' if good else ' (IMPORT FAILED)'}: {os.path.join(folder, name)}", file=sys.stderr, flush=True)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args):
        pass
    def answer(self, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        path = self.path.split("?")[0].removeprefix("/api")
        if path.startswith("/system_stats"):
            self.answer({"system": {"comfyui_version": __version__, "os": "posix", "ram_total": 1, "ram_free": 1, "python_version": "3", "pytorch_version": "2", "embedded_python": False, "argv": sys.argv}, "devices": []})
        elif path.startswith("/object_info"):
            info = {"input": {"required": {}}, "output": [], "output_is_list": [], "output_name": [], "description": "", "category": "tiny", "output_node": False}
            self.answer({name: {**info, "name": name, "display_name": name, "python_module": module} for name, module in infos.items()})
        elif path.startswith("/history/"):
            id = path.split("/")[-1]
            self.answer({id: prompts[id]} if id in prompts else {})
        elif path.startswith("/view"):
            self.answer(png, "image/png")
        else:
            self.answer({"exec_info": {"queue_remaining": 0}})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        id = body["prompt_id"]
        outputs = {"2": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}
        prompts[id] = {"prompt": [0, id, {}, {}, []], "outputs": outputs, "status": {"status_str": "success", "completed": True, "messages": []}}
        self.answer({"prompt_id": id, "number": 0, "node_errors": {}})
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
`
