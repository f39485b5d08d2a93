import { bridge, useDo } from './client/client.ts'
import { useWords } from './i18n.ts'
import { say, sayFault } from './parts/overlays.tsx'

/** Opens a ComfyUI's own editor: in a window of its own session, or another tab of the browser; `mutate` says with what. */
export function useOpenEditor() {
  const { t } = useWords()
  return useDo('editor.open', {
    onError: sayFault,
    onSuccess({ port, path, worker }) {
      const open = () =>
        window.open(`http://${bridge ? '127.0.0.1' : location.hostname}:${port}${path}`, '_blank', 'noopener')
      open()
      // a browser may have kept the window from opening
      say({ title: t('editor.opened', { worker }), action: { label: t('editor.again'), run: open } })
    },
  })
}
