import { Zap } from 'lucide-react'
import type { ReactNode } from 'react'
import { useWords } from '../i18n.ts'
import { Button, ErrorNotice } from './basics.tsx'
import { Modal } from './overlays.tsx'

/** What is known of a server before it is added. */
export type Test<Found> =
  | { is: 'not-yet' }
  | { is: 'testing' }
  | { is: 'adding' }
  | { is: 'heard'; found: Found }
  | { is: 'failed'; cause: unknown }

interface Ask<Found> {
  /** Of the form, on its page. */
  id: string
  words: { title: string; note: string; test: string; add: string }
  /** All that is needed is typed, and none of it is faulty. */
  ready: boolean
  test: Test<Found>
  onTest: () => void
  onAdd: () => void
  onClose: () => void
  /** The fields. */
  children: ReactNode
  /** What was heard, in words. */
  heard: (found: Found) => ReactNode
}

/** A server is asked who it is before it is added, or as it is. */
export function TestAndAdd<Found>({ id, words, ready, test, onTest, onAdd, onClose, children, heard }: Ask<Found>) {
  const { t } = useWords()
  const busy = test.is === 'testing' || test.is === 'adding'
  return (
    <Modal
      open
      onClose={onClose}
      title={words.title}
      note={words.note}
      footer={
        <>
          <Button icon={Zap} disabled={!ready} busy={test.is === 'testing'} onClick={onTest} className="mr-auto">
            {words.test}
          </Button>
          <Button onClick={onClose}>{t('common.cancel')}</Button>
          <Button look="primary" type="submit" form={id} disabled={!ready} busy={test.is === 'adding'}>
            {words.add}
          </Button>
        </>
      }
    >
      <form
        id={id}
        className="flex flex-col gap-3.5"
        onSubmit={(event) => {
          event.preventDefault()
          if (ready && !busy) onAdd()
        }}
      >
        {children}
        <div aria-live="polite">
          {test.is === 'heard' && heard(test.found)}
          {test.is === 'failed' && <ErrorNotice compact cause={test.cause} />}
        </div>
      </form>
    </Modal>
  )
}
