import { Dices, FileAudio, FileVideo, ImageOff, ImageUp, type LucideIcon, RotateCcw, TriangleAlert } from 'lucide-react'
import { type ReactNode, use, useId, useState } from 'react'
import type { Json } from '../../core/contract/json.ts'
import {
  choicesOf,
  fieldOf,
  isGroup,
  isRequired,
  keyOfItem,
  type Panel,
  type PanelItem,
} from '../../core/contract/panel.ts'
import type { Parameter, Workflow } from '../../core/contract/workflow.ts'
import { saySentence, useWords } from '../i18n.ts'
import { Button, IconButton } from './basics.tsx'
import { BareSwitch, Combobox, Segmented, Select } from './forms.tsx'
import { OwnFiles } from './own-files.ts'
import { idOf, ParameterControl, rangeOf, textOf, useOwnFile } from './parameter-control.tsx'

/** What a form is filled in with, and who is told. */
export interface Filling {
  readonly workflowId: string
  readonly parameters: ReadonlyMap<string, Parameter>
  /** By parameter key; what was never touched is not in it. */
  readonly values: Readonly<Record<string, Json>>
  readonly onChange: (key: string, value: Json | undefined) => void
  /** What is wrong, by parameter key, in the person's language. */
  readonly faults: ReadonlyMap<string, string>
  /** Why an item turns nothing, by the key it names. */
  readonly misfits?: ReadonlyMap<string, string>
  /** The file field that takes what is dropped; see `FileField`. */
  readonly onOver?: (key: string | null) => void
}

/** What the host found of items that turn nothing, for `Filling.misfits`. */
export const misfitsOf = ({ panelProblems }: Pick<Workflow, 'panelProblems'>) =>
  new Map(panelProblems.map((problem) => [`${problem.node}.${problem.input}`, saySentence(problem)]))

/** A form: its groups as cards, in order. */
export function PanelFields({ panel, filling }: { panel: Panel; filling: Filling }) {
  return (
    <div className="@container flex flex-col gap-4">
      {panel.params.map((item, place) =>
        item.hidden ? null : isGroup(item) ? (
          <Card key={String(place)} title={item.title} description={item.description}>
            <Members items={item.children ?? []} filling={filling} />
          </Card>
        ) : (
          <section key={String(place)} className="card p-4">
            <ItemField item={item} filling={filling} large />
          </section>
        ),
      )}
    </div>
  )
}

function Card({
  title,
  description,
  children,
}: {
  title?: string | null
  description?: string | null
  children: ReactNode
}) {
  const id = useId()
  return (
    <section className="card p-4" aria-labelledby={title ? id : undefined}>
      {title && (
        <h2 id={id} className="text-base break-words">
          {title}
        </h2>
      )}
      {description && <p className="mt-0.5 text-soft whitespace-pre-line break-words">{description}</p>}
      <div className={title || description ? 'mt-3' : ''}>{children}</div>
    </section>
  )
}

function Members({ items, filling }: { items: readonly PanelItem[]; filling: Filling }) {
  return (
    <div className="grid grid-cols-1 gap-x-4 gap-y-4 @lg:grid-cols-2">
      {items.map((item, place) => {
        if (item.hidden) return null
        if (!isGroup(item)) return <ItemField key={String(place)} item={item} filling={filling} />
        return (
          <fieldset key={String(place)} className="col-span-full border-l-2 border-line pl-3">
            {item.title && <legend className="float-left mb-2 w-full font-semibold break-words">{item.title}</legend>}
            {item.description && <p className="clear-both mb-2 text-xs text-soft">{item.description}</p>}
            <div className="clear-both">
              <Members items={item.children ?? []} filling={filling} />
            </div>
          </fieldset>
        )
      })}
    </div>
  )
}

interface Ids {
  id: string
  'aria-describedby'?: string
  'aria-invalid'?: true
}

