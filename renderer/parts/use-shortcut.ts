import { useLayoutEffect, useRef } from 'react'

/** Ctrl or Cmd with Enter does what the page is for. */
export function useMainAction(run: () => void) {
  const latest = useRef(run)
  latest.current = run
  useLayoutEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) latest.current()
    }
    window.addEventListener('keydown', key)
    return () => window.removeEventListener('keydown', key)
  }, [])
}
