import { useLayoutEffect, useRef, useState } from 'react'
import { useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { ErrorNotice } from './basics.tsx'
import { SearchField } from './forms.tsx'

/** What an installation said, from its end. */
export function InstallLog({ name, generation }: { name: string; generation: string }) {
  const { t } = useWords()
  const [search, setSearch] = useState('')
  const log = useAsk('engine.installLog', { name, generation, ...(search && { search }) })
  const lines = log.data?.rows ?? []
  const view = useRef<HTMLDivElement>(null)
  const label = t('engine.logOf', { id: name })
  // biome-ignore lint/correctness/useExhaustiveDependencies: follows what is new
  useLayoutEffect(() => {
    if (view.current) view.current.scrollTop = view.current.scrollHeight
  }, [lines.length])
  return (
    <div className="flex flex-col gap-2 py-2">
      <div className="w-64">
        <SearchField small value={search} onChange={setSearch} label={t('engine.logSearch')} />
      </div>
      {log.error ? (
        <ErrorNotice compact cause={log.error} onRetry={() => void log.refetch()} />
      ) : (
        <div
          role="log"
          ref={view}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
          tabIndex={0}
          aria-label={label}
          className="max-h-64 overflow-auto rounded-md bg-sunken p-2 font-mono text-2xs break-words whitespace-pre-wrap"
        >
          {lines.join('\n') || (search ? t('common.noMatch') : t('engine.logEmpty'))}
        </div>
      )}
    </div>
  )
}
