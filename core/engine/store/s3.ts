import { createHash, randomUUID } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import {
  type $Command,
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  type S3ClientResolvedConfig,
  type ServiceInputTypes,
  type ServiceOutputTypes,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { Agent, type Dispatcher, request } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { reasonOf } from '../comfy/client.ts'
import type { Transfer } from '../snapshot/depot.ts'
import { S3Depot } from '../snapshot/s3-depot.ts'
import { type Bucket, type Bytes, checkName, type Kept, type LinkTo, type ListOptions, type Range } from './bucket.ts'
import type { Credentials, Store, StoreOptions } from './open-store.ts'

/** What an address of a bucket says. */
interface S3Place {
  readonly bucket: string
  /** Empty, or ends in `/`. */
  readonly prefix: string
  readonly endpoint: string | null
  /** Where links lead, if others reach the storage by another name. */
  readonly publicEndpoint: string | null
  readonly region: string
  readonly pathStyle: boolean
}

/** @throws AppError 'store.bad-address' */
function readS3Address(address: string): S3Place {
  const refuse = (reason: string) => new AppError('store.bad-address', { reason })
  const url = URL.parse(address)
  if (!url) throw refuse('it is no address')
  if (url.username || url.password) throw refuse('credentials do not belong in it')
  const said = Object.fromEntries(url.searchParams)
  const { endpoint = null, region, style, public: publicEndpoint = null, ...others } = said
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw refuse(`“${unknown}” is not known`)
  for (const each of [endpoint, publicEndpoint])
    if (each !== null && !/^https?:$/.test(URL.parse(each)?.protocol ?? ''))
      throw refuse('the endpoint is no http(s) address')
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname)) throw refuse('no bucket is called so')
  if (style !== undefined && style !== 'path' && style !== 'virtual') throw refuse('style is path or virtual')
  const prefix = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, '')
  return {
    bucket: url.hostname,
    prefix: prefix === '' ? '' : `${prefix}/`,
    endpoint,
    publicEndpoint,
    region: region ?? 'us-east-1',
    pathStyle: style === undefined ? endpoint !== null : style === 'path',
  }
}

/** @throws AppError 'store.bad-address' | 'store.no-credentials' */
export function openS3(address: string, options: StoreOptions): Store {
  const { credentials } = options
  const place = readS3Address(address)
  const { bucket: name, prefix, endpoint } = place
  const where = `s3://${name}/${prefix}${endpoint === null ? '' : `?endpoint=${new URL(endpoint).origin}`}`
  if (!credentials) throw new AppError('store.no-credentials', { where })
  const bucket = new S3Bucket(place, credentials, where, options)
  return { where, bucket, depot: new S3Depot(bucket), close: () => bucket.close() }
}

const SINGLE_PARTS = 4 // what is no longer goes as one
const PART_BYTES = 16 * 2 ** 20
const MOST_PARTS = 9_000 // of the 10 000 there may be
const LINES = 4
const MOST_LINK_SECONDS = 7 * 86_400
const GIVE_UP_AFTER = 6

/** Part of a bucket of an S3-compatible storage. */
export class S3Bucket implements Bucket {
  readonly where: string
  readonly #client: S3Client
  readonly #links: S3Client
  readonly #bucket: string
  readonly #prefix: string
  readonly #agent: Dispatcher | null
  readonly #partBytes: number
  #creates: Promise<Creates> | undefined

