import { Copy } from 'lucide-react'
import { useState } from 'react'
import type { Endpoint } from '../../core/contract/endpoint.ts'
import { useAsk } from '../client/client.ts'
import { useWords } from '../i18n.ts'
import { Button } from './basics.tsx'
import { Segmented, Select } from './forms.tsx'
import { say, sayFault } from './overlays.tsx'

const LANGUAGES = ['curl', 'python', 'typescript'] as const
type Language = (typeof LANGUAGES)[number]
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

/** `id`: of a published workflow; empty: a workflow file of the caller's. */
function snippet(language: Language, url: string, id: string): string {
  const target = `${url}api/${id === '' ? 'run' : `workflows/${id}`}`
  if (language === 'curl') {
    const body = id === '' ? '--data @workflow-api.json' : `--data '{"values": {}}'`
    return `TASK=$(uuidgen)
curl ${target} \\
  --header "Authorization: Bearer $NIGHTSHIFT_API_KEY" \\
  --header "Content-Type: application/json" \\
  --header "Prefer: respond-async" \\
  --header "Task-Id: $TASK" \\
  ${body}

curl "${url}api/status?id=$TASK&wait=20" \\
  --header "Authorization: Bearer $NIGHTSHIFT_API_KEY"

# ${url}api/result?id=$TASK&node=NODE&index=0 gives a file: its address is among the "urls" of its node`
  }
  if (language === 'python')
    return `import json, os, urllib.request, uuid

KEY = os.environ["NIGHTSHIFT_API_KEY"]
URL = "${url}"

def ask(path, body=None, **headers):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(URL + path.lstrip("/"), json.dumps(body).encode() if body else None, headers)
    return urllib.request.urlopen(request).read()

task = str(uuid.uuid4())
${id === '' ? 'body = json.load(open("workflow-api.json"))' : 'body = {"values": {}}'}
ask("api/${id === '' ? 'run' : `workflows/${id}`}", body, **{"Task-Id": task, "Prefer": "respond-async"})
while True:
    nodes = json.loads(ask(f"api/status?id={task}&wait=20"))
    if nodes[""]["state"] not in ("queued", "running"):
        break
if nodes[""]["state"] != "succeeded":
    raise SystemExit(nodes[""].get("error", nodes[""]["state"]))
for node in nodes.values():
    for at, path in enumerate(node.get("urls", [])):
        name = f"{task}-{at}." + node["mime"][at].split("/")[1]
        open(name, "wb").write(ask(path))
        print(name)`
  return `import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'

const url = '${url}'
const ask = async (path: string, more: { body?: string; headers?: Record<string, string> } = {}) => {
  const headers = { Authorization: \`Bearer \${process.env.NIGHTSHIFT_API_KEY}\`, 'Content-Type': 'application/json' }
  const reply = await fetch(new URL(path.replace(/^\\//, ''), url), {
    method: more.body === undefined ? 'GET' : 'POST',
    body: more.body,
    headers: { ...headers, ...more.headers },
  })
  if (!reply.ok) throw new Error(await reply.text())
  return reply
}

const task = randomUUID()
const body = ${id === '' ? "await readFile('workflow-api.json', 'utf8')" : 'JSON.stringify({ values: {} })'}
await ask('api/${id === '' ? 'run' : `workflows/${id}`}', { body, headers: { 'Task-Id': task, Prefer: 'respond-async' } })
let nodes: Record<string, any>
do nodes = await (await ask(\`api/status?id=\${task}&wait=20\`)).json()
while (['queued', 'running'].includes(nodes[''].state))
if (nodes[''].state !== 'succeeded') throw new Error(JSON.stringify(nodes[''].error ?? nodes[''].state))
for (const { urls = [], mime = [] } of Object.values(nodes))
  for (const [at, path] of urls.entries())
    await writeFile(\`\${task}-\${at}.\${mime[at].split('/')[1]}\`, Buffer.from(await (await ask(path)).arrayBuffer()))`
}
