import path from 'node:path'
import { workflowExtensions } from '../../core/contract/workflow.ts'

/** The pages' own scheme: standard and secure, so that 'self' and the clipboard mean what they mean on the web. */
export const SCHEME = 'nightshift'
export const ORIGIN = `${SCHEME}://app`

export const isOurs = (url: string | undefined) => url === ORIGIN || url?.startsWith(`${ORIGIN}/`) === true

/** As the HTTP door's; the pages need no socket here. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const MEDIA_TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.webp': 'image/webp',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
}
export const mediaTypeOf = (file: string) => MEDIA_TYPES[path.extname(file).toLowerCase()] ?? 'application/octet-stream'

/** The file of the renderer that an address means; null: none, or outside the folder. */
export function rendererFile(root: string, url: string): string | null {
  let wanted: string
  try {
    const { host, pathname } = new URL(url)
    if (host !== 'app') return null
    wanted = decodeURIComponent(pathname)
  } catch {
    return null
  }
  if (/[\0\\:]/.test(wanted)) return null // backslash and colon are separators on Windows
  const file = path.resolve(root, `.${wanted.endsWith('/') ? `${wanted}index.html` : wanted}`)
  return file.startsWith(root + path.sep) ? file : null
}

const WELL_KNOWN = [
  'github.com',
  'comfy.org',
  'comfyui.org',
  'huggingface.co',
  'modelscope.cn',
  'civitai.com',
  'electronjs.org',
]

/** The way into ComfyUI's editor, on a port of ours. */
export function isEditorEntry(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { protocol, hostname, pathname } = new URL(url)
  return protocol === 'http:' && hostname === '127.0.0.1' && pathname === '/nightshift/enter'
}

/** Whether an address may be handed to the system's browser. */
export function mayOpen(url: string): 'yes' | 'ask' | 'no' {
  if (!URL.canParse(url)) return 'no'
  const { protocol, hostname, username, password } = new URL(url)
  if (protocol !== 'https:' || username || password) return 'no'
  return WELL_KNOWN.some((known) => hostname === known || hostname.endsWith(`.${known}`)) ? 'yes' : 'ask'
}

const HARMLESS = new Set(
  'png jpg jpeg webp gif bmp tif tiff avif jxl mp4 webm mov mkv m4v wav flac mp3 ogg opus m4a txt md csv json glb gltf obj ply stl'.split(
    ' ',
  ),
)
/** Whether opening a file shows it, and never runs it: a worker chooses the names of what it made. */
export const isHarmless = (file: string) => HARMLESS.has(path.extname(file).slice(1).toLowerCase())

/** What the program itself was given. `packaged`: the first argument is not the app's folder. */
const given = (argv: readonly string[], packaged: boolean) => argv.slice(packaged ? 1 : 2)

/** `nightshift COMMAND …` is the command line; null: no command, so the window is wanted. */
export function commandIn(argv: readonly string[], packaged: boolean): string[] | null {
  const rest = given(argv, packaged)
  return /^[a-z]+$/.test(rest[0] ?? '') ? rest : null
}

/** Files that a start was given, as absolute paths. */
export function filesIn(argv: readonly string[], workingDir: string, packaged: boolean): string[] {
  const files: string[] = []
  const rest = given(argv, packaged)
  for (let at = 0; at < rest.length; at += 1) {
    const argument = rest[at]!
    if (argument === '--data') at += 1
    else if (!argument.startsWith('-') && workflowExtensions.includes(path.extname(argument).slice(1).toLowerCase()))
      files.push(path.resolve(workingDir, argument))
  }
  return files
}

/** The value of `--name VALUE` or `--name=VALUE`. */
export function optionIn(argv: readonly string[], name: string): string | undefined {
  for (const [at, argument] of argv.entries()) {
    if (argument === `--${name}`) return argv[at + 1]
    if (argument.startsWith(`--${name}=`)) return argument.slice(name.length + 3)
  }
  return undefined
}
