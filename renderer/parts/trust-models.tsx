import { useSyncExternalStore } from 'react'
import { failureOf, useDo } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button } from './basics.tsx'
import { Modal, sayFault } from './overlays.tsx'

interface Question {
  files: string
  ids: string[]
  again: () => void
}
let question: Question | null = null
const listeners = new Set<() => void>()
const ask = (next: Question | null) => {
  question = next
  for (const listener of listeners) listener()
}
const subscribe = (listener: () => void) => {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

/** What was refused because of files that may run programs is asked about, and done `again` once they are trusted. */
export function askToTrust(cause: unknown, again: () => void) {
  const { code, facts } = failureOf(cause)
  if (code !== 'model.unsafe' || !Array.isArray(facts.ids)) return sayFault(cause)
  ask({ files: String(facts.files), ids: facts.ids.map(String), again })
}

export function TrustDialog() {
  const { t } = useWords()
  const asked = useSyncExternalStore(subscribe, () => question)
  const trust = useDo('model.trust', {
    onError: sayFault,
    onSuccess() {
      const { again } = asked ?? {}
      ask(null)
      again?.()
    },
  })
  return (
    asked && (
      <Modal
        open
        onClose={() => ask(null)}
        title={t('models.unsafeTitle')}
        footer={
          <>
            <Button onClick={() => ask(null)}>{t('common.cancel')}</Button>
            <Button look="danger" busy={trust.isPending} onClick={() => trust.mutate({ ids: asked.ids })}>
              {t('models.unsafeGo')}
            </Button>
          </>
        }
      >
        <p className="font-medium break-words">{asked.files}</p>
        <p className="mt-2 text-soft">{t('models.trustNote')}</p>
      </Modal>
    )
  )
}
