import { Combobox as BaseCombobox } from '@base-ui/react/combobox'
import { Select as BaseSelect } from '@base-ui/react/select'
import { Switch as BaseSwitch } from '@base-ui/react/switch'
import { Toggle } from '@base-ui/react/toggle'
import { ToggleGroup } from '@base-ui/react/toggle-group'
import { Check, ChevronDown, ChevronsUpDown, Minus, Plus, Search } from 'lucide-react'
import { type ComponentProps, type ReactNode, useEffect, useId, useRef, useState } from 'react'
import { useWords } from '../i18n.ts'
import { IconButton } from './basics.tsx'

export interface Choice {
  value: string
  label: string
  note?: string
}

/** Name above, control below, and a word of help or what is wrong under it. */
export function Field({
  label,
  help,
  fault,
  aside,
  children,
}: {
  label: ReactNode
  help?: ReactNode
  fault?: string | null
  aside?: ReactNode
  children: (ids: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: true }) => ReactNode
}) {
  const id = useId()
  const said = fault ?? help
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <div className="flex min-h-5 items-center justify-between gap-2">
        <label htmlFor={id} className="label truncate">
          {label}
        </label>
        {aside}
      </div>
      {children({
        id,
        ...(said ? { 'aria-describedby': `${id}-said` } : {}),
        ...(fault ? { 'aria-invalid': true as const } : {}),
      })}
      {said && (
        <p id={`${id}-said`} className={`text-xs ${fault ? 'text-bad' : 'text-faint'}`}>
          {said}
        </p>
      )}
    </div>
  )
}

export function Switch({
  label,
  help,
  checked,
  onChange,
  disabled,
}: {
  label: string
  help?: string
  checked: boolean
  onChange: (on: boolean) => void
  disabled?: boolean
}) {
  const id = useId()
  return (
    <div className="flex items-start gap-3">
      <div className="min-w-0 flex-1">
        <label id={id} htmlFor={`${id}-switch`} className="font-medium">
          {label}
        </label>
        {help && <p className="text-xs text-faint">{help}</p>}
      </div>
      <span className="mt-0.5 flex shrink-0">
        <BareSwitch
          id={`${id}-switch`}
          aria-labelledby={id}
          checked={checked}
          onChange={onChange}
          disabled={disabled ?? false}
        />
      </span>
    </div>
  )
}

/** Named by whoever puts it there. */
export function BareSwitch({
  onChange,
  ...rest
}: Omit<ComponentProps<typeof BaseSwitch.Root>, 'className' | 'onChange' | 'onCheckedChange'> & {
  onChange: (on: boolean) => void
}) {
  return (
    <BaseSwitch.Root
      {...rest}
      onCheckedChange={onChange}
      className="relative h-5 w-[34px] shrink-0 rounded-full bg-line-strong transition-colors duration-150 data-checked:bg-accent data-disabled:opacity-50"
    >
      <BaseSwitch.Thumb className="block size-4 translate-x-0.5 rounded-full bg-white shadow transition-transform duration-150 data-checked:translate-x-4" />
    </BaseSwitch.Root>
  )
}

/** One of a few. */
export function Select({
  value,
  choices,
  onChange,
  small,
  className = '',
  ...ids
}: {
  value: string
  choices: readonly Choice[]
  onChange: (value: string) => void
  small?: boolean
  className?: string
  id?: string
  'aria-label'?: string
  'aria-describedby'?: string
  'aria-invalid'?: true
}) {
  return (
    <BaseSelect.Root value={value} onValueChange={(next) => onChange(String(next))} items={choices as Choice[]}>
      <BaseSelect.Trigger
        {...ids}
        className={`field flex items-center justify-between gap-2 text-left ${small ? 'field-sm' : ''} ${className}`}
      >
        <BaseSelect.Value className="min-w-0 truncate" />
        <ChevronDown size={14} className="shrink-0 text-faint" aria-hidden />
      </BaseSelect.Trigger>
      <BaseSelect.Portal>
        <BaseSelect.Positioner sideOffset={4} alignItemWithTrigger={false} className="z-40">
          <BaseSelect.Popup className="pop max-h-[min(340px,var(--available-height))] min-w-[var(--anchor-width)] max-w-96 overflow-y-auto p-1">
            {choices.map(({ value, label, note }) => (
              <BaseSelect.Item key={value} value={value} className="item">
                <span className="grid size-4 shrink-0 place-items-center">
                  <BaseSelect.ItemIndicator>
                    <Check size={14} aria-hidden />
                  </BaseSelect.ItemIndicator>
                </span>
                <BaseSelect.ItemText className="truncate">{label}</BaseSelect.ItemText>
                {note && <span className="ml-auto pl-3 text-2xs text-faint">{note}</span>}
              </BaseSelect.Item>
            ))}
          </BaseSelect.Popup>
        </BaseSelect.Positioner>
      </BaseSelect.Portal>
    </BaseSelect.Root>
  )
}

/** The choices as they were, while they say the same: other objects would throw away what is being typed. */
function useSameChoices(choices: readonly Choice[]): Choice[] {
  const kept = useRef<Choice[]>([])
  const same =
    kept.current.length === choices.length &&
    kept.current.every(({ value, label, note }, at) => {
      const next = choices[at]!
      return value === next.value && label === next.label && note === next.note
    })
  if (!same) kept.current = [...choices]
  return kept.current
}

