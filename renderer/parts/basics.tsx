import { Tooltip } from '@base-ui/react/tooltip'
import { CircleAlert, type LucideIcon, RefreshCw } from 'lucide-react'
import type { ButtonHTMLAttributes, ReactNode, Ref } from 'react'
import { failureOf } from '../client/client.ts'
import { sayFailure, useWords } from '../i18n.ts'

type Look = 'primary' | 'plain' | 'quiet' | 'danger'
type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & {
  look?: Look
  size?: 'sm' | 'md' | 'lg'
  icon?: LucideIcon
  busy?: boolean
  ref?: Ref<HTMLButtonElement>
}
const classOf = (look: Look, size: string, extra = '') =>
  `btn ${look === 'plain' ? '' : `btn-${look}`} ${size === 'md' ? '' : `btn-${size}`} ${extra}`

export function Button({ look = 'plain', size = 'md', icon: Icon, busy, children, className, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      disabled={rest.disabled || busy}
      aria-busy={busy || undefined}
      className={classOf(look, size, className)}
    >
      {busy ? <RefreshCw className="spin" aria-hidden /> : Icon && <Icon aria-hidden />}
      {children}
    </button>
  )
}

/** A button that shows only a sign; its name is read out and shown on hover. */
export function IconButton({
  label,
  icon: Icon,
  keys,
  look = 'quiet',
  size = 'md',
  busy,
  className,
  ...rest
}: Omit<ButtonProps, 'children'> & { label: string; icon: LucideIcon; keys?: string }) {
  return (
    <Tip text={label} keys={keys}>
      <button
        type="button"
        {...rest}
        disabled={rest.disabled || busy}
        aria-label={label}
        className={classOf(look, size, `btn-icon ${className ?? ''}`)}
      >
        {busy ? <RefreshCw className="spin" aria-hidden /> : <Icon aria-hidden />}
      </button>
    </Tip>
  )
}

export function Tip({ text, keys, children }: { text: string; keys?: string; children: React.ReactElement }) {
  return (
    <Tooltip.Root
      // Escape closes what is open beneath as well: a dialog whose button shows its name would else need it twice
      onOpenChange={(_, details) => details.reason === 'escape-key' && details.allowPropagation()}
    >
      <Tooltip.Trigger render={children as React.ReactElement<Record<string, unknown>>} />
      <Tooltip.Portal>
        <Tooltip.Positioner sideOffset={6} className="z-50">
          <Tooltip.Popup className="pop px-2 py-1 text-xs max-w-72 break-words">
            {text} {keys && <kbd className="ml-1">{keys}</kbd>}
          </Tooltip.Popup>
        </Tooltip.Positioner>
      </Tooltip.Portal>
    </Tooltip.Root>
  )
}

export function Skeleton({ rows = 4, height = 44 }: { rows?: number; height?: number }) {
  const { t } = useWords()
  return (
    <div role="status" aria-label={t('common.loading')} className="flex flex-col gap-2 w-full">
      {Array.from({ length: rows }, (_, place) => (
        <div key={String(place)} className="skeleton" style={{ height, animationDelay: `${place * 90}ms` }} />
      ))}
    </div>
  )
}

/** Nothing here yet: what would be here, and the first thing to do. */
export function Empty({
  icon: Icon,
  title,
  children,
  action,
}: {
  icon: LucideIcon
  title: string
  children?: ReactNode
  action?: ReactNode
}) {
  return (
    <div className="flex flex-1 flex-col items-center justify-center gap-1 p-8 text-center rise">
      <div className="mb-2 grid size-11 place-items-center rounded-xl bg-accent-soft text-accent-ink">
        <Icon size={20} aria-hidden />
      </div>
      <h2 className="text-base">{title}</h2>
      {children && <p className="max-w-[46ch] text-soft">{children}</p>}
      {action && <div className="mt-4 flex flex-wrap justify-center gap-2">{action}</div>}
    </div>
  )
}

/** What happened and what to do, with the facts folded away. */
export function ErrorNotice({
  cause,
  onRetry,
  action,
  compact,
}: {
  cause: unknown
  onRetry?: () => void
  action?: ReactNode
  compact?: boolean
}) {
  const { t } = useWords()
  const failure = failureOf(cause)
  const { message, remedy } = sayFailure(failure)
  return (
    <div role="alert" className={`card border-l-[3px] border-l-bad flex gap-3 ${compact ? 'p-3' : 'p-4'}`}>
      <CircleAlert size={17} className="mt-0.5 shrink-0 text-bad" aria-hidden />
      <div className="min-w-0 flex-1">
        <p className="font-medium break-words">{message}</p>
        <p className="text-soft break-words">{remedy}</p>
        {(onRetry || action) && (
          <div className="mt-2.5 flex flex-wrap gap-2">
            {onRetry && (
              <Button size="sm" icon={RefreshCw} onClick={onRetry}>
                {t('common.retry')}
              </Button>
            )}
            {action}
          </div>
        )}
      </div>
    </div>
  )
}

/** 0 to 1; null: going on, nobody knows how far. */
export function ProgressBar({ value, label, tone = 'accent' }: { value: number | null; label: string; tone?: string }) {
  const percent = value === null ? undefined : Math.round(Math.min(1, Math.max(0, value)) * 100)
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      className="h-1.5 w-full overflow-hidden rounded-full bg-line"
    >
      <div
        className={`h-full rounded-full transition-[width] duration-300 ${percent === undefined ? 'skeleton w-full' : ''}`}
        style={{ width: percent === undefined ? undefined : `${percent}%`, background: `var(--${tone})` }}
      />
    </div>
  )
}

/** The name of a page and what can be done on it. */
export function PageHead({ title, note, children }: { title: ReactNode; note?: ReactNode; children?: ReactNode }) {
  return (
    <header className="flex min-h-14 flex-wrap items-center gap-x-3 gap-y-2 border-b border-line bg-surface px-5 py-2.5">
      <div className="mr-auto flex min-w-0 items-baseline gap-3">
        {typeof title === 'string' ? <h1 className="truncate text-lg">{title}</h1> : title}
        {note && <span className="truncate text-xs text-faint num">{note}</span>}
      </div>
      {children}
    </header>
  )
}