  constructor(place: S3Place, credentials: Credentials, where: string, { dispatcher, partBytes }: StoreOptions = {}) {
    this.#partBytes = partBytes ?? PART_BYTES
    this.where = where
    this.#bucket = place.bucket
    this.#prefix = place.prefix
    this.#agent = dispatcher
      ? null
      : new Agent({ connect: { timeout: 10_000 }, headersTimeout: 120_000, bodyTimeout: 60_000 })
    const config: S3ClientConfig = {
      ...(place.endpoint !== null && { endpoint: place.endpoint }),
      region: place.region,
      credentials,
      forcePathStyle: place.pathStyle,
      followRegionRedirects: place.endpoint === null,
      // newer checksums in trailers are unknown to most other storages; the sha256 of each body is signed anyway
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 5,
      retryMode: 'standard',
      requestHandler: handlerOn(dispatcher ?? this.#agent!),
    }
    this.#client = new S3Client(config)
    this.#links = new S3Client({ ...config, ...(place.publicEndpoint !== null && { endpoint: place.publicEndpoint }) })
  }

  async close() {
    this.#client.destroy()
    this.#links.destroy()
    await this.#agent?.destroy()
  }

  async get(name: string, range?: Range, signal?: AbortSignal): Promise<Readable | null> {
    return this.#get(name, range && `bytes=${range.from}-${range.from + range.length - 1}`, signal)
  }

  /** From its end when `from` is below zero; empty past its end. null: there is none. */
  async read(name: string, from: number, length: number, signal?: AbortSignal): Promise<Buffer | null> {
    const stream = await this.#get(name, from < 0 ? `bytes=${from}` : `bytes=${from}-${from + length - 1}`, signal)
    const bytes = stream && Buffer.concat((await stream.toArray({ signal })) as Buffer[])
    return bytes?.subarray(0, length) ?? null
  }

  async stat(name: string, signal?: AbortSignal): Promise<Kept | null> {
    try {
      const said = await this.#client.send(new HeadObjectCommand(this.#named(name)), { abortSignal: signal })
      return { name, sizeBytes: said.ContentLength ?? 0, changedAt: said.LastModified?.getTime() ?? 0 }
    } catch (cause) {
      if (statusOf(cause) === 404) return null
      throw this.#told(cause, signal)
    }
  }

  async put(name: string, bytes: Bytes, signal?: AbortSignal): Promise<{ sizeBytes: number }> {
    const parts = piecesOf(bytes, this.#partBytes)
    const first = await parts.next()
    const second = first.done ? first : await parts.next()
    if (second.done) {
      const body = first.done ? Buffer.alloc(0) : first.value
      await this.#send(new PutObjectCommand({ ...this.#named(name), Body: body }), signal)
      return { sizeBytes: body.length }
    }
    return this.#putParts(name, [first.value!, second.value], parts, signal)
  }

  async create(name: string, bytes: string | Uint8Array, signal?: AbortSignal): Promise<boolean> {
    this.#creates ??= this.#howToCreate(signal).catch((cause) => {
      this.#creates = undefined
      throw cause
    })
    const way = await this.#creates
    return way === 'claim' ? this.#claim(name, bytes, signal) : this.#createBy(way, name, bytes, signal)
  }

