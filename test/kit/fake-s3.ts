import { createHash, createHmac, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, vi } from 'vitest'
import { openStore, type Store, type StoreOptions } from '../../core/engine/store/open-store.ts'

// Written after the published S3 API (version 2006-03-01) and Signature Version 4, as of November 2026.

export const CREDENTIALS = { accessKeyId: 'AKIDTEST', secretAccessKey: 'planted-secret-key' }
export const BUCKET = 'night-bucket'
const REGION = 'us-east-1'

interface Entry {
  bytes: Buffer
  at: number
  etag: string
}
interface Upload {
  key: string
  at: number
  parts: Map<number, Entry>
}
export interface Fault {
  /** Of requests that match: `PUT /night-bucket/packs/…`. */
  readonly when: RegExp
  /** `cut`: half of the answer, then nothing; `gone`: the connection closes before an answer. */
  readonly is: 'cut' | 'gone' | { readonly status: number; readonly code: string }
  readonly times: number
}

/** An S3-compatible storage in memory that believes nothing: signatures, hashes and conditions are checked. */
export class FakeS3 {
  readonly objects = new Map<string, Entry>()
  readonly uploads = new Map<string, Upload>()
  readonly requests: string[] = []
  /** How it takes a wish to create only. */
  conditions: 'if-none-match' | 'forbid-overwrite' | 'ignored' | 'refused' = 'if-none-match'
  /** Names on a page of a list. */
  pageSize = 1_000
  /** Waited for before each answer. */
  gate: () => Promise<void> | void = () => {}
  readonly #opened: Store[] = []
  readonly #faults: { fault: Fault; left: number }[] = []
  readonly #server = createServer((asked, reply) => void this.#answer(asked, reply))

