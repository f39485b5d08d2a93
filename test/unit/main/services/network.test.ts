import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { rootCertificates } from 'node:tls'
import { request } from 'undici'
import { expect, test } from 'vitest'
import { hasGit } from '../../../kit/has-git.ts'
import { aFile, givesFile, hostOf, hubWith, networkKit } from '../../../kit/network-kit.ts'
import { httpProxy } from '../../../kit/proxies.ts'
import { serve } from '../../../kit/serve.ts'

const token = 'hf_abcdefghijklmnop'
const knows =
  (name: string | null): Parameters<typeof hubWith>[0] =>
  (asked, response) => {
    if (asked.url !== '/whoami') return givesFile()(asked, response)
    if (asked.headers.authorization !== `Bearer ${token}`) return void response.writeHead(401).end()
    response.end(JSON.stringify({ name }))
  }

test('a token is asked whose it is once, kept sealed, and sent to its own host alone', async () => {
  const hub = await hubWith(knows('ann'), () => givesFile())
  const { network, dataDir, settings, said } = networkKit(hub.kind())
  const view = await network.setToken('huggingface', token)
  expect(view.tokens).toEqual([
    {
      host: 'huggingface',
      isSet: true,
      account: 'ann',
      checkedAt: expect.any(Number),
      page: 'https://hub.invalid/tokens',
      given: [],
    },
  ])
  expect(network.headersFor(`${hub.url}/x`).authorization).toBe(`Bearer ${token}`)
  for (const other of [hub.mirrors[0]!, 'https://hub.invalid', hub.url.replace('127.0.0.1', 'elsewhere.invalid')])
    expect(network.headersFor(`${other}/x`).authorization).toBeUndefined()
  await network.mirrors.test()
  expect(hub.asked.filter((line) => line.startsWith('mirror-0'))).toEqual(['mirror-0 /known.bin -'])
  const kept = readFileSync(path.join(dataDir, 'secrets'))
  expect(kept.includes(token)).toBe(false)
  expect(JSON.stringify([settings.get(), said, network.view()])).not.toContain(token)
  expect(network.removeToken('huggingface').tokens[0]!.isSet).toBe(false)
  expect(network.tokenFor(hostOf(hub.url))).toBeNull()
})

test('a token that its host refuses is not kept; without an answer it is, unchecked', async () => {
  const hub = await hubWith(knows('ann'))
  const { network } = networkKit(hub.kind())
  await expect(network.setToken('huggingface', 'hf_somebody_elses')).rejects.toMatchObject({ code: 'token.refused' })
  expect(network.view().tokens[0]!.isSet).toBe(false)
  const away = await hubWith((_, response) => void response.destroy())
  const offline = networkKit(away.kind())
  const view = await offline.network.setToken('huggingface', token)
  expect(view.tokens[0]).toMatchObject({ isSet: true, account: null, checkedAt: null })
})

test('a mirror is given a token only where the person says so, for that mirror', async () => {
  const hub = await hubWith(
    knows('ann'),
    () => givesFile(),
    () => givesFile(),
  )
  const { network } = networkKit(hub.kind())
  const [one, other] = hub.mirrors.map(hostOf) as [string, string]
  await network.setToken('huggingface', token)
  expect(network.giveToken('huggingface', one, true).tokens[0]!.given).toEqual([one])
  expect([network.tokenFor(one), network.tokenFor(other)]).toEqual([token, null])
  network.giveToken('huggingface', one, false)
  expect(network.tokenFor(one)).toBeNull()
  expect(() => network.giveToken('huggingface', 'nobody.invalid', true)).toThrow(
    expect.objectContaining({ code: 'mirror.unknown' }),
  )
})

test('whoever holds the dispatcher goes through the proxy as soon as it is set; its password is never shown', async () => {
  const hub = await hubWith(givesFile())
  const { network, settings } = networkKit(hub.kind())
  const { port } = new URL((await serve((_, response) => response.end('there'))).url)
  const dispatcher = network.dispatcher()
  // no resolver is asked for such a name: some know every other
  const ask = async () => (await request(`http://only..there:${port}/`, { dispatcher })).body.text()
  await expect(ask()).rejects.toThrow()
  const proxy = await httpProxy('ann:s3cret')
  const view = network.set({ proxy: 'manual', proxyAddress: `http://ann:s3cret@${proxy.host}` })
  expect(await ask()).toBe('there')
  expect(view).toMatchObject({ proxyInUse: `http://${proxy.host}`, proxyUser: 'ann' })
  expect(JSON.stringify([view, settings.get()])).not.toContain('s3cret')
  network.set({ proxy: 'none' })
  await expect(ask()).rejects.toThrow()
})

