import { z } from 'zod'
import { DownloadSettings } from './download.ts'
import { noShare, noTaskDoor, ShareSettings, TaskDoorSettings } from './key.ts'
import { NetworkSettings } from './mirror.ts'
import { NodeRules } from './pack.ts'

export const Settings = z.object({
  language: z.enum(['system', 'zh-CN', 'en']).default('system'),
  theme: z.enum(['system', 'light', 'dark']).default('system'),
  /** Where pictures go; empty: `Nightshift` in the person's pictures folder. */
  outputDir: z.string().default(''),
  pattern: z.string().default('{batch}/{row:04}-{name}-{seed}'),
  stripMetadata: z.boolean().default(false),
  textMagic: z.boolean().default(true),
  /** Keep the machine awake while there is work that may run. */
  keepAwake: z.boolean().default(true),
  notifyAtEnd: z.boolean().default(true),
  /** The first time a window closes onto the tray, it says so. */
  toldAboutTray: z.boolean().default(false),
  /** Other machines may use the ComfyUIs of this one. */
  share: ShareSettings.default(noShare),
  /** Other programs may send workflows to this machine. */
  taskDoor: TaskDoorSettings.default(noTaskDoor),
  downloads: DownloadSettings.prefault({}),
  network: NetworkSettings.prefault({}),
  customNodes: NodeRules.prefault({}),
})
export type Settings = z.infer<typeof Settings>

/** Those to change. A plain `partial()` would fill every default in, and so undo what was chosen before. */
export const SettingsChange = z.object({
  language: Settings.shape.language.unwrap().optional(),
  theme: Settings.shape.theme.unwrap().optional(),
  outputDir: Settings.shape.outputDir.unwrap().optional(),
  pattern: Settings.shape.pattern.unwrap().optional(),
  stripMetadata: Settings.shape.stripMetadata.unwrap().optional(),
  textMagic: Settings.shape.textMagic.unwrap().optional(),
  keepAwake: Settings.shape.keepAwake.unwrap().optional(),
  notifyAtEnd: Settings.shape.notifyAtEnd.unwrap().optional(),
  toldAboutTray: Settings.shape.toldAboutTray.unwrap().optional(),
  downloads: DownloadSettings.optional(),
  customNodes: NodeRules.optional(),
  share: Settings.shape.share.unwrap().optional(),
  taskDoor: Settings.shape.taskDoor.unwrap().optional(),
})
