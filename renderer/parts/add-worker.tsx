import { CircleCheck } from 'lucide-react'
import { useState } from 'react'
import { SecretText } from '../../core/contract/key.ts'
import { type WorkerFound, WorkerName } from '../../core/contract/worker.ts'
import { call, failureOf, refresh } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { ErrorNotice } from './basics.tsx'
import { Field, Segmented } from './forms.tsx'
import { say } from './overlays.tsx'
import { type Test, TestAndAdd } from './test-and-add.tsx'

type Way = 'address' | 'ssh' | 'shared'
const FIRST_SSH_PORT = '22'
const FIRST_COMFY_PORT = '8188'
const none = { url: '', header: '', host: '', user: '', port: '', keyFile: '', comfy: '', shared: '', token: '' }

/** A ComfyUI by its address, one behind ssh, or those that another Nightshift shares. */
export function AddWorker({ onClose }: { onClose: () => void }) {
  const { t, format } = useWords()
  const [way, setWay] = useState<Way>('address')
  const [typed, setTyped] = useState(none)
  const [name, setName] = useState('')
  const [test, setTest] = useState<Test<WorkerFound>>({ is: 'not-yet' })
  const [left, setLeft] = useState<ReadonlySet<string>>(new Set())

  const portFault = (text: string) => {
    const port = Number(text)
    return text === '' || (Number.isInteger(port) && port > 0 && port < 65_536) ? null : t('workers.badPort')
  }
  const { header, token } = typed
  const faults = {
    name: name.trim() && !WorkerName.safeParse(name.trim()).success ? t('workers.badName') : null,
    header: header.trim() && !/^[\w-]+:\s*\S.*$/.test(header.trim()) ? t('workers.badHeader') : null,
    token: token.trim() && !SecretText.safeParse(token).success ? t('workers.badToken') : null,
    port: portFault(typed.port.trim()),
    comfy: portFault(typed.comfy.trim()),
    host: /[\s/@]/.test(typed.host.trim()) ? t('workers.badHost') : null,
  }
  const url = { address: typed.url.trim(), ssh: typed.host.trim() && sshAddress(typed), shared: typed.shared.trim() }[
    way
  ]
  const secret = {
    header: way === 'shared' ? null : header.trim() || null,
    token: way === 'shared' ? token.trim() || null : null,
  }
  const ready = url !== '' && Object.values(faults).every((fault) => fault === null)
  const change = (more: Partial<typeof none>) => {
    setTyped({ ...typed, ...more })
    setTest({ is: 'not-yet' })
    setLeft(new Set())
  }

  async function ask(): Promise<WorkerFound | null> {
    setTest({ is: 'testing' })
    try {
      const found = await call('worker.test', { url, ...secret })
      setTest({ is: 'heard', found })
      return found
    } catch (cause) {
      setTest({ is: 'failed', cause: failureOf(cause) })
      return null
    }
  }
  async function add() {
    const found = test.is === 'heard' ? test.found : await ask()
    if (!found) return
    const several = found.is === 'shared' && found.places.length > 1
    if (several && test.is !== 'heard') return // they are shown first, to choose from
    const urls =
      found.is === 'shared' ? found.places.filter(({ id }) => !left.has(id)).map((place) => place.url) : [url]
    setTest({ is: 'adding' })
    try {
      for (const [at, each] of urls.entries()) {
        const called = name.trim() && (urls.length > 1 ? `${name.trim()}-${at + 1}` : name.trim())
        await call('worker.add', { url: each, ...(called && { name: called }), ...secret })
      }
      say({ title: t('workers.added', { count: urls.length }) })
      onClose()
    } catch (cause) {
      setTest({ is: 'failed', cause: failureOf(cause) })
    } finally {
      void refresh('worker.list')
    }
  }

  const text = (key: keyof typeof none, more: object = {}) => ({
    value: typed[key],
    autoComplete: 'off',
    spellCheck: false,
    onChange: ({ target }: { target: HTMLInputElement }) => change({ [key]: target.value }),
    className: 'field',
    ...more,
  })
  return (
    <TestAndAdd
      id="add-worker"
      words={{
        title: t('workers.add'),
        note: t(`workers.ways.${way}Note`),
        test: t('workers.test'),
        add: t('workers.addThis'),
      }}
      ready={ready}
      test={test}
      onTest={() => void ask()}
      onAdd={() => void add()}
      onClose={onClose}
      heard={(found) => (
        <>
          {found.is === 'ready' && (
            <p className="tone-good flex items-center gap-2 rounded-md px-3 py-2">
              <CircleCheck size={16} className="shrink-0" aria-hidden />
              {t('workers.answers', {
                version: found.comfyuiVersion ?? '?',
                ms: format.number(Math.round(found.latencyMs)),
                devices: found.devices.map((device) => device.name).join(', '),
              })}
            </p>
          )}
          {found.is === 'shared' && (
            <fieldset className="tone-good flex flex-col gap-1.5 rounded-md px-3 py-2">
              <legend className="sr-only">{t('workers.choosePlaces')}</legend>
              <p>{t('workers.shares', { count: found.places.length })}</p>
              {found.places.map(({ id, device }) => (
                <label key={id} className="flex items-center gap-2">
                  <input
                    type="checkbox"
                    checked={!left.has(id)}
                    onChange={({ target }) => {
                      const next = new Set(left)
                      if (target.checked) next.delete(id)
                      else next.add(id)
                      setLeft(next)
                    }}
                    className="size-4 accent-[var(--accent)]"
                  />
                  <span className="font-medium">{id}</span>
                  <span className="min-w-0 truncate text-soft">{device ?? t('workers.notRunningThere')}</span>
                </label>
              ))}
            </fieldset>
          )}
          {found.is === 'unreachable' && <ErrorNotice compact cause={found.because} />}
        </>
      )}
    >
      <div>
        <Segmented
          label={t('workers.way')}
          value={way}
          choices={(['address', 'ssh', 'shared'] as const).map((value) => ({
            value,
            label: t(`workers.ways.${value}`),
          }))}
          onChange={(next) => {
            setWay(next)
            setTest({ is: 'not-yet' })
          }}
        />
      </div>
      {way === 'address' && (
        <Field label={t('workers.address')} help={t('workers.addressNote')}>
          {(ids) => <input {...ids} {...text('url', { required: true, placeholder: 'http://192.168.1.20:8188' })} />}
        </Field>
      )}
      {way === 'shared' && (
        <>
          <Field label={t('workers.address')} help={t('workers.sharedNote')}>
            {(ids) => (
              <input {...ids} {...text('shared', { required: true, placeholder: 'http://192.168.1.20:8421' })} />
            )}
          </Field>
          <Field label={t('workers.key')} help={t('workers.keyNote')} fault={faults.token}>
            {(ids) => <input {...ids} {...text('token', { type: 'password', placeholder: 'ns_…' })} />}
          </Field>
        </>
      )}
      {way === 'ssh' && (
        <>
          <div className="grid grid-cols-[1fr_7rem] gap-3">
            <Field label={t('workers.host')} fault={faults.host}>
              {(ids) => <input {...ids} {...text('host', { required: true, placeholder: 'gpu.example' })} />}
            </Field>
            <Field label={t('workers.sshPort')} fault={faults.port}>
              {(ids) => <input {...ids} {...text('port', { inputMode: 'numeric', placeholder: FIRST_SSH_PORT })} />}
            </Field>
          </div>
          <div className="grid grid-cols-[1fr_7rem] gap-3">
            <Field label={t('workers.user')} help={t('workers.userNote')}>
              {(ids) => <input {...ids} {...text('user')} />}
            </Field>
            <Field label={t('workers.comfyPort')} fault={faults.comfy}>
              {(ids) => <input {...ids} {...text('comfy', { inputMode: 'numeric', placeholder: FIRST_COMFY_PORT })} />}
            </Field>
          </div>
          <Field label={t('workers.keyFile')} help={t('workers.keyFileNote')}>
            {(ids) => <input {...ids} {...text('keyFile', { placeholder: '/home/me/.ssh/id_ed25519' })} />}
          </Field>
        </>
      )}
      <Field label={t('workers.name')} help={t('workers.nameNote')} fault={faults.name}>
        {(ids) => (
          <input
            {...ids}
            value={name}
            autoComplete="off"
            onChange={({ target }) => setName(target.value)}
            className="field"
          />
        )}
      </Field>
      {way !== 'shared' && (
        <Field label={t('workers.header')} help={t('workers.headerNote')} fault={faults.header}>
          {(ids) => (
            <input {...ids} {...text('header', { type: 'password', placeholder: 'Authorization: Bearer …' })} />
          )}
        </Field>
      )}
    </TestAndAdd>
  )
}

function sshAddress({ host, user, port, keyFile, comfy }: typeof none): string {
  const bare = host.trim()
  const at = bare.includes(':') && !bare.startsWith('[') ? `[${bare}]` : bare
  const asked = new URLSearchParams({
    comfyui: comfy.trim() || FIRST_COMFY_PORT,
    ...(keyFile.trim() && { key: keyFile.trim() }),
  })
  const who = user.trim() ? `${encodeURIComponent(user.trim())}@` : ''
  return `ssh://${who}${at}${port.trim() ? `:${port.trim()}` : ''}/?${asked}`
}
