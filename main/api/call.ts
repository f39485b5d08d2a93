import type { z } from 'zod'
import { AppError, type Envelope, toFailure } from '../../core/contract/errors.ts'
import type { Contract, Reach, Router } from '../../core/contract/procedure.ts'

/** A router of any contract, its types forgotten. */
export type AnyRouter = Record<string, (input: never) => unknown>

/**
 * Runs one procedure for a caller at `reach`. Parsed on the way in and out; failures travel as data, since IPC keeps
 * only an Error's message. `onFault` is told of what is our fault and not the caller's.
 */
export async function call<C extends Contract>(
  contract: C,
  router: Router<C>,
  name: string,
  raw: unknown,
  reach: Reach,
  onFault: (cause: unknown, name: string) => void = () => {},
): Promise<Envelope> {
  try {
    const procedure = Object.hasOwn(contract, name) ? contract[name] : undefined
    if (!procedure || procedure.kind === 'event') throw new AppError('app.unknown-procedure', { name })
    if (procedure.reach === 'local' && reach !== 'local')
      throw new AppError('app.refused', { reason: `${name} is only for programs on the same machine` })
    const input = procedure.input.safeParse(raw)
    if (!input.success) throw new AppError('app.bad-request', { reason: reasonOf(input.error) }, { cause: input.error })
    const run = (router as unknown as AnyRouter)[name] as (input: unknown) => unknown
    return { ok: true, value: procedure.output.parse(await run(input.data)) }
  } catch (cause) {
    if (!(cause instanceof AppError)) onFault(cause, name)
    return { ok: false, failure: toFailure(cause) }
  }
}

/** The first few complaints, each with the place it is about. */
function reasonOf(error: z.ZodError): string {
  const lines = error.issues
    .slice(0, 5)
    .map(({ path, message }) => (path.length ? `${path.join('.')}: ${message}` : message))
  const more = error.issues.length - lines.length
  return more > 0 ? `${lines.join('; ')}; and ${more} more` : lines.join('; ')
}
