import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { AppError } from '../../contract/errors.ts'
import { tryJson } from '../../contract/json.ts'
import { Manifest, SealedManifest } from '../../contract/snapshot.ts'
import { writeWhole } from '../write-whole.ts'
import { sha256 } from './pack.ts'
import { canonical } from './tree.ts'

const LARGEST_BYTES = 64 << 20

/** A new pair for signing, base64 (PKCS8, SPKI). */
export function newSigningKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64')
}

/** The manifest with its id, signed when there is a key. Pure but for the key. */
export function seal(manifest: Manifest, signingKey: string | null): SealedManifest {
  const id = sha256(canonical(Manifest.parse(manifest)))
  if (signingKey === null) return { id, manifest, signature: null, publicKey: null }
  const key = createPrivateKey({ key: Buffer.from(signingKey, 'base64'), format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).toString('base64')
  return { id, manifest, signature: sign(null, Buffer.from(id, 'hex'), key).toString('base64'), publicKey }
}

/**
 * `trusted`: only what this key signed is taken.
 * @throws AppError 'snapshot.damaged' | 'snapshot.untrusted'
 */
export function readSealed(text: string, trusted: string | null = null): SealedManifest {
  const parsed = text.length > LARGEST_BYTES ? null : SealedManifest.safeParse(tryJson(text))
  if (!parsed?.success) throw new AppError('snapshot.damaged', { reason: 'its description cannot be read' })
  const sealed = parsed.data
  if (sha256(canonical(sealed.manifest)) !== sealed.id)
    throw new AppError('snapshot.damaged', { reason: 'its description is not what its id says' })
  const { id, signature, publicKey } = sealed
  if (trusted !== null && publicKey !== trusted) throw new AppError('snapshot.untrusted', { id: id.slice(0, 12) })
  if (signature !== null && publicKey !== null) {
    const key = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' })
    if (!verify(null, Buffer.from(id, 'hex'), key, Buffer.from(signature, 'base64')))
      throw new AppError('snapshot.untrusted', { id: id.slice(0, 12) })
  } else if (trusted !== null) throw new AppError('snapshot.untrusted', { id: id.slice(0, 12) })
  return sealed
}

/** Written last of all, and never over another that can be read: from here on the snapshot is there. */
export async function writeManifest(dir: string, sealed: SealedManifest): Promise<void> {
  const file = path.join(dir, `${sealed.id}.json`)
  try {
    if (readSealed(await readFile(file, 'utf8')).id === sealed.id) return // the same, then: its name is its content
  } catch {
    // there is none, or it is damaged
  }
  await mkdir(dir, { recursive: true })
  await writeWhole(file, canonical(sealed))
}

/** The newest first; and those that cannot be read, with the reason. */
export async function readSnapshots(
  dir: string,
): Promise<{ manifests: SealedManifest[]; unreadable: { id: string; reason: string }[] }> {
  const names = (await readdir(dir).catch(() => [] as string[])).filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
  const manifests: SealedManifest[] = []
  const unreadable: { id: string; reason: string }[] = []
  await Promise.all(
    names.map(async (name) => {
      try {
        manifests.push(readSealed(await readFile(path.join(dir, name), 'utf8')))
      } catch (cause) {
        unreadable.push({ id: name.slice(0, 64), reason: (cause as Error).message })
      }
    }),
  )
  manifests.sort((a, b) => (a.manifest.createdAt < b.manifest.createdAt ? 1 : -1))
  return { manifests, unreadable }
}

export const readManifests = async (dir: string) => (await readSnapshots(dir)).manifests