  async *list(folder: string, { after, signal }: ListOptions = {}): AsyncIterable<Kept> {
    let more: string | undefined
    do {
      const page = await this.#send(
        new ListObjectsV2Command({
          Bucket: this.#bucket,
          Prefix: this.#prefix + folder,
          ContinuationToken: more,
          ...(after !== undefined && { StartAfter: this.#prefix + after }),
        }),
        signal,
      )
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        const name = Key.slice(this.#prefix.length)
        if (!name.includes(CLAIMS)) yield { name, sizeBytes: Size, changedAt: LastModified?.getTime() ?? 0 }
      }
      more = page.IsTruncated ? page.NextContinuationToken : undefined
    } while (more !== undefined)
  }

  async remove(name: string) {
    await this.#send(new DeleteObjectCommand(this.#named(name)))
  }

  async link(name: string, { as, mediaType, seconds }: LinkTo): Promise<string> {
    const plain = as.replace(/[^\x20-\x7e]|["\\%]/g, '_')
    const command = new GetObjectCommand({
      ...this.#named(name),
      ResponseContentType: mediaType,
      ResponseContentDisposition: `attachment; filename="${plain}"; filename*=UTF-8''${encodeURIComponent(as.toWellFormed())}`,
    })
    return getSignedUrl(this.#links, command, { expiresIn: Math.min(seconds, MOST_LINK_SECONDS) })
  }

  // ---- files ----

  /**
   * A file of that content, unless it is there. Over 64 MiB it goes in parts, and what a push that died has sent of them is
   * gone on with. @throws AppError 'snapshot.damaged' where the file is not `sha256`
   */
  async putFile(name: string, file: string, sha256: string, transfer: Transfer) {
    const { signal } = transfer
    const [{ size }, there] = await Promise.all([stat(file), this.stat(name, signal)])
    if (there?.sizeBytes === size) return transfer.onThere?.(size)
    if (size > SINGLE_PARTS * this.#partBytes) return this.#putLarge(name, file, size, sha256, transfer)
    const handle = await open(file)
    const bytes = await handle.readFile({ signal }).finally(() => handle.close())
    if (createHash('sha256').update(bytes).digest('hex') !== sha256) throw changed(sha256)
    await this.#send(new PutObjectCommand({ ...this.#named(name), Body: bytes }), signal, pacedBy(transfer))
  }

  async #putLarge(name: string, file: string, size: number, sha256: string, transfer: Transfer) {
    const { signal } = transfer
    const partBytes = Math.max(this.#partBytes, Math.ceil(size / MOST_PARTS / 2 ** 20) * 2 ** 20)
    const begun = await this.#begun(name, signal)
    const named = { ...this.#named(name), UploadId: begun?.uploadId ?? (await this.#begin(name, signal)) }
    const hash = createHash('sha256')
    const done: CompletedPart[] = []
    const handle = await open(file)
    let thereBytes = 0
    const stopping = new AbortController()
    const ended = signal ? AbortSignal.any([signal, stopping.signal]) : stopping.signal
    const count = Math.ceil(size / partBytes)
    let next = 0
    let reading: Promise<unknown> = Promise.resolve()
    /** In order: all of it goes through the hash. */
    const read = async () => {
      const at = next++
      const bytes = Buffer.allocUnsafe(Math.min(partBytes, size - at * partBytes))
      const before = reading
      const mine = before.then(async () => {
        ended.throwIfAborted()
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, at * partBytes)
        if (bytesRead < bytes.length) throw changed(sha256)
        hash.update(bytes)
      })
      reading = mine
      await mine
      return { number: at + 1, bytes }
    }
    const line = async () => {
      while (next < count) {
        const { number, bytes } = await read()
        const known = begun?.parts.get(number)
        if (known && known === createHash('md5').update(bytes).digest('hex')) {
          thereBytes += bytes.length
          done.push({ PartNumber: number, ETag: `"${known}"` })
          continue
        }
        const part = new UploadPartCommand({ ...named, PartNumber: number, Body: bytes })
        const { ETag } = await this.#send(part, ended, pacedBy(transfer))
        done.push({ PartNumber: number, ETag })
      }
    }
    try {
      const lines = Array.from({ length: LINES }, () =>
        line().catch((cause) => {
          stopping.abort()
          throw cause
        }),
      )
      const settled = await Promise.allSettled(lines)
      for (const each of settled)
        if (each.status === 'rejected' && !(each.reason instanceof Error && each.reason.name === 'AbortError'))
          throw each.reason
      ended.throwIfAborted()
      if (hash.digest('hex') !== sha256) throw changed(sha256)
      if (thereBytes > 0) transfer.onThere?.(thereBytes)
      await this.#complete(named, done, signal)
    } catch (cause) {
      if (cause instanceof AppError && cause.code === 'snapshot.damaged') await this.#abandon(named)
      // another one sent the same, and was done first
      if ((await this.stat(name).catch(() => null))?.sizeBytes === size) return
      throw cause
    } finally {
      await handle.close()
    }
  }

  /** Into a file, after what is there of it; several pieces on their way at once. */
  async getFile(name: string, file: string, { signal, onBytes, onThere }: Transfer) {
    const there = await this.stat(name, signal)
    if (!there) throw new AppError('store.failed', { where: this.where, reason: `there is no ${name}` })
    const handle = await open(file, 'a')
    try {
      let at = (await handle.stat()).size
      if (at > there.sizeBytes) {
        await handle.truncate(0)
        at = 0
      }
      if (at > 0) onThere?.(at)
      const ahead: Promise<Buffer>[] = []
      const stopping = new AbortController()
      const ended = signal ? AbortSignal.any([signal, stopping.signal]) : stopping.signal
      let asked = at
      const ask = () => {
        if (asked >= there.sizeBytes) return
        const from = asked
        asked += Math.min(this.#partBytes, there.sizeBytes - from)
        const piece = this.#whole(name, from, asked - from, ended)
        piece.catch(() => {}) // told when its turn comes
        ahead.push(piece)
      }
      try {
        for (let line = 0; line < LINES; line++) ask()
        for (let piece = ahead.shift(); piece; piece = ahead.shift()) {
          const bytes = await piece
          ask()
          await handle.appendFile(bytes)
          await onBytes?.(bytes.length)
        }
        await handle.sync()
      } finally {
        stopping.abort()
        await Promise.allSettled(ahead)
      }
    } finally {
      await handle.close()
    }
  }

  /** All of a piece, however often its connection breaks, as long as something comes. */
  async #whole(name: string, from: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length)
    let had = 0
    for (let barren = 0; had < length; barren++) {
      const before = had
      try {
        const stream = await this.#get(name, `bytes=${from + had}-${from + length - 1}`, signal)
        if (!stream) throw new AppError('store.failed', { where: this.where, reason: `there is no ${name}` })
        for await (const chunk of stream as AsyncIterable<Buffer>) {
          if (had + chunk.length > length) throw new Error('more came than was asked for')
          had += chunk.copy(bytes, had)
        }
        if (had === before) throw new Error('nothing came')
      } catch (cause) {
        signal.throwIfAborted()
        if (had > before) barren = 0
        if (cause instanceof AppError || barren + 1 >= GIVE_UP_AFTER) throw this.#told(cause, signal)
        await pause(100 * 2 ** barren, undefined, { signal })
      }
    }
    return bytes
  }

  // ---- parts ----

  async #begin(name: string, signal?: AbortSignal): Promise<string> {
    return (await this.#send(new CreateMultipartUploadCommand(this.#named(name)), signal)).UploadId!
  }

  /** The newest that was begun and not ended, with the MD5 of each part that is there. null: there is none. */
  async #begun(name: string, signal?: AbortSignal): Promise<{ uploadId: string; parts: Map<number, string> } | null> {
    const { Bucket, Key } = this.#named(name)
    try {
      const { Uploads = [] } = await this.#client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: Key }), {
        abortSignal: signal,
      })
      const time = ({ Initiated }: (typeof Uploads)[number]) => Initiated?.getTime() ?? 0
      const [newest] = Uploads.filter((upload) => upload.Key === Key).toSorted((a, b) => time(b) - time(a))
      if (!newest?.UploadId) return null
      const parts = new Map<number, string>()
      let after: string | undefined
      do {
        const page = await this.#client.send(
          new ListPartsCommand({ Bucket, Key, UploadId: newest.UploadId, PartNumberMarker: after }),
          { abortSignal: signal },
        )
        for (const { PartNumber, ETag } of page.Parts ?? [])
          parts.set(PartNumber!, (ETag ?? '').replaceAll('"', '').toLowerCase())
        after = page.IsTruncated ? page.NextPartNumberMarker : undefined
      } while (after !== undefined)
      return { uploadId: newest.UploadId, parts }
    } catch (cause) {
      const status = statusOf(cause)
      if (status === 404 || status === 501 || status === 405) return null // just ended, or this storage does not tell
      throw this.#told(cause, signal)
    }
  }

  async #complete(named: Upload, parts: readonly CompletedPart[], signal?: AbortSignal) {
    const Parts = parts.toSorted((a, b) => a.PartNumber! - b.PartNumber!)
    await this.#send(new CompleteMultipartUploadCommand({ ...named, MultipartUpload: { Parts } }), signal)
  }

