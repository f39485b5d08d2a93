import path from 'node:path'
import { AppError } from '../../contract/errors.ts'

/** A ComfyUI behind a machine that can be entered by ssh. */
export interface SshTarget {
  readonly host: string
  /** null: what the person's ssh config says, or their own name. */
  readonly user: string | null
  /** null: what the person's ssh config says, or 22. */
  readonly port: number | null
  /** A private key of this machine; null: what ssh finds by itself. */
  readonly keyFile: string | null
  /** ComfyUI's, on that machine's loopback. */
  readonly comfyPort: number
}

const COMFY_PORT = 8188
/** Nothing that ssh would take for an option, nor what a shell it starts (ProxyCommand %h) would take apart. */
const HOST = /^[\p{L}\p{N}_][\p{L}\p{N}._-]{0,252}$/u
const USER = /^[\p{L}\p{N}_][\p{L}\p{N}._@+$\\-]{0,63}$/u

export const isSshAddress = (typed: string) => /^\s*ssh:/i.test(typed)

/**
 * `ssh://user@host:22/?comfyui=8188&key=FILE`. Pure.
 * @throws AppError 'tunnel.bad-address'
 */
export function readSshAddress(typed: string): SshTarget {
  const refuse = (why: string) =>
    new AppError('tunnel.bad-address', { url: typed.trim().replace(/^(ssh:\/\/[^/@:]*):[^/]*@/i, '$1@'), why })
  const url = URL.parse(typed.trim())
  if (url?.protocol !== 'ssh:' || url.hostname === '') throw refuse('ssh://user@host:22/?comfyui=8188')
  const decoded = (text: string) => {
    try {
      return decodeURIComponent(text)
    } catch {
      throw refuse(text)
    }
  }
  if (url.password) throw refuse('a password cannot be given; ssh asks for keys only')
  const host = decoded(url.hostname).replace(/^\[|\]$/g, '')
  const user = decoded(url.username)
  if (!HOST.test(host) && !/^[\da-f:.]+(%\w+)?$/i.test(host)) throw refuse(`host ${host}`)
  if (user && !USER.test(user)) throw refuse(`user ${user}`)
  const comfyPort = Number(url.searchParams.get('comfyui') ?? COMFY_PORT)
  if (!Number.isInteger(comfyPort) || comfyPort < 1 || comfyPort > 65_535) throw refuse(`comfyui=${comfyPort}`)
  const keyFile = url.searchParams.get('key')?.trim() || null
  if (keyFile !== null && (!isAbsolute(keyFile) || /[\0\r\n]/.test(keyFile))) throw refuse(`key=${keyFile}`)
  if (url.pathname !== '' && url.pathname !== '/') throw refuse(url.pathname)
  return { host, user: user || null, port: url.port ? Number(url.port) : null, keyFile, comfyPort }
}

const isAbsolute = (file: string) => path.posix.isAbsolute(file) || path.win32.isAbsolute(file) || file.startsWith('~/')

/** The one way we write an address. Pure. */
export function sshAddress({ host, user, port, keyFile, comfyPort }: SshTarget): string {
  const at = host.includes(':') ? `[${host}]` : host
  const asked = new URLSearchParams({ comfyui: String(comfyPort), ...(keyFile !== null && { key: keyFile }) })
  return `ssh://${user === null ? '' : `${encodeURIComponent(user)}@`}${at}${port === null ? '' : `:${port}`}/?${asked}`
}

/** The system's own ssh: its config, its known hosts, its agent. Pure. */
export const sshProgram = (platform: NodeJS.Platform, env: NodeJS.ProcessEnv): string[] =>
  platform === 'win32'
    ? [path.win32.join(env.SystemRoot ?? 'C:\\Windows', 'System32', 'OpenSSH', 'ssh.exe'), 'ssh.exe']
    : ['ssh']

