import type { ParseArgsConfig } from 'node:util'
import type { Client } from '../api/client.ts'
import { type Command, type Context, EXIT, parseOptions, usageError } from './context.ts'
import { reachApp } from './reach.ts'

type Options = NonNullable<ParseArgsConfig['options']>
export type ValuesOf<O extends Options> = ReturnType<typeof parseOptions<O>>['values']

/** Gives false where not all is well. `elsewhere`: another process does the work. */
export type Action<O extends Options> = (
  context: Context,
  client: Client,
  args: string[],
  options: ValuesOf<O>,
  elsewhere: boolean,
) => Promise<boolean | undefined>

interface Ways<O extends Options> {
  readonly options: O
  readonly actions: Record<string, Action<O>>
  /** The one while which jobs may run in this process. */
  readonly works?: string
  /** Tells what happens meanwhile, until what it gives is called. */
  readonly watch?: (context: Context, client: Client) => () => void
}

/** A command that is followed by the name of what to do: `models scan`. */
export function commandOf<const O extends Options>(
  command: string,
  { options, actions, works, watch }: Ways<O>,
): Command {
  return async (context, args) => {
    const { terminal } = context
    const { reason } = terminal.speech.words
    const { values, positionals } = parseOptions(args, options)
    const [name, ...others] = positionals
    if (name === undefined) throw usageError(reason.missing, { what: 'ACTION' })
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined
    if (!action) throw usageError(reason.unknownAction, { command, action: name })
    const app = await reachApp(context, { work: name === works })
    const leave = watch?.(context, app.client)
    try {
      const ok = (await action(context, app.client, others, values, app.elsewhere)) !== false
      terminal.endProgress()
      terminal.event('done', { ok })
      return ok ? EXIT.ok : EXIT.someFailed
    } finally {
      leave?.()
      await app.close()
    }
  }
}
