/** Of one metric: its value, and labels that tell it from others of its name. */
type Samples = readonly ({ readonly value: number } & Readonly<Record<string, string | number>>)[]
/** As Prometheus reads it. Pure. */
export function metricsText(metrics: Record<string, Samples>): string {
  const escaped = (text: unknown) => String(text).replace(/[\\"\n]/g, (at) => (at === '\n' ? '\\n' : `\\${at}`))
  const lines = Object.entries(metrics).flatMap(([name, samples]) => {
    const [, family = name, part] = /^(task_seconds)_(bucket|sum|count)$/.exec(name) ?? []
    const kind = part ? 'histogram' : name.endsWith('_total') ? 'counter' : 'gauge'
    const head = part === undefined || part === 'bucket' ? [`# TYPE nightshift_${family} ${kind}`] : []
    const rows = samples.map(({ value, ...labels }) => {
      const told = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`)
      return `nightshift_${name}${told.length > 0 ? `{${told.join(',')}}` : ''} ${value}`
    })
    return [...head, ...rows]
  })
  return `${lines.join('\n')}\n`
}
