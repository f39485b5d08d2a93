import type { Finding } from '../contract/engine.ts'
import { fill } from '../contract/errors.ts'

/** What may be told of an installation. Other languages: resources/locales, problems.json, under the same codes. */
const sentences = {
  'install.companion-missing': 'There is no {package} for this PyTorch; nodes that need it will not load.',
  'install.companion-partial':
    'The compiled part of {package} does not fit this PyTorch and was left out; most of it works, a few operations do not.',
  'install.nodes-requirements': 'What the custom node {folder} requires could not be installed: {reason}',
  'nodes.script-failed': 'The install script {folder}/{file} failed.',
  'nodes.classes-unreadable': 'These nodes cannot say what they take, so ComfyUI leaves them out: {classes}',
  'nodes.classes-removed': 'The new {folder} no longer has these nodes: {classes}',
  'nodes.classes-taken': 'These nodes of {folder} are now those of another custom node: {classes}',
  'doctor.healthy': 'All {count} packages are as they were installed.',
  'doctor.package-missing': 'The package {package} {version} is missing.',
  'doctor.package-damaged': 'The package {package} {version} is damaged: {file}',
  'doctor.torch-other': 'PyTorch is built for {found}; this machine runs best with {wanted}.',
  'doctor.disk-low': 'The disk of {dir} has only {free} GiB free.',
  'doctor.denied': 'Nightshift may not write to {dir}.',
  'install.manager-older':
    'This ComfyUI is older than the package of ComfyUI-Manager; add ComfyUI-Manager as a custom node instead.',
  'install.speed-up-dropped': '{speedUp} was left out, since it does not work here: {reason}',
  'install.speed-up-none': '{speedUp} was left out: {reason}',
  'speed-up.needs-nvidia': 'It needs a graphics card of NVIDIA.',
  'speed-up.card-old': 'It needs a newer card than {name} (compute capability {wanted}).',
  'speed-up.card-unknown': 'Which cards like {name} it runs on is not known.',
  'speed-up.has-it': 'PyTorch brings it along on this system.',
  'speed-up.no-wheel': 'No package is known for this system with PyTorch {torch} and Python {python}.',
  'doctor.torch-driver': 'PyTorch is built for {found}, which the driver {driver} is too old for; {wanted} fits.',
  'doctor.torch-broken': 'PyTorch does not load: {reason}',
  'doctor.not-in-lock': 'What was installed is not written down, so it cannot be checked.',
  'doctor.requirement-missing': 'Packages that ComfyUI requires are missing: {packages}',
  'doctor.nodes-failed': 'Custom nodes did not load at the last start: {nodes}',
  'doctor.nodes-broken': 'A custom node keeps ComfyUI from starting: {reason}',
  'doctor.lost': 'What {dir} runs can no longer be read. Mending goes back to {generation}, the newest that can.',
  'doctor.lost-all': 'What {dir} runs can no longer be read, and nothing else there can be run: install it again.',
  'doctor.program-missing': 'There is no {path} any more.',
  'doctor.path-spaces': 'The path {dir} has spaces; some custom nodes fail with that.',
  'doctor.path-letters': 'The path {dir} has other letters than English ones; some custom nodes fail with that.',
  'doctor.path-emoji': 'The path {dir} has pictographs; some programs cannot write such names.',
  'doctor.path-long': 'The path {dir} is {length} characters long; files below it may exceed what Windows allows.',
  'doctor.path-synced': '{dir} is synchronised by {program}, which locks and moves files while they are used.',
  'doctor.path-exfat': '{dir} is on {type}, which has no links: everything takes its room twice.',
  'doctor.path-fat32': '{dir} is on {type}, where no file may be larger than 4 GiB: most models do not fit.',
  'doctor.path-network':
    '{dir} is on a network volume ({type}): starts and models are slow, and a lost connection stops ComfyUI.',
  'doctor.path-wsl':
    '{dir} is a folder of Windows seen from Linux: reading it is many times slower. Use a folder of Linux itself.',
  'doctor.no-links': 'Files cannot be linked from {cache} to {dir}: packages take their room twice.',
} as const
export const upkeepSentences: Readonly<Record<string, string>> = sentences

export const upkeep = (
  level: Finding['level'],
  code: keyof typeof sentences,
  facts: Finding['facts'] = {},
): Finding => ({ level, code, message: fill(sentences[code], facts), facts, link: null })

const LONGEST_WINDOWS = 259
const LONG_ANYWHERE = 240
/** How much deeper than its folder the files of an installation go. */
const DEEPEST_BELOW = 200

/** What about a folder makes trouble: its name, and the volume it is on. */
export function pathPitfalls(
  dir: string,
  platform: string,
  volumeType: string | null,
  deepestBelow: number = DEEPEST_BELOW,
): Finding[] {
  const findings: Finding[] = []
  const windows = platform === 'win32'
  const letters = dir.replace(/\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u{fe0f}|\u{200d}/gu, '')
  if (/\s/.test(dir)) findings.push(upkeep('note', 'doctor.path-spaces', { dir }))
  if (/[^\x20-\x7e]/.test(letters)) findings.push(upkeep('note', 'doctor.path-letters', { dir }))
  if (letters !== dir) findings.push(upkeep('note', 'doctor.path-emoji', { dir }))
  if (windows ? dir.length + 1 + deepestBelow > LONGEST_WINDOWS : dir.length > LONG_ANYWHERE)
    findings.push(upkeep(windows ? 'warning' : 'note', 'doctor.path-long', { dir, length: dir.length }))
  const synced = SYNCED.exec(dir)
  if (synced)
    findings.push(upkeep('warning', 'doctor.path-synced', { dir, program: PROGRAM_OF[synced[1]!] ?? synced[1]! }))
  const type = volumeType ?? ''
  const fat32 = /^(?:vfat|fat|fat32|msdos)$/i.test(type)
  if (fat32) findings.push(upkeep('bad', 'doctor.path-fat32', { dir, type }))
  if (fat32 || /^exfat$/i.test(type)) findings.push(upkeep('warning', 'doctor.path-exfat', { dir, type }))
  const wsl = platform === 'linux' && /^\/mnt\/[a-z](?:\/|$)/.test(dir) && /^(?:9p|drvfs|v9fs)$/i.test(type)
  if (wsl) findings.push(upkeep('warning', 'doctor.path-wsl', { dir }))
  else if (
    /^(?:nfs\d?|cifs|smb\w*|smbfs|afpfs|webdav|davfs|fuse\.sshfs|sshfs|network)$/i.test(type) ||
    (windows && /^\\\\(?![?.]\\)/.test(dir))
  )
    findings.push(upkeep('warning', 'doctor.path-network', { dir, type: type || 'SMB' }))
  return findings
}

const SYNCED =
  /[\\/](OneDrive|Dropbox|Google ?Drive|GoogleDrive|iCloud ?Drive|com~apple~CloudDocs|CloudStorage|Nutstore|坚果云|百度网盘)(?:[ \-_(][^\\/]*)?(?=[\\/]|$)/i
const PROGRAM_OF: Record<string, string> = { 'com~apple~CloudDocs': 'iCloud Drive', CloudStorage: 'iCloud' }