/** One control with its name, what it is for, and what is wrong with it. */
export function ItemField({ item, filling, large }: { item: PanelItem; filling: Filling; large?: boolean }) {
  const { t } = useWords()
  const id = useId()
  const key = keyOfItem(item)
  const parameter = key === null ? undefined : filling.parameters.get(key)
  if (key === null || !parameter)
    return (
      <p className="col-span-full flex items-center gap-2 text-warn">
        <TriangleAlert size={15} className="shrink-0" aria-hidden />
        <span className="break-words">
          {filling.misfits?.get(key ?? '') ?? t('form.unusable', { title: item.title || key || '?' })}
        </span>
      </p>
    )
  const field = fieldOf(item, parameter)
  const value = key in filling.values ? filling.values[key]! : field.default
  const fault = filling.faults.get(key)
  const said = [item.description && `${id}-about`, fault && `${id}-fault`].filter(Boolean).join(' ')
  const ids: Ids = {
    id,
    ...(said && { 'aria-describedby': said }),
    ...(fault && { 'aria-invalid': true as const }),
  }
  const control = controlFor(item, field)
  const range = control === 'number' ? rangeOf(field) : null
  const isMany = control === 'tiles' || control === 'segments' || control === 'seed'
  const wide = control === 'tiles' || control === 'file' || control === 'lines' || large
  const title = (
    <>
      {field.name}
      {isRequired(item, field) && <span className="ml-1.5 text-xs font-normal text-faint">{t('form.required')}</span>}
    </>
  )
  const look = `${large ? 'text-base font-semibold' : 'font-medium'} min-w-0 break-words`
  return (
    <div data-field={key} className={`flex min-w-0 flex-col gap-1.5 ${wide ? 'col-span-full' : ''}`}>
      <div className="flex items-baseline justify-between gap-3">
        {isMany ? (
          <span id={`${id}-name`} className={look}>
            {title}
          </span>
        ) : (
          <label htmlFor={id} className={look}>
            {title}
          </label>
        )}
        {range && <span className="num shrink-0 text-2xs text-faint">{range}</span>}
      </div>
      {item.description && (
        <p id={`${id}-about`} className="text-xs text-soft whitespace-pre-line break-words">
          {item.description}
        </p>
      )}
      <Control
        control={control}
        item={item}
        field={field}
        value={value}
        isSet={key in filling.values}
        ids={ids}
        labelledBy={`${id}-name`}
        filling={filling}
        onChange={(next) => filling.onChange(key, next)}
      />
      {fault && (
        <p id={`${id}-fault`} className="text-xs text-bad">
          {fault}
        </p>
      )}
    </div>
  )
}

type ControlKind = 'tiles' | 'segments' | 'choice' | 'file' | 'seed' | 'switch' | 'number' | 'lines' | 'line'
const MOST_SEGMENTS = 4
const MOST_SEGMENT_LETTERS = 32

function controlFor(item: PanelItem, field: Parameter): ControlKind {
  const own = choicesOf(item)
  if (own?.some(({ thumbnail }) => thumbnail !== null)) return 'tiles'
  if (field.upload && !own) return 'file'
  if (own || field.options) {
    const choices = own ?? field.options!.map((value) => ({ label: textOf(value) }))
    const letters = choices.reduce((sum, { label }) => sum + label.length, 0)
    return choices.length <= MOST_SEGMENTS && letters <= MOST_SEGMENT_LETTERS ? 'segments' : 'choice'
  }
  if (field.role === 'seed') return 'seed'
  if (field.type === 'BOOLEAN') return 'switch'
  if (field.type === 'INT' || field.type === 'FLOAT') return 'number'
  return field.multiline ? 'lines' : 'line'
}

interface ControlProps {
  control: ControlKind
  item: PanelItem
  field: Parameter
  value: Json
  isSet: boolean
  ids: Ids
  labelledBy: string
  filling: Filling
  onChange: (value: Json | undefined) => void
}

function Control(props: ControlProps) {
  const { control, item, value, ids, onChange } = props
  if (control === 'tiles') return <Tiles {...props} />
  if (control === 'segments' || control === 'choice') return <Choice {...props} />
  if (control === 'file') return <FileField {...props} />
  if (control === 'seed') return <Seed {...props} />
  if (control === 'number') return <NumberField {...props} />
  if (control === 'switch')
    return <BareSwitch {...ids} checked={value === true || value === 'true'} onChange={onChange} />
  const shared = {
    ...ids,
    value: textOf(value),
    placeholder: item.placeholder ?? undefined,
    onChange: ({ target }: { target: { value: string } }) => onChange(target.value),
    className: 'field',
  }
  return control === 'lines' ? <textarea {...shared} rows={4} /> : <input {...shared} autoComplete="off" />
}

