import { refresh, useDo } from './client/client.ts'
import { useWords } from './i18n.ts'
import { forgetWorkflow } from './last-workflow.ts'
import { say, sayFault } from './parts/overlays.tsx'

/** Removes a workflow and offers to put it back; `onRemoved` is told when it is gone. */
export function useRemoveWorkflow({ id, name }: { id: string; name: string }, onRemoved?: () => void) {
  const { t } = useWords()
  const restore = useDo('workflow.restore', { onError: sayFault, onSuccess: () => refresh('workflow.list') })
  return useDo('workflow.remove', {
    onError: sayFault,
    onSuccess() {
      forgetWorkflow(id)
      void refresh('workflow.list')
      say({
        title: t('start.removed', { name }),
        action: { label: t('common.undo'), run: () => restore.mutate({ id }) },
      })
      onRemoved?.()
    },
  })
}
