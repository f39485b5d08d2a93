import { Dialog } from '@base-ui/react/dialog'
import { Menu as BaseMenu } from '@base-ui/react/menu'
import { Toast } from '@base-ui/react/toast'
import { CircleAlert, CircleCheck, type LucideIcon, X } from 'lucide-react'
import { type ReactElement, type ReactNode, useRef } from 'react'
import { failureOf } from '../client/client.ts'
import { sayFailure, useWords } from '../i18n.ts'
import { IconButton } from './basics.tsx'

/** Asks or shows something above the page. */
export function Modal({
  open,
  onClose,
  title,
  note,
  children,
  footer,
  wide,
}: {
  open: boolean
  onClose: () => void
  title: string
  note?: string
  children: ReactNode
  footer?: ReactNode
  wide?: boolean
}) {
  const { t } = useWords()
  const popup = useRef<HTMLDivElement>(null)
  const body = useRef<HTMLDivElement>(null)
  const firstFocus = () => {
    const first = body.current?.querySelector<HTMLElement>('input, textarea, select, button, a, summary, [tabindex]')
    return first?.matches('input:not([type=checkbox]), textarea') ? first : popup.current
  }
  return (
    <Dialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop z-30" />
        <Dialog.Viewport className="fixed inset-0 z-30 grid place-items-center p-6">
          <Dialog.Popup
            ref={popup}
            // what one writes in, if the dialog begins with it; the dialog itself rather than its closing button
            initialFocus={firstFocus}
            className={`pop flex max-h-full w-full flex-col rounded-xl outline-none ${wide ? 'max-w-3xl' : 'max-w-lg'}`}
          >
            <div className="flex items-start gap-3 px-5 pt-4 pb-2">
              <div className="min-w-0 flex-1">
                <Dialog.Title className="text-lg">{title}</Dialog.Title>
                {note && <Dialog.Description className="text-soft">{note}</Dialog.Description>}
              </div>
              <Dialog.Close render={<IconButton label={t('common.close')} icon={X} size="sm" />} />
            </div>
            <div ref={body} className="min-h-0 flex-1 overflow-y-auto px-5 py-2">
              {children}
            </div>
            {footer && <div className="flex justify-end gap-2 px-5 pt-2 pb-4">{footer}</div>}
          </Dialog.Popup>
        </Dialog.Viewport>
      </Dialog.Portal>
    </Dialog.Root>
  )
}

export interface MenuItem {
  label: string
  icon?: LucideIcon
  onSelect: () => void
  danger?: boolean
  disabled?: boolean
  keys?: string
}
/** A few more things that can be done; `null` draws a line. */
export function Menu({ trigger, items }: { trigger: ReactElement; items: readonly (MenuItem | null)[] }) {
  return (
    <BaseMenu.Root>
      <BaseMenu.Trigger render={trigger as ReactElement<Record<string, unknown>>} />
      <BaseMenu.Portal>
        <BaseMenu.Positioner sideOffset={4} align="end" className="z-40">
          <BaseMenu.Popup className="pop min-w-48 p-1">
            {items.map((item, place) =>
              item === null ? (
                <BaseMenu.Separator key={String(place)} className="mx-2 my-1 h-px bg-line" />
              ) : (
                <BaseMenu.Item
                  key={item.label}
                  disabled={item.disabled}
                  onClick={item.onSelect}
                  className={`item ${item.danger ? 'text-bad' : ''}`}
                >
                  {item.icon && <item.icon aria-hidden />}
                  <span className="flex-1">{item.label}</span>
                  {item.keys && <kbd>{item.keys}</kbd>}
                </BaseMenu.Item>
              ),
            )}
          </BaseMenu.Popup>
        </BaseMenu.Positioner>
      </BaseMenu.Portal>
    </BaseMenu.Root>
  )
}

const manager = Toast.createToastManager()
type Said = { title: string; description?: string; action?: { label: string; run: () => void } }
/** Says something for a few seconds, in a corner; with an action, long enough to take it. */
export function say({ title, description, action }: Said, kind: 'good' | 'bad' = 'good') {
  const id = manager.add({
    title,
    description,
    type: kind,
    timeout: kind === 'bad' || action ? 9_000 : 4_500,
    priority: kind === 'bad' ? 'high' : 'low',
    ...(action && {
      actionProps: {
        children: action.label,
        onClick() {
          manager.close(id)
          action.run()
        },
      },
    }),
  })
}
export function sayFault(cause: unknown) {
  const { message, remedy } = sayFailure(failureOf(cause))
  say({ title: message, description: remedy }, 'bad')
}

export function Toasts() {
  return (
    <Toast.Provider toastManager={manager} limit={3}>
      <Toast.Portal>
        <Toast.Viewport className="fixed right-4 bottom-20 z-50 flex w-[360px] max-w-[calc(100vw-32px)] flex-col gap-2">
          <ToastList />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  )
}
function ToastList() {
  const { t } = useWords()
  const { toasts } = Toast.useToastManager()
  return toasts.map((toast) => (
    <Toast.Root
      key={toast.id}
      toast={toast}
      className="pop rise p-3 transition-opacity duration-150 data-ending-style:opacity-0 data-limited:hidden"
    >
      <Toast.Content className="flex items-start gap-2.5">
        {toast.type === 'bad' ? (
          <CircleAlert size={16} className="mt-0.5 shrink-0 text-bad" aria-hidden />
        ) : (
          <CircleCheck size={16} className="mt-0.5 shrink-0 text-good" aria-hidden />
        )}
        <div className="min-w-0 flex-1">
          <Toast.Title render={<p />} className="font-medium break-words" />
          <Toast.Description className="text-xs text-soft break-words" />
        </div>
        {toast.actionProps && <Toast.Action className="btn btn-sm" />}
        {/* ours lie beside each other: each is closed where it is, not only once the pile is opened */}
        <Toast.Close
          aria-hidden={false}
          render={<IconButton label={t('common.close')} icon={X} size="sm" className="-m-1" />}
        />
      </Toast.Content>
    </Toast.Root>
  ))
}
