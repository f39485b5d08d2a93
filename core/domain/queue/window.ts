/** When the jobs of a batch may begin; what runs at the end of it runs on. */
export interface Window {
  /** Both times given: each day from … to …, in minutes of the wall clock, across midnight if need be. */
  readonly fromMinute: number | null
  readonly toMinute: number | null
  /** Only one given: the moment it next comes round. */
  readonly opensAt: number | null
  readonly closesAt: number | null
}

export const minuteOfDay = (now: number) => {
  const date = new Date(now)
  return date.getHours() * 60 + date.getMinutes()
}

export function planWindow(startAt: string | null, stopAt: string | null, now: number): Window {
  const both = startAt !== null && stopAt !== null && startAt !== stopAt
  return {
    fromMinute: both ? minutes(startAt) : null,
    toMinute: both ? minutes(stopAt) : null,
    opensAt: startAt !== null && stopAt === null ? next(minutes(startAt), now) : null,
    closesAt: stopAt !== null && startAt === null ? next(minutes(stopAt), now) : null,
  }
}

export function isOpen(window: Window, now: number): boolean {
  const { fromMinute: from, toMinute: to, opensAt, closesAt } = window
  if (opensAt !== null && now < opensAt) return false
  if (closesAt !== null && now >= closesAt) return false
  if (from === null || to === null) return true
  const minute = minuteOfDay(now)
  return from < to ? minute >= from && minute < to : minute >= from || minute < to
}

/** The next moment at which a closed window opens; null: it is open, or never will by itself. */
export function opensNext(window: Window, now: number): number | null {
  if (isOpen(window, now)) return null
  if (window.opensAt !== null && now < window.opensAt) return window.opensAt
  return window.fromMinute === null ? null : next(window.fromMinute, now)
}

function minutes(time: string): number {
  const [hours = 0, rest = 0] = time.split(':').map(Number)
  return hours * 60 + rest
}

function next(minute: number, now: number): number {
  const date = new Date(now)
  date.setHours(Math.floor(minute / 60), minute % 60, 0, 0)
  if (date.getTime() <= now) date.setDate(date.getDate() + 1)
  return date.getTime()
}