  async #abandon(named: Upload) {
    await this.#client.send(new AbortMultipartUploadCommand(named)).catch(() => {})
  }

  /** Parts of what nobody went on with for so long: they are seen in no list, and paid for. */
  async removeAbandoned(folder: string, olderThanMs: number, signal?: AbortSignal) {
    const named = { Bucket: this.#bucket, Prefix: this.#prefix + folder }
    const { Uploads = [] } = await this.#send(new ListMultipartUploadsCommand(named), signal)
    for (const { Key, UploadId, Initiated } of Uploads)
      if (Key && UploadId && Initiated && Date.now() - Initiated.getTime() > olderThanMs)
        await this.#abandon({ Bucket: this.#bucket, Key, UploadId })
  }

  async #putParts(name: string, first: readonly Buffer[], rest: AsyncIterable<Buffer>, signal?: AbortSignal) {
    const named = { ...this.#named(name), UploadId: await this.#begin(name, signal) }
    const done: CompletedPart[] = []
    let sizeBytes = 0
    const send = async (bytes: Buffer) => {
      const PartNumber = done.length + 1
      const { ETag } = await this.#send(new UploadPartCommand({ ...named, PartNumber, Body: bytes }), signal)
      done.push({ PartNumber, ETag })
      sizeBytes += bytes.length
    }
    try {
      for (const bytes of first) await send(bytes)
      for await (const bytes of rest) await send(bytes)
      await this.#complete(named, done, signal)
      return { sizeBytes }
    } catch (cause) {
      await this.#abandon(named)
      throw cause
    }
  }

  // ---- creating only ----

  /** Storages differ, and some say yes to a condition they do not know: what holds is found by trying. */
  async #howToCreate(signal?: AbortSignal): Promise<Creates> {
    for (const way of ['if-none-match', 'forbid-overwrite'] as const) {
      const probe = `probe-${randomUUID()}`
      try {
        if (!(await this.#createBy(way, probe, '', signal))) continue
        if (!(await this.#createBy(way, probe, '', signal))) return way
      } catch (cause) {
        const status = statusOf((cause as AppError).cause)
        if (status !== 400 && status !== 501) throw cause
      } finally {
        await this.remove(probe).catch(() => {})
      }
    }
    return 'claim'
  }

  async #createBy(way: Exclude<Creates, 'claim'>, name: string, bytes: string | Uint8Array, signal?: AbortSignal) {
    const command = new PutObjectCommand({
      ...this.#named(name),
      Body: Buffer.from(bytes as string),
      ...(way === 'if-none-match' && { IfNoneMatch: '*' }),
    })
    if (way === 'forbid-overwrite')
      command.middlewareStack.add(
        (next) => (args) => {
          Object.assign((args.request as { headers: object }).headers, { 'x-oss-forbid-overwrite': 'true' })
          return next(args)
        },
        { step: 'build' },
      )
    for (;;) {
      try {
        await this.#client.send(command, { abortSignal: signal })
        return true
      } catch (cause) {
        const { name: kind } = cause as Error
        if (kind === 'PreconditionFailed' || kind === 'FileAlreadyExists' || statusOf(cause) === 412) return false
        // somebody creates it this moment
        if (kind !== 'ConditionalRequestConflict') throw this.#told(cause, signal)
        await pause(50, undefined, { signal })
      }
    }
  }

  /**
   * Where a storage has no such condition: whoever finds its claim to be the only one has the name. Two that see each other
   * both step back. A claim older than a minute is of one that died.
   */
  async #claim(name: string, bytes: string | Uint8Array, signal?: AbortSignal): Promise<boolean> {
    for (let tries = 0; tries < 12; tries++) {
      if (await this.stat(name, signal)) return false
      const mine = `${name}${CLAIMS}${randomUUID()}`
      await this.put(mine, '', signal)
      try {
        const { Contents = [] } = await this.#send(
          new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: this.#prefix + name + CLAIMS }),
          signal,
        )
        const at = ({ LastModified }: (typeof Contents)[number]) => LastModified?.getTime() ?? 0
        const own = Contents.find(({ Key }) => Key === this.#prefix + mine)
        const rivals = Contents.filter((each) => each !== own && at(each) > (own ? at(own) : 0) - STALE_CLAIM_MS)
        if (own && rivals.length === 0) {
          // whoever had it before me wrote it before its claim went
          if (await this.stat(name, signal)) return false
          await this.put(name, bytes, signal)
          return true
        }
      } finally {
        await this.remove(mine)
      }
      await pause(Math.random() * 100 * 2 ** Math.min(tries, 5), undefined, { signal })
    }
    throw new AppError('store.failed', { where: this.where, reason: 'too many wanted the same at once' })
  }

  // ---- asking ----

  #named(name: string) {
    return { Bucket: this.#bucket, Key: this.#prefix + checkName(name) }
  }

  async #get(name: string, Range: string | undefined, signal?: AbortSignal): Promise<Readable | null> {
    try {
      const said = await this.#client.send(new GetObjectCommand({ ...this.#named(name), Range }), {
        abortSignal: signal,
      })
      return said.Body as Readable
    } catch (cause) {
      const { name: kind } = cause as Error
      if (kind === 'NoSuchKey' || (statusOf(cause) === 404 && kind !== 'NoSuchBucket')) return null
      if (statusOf(cause) === 416) return Readable.from([])
      throw this.#told(cause, signal)
    }
  }

  async #send<I extends ServiceInputTypes, O extends ServiceOutputTypes>(
    command: $Command<I, O, S3ClientResolvedConfig, ServiceInputTypes, ServiceOutputTypes>,
    signal?: AbortSignal,
    paced?: Paced,
  ): Promise<O> {
    try {
      return await this.#client.send(command, { abortSignal: signal, ...(paced && { paced }) })
    } catch (cause) {
      throw this.#told(cause, signal)
    }
  }

  /** Names and statuses only: what a storage says may hold what was sent. */
  #told(cause: unknown, signal?: AbortSignal): unknown {
    if (signal?.aborted || cause instanceof AppError) return cause
    const status = statusOf(cause)
    const { name } = cause as Error
    const { where } = this
    if (name === 'NoSuchBucket') return new AppError('store.no-bucket', { where, bucket: this.#bucket }, { cause })
    if (name === 'SecondLevelDomainForbidden')
      return new AppError('store.bad-address', { reason: 'this storage wants &style=virtual in it' }, { cause })
    if (status === 401 || status === 403) return new AppError('store.refused', { where, reason: name }, { cause })
    if (status === null) return new AppError('store.unreachable', { where, reason: reasonOf(cause) }, { cause })
    return new AppError('store.failed', { where, reason: `${name} (HTTP ${status})` }, { cause })
  }
}

