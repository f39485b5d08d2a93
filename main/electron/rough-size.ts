import { AppError } from '../../core/contract/errors.ts'

/**
 * Bytes that a value takes, about; stops counting above `limit`.
 * @throws AppError 'app.bad-request' for what JSON has no words for
 */
export function roughSizeOf(value: unknown, limit: number): number {
  let sizeBytes = 0
  const waiting: unknown[] = [value]
  while (waiting.length > 0 && sizeBytes <= limit) {
    const item = waiting.pop()
    sizeBytes += 8
    if (typeof item === 'string') sizeBytes += item.length
    if (typeof item !== 'object' || item === null) continue
    if (Array.isArray(item)) {
      sizeBytes += item.length // many empty places must not be walked for nothing
      if (sizeBytes <= limit) for (const inner of item) waiting.push(inner)
      continue
    }
    if (Object.getPrototypeOf(item) !== Object.prototype)
      throw new AppError('app.bad-request', { reason: `a ${item.constructor?.name ?? 'thing'} is not JSON` })
    for (const [key, inner] of Object.entries(item)) {
      sizeBytes += key.length
      waiting.push(inner)
    }
  }
  return sizeBytes
}
