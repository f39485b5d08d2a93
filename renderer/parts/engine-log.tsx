import { ArrowUp, X } from 'lucide-react'
import { useEffect, useLayoutEffect, useRef, useState } from 'react'
import type { LogLine } from '../../core/contract/engine.ts'
import { call, useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, ErrorNotice, IconButton } from './basics.tsx'
import { SearchField } from './forms.tsx'
import { sayFault } from './overlays.tsx'

const PAGE = 200
const loud = /\b(?:error|exception|traceback|failed|critical|fatal)\b/i
const warning = /\bwarn(?:ing)?\b/i

/** What a ComfyUI says, as it says it; older lines and a search on demand. */
export function EngineLog({ process, onClose }: { process: string; onClose: () => void }) {
  const { t } = useWords()
  const [search, setSearch] = useState('')
  const newest = useAsk('engine.log', { process, limit: PAGE, ...(search && { search }) })
  const [older, setOlder] = useState<LogLine[]>([])
  const [noMore, setNoMore] = useState(false)
  const view = useRef<HTMLOListElement>(null)
  const atEnd = useRef(true)
  const rows = newest.data?.rows ?? []
  const first = older[0]?.n ?? rows[0]?.n
  const lines = [...older, ...rows.filter(({ n }) => n > (older.at(-1)?.n ?? -1))]

  // biome-ignore lint/correctness/useExhaustiveDependencies: another search is another list
  useEffect(() => {
    setOlder([])
    setNoMore(false)
    atEnd.current = true
  }, [search])
  const last = rows.at(-1)?.n
  // biome-ignore lint/correctness/useExhaustiveDependencies: follows whatever is new, unless somebody reads further up
  useLayoutEffect(() => {
    const list = view.current
    if (list && atEnd.current) list.scrollTop = list.scrollHeight
  }, [last])

  async function more() {
    if (first === undefined) return
    try {
      const list = view.current
      const below = list ? list.scrollHeight - list.scrollTop : 0
      const before = await call('engine.log', { process, before: first, limit: PAGE, ...(search && { search }) })
      atEnd.current = false
      setOlder((was) => [...before.rows, ...(was.length > 0 ? was : rows)])
      setNoMore(before.rows.length < PAGE)
      requestAnimationFrame(() => {
        if (list) list.scrollTop = list.scrollHeight - below
      })
    } catch (cause) {
      sayFault(cause)
    }
  }

  return (
    <section className="mt-3 border-t border-line pt-3" aria-label={t('engine.logOf', { id: process })}>
      <div className="mb-2 flex items-center gap-2">
        <div className="w-64">
          <SearchField small value={search} onChange={setSearch} label={t('engine.logSearch')} />
        </div>
        {!noMore && rows.length >= PAGE && (
          <Button size="sm" look="quiet" icon={ArrowUp} onClick={() => void more()}>
            {t('engine.logOlder')}
          </Button>
        )}
        <IconButton className="ml-auto" size="sm" icon={X} label={t('engine.logClose')} onClick={onClose} />
      </div>
      {newest.error ? (
        <ErrorNotice compact cause={newest.error} onRetry={() => void newest.refetch()} />
      ) : lines.length === 0 ? (
        <p className="rounded-md bg-sunken px-3 py-4 text-center text-faint">
          {search ? t('common.noMatch') : newest.isPending ? t('common.loading') : t('engine.logEmpty')}
        </p>
      ) : (
        <ol
          ref={view}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
          tabIndex={0}
          aria-label={t('engine.logOf', { id: process })}
          className="h-72 overflow-auto rounded-md bg-sunken p-2 font-mono text-2xs"
          onScroll={({ currentTarget: list }) => {
            atEnd.current = list.scrollHeight - list.scrollTop - list.clientHeight < 24
          }}
        >
          {lines.map(({ n, at, text }) => (
            <li key={n} className="flex gap-3">
              <time className="num shrink-0 text-faint select-none" dateTime={new Date(at).toISOString()}>
                {new Date(at).toLocaleTimeString([], { hour12: false })}
              </time>
              <span
                className={`min-w-0 flex-1 break-words whitespace-pre-wrap ${loud.test(text) ? 'text-bad' : warning.test(text) ? 'text-warn' : ''}`}
              >
                {text}
              </span>
            </li>
          ))}
        </ol>
      )}
    </section>
  )
}
