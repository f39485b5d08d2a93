import { type Facts, type Failure, fill } from '../../core/contract/errors.ts'
import { type Json, writeJson } from '../../core/contract/json.ts'
import type { Speech } from './words.ts'

/** A picture of work under way, drawn over itself on a terminal. */
export interface Progress {
  readonly done: number
  readonly total: number
  /** Of the jobs that run now: the sum of their parts. */
  readonly partial: number
  readonly perMinute: number
  readonly secondsLeft: number | null
}

const BAR_WIDTH = 24
const DRAW_EVERY_MS = 100

/** Where words and events go. With `json` standard output holds JSON lines alone, and words go to standard error. */
export class Terminal {
  readonly json: boolean
  readonly speech: Speech
  readonly #out: NodeJS.WritableStream
  readonly #err: NodeJS.WritableStream & { isTTY?: boolean; columns?: number }
  #bar = ''
  #drawnAt = Number.NEGATIVE_INFINITY

  constructor(
    json: boolean,
    speech: Speech,
    out: NodeJS.WritableStream = process.stdout,
    err: NodeJS.WritableStream = process.stderr,
  ) {
    this.json = json
    this.speech = speech
    this.#out = out
    this.#err = err
    for (const stream of [out, err]) stream.on('error', ignoreGone)
  }

  /** One event of the program's own language; nothing where people read. */
  event(event: string, facts: Record<string, Json | undefined>) {
    if (this.json) this.#write(this.#out, writeJson({ event, ...facts }))
  }
  /** The one document of a command that prints no events. */
  document(value: unknown) {
    this.#write(this.#out, writeJson(value, 2))
  }
  /** What the command was asked for, as people read it. */
  say(sentence: string, facts: Facts = {}) {
    this.#write(this.json ? this.#err : this.#out, fill(sentence, facts))
  }
  /** What a person should know besides. */
  note(sentence: string, facts: Facts = {}) {
    this.#write(this.#err, fill(sentence, facts))
  }
  failure(failure: Failure) {
    const { code, message, remedy, facts } = failure
    this.event('error', { code, message, remedy, facts })
    const said = this.speech.failure(failure)
    this.note(said.remedy ? `${said.message}\n${said.remedy}` : said.message)
  }

  progress(progress: Progress) {
    if (!this.#err.isTTY) return
    const now = performance.now()
    if (now - this.#drawnAt < DRAW_EVERY_MS) return
    this.#drawnAt = now
    const { done, total, partial, perMinute, secondsLeft } = progress
    const { run } = this.speech.words
    const text = fill(run.bar, {
      done,
      total,
      rate: perMinute > 0 ? fill(run.perMinute, { count: perMinute.toFixed(perMinute < 10 ? 1 : 0) }) : '',
      left: secondsLeft === null ? '' : fill(run.left, { time: sayTime(secondsLeft) }),
    })
    this.#draw(total === 0 ? 0 : (done + partial) / total, text)
  }
  /** The same for other work; `share` from 0 to 1. */
  bar(share: number, text: string) {
    if (!this.#err.isTTY) return
    const now = performance.now()
    if (now - this.#drawnAt < DRAW_EVERY_MS) return
    this.#drawnAt = now
    this.#draw(share, text)
  }
  endProgress() {
    this.#clear()
  }

  #draw(share: number, text: string) {
    const filled = Math.floor(BAR_WIDTH * Math.min(1, Math.max(0, share)))
    const bar = `[${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}]`
    this.#clear()
    this.#bar = `${bar} ${text}`.trimEnd().slice(0, (this.#err.columns ?? 80) - 1)
    this.#err.write(this.#bar)
  }
  #write(stream: NodeJS.WritableStream, text: string) {
    const bar = this.#bar
    this.#clear()
    stream.write(`${text}\n`)
    if (bar) {
      this.#bar = bar
      this.#err.write(bar)
    }
  }
  #clear() {
    if (this.#bar) this.#err.write('\r\x1b[K')
    this.#bar = ''
  }
}

/** Whoever read along has gone, as `… | head` does: the work goes on without a word. */
function ignoreGone(cause: NodeJS.ErrnoException) {
  if (cause.code !== 'EPIPE' && cause.code !== 'ERR_STREAM_DESTROYED') throw cause
}

/** `m:ss`, or `h:mm:ss`. */
export function sayTime(seconds: number): string {
  const whole = Math.round(seconds)
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (value: number) => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

export function sayBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let size = bytes
  let unit = 0
  for (; size >= 1024 && unit < units.length - 1; unit++) size /= 1024
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`
}
