import { useMemo } from 'react'
import { sayParameter } from '../i18n.ts'
import { useAsk } from './client.ts'

/** What people call the parameters of a batch's workflow; the key itself where nobody named it. */
export function useNames(batchId: string | undefined): (key: string) => string {
  const batch = useAsk('batch.get', { id: batchId ?? '' }, { enabled: batchId !== undefined })
  const workflowId = batch.data?.workflowId
  const workflow = useAsk('workflow.get', { id: workflowId ?? '' }, { enabled: workflowId !== undefined })
  const parameters = workflow.data?.inspection.parameters
  return useMemo(() => {
    const names = new Map(parameters?.map((parameter) => [parameter.key, sayParameter(parameter)]))
    return (key) => names.get(key) ?? key
  }, [parameters])
}
