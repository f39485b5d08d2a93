import type { z } from 'zod'

/** Who may call: `any` door, or only those on this machine (desktop and command line), since paths never leave it. */
export type Reach = 'any' | 'local'

export interface Query<I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType> {
  readonly kind: 'query' | 'command'
  readonly input: I
  readonly output: O
  readonly reach: Reach
}
export interface Happening<P extends z.ZodType = z.ZodType> {
  readonly kind: 'event'
  readonly payload: P
}
export type Contract = Record<string, Query | Happening>

/** Reads and changes nothing; may be asked again at any time. */
export const query = <I extends z.ZodType, O extends z.ZodType>(input: I, output: O, reach: Reach = 'any') =>
  ({ kind: 'query', input, output, reach }) as const
/** Changes something. */
export const command = <I extends z.ZodType, O extends z.ZodType>(input: I, output: O, reach: Reach = 'any') =>
  ({ kind: 'command', input, output, reach }) as const
/** Tells what happened. */
export const event = <P extends z.ZodType>(payload: P) => ({ kind: 'event', payload }) as const

export type ProcedureName<C extends Contract> = {
  [N in keyof C]: C[N] extends Query ? N : never
}[keyof C] &
  string
export type EventName<C extends Contract> = { [N in keyof C]: C[N] extends Happening ? N : never }[keyof C] & string
export type InputOf<C extends Contract, N extends ProcedureName<C>> = C[N] extends Query<infer I> ? z.input<I> : never
export type OutputOf<C extends Contract, N extends ProcedureName<C>> =
  C[N] extends Query<z.ZodType, infer O> ? z.output<O> : never
export type PayloadOf<C extends Contract, N extends EventName<C>> =
  C[N] extends Happening<infer P> ? z.output<P> : never

/** One handler per procedure: a missing or misspelt one does not compile. */
export type Router<C extends Contract> = {
  [N in ProcedureName<C>]: C[N] extends Query<infer I, infer O>
    ? (input: z.output<I>) => z.input<O> | Promise<z.input<O>>
    : never
}

/** An event on its way: `seq` grows by one each time, so a listener that was away asks for what it missed. */
export interface Told<C extends Contract = Contract> {
  readonly seq: number
  readonly name: EventName<C>
  readonly payload: unknown
}
