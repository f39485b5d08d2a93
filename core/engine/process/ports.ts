import { execFile } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { promisify } from 'node:util'
import type { Run } from './tree.ts'

const HOST = '127.0.0.1'
const ANSWER_WITHIN_MS = 500

/** Whether a server could listen there now: nothing answers, and the system lets us. */
export async function isFree(port: number): Promise<boolean> {
  // where addresses may be shared, binding succeeds beside a server that listens on all of them
  return !(await answers(port)) && (await binds(port))
}

/** The first free one from `from` on, leaving out `taken`; null: none of a thousand. */
export async function freePort(from: number, taken: ReadonlySet<number> = new Set()): Promise<number | null> {
  for (let port = from; port < from + 1000 && port < 65536; port++)
    if (!taken.has(port) && (await isFree(port))) return port
  return null
}

function answers(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const asking = connect(port, HOST)
  asking.setTimeout(ANSWER_WITHIN_MS)
  asking.on('connect', () => resolve(true))
  asking.on('timeout', () => resolve(false)) // a busy machine; binding decides
  asking.on('error', () => resolve(false))
  return promise.finally(() => asking.destroy())
}

function binds(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const server = createServer()
  server.on('error', () => resolve(false))
  server.listen({ port, host: HOST, exclusive: true }, () => server.close(() => resolve(true)))
  return promise
}

const runCommand: Run = async (command, args) => {
  const { stdout } = await promisify(execFile)(command, [...args], { timeout: 10_000, windowsHide: true })
  return stdout
}

/** Who listens on a port, as far as the system tells us: process ids. null: it does not say. */
export async function listenersOn(
  port: number,
  platform: NodeJS.Platform = process.platform,
  run: Run = runCommand,
): Promise<number[] | null> {
  try {
    if (platform === 'linux') return await listenersOnLinux(port)
    if (platform === 'win32') return readNetstat(await run('netstat', ['-ano', '-p', 'TCP']), port)
    return readLsof(await run('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fp']))
  } catch {
    return null
  }
}

async function listenersOnLinux(port: number): Promise<number[]> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'utf8').catch(() => '')),
  )
  const sockets = new Set(tables.flatMap((table) => readProcNet(table, port)).map((inode) => `socket:[${inode}]`))
  if (sockets.size === 0) return []
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const holders = await Promise.all(
    pids.map(async (pid) => {
      const handles = await readdir(`/proc/${pid}/fd`).catch(() => []) // another user's
      const links = await Promise.all(handles.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')))
      return links.some((link) => sockets.has(link)) ? [Number(pid)] : []
    }),
  )
  return holders.flat()
}

/** The inodes of the sockets that listen on a port. Pure. */
export function readProcNet(table: string, port: number): string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return table.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    return fields[1]?.endsWith(wanted) && fields[3] === '0A' ? [fields[9]!] : []
  })
}

/** `  TCP    127.0.0.1:8188   0.0.0.0:0   LISTENING   4711`; the state's word is translated, the foreign address not. Pure. */
export function readNetstat(text: string, port: number): number[] {
  const pids = text.split('\n').flatMap((line) => {
    const found = /^\s*TCP\s+\S+:(\d+)\s+\S+:0\s+.*?(\d+)\s*$/.exec(line)
    return found && Number(found[1]) === port ? [Number(found[2])] : []
  })
  return [...new Set(pids)]
}

/** `p4711` a line. Pure. */
export const readLsof = (text: string): number[] => [...text.matchAll(/^p(\d+)$/gm)].map(([, pid]) => Number(pid))
