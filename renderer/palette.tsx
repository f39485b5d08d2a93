import { Autocomplete } from '@base-ui/react/autocomplete'
import { Dialog } from '@base-ui/react/dialog'
import { useNavigate } from '@tanstack/react-router'
import {
  Blocks,
  Box,
  CloudUpload,
  Cpu,
  Download,
  FileDown,
  Images,
  Keyboard,
  Languages,
  LayoutList,
  ListChecks,
  type LucideIcon,
  Moon,
  Pause,
  Play,
  Radar,
  Send,
  Server,
  Settings as SettingsIcon,
  SlidersHorizontal,
  Sun,
  Table2,
  Workflow as WorkflowIcon,
} from 'lucide-react'
import { useLayoutEffect, useState } from 'react'
import { useAsk, useDo } from './client/client.ts'
import { chooseFiles, WORKFLOW_FILES } from './client/files.ts'
import { useWords } from './i18n.ts'
import { useTakeFiles } from './intake.tsx'
import { lastWorkflow } from './last-workflow.ts'
import { Modal, sayFault } from './parts/overlays.tsx'

interface Action {
  value: string
  label: string
  icon: LucideIcon
  keys?: string
  run: () => void
}
type To = (typeof PAGES)[keyof typeof PAGES]
/** `g`, then one of these. */
const PAGES = {
  s: '/',
  q: '/queue',
  g: '/gallery',
  w: '/workers',
  o: '/endpoints',
  u: '/publish',
  e: '/engine',
  m: '/models',
  n: '/custom-nodes',
  d: '/downloads',
  r: '/mirrors',
  ',': '/settings',
} as const
const command = /mac/i.test(navigator.platform) ? '⌘' : 'Ctrl'

/** Everything that can be done, found by typing; and the keys that do it. */
export function Palette() {
  const { t } = useWords()
  const [open, setOpen] = useState(false)
  const [keysOpen, setKeysOpen] = useState(false)
  const navigate = useNavigate()
  const go = (to: To) => void navigate({ to })

  useLayoutEffect(() => {
    let leader = 0
    const key = (event: KeyboardEvent) => {
      const at = event.target as HTMLElement
      const typing = at.closest('input, textarea, select, [contenteditable], [role=grid], [role=listbox], [role=menu]')
      if (event.key.toLowerCase() === 'k' && (event.metaKey || event.ctrlKey)) {
        event.preventDefault()
        setOpen((was) => !was)
      } else if (typing || event.metaKey || event.ctrlKey || event.altKey) return
      else if (event.key === '?') setKeysOpen(true)
      else if (event.key === 'g' && event.timeStamp - leader > 900) leader = event.timeStamp
      else if (event.timeStamp - leader < 900) {
        leader = 0
        const to = (PAGES as Record<string, To | undefined>)[event.key]
        if (to) void navigate({ to })
      }
    }
    const show = () => setOpen(true)
    window.addEventListener('keydown', key)
    window.addEventListener('nightshift:palette', show)
    return () => {
      window.removeEventListener('keydown', key)
      window.removeEventListener('nightshift:palette', show)
    }
  }, [navigate])

  const keys: [string, string][] = [
    [`${command} K`, t('keys.palette')],
    ['?', t('keys.shortcuts')],
    ['g s', t('nav.start')],
    ['g q', t('nav.queue')],
    ['g g', t('nav.gallery')],
    ['g w', t('nav.workers')],
    ['g o', t('nav.endpoints')],
    ['g u', t('nav.publish')],
    ['g e', t('nav.engine')],
    ['g m', t('nav.models')],
    ['g n', t('nav.nodes')],
    ['g d', t('nav.downloads')],
    ['g r', t('nav.mirrors')],
    ['g ,', t('nav.settings')],
    [`${command} Enter`, t('keys.queue')],
    [`${command} Z`, t('keys.undo')],
    [`${command} Shift Z`, t('common.redo')],
    [t('keys.arrows'), t('keys.cells')],
    ['Enter', t('keys.editCell')],
    [`${command} C / ${command} V`, t('keys.copyPaste')],
    ['Alt ↑ / Alt ↓', t('keys.reorder')],
    ['← / →', t('keys.pictures')],
  ]
  return (
    <>
      <Dialog.Root open={open} onOpenChange={setOpen}>
        <Dialog.Portal>
          <Dialog.Backdrop className="backdrop z-30" />
          <Dialog.Viewport className="fixed inset-0 z-30 flex items-start justify-center px-4 pt-[12vh]">
            <Dialog.Popup aria-label={t('palette.title')} className="pop w-full max-w-xl overflow-hidden rounded-xl">
              <Actions go={go} showKeys={() => setKeysOpen(true)} done={() => setOpen(false)} />
              <Dialog.Close className="sr-only">{t('common.close')}</Dialog.Close>
            </Dialog.Popup>
          </Dialog.Viewport>
        </Dialog.Portal>
      </Dialog.Root>
      <Modal open={keysOpen} onClose={() => setKeysOpen(false)} title={t('keys.title')}>
        <dl className="grid grid-cols-[1fr_auto] gap-x-6 gap-y-2 pb-4">
          {keys.map(([key, does]) => (
            <div key={key} className="contents">
              <dt className="text-soft">{does}</dt>
              <dd className="text-right">
                <kbd>{key}</kbd>
              </dd>
            </div>
          ))}
        </dl>
      </Modal>
    </>
  )
}

