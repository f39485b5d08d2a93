import {
  QueryClient,
  type UseMutationOptions,
  type UseQueryOptions,
  useMutation,
  useQuery,
} from '@tanstack/react-query'
import type { App } from '../../core/contract/app.ts'
import { type Failure, FailureError } from '../../core/contract/errors.ts'
import { writeJson } from '../../core/contract/json.ts'
import type { InputOf, OutputOf, ProcedureName } from '../../core/contract/procedure.ts'
import type { ProofSide } from '../../core/contract/publish.ts'
import { bridgeTransport, httpTransport } from './transport.ts'

export type Name = ProcedureName<App>
export const bridge = window.bridge
/** The only line that knows there are two front doors. */
export const transport = bridge ? bridgeTransport(bridge) : httpTransport(location.origin)

/** @throws FailureError with what the host said */
export async function call<N extends Name>(name: N, input: InputOf<App, N>): Promise<OutputOf<App, N>> {
  const reply = await transport.call(name, input)
  if (reply.ok) return reply.value as OutputOf<App, N>
  throw new FailureError(reply.failure)
}

/** What went wrong, as the host said it, or as well as we can say it. */
export function failureOf(cause: unknown): Failure {
  if (cause instanceof FailureError) return cause.failure
  if (cause && typeof cause === 'object' && 'remedy' in cause && 'code' in cause) return cause as Failure
  const reason = cause instanceof Error ? cause.message : String(cause)
  return {
    code: 'app.internal',
    message: `Something went wrong inside Nightshift: ${reason}`,
    remedy: 'Try again; if it happens again, report it with the log.',
    facts: { reason },
  }
}

/** Answers are kept by procedure and input; events say which to ask again (use-live.ts). */
export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      queryKeyHashFn: (key) => writeJson(key),
      staleTime: 30_000,
      gcTime: 120_000,
      refetchOnWindowFocus: false,
      networkMode: 'always',
      retry: (count, cause) => count < 2 && failureOf(cause).code === 'app.disconnected',
    },
    mutations: { networkMode: 'always' },
  },
})

type Asking<N extends Name, T> = Omit<UseQueryOptions<OutputOf<App, N>, Error, T>, 'queryKey' | 'queryFn'>
export const asking = <N extends Name>(name: N, input: InputOf<App, N>) => ({
  queryKey: [name, input] as const,
  queryFn: () => call(name, input),
})
/** Asks, and asks again whenever an event says the answer may have changed. */
export const useAsk = <N extends Name, T = OutputOf<App, N>>(name: N, input: InputOf<App, N>, options?: Asking<N, T>) =>
  useQuery<OutputOf<App, N>, Error, T>({ ...asking(name, input), ...options } as never)

/** Has something done; `mutate` gives the input. */
export const useDo = <N extends Name>(
  name: N,
  options?: Omit<UseMutationOptions<OutputOf<App, N>, Error, InputOf<App, N>>, 'mutationFn'>,
) => useMutation<OutputOf<App, N>, Error, InputOf<App, N>>({ mutationFn: (input) => call(name, input), ...options })

/** Asks the given procedures again where they are on screen. */
export const refresh = (...names: Name[]) =>
  queries.invalidateQueries({ predicate: ({ queryKey }) => names.includes(queryKey[0] as Name) })

export const artifactUrl = (id: string) => `/files/artifact/${encodeURIComponent(id)}`
export const thumbUrl = (id: string, size = 320) => `/files/thumb/${encodeURIComponent(id)}?size=${size}`
/** A kept input file, or a picture that the workflow or a form of it names by its address. */
export const inputThumbUrl = (of: string, workflowId: string, size = 256) =>
  `/files/input-thumb?of=${encodeURIComponent(of)}&workflow=${encodeURIComponent(workflowId)}&size=${size}`
/** What is shown for a model. */
export const modelPictureUrl = (id: string, size = 256) => `/files/model/${encodeURIComponent(id)}?size=${size}`
/** A picture of a publication's proof. */
export const proofUrl = (id: string, at: number, side: ProofSide) =>
  `/files/proof/${encodeURIComponent(id)}/${at}/${side}`
export const previewUrl = (jobId: string, n: number) => `/files/preview/${encodeURIComponent(jobId)}?n=${n}`
