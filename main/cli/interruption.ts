/** What Ctrl-C is to a command: a wish the first time, an order after that. */
export interface Interruption {
  readonly signal: AbortSignal
  /** Hears no more of it. */
  end(): void
}

/** One Ctrl-C may come twice within a moment: from the terminal, and passed on by npm. */
const AS_ONE_MS = 500

/** SIGINT and SIGTERM abort the signal; another one ends the process at once with `exitCode`. */
export function hearInterruption(exitCode: number): Interruption {
  const controller = new AbortController()
  let at = 0
  const heard = () => {
    const now = performance.now()
    if (!controller.signal.aborted) {
      at = now
      controller.abort()
    } else if (now - at > AS_ONE_MS) process.exit(exitCode)
  }
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const
  for (const name of names) process.on(name, heard)
  return {
    signal: controller.signal,
    end() {
      for (const name of names) process.off(name, heard)
    },
  }
}
