import { CircleAlert, CircleCheck, CircleDashed, CirclePause, CircleX, LoaderCircle } from 'lucide-react'
import type { JobState } from '../../core/contract/job.ts'
import { useWords } from '../i18n.ts'

const looks = {
  waiting: { icon: CircleDashed, tone: '' },
  running: { icon: LoaderCircle, tone: 'tone-accent' },
  done: { icon: CircleCheck, tone: 'tone-good' },
  failed: { icon: CircleAlert, tone: 'tone-bad' },
  cancelled: { icon: CircleX, tone: '' },
  parked: { icon: CirclePause, tone: 'tone-warn' },
} as const satisfies Record<JobState, unknown>

/** A state by sign, word and colour, so that none of them is needed alone. */
export function StateBadge({ state }: { state: JobState }) {
  const { t } = useWords()
  const { icon: Icon, tone } = looks[state]
  return (
    <span className={`badge ${tone}`}>
      <Icon className={state === 'running' ? 'spin' : ''} aria-hidden />
      {t(`state.${state}`)}
    </span>
  )
}
