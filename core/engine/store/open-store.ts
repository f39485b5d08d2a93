import type { Dispatcher } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { type Depot, FolderDepot } from '../snapshot/depot.ts'
import { type Bucket, FolderBucket } from './bucket.ts'

/** Never part of an address. */
export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}
export interface StoreOptions {
  readonly credentials?: Credentials | null
  /** How the internet is reached. */
  readonly dispatcher?: Dispatcher
  /** For tests: of large files in object storage; four of them still go as one. */
  readonly partBytes?: number
}
/** What agents share: packs, snapshots and models in its depot, all else as objects by name. */
export interface Store {
  /** Shown. Holds no credentials. */
  readonly where: string
  readonly depot: Depot
  readonly bucket: Bucket
  close(): Promise<void>
}

/**
 * A folder or mounted share, or `s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION`, which any S3-compatible storage
 * serves; `&style=virtual` where the bucket is part of the host's name.
 * @throws AppError 'store.bad-address' | 'store.no-credentials'
 */
export async function openStore(address: string, options: StoreOptions = {}): Promise<Store> {
  if (!isS3(address)) {
    if (/^[a-z][a-z\d+.-]+:\/\//i.test(address))
      throw new AppError('store.bad-address', { reason: 'it is no s3:// address' })
    return { where: address, depot: new FolderDepot(address), bucket: new FolderBucket(address), close: async () => {} }
  }
  const { openS3 } = await import('./s3.ts') // large, and mostly not needed
  return openS3(address, options)
}
export const isS3 = (address: string) => /^s3:\/\//i.test(address)

/** `ID:SECRET`, or `ID:SECRET:TOKEN`. @throws AppError 'store.no-credentials' */
export function readCredentials(text: string, where: string): Credentials {
  const [accessKeyId, secretAccessKey, sessionToken] = text.split(':')
  if (!accessKeyId || !secretAccessKey) throw new AppError('store.no-credentials', { where })
  return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) }
}
export const writeCredentials = ({ accessKeyId, secretAccessKey, sessionToken }: Credentials): string =>
  [accessKeyId, secretAccessKey, sessionToken].filter((part) => part !== undefined).join(':')

/** As programs that speak to S3 know them. */
export function credentialsIn(env: Readonly<Record<string, string | undefined>>): Credentials | null {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env
  if (!accessKeyId || !secretAccessKey) return null
  return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) }
}
