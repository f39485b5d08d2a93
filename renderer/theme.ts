import type { Settings } from '../core/contract/settings.ts'

const KEPT = 'nightshift.theme'
const dark = matchMedia('(prefers-color-scheme: dark)')
let choice = (localStorage.getItem(KEPT) ?? 'system') as Settings['theme']

function apply() {
  const theme = choice === 'system' ? (dark.matches ? 'dark' : 'light') : choice
  document.documentElement.dataset.theme = theme
}
dark.addEventListener('change', apply)
apply()

export function chooseTheme(next: Settings['theme']) {
  choice = next
  localStorage.setItem(KEPT, next)
  apply()
}
