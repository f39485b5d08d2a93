/** A thing that lives: `start` resolves when it is usable, `stop` when nothing of it is left (twice or before start is fine). */
export interface Service {
  start(): Promise<void>
  stop(): Promise<void>
}

/** Starts left to right, stops right to left; a start that fails stops what had started. */
export function lifecycle(services: readonly Service[]): Service {
  let started: Service[] = []
  const stop = async () => {
    const stopping = started.toReversed()
    started = []
    for (const service of stopping) await service.stop()
  }
  return {
    async start() {
      for (const service of services) {
        started.push(service)
        try {
          await service.start()
        } catch (cause) {
          await stop()
          throw cause
        }
      }
    },
    stop,
  }
}