function Choice({ control, item, field, value, ids, onChange }: ControlProps) {
  const own = choicesOf(item) ?? (field.options ?? []).map((one) => ({ value: one, label: textOf(one) }))
  const choices = own.map((one) => ({ value: idOf(one.value), label: one.label }))
  const choose = (id: string | null) => {
    const found = own.find((one) => idOf(one.value) === id)
    if (found) onChange(found.value)
  }
  if (control === 'segments')
    return (
      <div className="flex">
        <Segmented label={field.name} value={idOf(value)} choices={choices} onChange={choose} />
      </div>
    )
  const known = choices.some((one) => one.value === idOf(value))
  const all = known ? choices : [{ value: idOf(value), label: textOf(value) }, ...choices]
  if (all.length > 8) return <Combobox {...ids} value={idOf(value)} choices={all} onChange={choose} />
  return <Select {...ids} value={idOf(value)} choices={all} onChange={choose} />
}

/** Choices that are pictures: one is chosen as with any radio button. */
function Tiles({ item, value, ids, labelledBy, filling, onChange }: ControlProps) {
  const choices = choicesOf(item) ?? []
  return (
    <div
      role="radiogroup"
      aria-labelledby={labelledBy}
      aria-describedby={ids['aria-describedby']}
      className="grid grid-cols-[repeat(auto-fill,minmax(104px,1fr))] gap-2"
    >
      {choices.map((choice) => (
        <label
          key={idOf(choice.value)}
          className="group relative flex cursor-default flex-col overflow-hidden rounded-lg border border-line bg-surface transition-colors hover:border-line-strong has-checked:border-accent has-checked:bg-accent-soft has-checked:shadow-[0_0_0_1px_var(--accent)] has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent"
        >
          <input
            type="radio"
            name={ids.id}
            checked={idOf(choice.value) === idOf(value)}
            onChange={() => onChange(choice.value)}
            className="absolute inset-0 z-10 size-full opacity-0"
          />
          <Picture of={choice.thumbnail ?? ''} workflowId={filling.workflowId} className="aspect-square w-full" />
          <span className="px-2 py-1.5 text-center text-xs font-medium break-words">{choice.label}</span>
        </label>
      ))}
    </div>
  )
}

/** A kept input file or a picture a form names, small; a sign where it cannot be shown. */
function Picture({
  of,
  workflowId,
  className,
  fit = 'cover',
}: {
  of: string
  workflowId: string
  className: string
  fit?: 'cover' | 'contain'
}) {
  const [failed, setFailed] = useState<string | null>(null)
  const { pictureOf } = use(OwnFiles)
  const src = of === '' ? '' : pictureOf(of, workflowId, fit === 'cover' ? 256 : 512)
  if (src === '' || failed === of)
    return (
      <span className={`grid place-items-center bg-sunken text-faint ${className}`}>
        <ImageOff size={18} aria-hidden />
      </span>
    )
  return (
    <img
      src={src}
      alt=""
      loading="lazy"
      onError={() => setFailed(of)}
      className={`bg-sunken ${fit === 'cover' ? 'object-cover' : 'object-contain'} ${className}`}
    />
  )
}

/** Some workflows hold whole pictures as text. */
const clipped = (name: string) => (name.length > 80 ? `${name.slice(0, 79)}…` : name)
const isAddress = (value: Json) => typeof value === 'string' && /^https?:/i.test(value)
const signs: Record<string, LucideIcon> = { video: FileVideo, audio: FileAudio }