/** How it is told to hold one forward and nothing else, and to ask nobody anything. Pure. */
export function sshArguments(target: SshTarget, localPort: number): string[] {
  const options = {
    BatchMode: 'yes',
    ExitOnForwardFailure: 'yes',
    ConnectTimeout: 15,
    ServerAliveInterval: 10,
    ServerAliveCountMax: 3,
    ControlMaster: 'no', // a connection shared with the person's own would not end with us
    ControlPath: 'none',
    PermitLocalCommand: 'no',
    LogLevel: 'INFO',
  }
  const args = [
    '-N',
    '-T',
    '-a',
    '-x',
    ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
  ]
  if (target.keyFile !== null) args.push('-o', 'IdentitiesOnly=yes', '-i', target.keyFile)
  args.push('-L', `127.0.0.1:${localPort}:127.0.0.1:${target.comfyPort}`)
  return [...args, ...whither(target)]
}

function whither({ user, port, host }: SshTarget): string[] {
  return [...(port === null ? [] : ['-p', String(port)]), ...(user === null ? [] : ['-l', user]), '--', host]
}

/** What a person runs once in a terminal, where ssh may ask them. Pure. */
export function sshByHand(target: SshTarget): string {
  const quoted = (word: string) => (/^[\w@%+=:,./~\\-]+$/.test(word) ? word : `"${word}"`)
  const key = target.keyFile === null ? [] : ['-i', target.keyFile]
  return ['ssh', ...key, ...whither(target).filter((word) => word !== '--'), 'exit'].map(quoted).join(' ')
}

/** What ssh said, as what a person can do about it. `lines`: the newest last. Pure. */
export function sshFailure(target: SshTarget, lines: readonly string[], exitCode: number | null): AppError {
  const said = lines.filter((line) => !/^channel \d+: /.test(line)) // of what the forward leads to: not why it ended
  const text = said.join('\n')
  const { host } = target
  const command = sshByHand(target)
  const port = target.port ?? 22
  if (/REMOTE HOST IDENTIFICATION HAS CHANGED/.test(text))
    return new AppError('tunnel.changed-host', { host, command: `ssh-keygen -R ${knownAs(target)}` })
  if (/Host key verification failed|No \S+ host key is known|authenticity of host/.test(text))
    return new AppError('tunnel.unknown-host', { host, command })
  if (/Could not resolve hostname|Name or service not known|No such host is known/i.test(text))
    return new AppError('tunnel.no-host', { host })
  if (
    /UNPROTECTED PRIVATE KEY FILE|bad permissions|invalid format|error in libcrypto|Identity file .* not accessible/i.test(
      text,
    )
  )
    return new AppError('tunnel.bad-key', { file: target.keyFile ?? '~/.ssh', reason: lastOf(said) })
  if (/Permission denied|Too many authentication failures|No more authentication methods/.test(text))
    return new AppError('tunnel.key-refused', { host, user: target.user ?? '', command })
  if (/cannot listen to port|Address already in use|Could not request local forwarding/.test(text))
    return new AppError('tunnel.port-taken', { reason: lastOf(said) })
  if (/Connection refused|Connection timed out|Operation timed out|No route to host|Network is unreachable/.test(text))
    return new AppError('tunnel.closed', { host, port, reason: lastOf(said) })
  return new AppError('tunnel.ended', { host, reason: lastOf(said) || `exit code ${exitCode ?? '?'}` })
}

/** What ssh says of a forward while it stays connected; null: nothing is wrong with it. Pure. */
export function forwardFailure(target: SshTarget, text: string): AppError | null {
  const { host, comfyPort } = target
  if (/administratively prohibited|open failed: (?:unknown channel type|resource shortage)/.test(text))
    return new AppError('tunnel.forbidden', { host })
  if (/open failed: connect failed/.test(text)) return new AppError('tunnel.no-comfyui', { host, port: comfyPort })
  return null
}

const lastOf = (lines: readonly string[]) =>
  (lines.findLast((line) => line.trim() !== '') ?? '').replace(/^(ssh|kex_exchange_identification): /, '').trim()
const knownAs = ({ host, port }: SshTarget) => (port === null || port === 22 ? host : `"[${host}]:${port}"`)