test('a proxy or certificates that cannot be used are refused where they are given', async () => {
  const { network, dataDir } = networkKit({})
  expect(() => network.set({ proxy: 'manual' })).toThrow(expect.objectContaining({ code: 'network.bad-proxy' }))
  expect(() => network.set({ proxyAddress: 'ftp://u:pw@x.invalid' })).toThrow(
    expect.objectContaining({ facts: { address: 'ftp://x.invalid' } }),
  )
  const file = path.join(dataDir, 'none.pem')
  writeFileSync(file, 'no certificate')
  expect(() => network.set({ certificates: file })).toThrow(
    expect.objectContaining({ code: 'network.bad-certificates' }),
  )
})

test('certificates that are gone later are no reason to go past the proxy', async () => {
  const { network, dataDir } = networkKit({})
  const file = path.join(dataDir, 'own.pem')
  writeFileSync(file, rootCertificates[0]!)
  network.set({ proxy: 'manual', proxyAddress: 'http://a%zz:p@proxy.invalid:3128', certificates: file })
  rmSync(file)
  expect(network.view()).toMatchObject({ proxyInUse: 'http://proxy.invalid:3128', proxyUser: 'a%zz' })
  expect(network.childEnvironment({}).https_proxy).toContain('proxy.invalid:3128')
})

test('the system’s proxy is used where neither a person nor the environment says another', async () => {
  const gnome = `org.gnome.system.proxy mode 'manual'
org.gnome.system.proxy.http host 'desk.invalid'
org.gnome.system.proxy.http port 3128`
  const run = async (command: string) => (command === 'gsettings' ? gnome : '')
  const kit = networkKit({}, { run })
  await kit.network.start()
  expect(kit.network.view().proxyInUse).toBe('http://desk.invalid:3128')
  const said = networkKit({}, { run, env: { HTTPS_PROXY: 'http://env.invalid:1' } })
  await said.network.start()
  expect(said.network.view().proxyInUse).toBe('http://env.invalid:1')
})

const places = {
  kinds: {
    huggingface: { official: 'https://hub.example', standsIn: ['hub.example'], checks: [] },
    git: { official: 'https://code.example', standsIn: ['code.example'], checks: [] },
    'python-index': { official: 'https://py.example/simple', standsIn: ['py.example/simple'], checks: [] },
    'python-builds': { official: 'https://code.example/b/d', standsIn: ['code.example/b/d'], checks: [] },
  },
  mirrors: [
    { standsInFor: 'hub.example', pattern: 'https://hub.near.example{path}', direct: true },
    { standsInFor: 'code.example', pattern: 'https://proxy.example/{url}' },
    { standsInFor: 'py.example/simple', pattern: 'https://py.near.example/simple{rest}', direct: true },
    { standsInFor: 'code.example/b/d', pattern: 'https://builds.example{rest}' },
  ],
}

