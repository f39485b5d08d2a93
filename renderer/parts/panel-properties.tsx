import { type ReactNode, useState } from 'react'
import { type Json, writeJson } from '../../core/contract/json.ts'
import {
  choicesOf,
  type controlTypes,
  fieldOf,
  keyOfItem,
  type Panel,
  type PanelItem,
  type PanelOption,
  UNREADABLE,
} from '../../core/contract/panel.ts'
import type { Parameter, Workflow } from '../../core/contract/workflow.ts'
import { useWords } from '../i18n.ts'
import { linesOf, optionsIn } from '../panel-options.ts'
import { itemAt, type Kind, type Path, typeOf } from '../panel-tree.ts'
import { Field, Select, Switch } from './forms.tsx'
import { type Filling, ItemField } from './panel-fields.tsx'
import { textOf } from './parameter-control.tsx'

/** What can look how, by the type of the value. */
function kindsFor({ type, upload }: Parameter): (typeof controlTypes)[number][] {
  if (type === 'BOOLEAN') return ['boolean', 'select']
  if (type === 'INT') return ['number', 'seed', 'select']
  if (type === 'FLOAT') return ['number', 'select']
  if (upload) return ['image', 'video', 'audio', 'select']
  return type === 'COMBO' ? ['select'] : ['string', 'select', 'image']
}

/** What can be said of the item chosen. */
export function Properties({
  workflow,
  panel,
  path,
  parameters,
  onChange,
}: {
  workflow: Workflow
  panel: Panel
  path: Path | null
  parameters: ReadonlyMap<string, Parameter>
  onChange: (item: PanelItem, tag?: string) => void
}) {
  const { t } = useWords()
  const item = path && itemAt(panel.params, path)
  if (!path || !item) return <p className="text-faint">{t('panelEditor.nothingChosen')}</p>
  if (item.type === UNREADABLE)
    return (
      <>
        <p className="mb-2 text-warn">{t('panelEditor.unreadable')}</p>
        <pre className="overflow-x-auto rounded-md bg-sunken p-2 text-xs">{writeJson(item.raw, 1).slice(0, 2000)}</pre>
      </>
    )
  const key = keyOfItem(item)
  const parameter = key === null ? undefined : parameters.get(key)
  /** Empty takes the field away, so that a file stays as short as it was. */
  const set = (field: string, value: unknown, tag?: string) => {
    const { [field]: _, ...rest } = item
    onChange((value === undefined ? rest : { ...item, [field]: value }) as PanelItem, tag)
  }
  const text = (
    field: 'title' | 'description' | 'placeholder',
    label: string,
    lines = false,
    hint?: string,
  ): ReactNode => {
    const shared = {
      value: item[field] ?? '',
      placeholder: hint,
      className: 'field',
      onChange: ({ target }: { target: { value: string } }) => set(field, target.value || undefined, field),
    }
    return (
      <Field label={label}>
        {(ids) => (lines ? <textarea {...ids} {...shared} rows={3} /> : <input {...ids} {...shared} />)}
      </Field>
    )
  }
  const kinds = parameter ? kindsFor(parameter) : []
  const kind = typeOf(item)
  return (
    // every field begins anew for another item
    <div key={path.join('.')} className="flex flex-col gap-4">
      {key !== null && (
        <p className={`text-xs break-words ${parameter ? 'text-faint' : 'text-warn'}`}>
          {parameter
            ? t('panelEditor.turns', { input: parameter.input, node: `${parameter.nodeTitle} (${parameter.node})` })
            : t('form.unusable', { title: item.title || key })}
        </p>
      )}
      {text('title', t('panelEditor.name'))}
      {text('description', t('panelEditor.description'), true, t('panelEditor.descriptionHint'))}
      {parameter && (
        <Field label={t('panelEditor.kind')}>
          {(ids) => (
            <Select
              {...ids}
              value={kind}
              choices={[...new Set<Kind>([kind, ...kinds])].map((one) => ({
                value: one,
                label: t(`panelEditor.type.${one}`),
              }))}
              onChange={(next) => set('type', next)}
            />
          )}
        </Field>
      )}
      {parameter && kind === 'string' && (
        <>
          {text('placeholder', t('panelEditor.placeholder'))}
          <Switch
            label={t('panelEditor.lines')}
            checked={item.multiline ?? true}
            onChange={(on) => set('multiline', on)}
          />
        </>
      )}
      {parameter && kind === 'number' && (
        <div className="grid grid-cols-3 gap-2">
          {(['min', 'max', 'step'] as const).map((bound) => (
            <Field key={bound} label={t(`panelEditor.${bound}`)}>
              {(ids) => (
                <NumberBox
                  ids={ids}
                  value={item[bound]}
                  fallback={parameter[bound]}
                  onChange={(value) => set(bound, value, bound)}
                />
              )}
            </Field>
          ))}
        </div>
      )}
      {parameter && (kind === 'select' || kind === 'image') && (
        <Options item={item} onChange={(options) => set('options', options, 'options')} />
      )}
      {parameter && key !== null && (
        <Default
          workflow={workflow}
          item={item}
          parameter={parameter}
          parameters={parameters}
          onChange={(value) => set('default', value, 'default')}
        />
      )}
      {parameter && (
        <Switch
          label={t('panelEditor.required')}
          checked={item.required ?? fieldOf(item, parameter).upload !== undefined}
          onChange={(on) => set('required', on)}
        />
      )}
      <Switch
        label={t('panelEditor.hidden')}
        help={t('panelEditor.hiddenNote')}
        checked={item.hidden ?? false}
        onChange={(on) => set('hidden', on || undefined)}
      />
    </div>
  )
}

