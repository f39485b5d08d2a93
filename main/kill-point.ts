/**
 * For tests of recovery: ends this process at a named point, as a power cut would. `NAME`, or `NAME:3` for the third
 * time it is passed. Undefined without a name: then nothing asks. `pid`: another process to end instead.
 */
export function killPoint(at: string | undefined, pid?: string): ((name: string) => void) | undefined {
  if (!at) return undefined
  const [wanted, count = '1'] = at.split(':')
  let left = Number(count)
  return (name) => {
    if (name !== wanted) return
    left -= 1
    if (left === 0) process.kill(pid ? Number(pid) : process.pid, 'SIGKILL')
  }
}
