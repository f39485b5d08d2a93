import { CircleAlert, CircleCheck, Info, type LucideIcon, TriangleAlert } from 'lucide-react'
import type { ReactNode } from 'react'
import type { Finding } from '../../core/contract/engine.ts'
import { bridge } from '../client/client.ts'
import { saySentence, useWords } from '../i18n.ts'

const levels: Record<Finding['level'], { icon: LucideIcon; tone: string }> = {
  good: { icon: CircleCheck, tone: 'text-good' },
  note: { icon: Info, tone: 'text-accent-ink' },
  warning: { icon: TriangleAlert, tone: 'text-warn' },
  bad: { icon: CircleAlert, tone: 'text-bad' },
}

/** Something a person should know, with where to read on and what to do. */
export function Told({ finding, children }: { finding: Finding; children?: ReactNode }) {
  const { t } = useWords()
  const { icon: Icon, tone } = levels[finding.level]
  return (
    <li className="flex gap-2">
      <Icon size={15} className={`mt-0.5 shrink-0 ${tone}`} aria-label={t(`engine.levels.${finding.level}`)} />
      <span className="min-w-0 flex-1 break-words">
        {saySentence(finding)}{' '}
        {finding.link && (
          <a
            href={finding.link}
            target="_blank"
            rel="noreferrer"
            className="text-accent-ink underline underline-offset-2"
            onClick={(event) => {
              if (!bridge || !finding.link) return
              event.preventDefault()
              void bridge.openExternal(finding.link)
            }}
          >
            {new URL(finding.link).host}
          </a>
        )}
        {children}
      </span>
    </li>
  )
}
