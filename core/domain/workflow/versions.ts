/** As `a - b`: 0.9 is before 0.10; what is no number counts as 0. */
export function compareVersions(a: string, b: string): number {
  const parts = (version: string) =>
    version
      .replace(/^v/, '')
      .split('.')
      .map((part) => Number.parseInt(part, 10) || 0)
  const [mine, other] = [parts(a), parts(b)]
  for (let at = 0; at < Math.max(mine.length, other.length); at++) {
    const difference = (mine[at] ?? 0) - (other[at] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
