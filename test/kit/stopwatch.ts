/** How much work this thread has done since, in milliseconds of processor time: the same on a busy machine. */
export function stopwatch(): () => number {
  const before = process.threadCpuUsage()
  return () => {
    const { user, system } = process.threadCpuUsage(before)
    return (user + system) / 1000
  }
}