type Creates = 'if-none-match' | 'forbid-overwrite' | 'claim'
type Upload = { Bucket: string; Key: string; UploadId: string }
const CLAIMS = '.claims/'
const STALE_CLAIM_MS = 60_000

const statusOf = (cause: unknown): number | null =>
  (cause as { $metadata?: { httpStatusCode?: number } } | undefined)?.$metadata?.httpStatusCode ?? null
const changed = (sha256: string) =>
  new AppError('snapshot.damaged', { reason: `${sha256.slice(0, 12)} is no longer what it was` })

/** Of one size, but for the last. */
async function* piecesOf(bytes: Bytes, partBytes: number): AsyncGenerator<Buffer, undefined> {
  if (typeof bytes === 'string' || bytes instanceof Uint8Array) {
    yield Buffer.from(bytes as string)
    return
  }
  let parts: Uint8Array[] = []
  let size = 0
  for await (const chunk of bytes) {
    parts.push(chunk)
    size += chunk.length
    while (size >= partBytes) {
      const all = Buffer.concat(parts)
      yield all.subarray(0, partBytes)
      parts = [all.subarray(partBytes)]
      size -= partBytes
    }
  }
  if (size > 0) yield Buffer.concat(parts)
}

type Paced = (sent: number) => Promise<void> | undefined
/** Told of each piece once, also where a request is sent again. */
function pacedBy({ onBytes }: Transfer): Paced {
  let told = 0
  return (sent) => {
    const news = sent - told
    told = Math.max(told, sent)
    return news > 0 ? (onBytes?.(news) as Promise<void> | undefined) : undefined
  }
}