function Actions({ go, showKeys, done }: { go: (to: To) => void; showKeys: () => void; done: () => void }) {
  const { t, language } = useWords()
  const navigate = useNavigate()
  const take = useTakeFiles()
  const workflows = useAsk('workflow.list', { limit: 200 })
  const queue = useAsk('queue.state', {})
  const pause = useDo('queue.pause', { onError: sayFault })
  const resume = useDo('queue.resume', { onError: sayFault })
  const set = useDo('settings.set', { onError: sayFault })
  const last = workflows.data?.rows.find(({ id }) => id === lastWorkflow())
  const actions: Action[] = [
    { value: 'start', label: t('nav.start'), icon: WorkflowIcon, keys: 'g s', run: () => go('/') },
    ...(last && last.panelCount > 0
      ? [
          {
            value: 'form',
            label: `${t('nav.form')}: ${last.name}`,
            icon: LayoutList,
            run: () => void navigate({ to: '/form/$id', params: { id: last.id } }),
          },
        ]
      : []),
    ...(last
      ? [
          {
            value: 'workflow',
            label: `${t('nav.workflow')}: ${last.name}`,
            icon: SlidersHorizontal,
            run: () => void navigate({ to: '/workflow/$id', params: { id: last.id } }),
          },
          {
            value: 'batch',
            label: `${t('nav.batch')}: ${last.name}`,
            icon: Table2,
            run: () => void navigate({ to: '/batch/$id', params: { id: last.id } }),
          },
        ]
      : []),
    { value: 'queue', label: t('nav.queue'), icon: ListChecks, keys: 'g q', run: () => go('/queue') },
    { value: 'gallery', label: t('nav.gallery'), icon: Images, keys: 'g g', run: () => go('/gallery') },
    { value: 'workers', label: t('nav.workers'), icon: Server, keys: 'g w', run: () => go('/workers') },
    { value: 'publish', label: t('nav.publish'), icon: Send, keys: 'g u', run: () => go('/publish') },
    { value: 'endpoints', label: t('nav.endpoints'), icon: CloudUpload, keys: 'g o', run: () => go('/endpoints') },
    { value: 'engine', label: t('nav.engine'), icon: Cpu, keys: 'g e', run: () => go('/engine') },
    { value: 'models', label: t('nav.models'), icon: Box, keys: 'g m', run: () => go('/models') },
    { value: 'nodes', label: t('nav.nodes'), icon: Blocks, keys: 'g n', run: () => go('/custom-nodes') },
    { value: 'downloads', label: t('nav.downloads'), icon: Download, keys: 'g d', run: () => go('/downloads') },
    { value: 'mirrors', label: t('nav.mirrors'), icon: Radar, keys: 'g r', run: () => go('/mirrors') },
    { value: 'settings', label: t('nav.settings'), icon: SettingsIcon, keys: 'g ,', run: () => go('/settings') },
    {
      value: 'import',
      label: t('start.choose'),
      icon: FileDown,
      run: () => void chooseFiles(WORKFLOW_FILES, { many: true }).then(take),
    },
    queue.data?.paused === 'no'
      ? { value: 'pause', label: t('queue.pauseAfter'), icon: Pause, run: () => pause.mutate({ how: 'after-current' }) }
      : { value: 'resume', label: t('queue.resume'), icon: Play, run: () => resume.mutate({}) },
    {
      value: 'light',
      label: `${t('settings.theme')}: ${t('settings.light')}`,
      icon: Sun,
      run: () => set.mutate({ theme: 'light' }),
    },
    {
      value: 'dark',
      label: `${t('settings.theme')}: ${t('settings.dark')}`,
      icon: Moon,
      run: () => set.mutate({ theme: 'dark' }),
    },
    {
      value: 'language',
      label: language === 'zh-CN' ? 'Switch to English' : '切换到中文',
      icon: Languages,
      run: () => set.mutate({ language: language === 'zh-CN' ? 'en' : 'zh-CN' }),
    },
    { value: 'keys', label: t('keys.title'), icon: Keyboard, keys: '?', run: showKeys },
    ...(workflows.data?.rows ?? []).map(({ id, name, panelCount }) => ({
      value: id,
      label: name,
      icon: panelCount > 0 ? LayoutList : WorkflowIcon,
      run: () => void navigate({ to: panelCount > 0 ? '/form/$id' : '/workflow/$id', params: { id } }),
    })),
  ]
  return (
    <Autocomplete.Root open inline items={actions} autoHighlight="always" keepHighlight>
      <Autocomplete.Input
        aria-label={t('palette.title')}
        placeholder={t('palette.placeholder')}
        className="h-12 w-full border-b border-line bg-transparent px-4 text-base outline-none placeholder:text-faint"
      />
      <Autocomplete.Empty className="p-4 text-soft empty:hidden">{t('common.noMatch')}</Autocomplete.Empty>
      <Autocomplete.List className="max-h-[min(50vh,420px)] overflow-y-auto p-1.5 data-empty:p-0">
        {(action: Action) => (
          <Autocomplete.Item
            key={action.value}
            value={action}
            onClick={() => {
              done()
              action.run()
            }}
            className="item min-h-9"
          >
            <action.icon aria-hidden />
            <span className="min-w-0 flex-1 truncate">{action.label}</span>
            {action.keys && <kbd>{action.keys}</kbd>}
          </Autocomplete.Item>
        )}
      </Autocomplete.List>
    </Autocomplete.Root>
  )
}