test('programs that fetch by themselves are told the same mirrors, proxy and certificates', async () => {
  const { network, dataDir } = networkKit(places, { timeZone: 'Asia/Shanghai' })
  const file = path.join(dataDir, 'own.pem')
  writeFileSync(file, rootCertificates[0]!)
  network.set(
    {
      proxy: 'manual',
      proxyAddress: 'socks5://127.0.0.1:7890',
      certificates: file,
    },
    { user: 'me', password: 'p:w' },
  )
  const env = network.childEnvironment({ PATH: '/bin', NO_PROXY: 'old' })
  expect(env).toEqual({
    PATH: '/bin',
    ...Object.fromEntries(
      ['http_proxy', 'https_proxy', 'all_proxy']
        .flatMap((name) => [name, name.toUpperCase()])
        .map((name) => [name, 'socks5h://me:p%3Aw@127.0.0.1:7890']),
    ),
    no_proxy: 'localhost,127.0.0.1,::1,hub.near.example,py.near.example',
    NO_PROXY: 'localhost,127.0.0.1,::1,hub.near.example,py.near.example',
    ...Object.fromEntries(
      [
        'SSL_CERT_FILE',
        'REQUESTS_CA_BUNDLE',
        'PIP_CERT',
        'GIT_SSL_CAINFO',
        'NODE_EXTRA_CA_CERTS',
        'CURL_CA_BUNDLE',
      ].map((name) => [name, path.join(dataDir, 'cache', 'certificates.pem')]),
    ),
    UV_SYSTEM_CERTS: '1',
    GIT_TERMINAL_PROMPT: '0',
    GCM_INTERACTIVE: 'never',
    GIT_HTTP_LOW_SPEED_LIMIT: '1000',
    GIT_HTTP_LOW_SPEED_TIME: '30',
    GIT_CONFIG_COUNT: '2',
    GIT_CONFIG_KEY_0: 'url.https://proxy.example/https://code.example/.insteadOf',
    GIT_CONFIG_VALUE_0: 'https://code.example/',
    GIT_CONFIG_KEY_1: 'url.https://proxy.example/https://code.example/.insteadOf',
    GIT_CONFIG_VALUE_1: 'git@code.example:',
    HF_ENDPOINT: 'https://hub.near.example',
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DOWNLOAD_TIMEOUT: '60',
    HF_HUB_ETAG_TIMEOUT: '60',
    HF_HUB_DISABLE_TELEMETRY: '1',
    PIP_INDEX_URL: 'https://py.near.example/simple/',
    UV_DEFAULT_INDEX: 'https://py.near.example/simple/',
    PIP_DEFAULT_TIMEOUT: '60',
    UV_HTTP_TIMEOUT: '120',
    UV_PYTHON_INSTALL_MIRROR: 'https://builds.example',
  })
  expect(readFileSync(env.SSL_CERT_FILE!, 'utf8')).toContain(rootCertificates[0]!.trim().split('\n')[3])
})

test('what a person set up for these programs stays, and officially nothing is said', () => {
  const near = networkKit(places, { timeZone: 'Asia/Shanghai' }).network
  const own = {
    HF_ENDPOINT: 'https://mine.example',
    UV_INDEX_URL: 'https://mine.example/simple',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'user.name',
    GIT_CONFIG_VALUE_0: 'me',
    HTTPS_PROXY: 'http://mine.example:1',
  }
  const env = near.childEnvironment(own)
  expect(env).toMatchObject({ ...own, GIT_CONFIG_COUNT: '3', GIT_CONFIG_VALUE_1: 'https://code.example/' })
  expect([env.PIP_INDEX_URL, env.HF_HUB_DISABLE_XET]).toEqual([undefined, undefined])
  const far = networkKit(places).network.childEnvironment({})
  expect(Object.keys(far).filter((name) => /ENDPOINT|INDEX|MIRROR|CONFIG|PROXY/i.test(name))).toEqual([])
  expect(near.childEnvironment({}, { mirrors: false })).not.toHaveProperty('HF_ENDPOINT')
})

test.skipIf(!hasGit)('git follows these rules', () => {
  const { network } = networkKit(places, { timeZone: 'Asia/Shanghai' })
  const env = {
    ...process.env,
    ...network.childEnvironment({}),
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_SYSTEM: '/dev/null',
  }
  const asked = (url: string) => execFileSync('git', ['ls-remote', '--get-url', url], { env, encoding: 'utf8' }).trim()
  expect(asked('https://code.example/o/r.git')).toBe('https://proxy.example/https://code.example/o/r.git')
  expect(asked('git@code.example:o/r.git')).toBe('https://proxy.example/https://code.example/o/r.git')
  expect(asked('https://other.example/o/r.git')).toBe('https://other.example/o/r.git')
})

test('rules for git that a person has already are not added to', async () => {
  const run = async (command: string) =>
    command === 'git' ? 'url.https://mine.example/.insteadof https://github.com/' : ''
  const { network } = networkKit(places, { timeZone: 'Asia/Shanghai', run })
  await network.start()
  expect(network.childEnvironment({}).GIT_CONFIG_COUNT).toBeUndefined()
})

test('what hubs answer is kept under what was asked', async () => {
  const { network } = networkKit({})
  const { cache } = network.hubs()
  cache.set('huggingface GET /api/a', { at: 5, text: aFile.toString('base64') })
  expect(cache.get('huggingface GET /api/a')).toEqual({ at: 5, text: aFile.toString('base64') })
  expect(network.hubs().cache.get('huggingface GET /api/b')).toBeNull()
})
