import type { Finding } from '../contract/engine.ts'
import { fill } from '../contract/errors.ts'

/** What may be told of an installation. Other languages: resources/locales, problems.json, under the same codes. */
const sentences = {
  'install.companion-missing': 'There is no {package} for this PyTorch; nodes that need it will not load.',
  'install.companion-partial':
    'The compiled part of {package} does not fit this PyTorch and was left out; most of it works, a few operations do not.',
  'install.nodes-requirements': 'What the custom node {folder} requires could not be installed: {reason}',
  'doctor.healthy': 'All {count} packages are as they were installed.',
  'doctor.package-missing': 'The package {package} {version} is missing.',
  'doctor.package-damaged': 'The package {package} {version} is damaged: {file}',
  'doctor.torch-other': 'PyTorch is built for {found}; this machine runs best with {wanted}.',
  'doctor.disk-low': 'The disk of {dir} has only {free} GiB free.',
  'doctor.denied': 'Nightshift may not write to {dir}.',
  'doctor.path-spaces': 'The path {dir} has spaces; some custom nodes fail with that.',
  'doctor.path-letters': 'The path {dir} has other letters than English ones; some custom nodes fail with that.',
  'doctor.path-long': 'The path {dir} is long; files below it may exceed what Windows allows.',
  'doctor.path-synced': '{dir} is synchronised by {program}, which locks and moves files while they are used.',
  'doctor.path-exfat': '{dir} is on {type}, which has no links: everything takes its room twice.',
} as const
export const upkeepSentences: Readonly<Record<string, string>> = sentences

export const upkeep = (
  level: Finding['level'],
  code: keyof typeof sentences,
  facts: Finding['facts'] = {},
): Finding => ({ level, code, message: fill(sentences[code], facts), facts, link: null })

const LONG_PATH = 120 // packages go about 140 deeper, and Windows ends at 260

/** What about a path makes trouble. */
export function pathPitfalls(dir: string, platform: string, volumeType: string | null): Finding[] {
  const findings: Finding[] = []
  if (/\s/.test(dir)) findings.push(upkeep('note', 'doctor.path-spaces', { dir }))
  if (/[^\x20-\x7e]/.test(dir)) findings.push(upkeep('note', 'doctor.path-letters', { dir }))
  if (platform === 'win32' && dir.length > LONG_PATH) findings.push(upkeep('warning', 'doctor.path-long', { dir }))
  const synced = /[\\/](OneDrive|Dropbox|Google Drive|iCloud ?Drive|Nutstore|坚果云)[^\\/]*(?=[\\/]|$)/i.exec(dir)
  if (synced) findings.push(upkeep('warning', 'doctor.path-synced', { dir, program: synced[1]! }))
  if (volumeType !== null && /^(?:exfat|vfat|fat32|msdos)$/i.test(volumeType))
    findings.push(upkeep('warning', 'doctor.path-exfat', { dir, type: volumeType }))
  return findings
}
