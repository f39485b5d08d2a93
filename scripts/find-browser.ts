// The browser that tests drive: an installed one, else Playwright's own download, else Debian's.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const names = [
  'google-chrome-stable',
  'google-chrome',
  'chromium',
  'chromium-browser',
  'microsoft-edge-stable',
  'microsoft-edge',
]
const programFiles = [process.env.PROGRAMFILES, process.env['PROGRAMFILES(X86)'], process.env.LOCALAPPDATA]
const fixedPlaces: Record<string, string[]> = {
  darwin: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    '/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge',
  ],
  win32: programFiles
    .filter((dir) => dir !== undefined)
    .flatMap((dir) => [
      path.win32.join(dir, 'Google', 'Chrome', 'Application', 'chrome.exe'),
      path.win32.join(dir, 'Chromium', 'Application', 'chrome.exe'),
      path.win32.join(dir, 'Microsoft', 'Edge', 'Application', 'msedge.exe'),
    ]),
}

const canRun = (file: string) => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function installed(): string | undefined {
  const onPath = (process.env.PATH ?? '')
    .split(path.delimiter)
    .flatMap((dir) => names.map((name) => path.join(dir, name)))
  return [...(fixedPlaces[process.platform] ?? []), ...(process.platform === 'win32' ? [] : onPath)].find(canRun)
}

async function playwrightsOwn(): Promise<string | undefined> {
  const { chromium } = await import('playwright')
  const file = chromium.executablePath()
  return existsSync(file) ? file : undefined
}

const isDebian = () =>
  process.platform === 'linux' &&
  process.getuid?.() === 0 &&
  existsSync('/etc/os-release') &&
  /^ID(_LIKE)?=.*(debian|ubuntu)/m.test(readFileSync('/etc/os-release', 'utf8'))

function installFromApt(): string | undefined {
  console.log('No browser found; installing Debian’s chromium for the browser tests (apt-get install chromium).')
  const apt = (...args: string[]) =>
    spawnSync('apt-get', args, { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
      .status === 0
  return apt('update', '-qq') && apt('install', '-y', '-qq', 'chromium') ? installed() : undefined
}

/** The path of a Chromium-like browser, or undefined after all was tried. */
export async function findBrowser(): Promise<string | undefined> {
  const asked = process.env.NIGHTSHIFT_CHROMIUM
  if (asked) return asked
  return installed() ?? (await playwrightsOwn()) ?? (isDebian() ? installFromApt() : undefined)
}
