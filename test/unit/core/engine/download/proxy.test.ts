import { request } from 'undici'
import { expect, onTestFinished, test } from 'vitest'
import {
  DIRECT,
  dispatcherBy,
  proxyAddress,
  type Route,
  readGsettings,
  readRegistry,
  readScutil,
  routeInEnv,
  routeOfSystem,
} from '../../../../../core/engine/download/proxy.ts'
import { httpProxy, silentProxy, socksProxy } from '../../../../kit/proxies.ts'
import { serve } from '../../../../kit/serve.ts'

async function get(address: string, route: Route): Promise<string> {
  const dispatcher = dispatcherBy(route)
  onTestFinished(() => dispatcher.destroy())
  const { statusCode, body } = await request(address, { dispatcher })
  return `${statusCode} ${await body.text()}`
}
const by = (address: string, bypass: string[] = []): Route => ({ http: address, https: address, bypass })
async function somewhere() {
  const { url } = await serve((asked, response) => response.end(`${asked.headers.host} ${asked.url}`))
  return { port: new URL(url).port, url }
}

test.each([
  ['HTTP', httpProxy, 'http'],
  ['SOCKS', socksProxy, 'socks5'],
] as const)(
  'through a %s proxy that asks who one is: names are resolved there, and what it gives comes whole',
  async (_, start, scheme) => {
    const { port } = await somewhere()
    const proxy = await start('me:p@ss word')
    const route = by(`${scheme}://me:p%40ss%20word@${proxy.host}`)
    expect(await get(`http://only-there.invalid:${port}/file?x=1`, route)).toBe(
      `200 only-there.invalid:${port} /file?x=1`,
    )
    expect(proxy.asked.map(({ user }) => user)).toEqual(['me:p@ss word'])
    expect(proxy.asked[0]!.target).toContain(`only-there.invalid:${port}`)
  },
)

test.each([
  ['HTTP', httpProxy, 'http'],
  ['SOCKS', socksProxy, 'socks5'],
] as const)('a %s proxy refuses the wrong password: that is a failure, not an answer', async (_, start, scheme) => {
  const { port } = await somewhere()
  const proxy = await start('me:right')
  await expect(get(`http://only-there.invalid:${port}/`, by(`${scheme}://me:wrong@${proxy.host}`))).rejects.toThrow()
})

test.each(['http', 'socks5'])('a silent %s proxy is given up', async (scheme) => {
  const { host } = await silentProxy()
  const dispatcher = dispatcherBy(by(`${scheme}://${host}`), 50)
  onTestFinished(() => dispatcher.destroy())
  await expect(request('https://only-there.invalid/', { dispatcher })).rejects.toThrow()
})

test('many connections at once go through one SOCKS proxy', async () => {
  const { port } = await somewhere()
  const proxy = await socksProxy()
  const dispatcher = dispatcherBy(by(`socks5://${proxy.host}`))
  onTestFinished(() => dispatcher.destroy())
  const texts = await Promise.all(
    Array.from({ length: 12 }, async (_, at) => {
      const { body } = await request(`http://host-${at % 3}.invalid:${port}/${at}`, { dispatcher })
      return body.text()
    }),
  )
  expect(texts).toEqual(Array.from({ length: 12 }, (_, at) => `host-${at % 3}.invalid:${port} /${at}`))
  expect(proxy.asked.length).toBeGreaterThan(3)
})

test('this machine, and what is named so, is reached directly', async () => {
  const { url } = await somewhere()
  const proxy = await httpProxy()
  expect(await get(`${url}/x`, by(`http://${proxy.host}`))).toContain('200')
  expect(await get(`${url}/x`, DIRECT)).toContain('200')
  await get('http://near.invalid/', by(`http://${proxy.host}`, ['.invalid'])).catch(() => {}) // nobody knows it
  expect(proxy.asked).toEqual([])
})

test.each([
  ['proxy.lan:3128', 'http://proxy.lan:3128'],
  ['http://u:p@proxy.lan:80', 'http://u:p@proxy.lan'],
  ['socks5h://127.0.0.1:7890/', 'socks5://127.0.0.1:7890'],
  ['socks://h:1080', 'socks5://h:1080'],
  ['https://h:8443', 'https://h:8443'],
])('%s is the proxy %s', (given, read) => expect(proxyAddress(given)).toBe(read))
test.each(['', 'ftp://h:1', 'socks4://h:1', 'http://', 'a b'])('%s is no proxy', (given) =>
  expect(() => proxyAddress(given)).toThrow(),
)

test('the environment says it in either case; what it says badly is not used', () => {
  expect(routeInEnv({ HTTPS_PROXY: 'http://a:1', no_proxy: 'x.cn, .y.cn' })).toEqual({
    http: null,
    https: 'http://a:1',
    bypass: ['x.cn', '.y.cn'],
  })
  expect(routeInEnv({ all_proxy: 'socks5h://a:1', http_proxy: 'gopher://b:2' })).toEqual(by('socks5://a:1'))
  expect(routeInEnv({ NO_PROXY: '*' })).toBeNull()
})

test('the settings of Windows, macOS and GNOME are read as they are written', async () => {
  const registry = (server: string, on = '0x1') => `
HKEY_CURRENT_USER\\Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings
    ProxyEnable    REG_DWORD    ${on}
    ProxyServer    REG_SZ    ${server}
    ProxyOverride    REG_SZ    *.lan;10.*;<local>
`
  expect(readRegistry(registry('127.0.0.1:7890'))).toEqual(by('http://127.0.0.1:7890', ['.lan', '10']))
  expect(readRegistry(registry('http=a:1;https=b:2'))).toMatchObject({ http: 'http://a:1', https: 'http://b:2' })
  expect(readRegistry(registry('socks=c:3'))).toMatchObject({ https: 'socks5://c:3' })
  expect(readRegistry(registry('127.0.0.1:7890', '0x0'))).toBeNull()
  const scutil = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
  }
  HTTPEnable : 0
  HTTPSEnable : 1
  HTTPSPort : 7890
  HTTPSProxy : 127.0.0.1
  SOCKSEnable : 0
}`
  expect(readScutil(scutil)).toEqual({ http: null, https: 'http://127.0.0.1:7890', bypass: ['.local', '169.254/16'] })
  expect(readScutil('<dictionary> {\n  HTTPEnable : 0\n}')).toBeNull()
  const gnome = (mode: string) => `org.gnome.system.proxy ignore-hosts ['localhost', '*.lan']
org.gnome.system.proxy mode '${mode}'
org.gnome.system.proxy.http host ''
org.gnome.system.proxy.http port 0
org.gnome.system.proxy.socks host '127.0.0.1'
org.gnome.system.proxy.socks port 1080`
  expect(readGsettings(gnome('manual'))).toEqual(by('socks5://127.0.0.1:1080', ['localhost', '.lan']))
  expect(readGsettings(gnome('none'))).toBeNull()
  expect(await routeOfSystem('linux', () => Promise.reject(new Error('no such program')))).toBeNull()
})

test('what is to be of the internet only is not connected to where its name stands for this machine', async () => {
  const { port } = await somewhere()
  const dispatcher = dispatcherBy(DIRECT)
  onTestFinished(() => dispatcher.destroy())
  const ask = (publicOnly: boolean) => {
    const asked = { method: 'GET', dispatcher, publicOnly } as const
    return request(`http://localhost:${port}/`, asked).then(({ statusCode }) => statusCode)
  }
  expect(await ask(false)).toBe(200)
  await expect(ask(true)).rejects.toThrow('it is not on the internet')
})
