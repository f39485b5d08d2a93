import { AppError } from '../../contract/errors.ts'

export interface ComfyAddress {
  /** http or https, ending in a slash, without credentials. */
  readonly url: string
  /** Sent with every request to this origin and to no other. */
  readonly header: { readonly name: string; readonly value: string } | null
}

/**
 * What a person typed as an address: `192.168.1.5:8188`, `https://host/comfy/`, `http://user:word@host`. Pure.
 * @throws AppError 'worker.bad-address'
 */
export function readAddress(typed: string, header: string | null = null): ComfyAddress {
  const text = typed.trim()
  const refuse = () => new AppError('worker.bad-address', { url: text.replace(/\/\/[^@/]*@/, '//') })
  const withScheme = /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (text === '' || /\s/.test(text) || !URL.canParse(withScheme)) throw refuse()
  const url = new URL(withScheme)
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') throw refuse()
  const credentials = url.username
    ? `Authorization: Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}`
    : null
  const path = url.pathname.replace(/\/*$/, '/')
  return { url: url.origin + path, header: readHeader(header ?? credentials) }
}

/** `Name: value` in its two parts. */
export function readHeader(line: string | null): ComfyAddress['header'] {
  if (line === null || line.trim() === '') return null
  const colon = line.indexOf(':')
  const [name, value] = [line.slice(0, colon).trim(), line.slice(colon + 1).trim()]
  if (colon < 1 || !/^[\w-]+$/.test(name) || value === '' || /[\r\n]/.test(value))
    throw new AppError('app.bad-request', { reason: 'a header is written like Authorization: Bearer …' })
  return { name, value }
}
