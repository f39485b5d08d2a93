import { Check, Copy, Dices, ExternalLink, KeyRound } from 'lucide-react'
import { useState } from 'react'
import type { EndpointForm } from '../../core/contract/endpoint.ts'
import { call, useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button, ErrorNotice, IconButton, Skeleton } from './basics.tsx'
import { Field } from './forms.tsx'
import { Modal, sayFault } from './overlays.tsx'

/** The pages on which people fill in what is live on an endpoint, and their links. */
export function EndpointForms({ name, url }: { name: string; url: string }) {
  const { t } = useWords()
  const forms = useAsk('endpoint.forms', { name }, { retry: false })
  const [sharing, setSharing] = useState<EndpointForm | null>(null)
  if (forms.isPending) return <Skeleton rows={1} height={36} />
  if (forms.error) return <ErrorNotice compact cause={forms.error} onRetry={() => void forms.refetch()} />
  if (forms.data.rows.length === 0) return <p className="text-soft">{t('endpoints.noForms')}</p>
  return (
    <>
      <ul className="flex flex-col divide-y divide-line">
        {forms.data.rows.map((form) => (
          <li key={form.id} className="flex flex-wrap items-center gap-2 py-2" aria-label={form.name}>
            <div className="min-w-40 flex-1">
              <p className="truncate font-medium" title={form.name}>
                {form.name}
              </p>
              <p className="truncate text-xs text-faint" title={form.url}>
                {form.url}
              </p>
            </div>
            <a href={form.url} target="_blank" rel="noreferrer" className="btn btn-sm">
              <ExternalLink aria-hidden />
              {t('endpoints.openForm')}
            </a>
            <CopyButton text={form.url} label={t('endpoints.copyLink')} />
            <Button size="sm" icon={KeyRound} onClick={() => setSharing(form)}>
              {t('endpoints.shareForm')}
            </Button>
          </li>
        ))}
      </ul>
      <p className="text-xs text-faint">{t(isHere(url) ? 'endpoints.formsHere' : 'endpoints.formsNote')}</p>
      {sharing && <ShareForm form={sharing} url={url} onClose={() => setSharing(null)} />}
    </>
  )
}

const isHere = (url: string) => /^(localhost|127\..*|\[::1\])$/.test(new URL(url).hostname)

/** Says itself that it did: what lies beside it is needed next, and a note in the corner would lie on it. */
function CopyButton({ text, label }: { text: string; label: string }) {
  const { t } = useWords()
  const [copied, setCopied] = useState<string | null>(null)
  if (!navigator.clipboard) return null
  const done = copied === text
  return (
    <Button
      size="sm"
      icon={done ? Check : Copy}
      onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(text), sayFault)}
      onBlur={() => setCopied(null)}
    >
      {done ? t('endpoints.copied') : label}
    </Button>
  )
}

/** A link that opens by itself, with a key that the agent takes and that may do nothing but run. It is kept nowhere. */
function ShareForm({ form, url, onClose }: { form: EndpointForm; url: string; onClose: () => void }) {
  const { t } = useWords()
  const [key, setKey] = useState('')
  const [asked, setAsked] = useState<
    { is: 'asking' } | { is: 'may-publish' } | { is: 'failed'; cause: unknown } | null
  >(null)
  const [link, setLink] = useState<string | null>(null)
  const given = key.trim()
  const good = /^[\x21-\x7e]{8,500}$/.test(given)
  const type = (next: string) => {
    setKey(next)
    setLink(null)
    setAsked(null)
  }
  async function make() {
    setAsked({ is: 'asking' })
    try {
      const { mayPublish } = await call('endpoint.test', { url, key: given })
      setAsked(mayPublish ? { is: 'may-publish' } : null)
      if (!mayPublish) setLink(`${form.url}#key=${encodeURIComponent(given)}`)
    } catch (cause) {
      setAsked({ is: 'failed', cause })
    }
  }
  return (
    <Modal
      open
      onClose={onClose}
      title={t('endpoints.shareTitle', { name: form.name })}
      note={t('endpoints.shareNote')}
      footer={
        <>
          <Button onClick={onClose}>{t('common.close')}</Button>
          <Button
            look={link === null ? 'primary' : 'plain'}
            type="submit"
            form="share-form"
            disabled={!good}
            busy={asked?.is === 'asking'}
          >
            {t('endpoints.makeLink')}
          </Button>
        </>
      }
    >
      <form
        id="share-form"
        className="flex flex-col gap-3.5"
        onSubmit={(event) => {
          event.preventDefault()
          if (good) void make()
        }}
      >
        <Field
          label={t('endpoints.runKey')}
          help={t('endpoints.runKeyNote')}
          fault={key !== '' && !good ? t('workers.badToken') : null}
        >
          {(ids) => (
            <div className="flex gap-2">
              <input
                {...ids}
                autoComplete="off"
                spellCheck={false}
                value={key}
                onChange={({ target }) => type(target.value)}
                className="field min-w-0 flex-1"
              />
              <IconButton label={t('endpoints.newKey')} icon={Dices} look="plain" onClick={() => type(newKey())} />
            </div>
          )}
        </Field>
        {good && (
          <div className="flex items-center gap-2 rounded-md bg-sunken px-3 py-2">
            <code className="min-w-0 flex-1 text-xs break-all select-all">{`${given} run`}</code>
            <CopyButton text={`${given} run`} label={t('endpoints.copyLine')} />
          </div>
        )}
        <div aria-live="polite" className="flex flex-col gap-2">
          {asked?.is === 'may-publish' && (
            <p className="tone-bad rounded-md px-3 py-2">{t('endpoints.keyPublishes')}</p>
          )}
          {asked?.is === 'failed' && <ErrorNotice compact cause={asked.cause} />}
          {link !== null && (
            <div className="flex items-center gap-2 rounded-md bg-good-soft px-3 py-2">
              <code className="min-w-0 flex-1 text-xs break-all select-all">{link}</code>
              <CopyButton text={link} label={t('endpoints.copyLink')} />
            </div>
          )}
        </div>
      </form>
    </Modal>
  )
}

function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24))
  return `sk_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}