/** The SDK's requests on the connections of ours: proxies, certificates and time limits are those of everything else. */
function handlerOn(dispatcher: Dispatcher): NonNullable<S3ClientConfig['requestHandler']> {
  type Asked = {
    protocol: string
    hostname: string
    port?: number
    path: string
    method: string
    query?: Record<string, string | string[] | null>
    headers: Record<string, string>
    body?: unknown
  }
  return {
    async handle(asked: Asked, { abortSignal, paced }: { abortSignal?: AbortSignal; paced?: Paced } = {}) {
      const query = Object.entries(asked.query ?? {}).flatMap(([name, value]) =>
        [value ?? ''].flat().map((each) => `${encodeURIComponent(name)}=${encodeURIComponent(each)}`),
      )
      const headers = Object.fromEntries(
        Object.entries(asked.headers).filter(([name]) => !/^(?:expect|host)$/i.test(name)),
      )
      const port = asked.port === undefined ? '' : `:${asked.port}`
      const target = `${asked.protocol}//${asked.hostname}${port}${asked.path}${query.length > 0 ? `?${query.join('&')}` : ''}`
      const body = asked.body as Buffer | string | undefined
      try {
        const said = await request(target, {
          method: asked.method as 'GET',
          headers,
          body: paced && Buffer.isBuffer(body) ? Readable.from(slices(body, paced)) : (body ?? null),
          signal: abortSignal,
          dispatcher,
        })
        return {
          response: { statusCode: said.statusCode, headers: said.headers as Record<string, string>, body: said.body },
        }
      } catch (cause) {
        abortSignal?.throwIfAborted()
        throw Object.assign(new Error(reasonOf(cause), { cause }), { name: 'TimeoutError' }) // the SDK tries these again
      }
    },
  } as never
}

async function* slices(body: Buffer, paced: Paced) {
  for (let at = 0; at < body.length; at += SLICE_BYTES) {
    const slice = body.subarray(at, at + SLICE_BYTES)
    yield slice
    await paced(at + slice.length)
  }
}
const SLICE_BYTES = 256 * 2 ** 10
