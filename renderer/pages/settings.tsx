import { FolderOpen } from 'lucide-react'
import { type ReactNode, useEffect, useState } from 'react'
import type { Settings } from '../../core/contract/settings.ts'
import { bridge, queries, useAsk, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, ErrorNotice, PageHead, Skeleton } from '../parts/basics.tsx'
import { Field, Segmented, Select, Switch } from '../parts/forms.tsx'
import { sayFault } from '../parts/overlays.tsx'

/** What the person chose, for this and every later night. */
export function SettingsPage() {
  const { t } = useWords()
  const settings = useAsk('settings.get', {})
  return (
    <>
      <PageHead title={t('nav.settings')} />
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto flex max-w-[720px] flex-col gap-4 p-6">
          {settings.error ? (
            <ErrorNotice cause={settings.error} onRetry={() => void settings.refetch()} />
          ) : settings.data ? (
            <Loaded settings={settings.data} />
          ) : (
            <Skeleton rows={4} height={120} />
          )}
        </div>
      </div>
    </>
  )
}

function Loaded({ settings }: { settings: Settings }) {
  const { t, format } = useWords()
  const info = useAsk('app.info', {})
  const set = useDo('settings.set', {
    onError: sayFault,
    onSuccess: (next) => void queries.setQueryData(['settings.get', {}], next),
  })
  const change = (next: Partial<Settings>) => set.mutate(next)
  return (
    <>
      <Card title={t('settings.look')}>
        <Field label={t('settings.language')}>
          {(ids) => (
            <Select
              {...ids}
              className="max-w-64"
              value={settings.language}
              onChange={(language) => change({ language: language as Settings['language'] })}
              choices={[
                { value: 'system', label: t('settings.system') },
                { value: 'zh-CN', label: '简体中文' },
                { value: 'en', label: 'English' },
              ]}
            />
          )}
        </Field>
        <div className="flex flex-col items-start gap-1">
          <span className="label">{t('settings.theme')}</span>
          <Segmented
            label={t('settings.theme')}
            value={settings.theme}
            onChange={(theme) => change({ theme })}
            choices={[
              { value: 'system', label: t('settings.system') },
              { value: 'light', label: t('settings.light') },
              { value: 'dark', label: t('settings.dark') },
            ]}
          />
        </div>
      </Card>
      <Card title={t('settings.output')}>
        <Field
          label={t('settings.folder')}
          help={
            info.data?.freeBytes != null ? t('settings.free', { free: format.bytes(info.data.freeBytes) }) : undefined
          }
        >
          {(ids) => (
            <div className="flex gap-2">
              <Kept
                ids={ids}
                value={settings.outputDir}
                placeholder={info.data?.outputDir ?? ''}
                onKeep={(outputDir) => change({ outputDir })}
              />
              {bridge && (
                <Button
                  icon={FolderOpen}
                  onClick={() =>
                    void bridge
                      ?.chooseFolder(settings.outputDir)
                      .then((outputDir) => outputDir && change({ outputDir }))
                  }
                >
                  {t('settings.chooseFolder')}
                </Button>
              )}
            </div>
          )}
        </Field>
        <Field label={t('batch.pattern')} help={t('settings.patternNote')}>
          {(ids) => <Kept ids={ids} mono value={settings.pattern} onKeep={(pattern) => change({ pattern })} />}
        </Field>
        <Switch
          label={t('settings.strip')}
          help={t('settings.stripNote')}
          checked={settings.stripMetadata}
          onChange={(stripMetadata) => change({ stripMetadata })}
        />
      </Card>
      <Card title={t('settings.work')}>
        <Switch
          label={t('settings.textMagic')}
          help={t('settings.textMagicNote')}
          checked={settings.textMagic}
          onChange={(textMagic) => change({ textMagic })}
        />
        <Switch
          label={t('settings.keepAwake')}
          help={t('settings.keepAwakeNote')}
          checked={settings.keepAwake}
          onChange={(keepAwake) => change({ keepAwake })}
        />
        <Switch
          label={t('settings.notify')}
          help={t('settings.notifyNote')}
          checked={settings.notifyAtEnd}
          onChange={(notifyAtEnd) => change({ notifyAtEnd })}
        />
      </Card>
      <AccountCard />
      <Card title={t('settings.about')}>
        <dl className="num grid grid-cols-[auto_1fr] gap-x-6 gap-y-1.5">
          <dt className="text-faint">{t('settings.version')}</dt>
          <dd>
            {t('app.name')} {info.data?.version}
          </dd>
          <dt className="text-faint">{t('settings.runsAs')}</dt>
          <dd>
            {info.data ? t(`door.${info.data.door}`) : ''} · {info.data?.platform}
          </dd>
          <dt className="text-faint">{t('settings.licence')}</dt>
          <dd>MIT</dd>
        </dl>
      </Card>
    </>
  )
}

/** The key for nodes that cost money: it can be set and removed, never seen again. */
function AccountCard() {
  const { t } = useWords()
  const account = useAsk('account.get', {})
  const [key, setKey] = useState('')
  const told = (next: { isSet: boolean }) => {
    queries.setQueryData(['account.get', {}], next)
    setKey('')
  }
  const set = useDo('account.set', { onError: sayFault, onSuccess: told })
  const remove = useDo('account.remove', { onError: sayFault, onSuccess: told })
  return (
    <Card title={t('settings.account')}>
      <Field label={t('settings.accountKey')} help={t('settings.accountKeyNote')}>
        {(ids) => (
          <form
            className="flex gap-2"
            onSubmit={(event) => {
              event.preventDefault()
              if (key.trim()) set.mutate({ key: key.trim() })
            }}
          >
            <input
              {...ids}
              type="password"
              autoComplete="off"
              spellCheck={false}
              value={key}
              onChange={({ target }) => setKey(target.value)}
              className="field font-mono text-xs"
            />
            <Button type="submit" disabled={key.trim() === ''}>
              {t('settings.accountKeySave')}
            </Button>
          </form>
        )}
      </Field>
      <div className="flex min-h-8 flex-wrap items-center justify-between gap-2">
        <p role="status" className="text-soft">
          {account.data && t(account.data.isSet ? 'settings.accountKeySet' : 'settings.accountKeyNone')}
        </p>
        {account.data?.isSet && (
          <Button look="quiet" onClick={() => remove.mutate({})}>
            {t('settings.accountKeyRemove')}
          </Button>
        )}
      </div>
    </Card>
  )
}

function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title} className="card p-5">
      <h2 className="mb-3.5 text-base">{title}</h2>
      <div className="flex flex-col gap-4">{children}</div>
    </section>
  )
}

/** A text that is kept when it is left, or with Enter; Escape takes it back. */
function Kept({
  ids,
  value,
  placeholder,
  mono,
  onKeep,
}: {
  ids: object
  value: string
  placeholder?: string
  mono?: boolean
  onKeep: (value: string) => void
}) {
  const [text, setText] = useState(value)
  useEffect(() => setText(value), [value])
  return (
    <input
      {...ids}
      value={text}
      placeholder={placeholder}
      spellCheck={false}
      onChange={({ target }) => setText(target.value)}
      onBlur={() => text.trim() !== value && onKeep(text.trim())}
      onKeyDown={({ key, currentTarget }) => {
        if (key === 'Enter') currentTarget.blur()
        if (key === 'Escape') setText(value)
      }}
      className={`field ${mono ? 'font-mono text-xs' : ''}`}
    />
  )
}