/** One of many, found by typing. */
export function Combobox({
  value,
  choices,
  onChange,
  placeholder,
  small,
  clearable,
  ...ids
}: {
  value: string | null
  choices: readonly Choice[]
  onChange: (value: string | null) => void
  placeholder?: string
  small?: boolean
  clearable?: boolean
  id?: string
  'aria-label'?: string
  'aria-describedby'?: string
  'aria-invalid'?: true
}) {
  const { t } = useWords()
  const items = useSameChoices(choices)
  const chosen = items.find((choice) => choice.value === value) ?? null
  return (
    <BaseCombobox.Root
      items={items}
      value={chosen}
      onValueChange={(next: Choice | null) => {
        if (next || clearable) onChange(next?.value ?? null)
      }}
      itemToStringLabel={(choice: Choice) => choice.label}
      isItemEqualToValue={(one: Choice, other: Choice) => one.value === other.value}
      limit={200}
    >
      <div className="relative w-full min-w-0">
        <BaseCombobox.Input {...ids} placeholder={placeholder} className={`field pr-8 ${small ? 'field-sm' : ''}`} />
        <BaseCombobox.Trigger
          aria-label={t('common.showChoices')}
          tabIndex={-1}
          className="absolute inset-y-0 right-0 grid w-8 place-items-center text-faint"
        >
          <ChevronsUpDown size={13} aria-hidden />
        </BaseCombobox.Trigger>
      </div>
      <BaseCombobox.Portal>
        <BaseCombobox.Positioner sideOffset={4} className="z-40">
          <BaseCombobox.Popup className="pop w-[max(var(--anchor-width),220px)] max-w-[min(460px,var(--available-width))]">
            <BaseCombobox.Empty className="px-3 py-2 text-faint empty:hidden">{t('common.noMatch')}</BaseCombobox.Empty>
            <BaseCombobox.List className="max-h-[min(320px,var(--available-height))] overflow-y-auto p-1 data-empty:p-0">
              {(choice: Choice) => (
                <BaseCombobox.Item key={choice.value} value={choice} className="item">
                  <span className="min-w-0 flex-1 truncate">{choice.label}</span>
                  {choice.note && <span className="shrink-0 text-2xs text-faint">{choice.note}</span>}
                  <BaseCombobox.ItemIndicator>
                    <Check size={14} aria-hidden />
                  </BaseCombobox.ItemIndicator>
                </BaseCombobox.Item>
              )}
            </BaseCombobox.List>
          </BaseCombobox.Popup>
        </BaseCombobox.Positioner>
      </BaseCombobox.Portal>
    </BaseCombobox.Root>
  )
}

const TYPED_MS = 250
/** Words to find, told once the typing stops. */
export function SearchField({
  value,
  onChange,
  label,
  small,
}: {
  value: string
  onChange: (value: string) => void
  label: string
  small?: boolean
}) {
  const [text, setText] = useState(value)
  const told = useRef(value)
  const tell = useRef(onChange)
  tell.current = onChange
  useEffect(() => {
    // cleared or set elsewhere, and not what was told from here
    if (value === told.current) return
    told.current = value
    setText(value)
  }, [value])
  useEffect(() => {
    if (text === told.current) return
    const timer = setTimeout(() => {
      told.current = text
      tell.current(text)
    }, TYPED_MS)
    return () => clearTimeout(timer)
  }, [text])
  return (
    <div className="relative">
      <Search
        size={small ? 13 : 14}
        className={`absolute text-faint ${small ? 'top-[7px] left-2' : 'top-[9px] left-2.5'}`}
        aria-hidden
      />
      <input
        type="search"
        value={text}
        onChange={({ target }) => setText(target.value)}
        aria-label={label}
        placeholder={label}
        className={`field ${small ? 'field-sm pl-7' : 'pl-8'}`}
      />
    </div>
  )
}

/** One of a few, all in sight. */
export function Segmented<V extends string>({
  value,
  choices,
  onChange,
  label,
}: {
  value: V
  choices: readonly { value: V; label: ReactNode; name?: string }[]
  onChange: (value: V) => void
  label: string
}) {
  return (
    <ToggleGroup
      value={[value]}
      onValueChange={([next]) => next && onChange(next as V)}
      aria-label={label}
      className="inline-flex h-8 shrink-0 items-center gap-0.5 rounded-md bg-sunken p-0.5"
    >
      {choices.map(({ value, label, name }) => (
        <Toggle
          key={value}
          value={value}
          aria-label={name}
          className="flex h-7 items-center gap-1.5 rounded-[5px] px-2.5 text-xs font-medium whitespace-nowrap text-soft hover:text-text data-pressed:bg-chosen data-pressed:text-text data-pressed:shadow-low"
        >
          {label}
        </Toggle>
      ))}
    </ToggleGroup>
  )
}

/** A small count, stepped or typed. */
export function Stepper({
  label,
  value,
  most,
  size = 'md',
  onChange,
}: {
  label: string
  value: number
  most: number
  size?: 'sm' | 'md'
  onChange: (value: number) => void
}) {
  const { t } = useWords()
  const within = (next: number) => onChange(Math.min(most, Math.max(1, Math.trunc(next) || 1)))
  return (
    <fieldset aria-label={label} className="flex items-center rounded-md border border-line">
      <IconButton
        label={t('workflow.fewer')}
        icon={Minus}
        size={size}
        disabled={value <= 1}
        onClick={() => within(value - 1)}
      />
      <input
        inputMode="numeric"
        aria-label={label}
        value={String(value)}
        onChange={({ target }) => within(Number(target.value))}
        className={`num bg-transparent text-center outline-offset-0 ${size === 'sm' ? 'h-[30px] w-10' : 'h-9 w-11 text-base'}`}
      />
      <IconButton label={t('workflow.more')} icon={Plus} size={size} onClick={() => within(value + 1)} />
    </fieldset>
  )
}