/** A file of the person's own: chosen, dropped on it, or pasted. */
function FileField({ field, value, isSet, ids, filling, onChange }: ControlProps) {
  const { t } = useWords()
  const [over, setOver] = useState(false)
  const kind = field.upload ?? 'image'
  const [sending, choose] = useOwnFile(kind, onChange)
  const Sign = signs[kind] ?? ImageUp
  const { isKept, nameOf } = use(OwnFiles)
  const shown = typeof value === 'string' && (isKept(value) || isAddress(value)) ? value : null
  const name = clipped(
    isAddress(value) ? String(value).split(/[?#]/)[0]!.split('/').at(-1)! : (nameOf(String(value)) ?? textOf(value)),
  )
  const hover = (on: boolean) => {
    setOver(on)
    filling.onOver?.(on ? field.key : null)
  }
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: only a larger aim for files; the button in it does the same
    <div
      onDragEnter={() => hover(true)}
      onDragOver={() => over || hover(true)}
      onDragLeave={({ currentTarget, relatedTarget }) => {
        if (!currentTarget.contains(relatedTarget as Node | null)) hover(false)
      }}
      onDrop={() => setOver(false)}
      className={`flex min-h-36 items-stretch overflow-hidden rounded-lg border-2 border-dashed transition-colors ${
        over ? 'border-accent bg-accent-soft' : ids['aria-invalid'] ? 'border-bad' : 'border-line bg-sunken'
      }`}
    >
      {kind === 'image' && shown !== null && (
        <Picture
          of={shown}
          workflowId={filling.workflowId}
          fit="contain"
          className="max-h-64 min-h-36 w-1/2 max-w-72 shrink-0"
        />
      )}
      <div className="flex min-w-0 flex-1 flex-col items-center justify-center gap-1.5 p-4 text-center">
        <Sign size={20} className="text-faint" aria-hidden />
        {name && <p className="max-w-full text-xs font-medium break-all">{name}</p>}
        <p className="text-xs text-faint">{t(`form.drop.${kind}`)}</p>
        <div className="mt-1 flex flex-wrap justify-center gap-1.5">
          <Button {...ids} size="sm" busy={sending} onClick={choose}>
            {name ? t('form.replace') : t(`form.choose.${kind}`)}
          </Button>
          {isSet && (
            <Button size="sm" look="quiet" icon={RotateCcw} onClick={() => onChange(undefined)}>
              {t('form.clear')}
            </Button>
          )}
        </div>
      </div>
    </div>
  )
}

const SLIDER_STEPS = 2_000

function NumberField({ field, value, ids, onChange }: ControlProps) {
  const { type, min, max, step } = field
  const [low, high] = [Number(min), Number(max)]
  const by = Number(step) || (type === 'INT' ? 1 : 0.01)
  const slides = Number.isFinite(low) && Number.isFinite(high) && high > low && (high - low) / by <= SLIDER_STEPS
  const box = (
    <ParameterControl
      parameter={{ ...field, options: undefined, upload: undefined }}
      value={value}
      onChange={onChange}
      ids={ids}
    />
  )
  if (!slides) return box
  return (
    <div className="flex items-center gap-3">
      <input
        type="range"
        min={low}
        max={high}
        step={by}
        value={Number(value)}
        aria-label={field.name}
        onChange={({ target }) =>
          onChange(type === 'INT' ? Number(target.value) : Number(Number(target.value).toFixed(6)))
        }
        className="h-5 min-w-0 flex-1 accent-accent"
      />
      <div className="w-24 shrink-0">{box}</div>
    </div>
  )
}

const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0]!

function Seed({ field, value, ids, onChange }: ControlProps) {
  const { t } = useWords()
  const isNew = String(value).trim() === '-1'
  const standing = String(field.default) === '-1' ? newSeed() : field.default
  return (
    <div className="flex flex-wrap items-center gap-2">
      <Segmented
        label={field.name}
        value={isNew ? 'new' : 'fixed'}
        onChange={(next) => onChange(next === 'new' ? -1 : standing)}
        choices={[
          { value: 'new', label: t('form.seedNew') },
          { value: 'fixed', label: t('form.seedFixed') },
        ]}
      />
      {!isNew && (
        <div className="flex min-w-40 flex-1 gap-1.5">
          <input
            {...ids}
            aria-label={field.name}
            inputMode="numeric"
            autoComplete="off"
            value={textOf(value)}
            onChange={({ target }) => onChange(target.value)}
            className="field num"
          />
          <IconButton label={t('form.seedRoll')} icon={Dices} look="plain" onClick={() => onChange(newSeed())} />
        </div>
      )}
    </div>
  )
}