/** A bound: empty, as the node has it. */
function NumberBox({
  ids,
  value,
  fallback,
  onChange,
}: {
  ids: object
  value: number | bigint | null | undefined
  fallback: Json | undefined
  onChange: (value: number | undefined) => void
}) {
  const kept = value === undefined || value === null ? '' : String(value)
  const [typed, setTyped] = useState(kept)
  // what is typed, unless it was undone meanwhile
  const isNumber = typed.trim() !== '' && Number.isFinite(Number(typed))
  const text = (kept === '' ? !isNumber : Number(typed) === Number(kept)) ? typed : kept
  return (
    <input
      {...ids}
      inputMode="decimal"
      value={text}
      placeholder={fallback === undefined || Math.abs(Number(fallback)) >= 1e9 ? '' : textOf(fallback)}
      onChange={({ target }) => {
        setTyped(target.value)
        if (target.value.trim() === '') onChange(undefined)
        else if (Number.isFinite(Number(target.value))) onChange(Number(target.value))
      }}
      className="field num"
    />
  )
}

/** Choices, one a line. */
function Options({ item, onChange }: { item: PanelItem; onChange: (options: PanelOption[] | undefined) => void }) {
  const { t } = useWords()
  const [typed, setTyped] = useState(() => linesOf(item))
  // what is typed, unless it was undone meanwhile
  const text = writeJson(optionsIn(typed, item)) === writeJson(item.options) ? typed : linesOf(item)
  if (typeof item.options === 'string')
    return <p className="text-xs text-faint">{t('panelEditor.optionsOfNode', { classType: item.options })}</p>
  return (
    <Field label={t('panelEditor.options')} help={t('panelEditor.optionsNote')}>
      {(ids) => (
        <textarea
          {...ids}
          rows={5}
          value={text}
          onChange={({ target }) => {
            setTyped(target.value)
            onChange(optionsIn(target.value, item))
          }}
          className="field font-mono text-xs"
        />
      )}
    </Field>
  )
}
/** What the form holds at first, filled in with the very control it will have. */
function Default({
  workflow,
  item,
  parameter,
  parameters,
  onChange,
}: {
  workflow: Workflow
  item: PanelItem
  parameter: Parameter
  parameters: ReadonlyMap<string, Parameter>
  onChange: (value: Json | undefined) => void
}) {
  const { t } = useWords()
  const isOwn = item.default !== undefined
  const { default: value, ...bare } = item
  const filling: Filling = {
    workflowId: workflow.id,
    parameters,
    values: isOwn ? { [parameter.key]: value! } : {},
    faults: new Map(),
    onChange: (_, next) => onChange(next),
  }
  return (
    <div className="flex flex-col gap-2">
      <Switch
        label={t('panelEditor.default')}
        help={isOwn ? undefined : t('panelEditor.defaultNote')}
        checked={isOwn}
        onChange={(on) => onChange(on ? (choicesOf(item)?.[0]?.value ?? parameter.default) : undefined)}
      />
      {isOwn && (
        <div className="@container">
          <ItemField
            item={{ ...bare, title: t('panelEditor.default'), description: undefined, required: false } as PanelItem}
            filling={filling}
          />
        </div>
      )}
    </div>
  )
}
