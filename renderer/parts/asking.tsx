import { type ReactNode, useState } from 'react'
import { useWords } from '../i18n.ts'
import { Button } from './basics.tsx'
import { Modal } from './overlays.tsx'

export interface Question {
  title: string
  note: ReactNode
  /** What the button says that does it. */
  yes: string
  danger?: boolean
  run: () => void
}

/** Asks before something that cannot be taken back, or that stops work. The first is to be put on the page. */
export function useAsking(): [ReactNode, (question: Question) => void] {
  const { t } = useWords()
  const [question, setQuestion] = useState<Question | null>(null)
  const close = () => setQuestion(null)
  const shown = question && (
    <Modal
      open
      onClose={close}
      title={question.title}
      footer={
        <>
          <Button onClick={close}>{t('common.cancel')}</Button>
          <Button
            look={question.danger ? 'danger' : 'primary'}
            onClick={() => {
              close()
              question.run()
            }}
          >
            {question.yes}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-2 break-words text-soft">{question.note}</div>
    </Modal>
  )
  return [shown, setQuestion]
}