  async start() {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }
  async stop() {
    for (const store of this.#opened) await store.close()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
  /** Once nobody is connected any more: nothing comes after it. */
  async left() {
    const connected = () =>
      new Promise<number>((resolve, reject) => {
        this.#server.getConnections((cause, count) => (cause ? reject(cause) : resolve(count)))
      })
    await vi.waitFor(async () => expect(await connected()).toBe(0), { timeout: 20_000, interval: 10 })
  }
  get endpoint() {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }
  address(prefix = '') {
    return `s3://${BUCKET}/${prefix}?endpoint=${this.endpoint}&region=${REGION}`
  }
  /** A part of it as a program that has the key sees it. */
  async open(prefix = '', options: Partial<StoreOptions> = {}): Promise<Store> {
    const store = await openStore(this.address(prefix), { credentials: CREDENTIALS, ...options })
    this.#opened.push(store)
    return store
  }
  onNext(...faults: Fault[]) {
    for (const fault of faults) this.#faults.push({ fault, left: fault.times })
  }

  async #answer(asked: IncomingMessage, reply: ServerResponse) {
    const chunks: Buffer[] = []
    try {
      for await (const chunk of asked) chunks.push(chunk)
    } catch {
      return
    }
    const body = Buffer.concat(chunks)
    const url = new URL(asked.url!, this.endpoint)
    const line = `${asked.method} ${decodeURIComponent(asked.url!)}`
    this.requests.push(line)
    await this.gate()
    const due = this.#faults.find(({ fault, left }) => left > 0 && fault.when.test(line))
    if (due) due.left -= 1
    const fault = due?.fault.is
    if (fault === 'gone') return void asked.socket.destroy()
    const refuse = (status: number, code: string) =>
      reply.writeHead(status, { 'content-type': 'application/xml' }).end(`<Error><Code>${code}</Code></Error>`)
    if (fault !== undefined && fault !== 'cut') return refuse(fault.status, fault.code)
    const wrong = this.#unsigned(asked, url, body)
    if (wrong !== null) return refuse(403, wrong)
    const [, bucket = '', key = ''] = /^\/([^/]*)\/?(.*)$/.exec(decodeURIComponent(url.pathname)) ?? []
    if (bucket !== BUCKET) return refuse(404, 'NoSuchBucket')
    this.#serve(asked, reply, url.searchParams, key, body, refuse, fault === 'cut')
  }

  #serve(
    { method = '', headers }: IncomingMessage,
    reply: ServerResponse,
    search: URLSearchParams,
    key: string,
    body: Buffer,
    refuse: (status: number, code: string) => void,
    cut: boolean,
  ) {
    const xml = (text: string) => reply.writeHead(200, { 'content-type': 'application/xml' }).end(text)
    const uploadId = search.get('uploadId')
    const upload = uploadId === null ? undefined : this.uploads.get(uploadId)
    if (uploadId !== null && !upload) return refuse(404, 'NoSuchUpload')
    if (method === 'POST' && search.has('uploads')) {
      const id = randomUUID()
      this.uploads.set(id, { key, at: Date.now(), parts: new Map() })
      return xml(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`)
    }
    if (method === 'PUT' && upload) {
      const entry = entryOf(body)
      upload.parts.set(Number(search.get('partNumber')), entry)
      return void reply.writeHead(200, { etag: `"${entry.etag}"` }).end()
    }
    if (method === 'POST' && upload) {
      const listed = [...body.toString().matchAll(/<Part>.*?<\/Part>/gs)].map(([part]) => ({
        number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
        etag: /<ETag>(?:&quot;|")?([\da-f]+)/.exec(part)?.[1],
      }))
      const ordered = listed.every(({ number }, at) => at === 0 || number > listed[at - 1]!.number)
      const parts = listed.map(({ number, etag }) => ({ entry: upload.parts.get(number), etag }))
      if (!ordered || parts.some(({ entry, etag }) => entry?.etag !== etag)) return refuse(400, 'InvalidPart')
      if (parts.slice(0, -1).some(({ entry }) => entry!.bytes.length < 5 * 2 ** 20))
        return refuse(400, 'EntityTooSmall')
      this.objects.set(key, entryOf(Buffer.concat(parts.map(({ entry }) => entry!.bytes))))
      this.uploads.delete(uploadId!)
      return xml('<CompleteMultipartUploadResult><ETag>"x-1"</ETag></CompleteMultipartUploadResult>')
    }
    if (method === 'DELETE' && upload) {
      this.uploads.delete(uploadId!)
      return void reply.writeHead(204).end()
    }
    if (method === 'GET' && upload) return xml(this.#parts(upload, Number(search.get('part-number-marker') ?? 0)))
    if (method === 'GET' && search.has('uploads')) {
      const begun = [...this.uploads].filter(([, each]) => each.key.startsWith(search.get('prefix') ?? ''))
      const rows = begun.map(
        ([id, each]) =>
          `<Upload><Key>${each.key}</Key><UploadId>${id}</UploadId><Initiated>${time(each.at)}</Initiated></Upload>`,
      )
      return xml(`<ListMultipartUploadsResult>${rows.join('')}</ListMultipartUploadsResult>`)
    }
    if (method === 'GET' && key === '') return xml(this.#list(search))
    const entry = this.objects.get(key)
    if (method === 'PUT') {
      const wish = headers['if-none-match'] === '*'
      const ossWish = headers['x-oss-forbid-overwrite'] === 'true'
      if (wish && this.conditions === 'refused') return refuse(501, 'NotImplemented')
      if (wish && entry && this.conditions === 'if-none-match') return refuse(412, 'PreconditionFailed')
      if (ossWish && entry && this.conditions === 'forbid-overwrite') return refuse(409, 'FileAlreadyExists')
      const made = entryOf(body)
      this.objects.set(key, made)
      return void reply.writeHead(200, { etag: `"${made.etag}"` }).end()
    }
    if (method === 'DELETE') {
      this.objects.delete(key)
      return void reply.writeHead(204).end()
    }
    if (!entry) return method === 'HEAD' ? void reply.writeHead(404).end() : refuse(404, 'NoSuchKey')
    const { length } = entry.bytes
    const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? '') ?? []
    const from = first === '' ? Math.max(0, length - Number(last)) : Number(first)
    const until = first === '' || last === '' ? length : Math.min(length, Number(last) + 1)
    if (headers.range && (from >= length || from >= until)) return refuse(416, 'InvalidRange')
    const bytes = headers.range ? entry.bytes.subarray(from, until) : entry.bytes
    reply.writeHead(headers.range ? 206 : 200, {
      'content-length': bytes.length,
      'last-modified': new Date(entry.at).toUTCString(),
      etag: `"${entry.etag}"`,
      'content-type': search.get('response-content-type') ?? 'binary/octet-stream',
      'content-disposition': search.get('response-content-disposition') ?? 'inline',
    })
    if (method === 'HEAD') return void reply.end()
    if (!cut) return void reply.end(bytes)
    reply.write(bytes.subarray(0, bytes.length >> 1), () => reply.destroy())
  }

  #list(search: URLSearchParams) {
    const after = search.get('continuation-token') ?? search.get('start-after') ?? ''
    const all = [...this.objects]
      .filter(([key]) => key.startsWith(search.get('prefix') ?? '') && key > after)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
    const page = all.slice(0, this.pageSize)
    const rows = page.map(
      ([key, { bytes, at }]) =>
        `<Contents><Key>${key}</Key><Size>${bytes.length}</Size><LastModified>${time(at)}</LastModified></Contents>`,
    )
    const more = all.length > page.length
    const next = more ? `<NextContinuationToken>${page.at(-1)![0]}</NextContinuationToken>` : ''
    return `<ListBucketResult><IsTruncated>${more}</IsTruncated>${next}${rows.join('')}</ListBucketResult>`
  }

  #parts({ parts }: Upload, after: number) {
    const all = [...parts].filter(([number]) => number > after).toSorted(([a], [b]) => a - b)
    const page = all.slice(0, this.pageSize)
    const rows = page.map(
      ([number, { etag, bytes }]) =>
        `<Part><PartNumber>${number}</PartNumber><ETag>"${etag}"</ETag><Size>${bytes.length}</Size></Part>`,
    )
    const more = all.length > page.length
    const next = more ? `<NextPartNumberMarker>${page.at(-1)![0]}</NextPartNumberMarker>` : ''
    return `<ListPartsResult><IsTruncated>${more}</IsTruncated>${next}${rows.join('')}</ListPartsResult>`
  }

  /** What is wrong with who sent it, by Signature Version 4; null: nothing. */
  #unsigned({ method = '', headers }: IncomingMessage, url: URL, body: Buffer): string | null {
    const header = Object.fromEntries(
      (headers.authorization ?? '')
        .replace(/^AWS4-HMAC-SHA256 /, '')
        .split(/,\s*/)
        .map((field) => field.split(/=(.*)/s).slice(0, 2) as [string, string]),
    )
    const inQuery = url.searchParams.has('X-Amz-Signature')
    const said = (name: string) => (inQuery ? (url.searchParams.get(`X-Amz-${name}`) ?? '') : (header[name] ?? ''))
    const [id, day = '', region = '', service, end] = said('Credential').split('/')
    if (id !== CREDENTIALS.accessKeyId) return 'InvalidAccessKeyId'
    if (region !== REGION || service !== 's3' || end !== 'aws4_request') return 'AuthorizationHeaderMalformed'
    const date = inQuery ? said('Date') : String(headers['x-amz-date'])
    const at = Date.parse(date.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'))
    const seconds = inQuery ? Number(said('Expires')) : 900
    if (!(Math.abs(Date.now() - at) <= seconds * 1000)) return inQuery ? 'AccessDenied' : 'RequestTimeTooSkewed'
    const payload = inQuery ? 'UNSIGNED-PAYLOAD' : String(headers['x-amz-content-sha256'])
    if (!inQuery && payload !== createHash('sha256').update(body).digest('hex')) return 'XAmzContentSHA256Mismatch'
    const names = said('SignedHeaders').split(';')
    if (!names.includes('host')) return 'AccessDenied'
    const query = [...url.searchParams]
      .filter(([name]) => name !== 'X-Amz-Signature')
      .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
      .toSorted()
      .join('&')
    const canonical = [
      method,
      decodeURIComponent(url.pathname).split('/').map(encoded).join('/'),
      query,
      ...names.map(
        (name) =>
          `${name}:${String(headers[name] ?? '')
            .trim()
            .replace(/\s+/g, ' ')}`,
      ),
      '',
      names.join(';'),
      payload,
    ].join('\n')
    const scope = `${day}/${region}/s3/aws4_request`
    const text = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n')
    const key = [day, region, 's3', 'aws4_request'].reduce<string | Buffer>(
      (by, word) => createHmac('sha256', by).update(word).digest(),
      `AWS4${CREDENTIALS.secretAccessKey}`,
    )
    return createHmac('sha256', key).update(text).digest('hex') === said('Signature') ? null : 'SignatureDoesNotMatch'
  }
}

export async function fakeS3(): Promise<FakeS3> {
  const storage = new FakeS3()
  await storage.start()
  onTestFinished(() => storage.stop())
  return storage
}

const entryOf = (bytes: Buffer): Entry => ({
  bytes,
  at: Date.now(),
  etag: createHash('md5').update(bytes).digest('hex'),
})
const time = (at: number) => new Date(at).toISOString()
const encoded = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
