const KEPT = 'nightshift.workflow'
/** The workflow last opened, so that its pages are one click away from anywhere. */
export const lastWorkflow = () => localStorage.getItem(KEPT)
export const rememberWorkflow = (id: string) => localStorage.setItem(KEPT, id)
export function forgetWorkflow(id: string) {
  if (lastWorkflow() === id) localStorage.removeItem(KEPT)
}
