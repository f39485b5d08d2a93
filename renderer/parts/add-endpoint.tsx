import { CircleCheck } from 'lucide-react'
import { useState } from 'react'
import { type EndpointFound, EndpointName, MOST_IN_FLIGHT } from '../../core/contract/endpoint.ts'
import { SecretText } from '../../core/contract/key.ts'
import { call, failureOf, refresh } from '../client/client.ts'
import { sayDevice, useWords } from '../i18n.ts'
import { Field, Stepper } from './forms.tsx'
import { say } from './overlays.tsx'
import { type Test, TestAndAdd } from './test-and-add.tsx'

const FIRST_IN_FLIGHT = 4

/** An agent by its address and one of its keys. */
export function AddEndpoint({ onClose }: { onClose: () => void }) {
  const { t, format } = useWords()
  const [typed, setTyped] = useState({ url: '', key: '', name: '' })
  const [capacity, setCapacity] = useState(FIRST_IN_FLIGHT)
  const [test, setTest] = useState<Test<EndpointFound>>({ is: 'not-yet' })
  const [url, key, name] = [typed.url.trim(), typed.key.trim(), typed.name.trim()]
  const faults = {
    key: key && !SecretText.safeParse(key).success ? t('workers.badToken') : null,
    name: name && !EndpointName.safeParse(name).success ? t('workers.badName') : null,
  }
  const ready = url !== '' && key !== '' && faults.key === null && faults.name === null
  const text = (part: keyof typeof typed, more: object = {}) => ({
    value: typed[part],
    autoComplete: 'off',
    spellCheck: false,
    onChange({ target }: { target: HTMLInputElement }) {
      setTyped({ ...typed, [part]: target.value })
      if (part !== 'name') setTest({ is: 'not-yet' })
    },
    className: 'field',
    ...more,
  })

  async function ask() {
    setTest({ is: 'testing' })
    try {
      setTest({ is: 'heard', found: await call('endpoint.test', { url, key }) })
    } catch (cause) {
      setTest({ is: 'failed', cause: failureOf(cause) })
    }
  }
  async function add() {
    setTest({ is: 'adding' })
    try {
      const added = await call('endpoint.add', { url, key, capacity, ...(name && { name }) })
      say({ title: t('endpoints.added', { name: added.name }) })
      onClose()
    } catch (cause) {
      setTest({ is: 'failed', cause: failureOf(cause) })
    } finally {
      void refresh('endpoint.list', 'worker.list')
    }
  }

  return (
    <TestAndAdd
      id="add-endpoint"
      words={{
        title: t('endpoints.add'),
        note: t('endpoints.addNote'),
        test: t('endpoints.test'),
        add: t('endpoints.addThis'),
      }}
      ready={ready}
      test={test}
      onTest={() => void ask()}
      onAdd={() => void add()}
      onClose={onClose}
      heard={(found) => (
        <p
          className={`flex items-center gap-2 rounded-md px-3 py-2 ${found.phase === null ? 'tone-good' : 'tone-warn'}`}
        >
          <CircleCheck size={16} className="shrink-0" aria-hidden />
          <span>
            {found.phase === null
              ? t('endpoints.answers', {
                  version: found.comfyuiVersion ?? '?',
                  ms: format.number(found.latencyMs),
                  devices: found.devices.map((device) => sayDevice(device.name)).join(', '),
                })
              : t('endpoints.answersLater', { phase: sayPhase(found.phase, t) })}{' '}
            {t(found.mayPublish ? 'endpoints.mayPublish' : 'endpoints.mayRun')}
          </span>
        </p>
      )}
    >
      <Field label={t('endpoints.address')} help={t('endpoints.addressNote')}>
        {(ids) => <input {...ids} {...text('url', { required: true, placeholder: 'https://gpu.example.com:9000' })} />}
      </Field>
      <Field label={t('endpoints.key')} help={t('endpoints.keyNote')} fault={faults.key}>
        {(ids) => <input {...ids} {...text('key', { type: 'password', required: true, placeholder: 'sk_…' })} />}
      </Field>
      <div className="grid grid-cols-[1fr_auto] gap-3">
        <Field label={t('endpoints.name')} help={t('endpoints.nameNote')} fault={faults.name}>
          {(ids) => <input {...ids} {...text('name')} />}
        </Field>
        <div>
          <p className="label mb-1 flex min-h-5 items-center">{t('endpoints.atOnce')}</p>
          <Stepper label={t('endpoints.atOnce')} value={capacity} most={MOST_IN_FLIGHT} onChange={setCapacity} />
        </div>
      </div>
    </TestAndAdd>
  )
}

/** What an agent does before it is ready, in words where we have them. */
export function sayPhase(phase: string, t: ReturnType<typeof useWords>['t']): string {
  const known = ['fetch', 'restore', 'models', 'start', 'verify', 'canary', 'starting', 'stopping'] as const
  const found = known.find((each) => each === phase)
  return found ? t(`endpoints.phases.${found}`) : phase
}
