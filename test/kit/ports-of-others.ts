// Engines of tests that run beside this one choose among the first ports, or in a range of their own.
const mine = 8400 + (Number(process.env.VITEST_POOL_ID ?? 0) % 78) * 10

export const portsOfOthers: ReadonlySet<number> = new Set(
  Array.from({ length: 1000 }, (_, at) => 8188 + at).filter((port) => port < mine || port >= mine + 10),
)
