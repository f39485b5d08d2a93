import { keepPreviousData, useQueries } from '@tanstack/react-query'
import { useRef } from 'react'
import type { App } from '../../core/contract/app.ts'
import type { InputOf, OutputOf } from '../../core/contract/procedure.ts'
import { asking } from './client.ts'

const PAGE_ROWS = 100
type Paged = 'job.page' | 'artifact.page' | 'model.page'
interface Answer<Row> {
  rows: Row[]
  total: number
}
type RowOf<N extends Paged> = OutputOf<App, N> extends Answer<infer Row> ? Row : never

/** Asks only for the pages that hold the rows from `first` to `last`, whatever the length of the list. */
export function usePages<N extends Paged>(
  name: N,
  filter: Omit<InputOf<App, N>, 'offset' | 'limit'>,
  first: number,
  last: number,
) {
  const from = Math.floor(Math.max(0, first) / PAGE_ROWS)
  const to = Math.floor(Math.max(0, last) / PAGE_ROWS)
  const pages = Array.from({ length: to - from + 1 }, (_, place) => from + place)
  const answers = useQueries({
    queries: pages.map((page) => ({
      ...asking(name, { ...filter, offset: page * PAGE_ROWS, limit: PAGE_ROWS } as InputOf<App, N>),
      gcTime: 30_000,
      ...(page === 0 && { placeholderData: keepPreviousData }),
    })),
  })
  const data = (place: number) => answers[place]?.data as Answer<RowOf<N>> | undefined
  const known = useRef(0)
  const total = pages.map((_, place) => data(place)?.total).find((total) => total !== undefined)
  if (total !== undefined) known.current = total
  const error = answers.find((answer) => answer.error)?.error ?? null
  return {
    total: known.current,
    loading: total === undefined && error === null && answers.some(({ isPending }) => isPending),
    error,
    retry: () => void Promise.all(answers.map(({ refetch }) => refetch())),
    /** undefined: on its way. */
    row: (index: number): RowOf<N> | undefined => data(Math.floor(index / PAGE_ROWS) - from)?.rows[index % PAGE_ROWS],
  }
}
