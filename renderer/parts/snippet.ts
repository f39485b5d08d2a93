export const LANGUAGES = ['curl', 'python', 'typescript'] as const
export type Language = (typeof LANGUAGES)[number]

/** `id`: of a published workflow; empty: a workflow file of the caller's. */
export function snippet(language: Language, url: string, id: string): string {
  const target = `${url}api/${id === '' ? 'run' : `workflows/${id}`}`
  if (language === 'curl') {
    const body = id === '' ? '--data @workflow-api.json' : `--data '{"values": {}}'`
    return `# answers when it is done, each file with an address among "urls" that needs no key for an hour
curl --fail-with-body "${target}?results=links" \\
  --header "Authorization: Bearer $NIGHTSHIFT_API_KEY" \\
  --header "Content-Type: application/json" \\
  ${body}

# with --header "Prefer: respond-async" it answers at once with a "taskId", to be asked for with
# curl "${url}api/status?id=TASK_ID&wait=20&results=links" --header "Authorization: Bearer $NIGHTSHIFT_API_KEY"`
  }
  if (language === 'python')
    return `import json, os, urllib.error, urllib.request, uuid

KEY = os.environ["NIGHTSHIFT_API_KEY"]
URL = "${url}"

def ask(path, body=None, **headers):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(URL + path.lstrip("/"), json.dumps(body).encode() if body else None, headers)
    try:
        return urllib.request.urlopen(request).read()
    except urllib.error.HTTPError as refused:
        raise SystemExit(refused.read().decode())

task = str(uuid.uuid4())
${id === '' ? 'body = json.load(open("workflow-api.json"))' : 'body = {"values": {}}'}
ask("api/${id === '' ? 'run' : `workflows/${id}`}", body, **{"Task-Id": task, "Prefer": "respond-async"})
while True:
    nodes = json.loads(ask(f"api/status?id={task}&wait=20"))
    if nodes[""]["state"] not in ("queued", "running"):
        break
if nodes[""]["state"] != "succeeded":
    raise SystemExit(nodes[""].get("error", nodes[""]["state"]))
for id, node in nodes.items():
    for at, path in enumerate(node.get("urls", [])):
        name = f"{task}-{id}-{at}.".replace(":", "_") + node["mime"][at].split("/")[1]
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
for (const [id, { urls = [], mime = [] }] of Object.entries(nodes))
  for (const [at, path] of urls.entries())
    await writeFile(
      \`\${task}-\${id.replaceAll(':', '_')}-\${at}.\${mime[at].split('/')[1]}\`,
      Buffer.from(await (await ask(path)).arrayBuffer()),
    )`
}
