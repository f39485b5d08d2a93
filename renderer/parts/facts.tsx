/** Names and values of one kind, under a heading; nothing where there are none. */
export function Facts({ title, facts }: { title: string; facts: readonly (readonly [string, string])[] }) {
  if (facts.length === 0) return null
  return (
    <section aria-label={title}>
      <h3 className="eyebrow mb-1">{title}</h3>
      <dl className="num grid grid-cols-[minmax(72px,auto)_1fr] gap-x-3 gap-y-1 text-xs">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="max-w-28 text-faint break-words">{name}</dt>
            <dd className="min-w-0 break-words whitespace-pre-wrap">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}

/** One of several side by side in a `dl`. */
export function Fact({ name, value, help }: { name: string; value: string; help?: string }) {
  return (
    <div title={help} className="min-w-0">
      <dt className="text-faint">{name}</dt>
      <dd className="font-medium break-words">{value}</dd>
    </div>
  )
}
