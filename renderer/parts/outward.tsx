import { ExternalLink } from 'lucide-react'
import type { ReactNode } from 'react'

/** A page of somebody else, in the person's own browser. */
export function Outward({ url, children }: { url: string; children: ReactNode }) {
  return (
    <a
      href={url}
      target="_blank"
      rel="noreferrer"
      title={url}
      className="inline-flex items-center gap-1 text-accent break-all hover:underline"
    >
      {children}
      <ExternalLink size={11} className="shrink-0" aria-hidden />
    </a>
  )
}
