import { Copy } from 'lucide-react'
import { useState } from 'react'
import type { Endpoint } from '../../core/contract/endpoint.ts'
import { useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button } from './basics.tsx'
import { Segmented, Select } from './forms.tsx'
import { say, sayFault } from './overlays.tsx'
import { LANGUAGES, type Language, snippet } from './snippet.ts'

const NAMES = { curl: 'curl', python: 'Python', typescript: 'TypeScript' } satisfies Record<Language, string>

/** How another program runs a workflow there; the key comes from its environment, never from here. */
export function EndpointSnippets({ endpoint }: { endpoint: Endpoint }) {
  const { t } = useWords()
  const [language, setLanguage] = useState<Language>('curl')
  const [workflow, setWorkflow] = useState('')
  const forms = useAsk('endpoint.forms', { name: endpoint.name }, { retry: false })
  const published = forms.data?.rows ?? []
  const chosen = published.some(({ id }) => id === workflow) ? workflow : (published[0]?.id ?? '')
  const code = snippet(language, endpoint.url, workflow === FILE ? '' : chosen)
  return (
    <div className="flex flex-col gap-2.5">
      <div className="flex flex-wrap items-center gap-2">
        <Segmented
          label={t('endpoints.language')}
          value={language}
          choices={LANGUAGES.map((value) => ({ value, label: NAMES[value] }))}
          onChange={setLanguage}
        />
        {published.length > 0 && (
          <Select
            small
            className="w-56"
            aria-label={t('endpoints.whichWorkflow')}
            value={workflow === FILE ? FILE : chosen}
            choices={[
              ...published.map(({ id, name }) => ({ value: id, label: name })),
              { value: FILE, label: t('endpoints.anyWorkflow') },
            ]}
            onChange={setWorkflow}
          />
        )}
        {navigator.clipboard && (
          <Button
            size="sm"
            icon={Copy}
            className="ml-auto"
            onClick={() =>
              void navigator.clipboard.writeText(code).then(() => say({ title: t('endpoints.copied') }), sayFault)
            }
          >
            {t('endpoints.copy')}
          </Button>
        )}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard */}
      <pre tabIndex={0} className="overflow-x-auto rounded-md bg-sunken p-3 text-xs">
        <code>{code}</code>
      </pre>
      <p className="text-xs text-faint">
        {t(published.length > 0 && workflow !== FILE ? 'endpoints.snippetForm' : 'endpoints.snippetFile')}
      </p>
    </div>
  )
}
const FILE = '-'
