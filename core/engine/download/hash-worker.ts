// The thread that reads what was written, in order, while the rest is still on its way.
import { createHash, type Hash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { crc32 } from 'node:zlib'

export interface HashTask {
  readonly file: string
  readonly blockBytes: number
  /** What blocks were when they were written, as far as is known: 0 where it is not. */
  readonly expected: Uint32Array
}
export type HashOrder =
  /** All bytes before it are on disk. */
  | { is: 'up-to'; bytes: number }
  /** Bytes from there on were written anew. */
  | { is: 'again'; from: number; turn: number }
  | { is: 'digest' }
  | { is: 'close' }
export type HashNews =
  | { is: 'hashed'; bytes: number; turn: number; firstBlock: number; blocks: number[] }
  /** A block is not what it was when it was written; the hash stands before it. */
  | { is: 'damaged'; block: number; turn: number }
  | { is: 'digest'; sha256: string }
  | { is: 'failed'; reason: string; code: string | undefined }

const STEP_BYTES = 8 << 20
const READ_BYTES = 1 << 20
const KEEP_EVERY_BYTES = 64 << 20

const { file, blockBytes, expected } = workerData as HashTask
const port = parentPort!
const tell = (news: HashNews) => port.postMessage(news)
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
const fd = openSync(file, 'r')
/** The hash as it stood at some places, so that what was mended is not read from the start. */
let kept: { at: number; crc: number; hash: Hash }[] = []
let hash = createHash('sha256')
let crc = 0
let at = 0
let ready = 0
let turn = 0
let digestAsked = false
let stepping = false

function step() {
  stepping = false
  const until = Math.min(ready, at + STEP_BYTES)
  const firstBlock = Math.floor(at / blockBytes)
  const blocks: number[] = []
  while (at < until) {
    const blockEnd = (Math.floor(at / blockBytes) + 1) * blockBytes
    const length = readSync(fd, buffer, 0, Math.min(READ_BYTES, until - at, blockEnd - at), at)
    if (length === 0) throw new Error('the file is shorter than what was written')
    const bytes = buffer.subarray(0, length)
    crc = crc32(bytes, crc)
    const block = Math.floor(at / blockBytes)
    if (at + length === blockEnd) {
      if (expected[block] && expected[block] !== crc) {
        expected[block] = 0
        tell({ is: 'hashed', bytes: block * blockBytes, turn, firstBlock, blocks })
        goBackTo(block * blockBytes)
        ready = at
        digestAsked = false
        tell({ is: 'damaged', block, turn })
        return
      }
      blocks.push(crc)
      crc = 0
    }
    hash.update(bytes)
    at += length
    if (at % KEEP_EVERY_BYTES === 0) kept.push({ at, crc, hash: hash.copy() })
  }
  tell({ is: 'hashed', bytes: at, turn, firstBlock, blocks })
  if (at < ready) return soon()
  if (digestAsked) tell({ is: 'digest', sha256: hash.copy().digest('hex') })
  digestAsked = false
}

function goBackTo(from: number) {
  kept = kept.filter((each) => each.at <= from)
  const last = kept.at(-1)
  hash = last ? last.hash.copy() : createHash('sha256')
  crc = last?.crc ?? 0
  at = last?.at ?? 0
}

function soon() {
  if (stepping) return
  stepping = true
  setImmediate(() => {
    try {
      step()
    } catch (cause) {
      const { message, code } = cause as NodeJS.ErrnoException
      tell({ is: 'failed', reason: message, code })
    }
  })
}

port.on('message', (order: HashOrder) => {
  if (order.is === 'close') {
    closeSync(fd)
    port.close()
    return
  }
  if (order.is === 'up-to') ready = Math.max(ready, order.bytes)
  if (order.is === 'digest') digestAsked = true
  if (order.is === 'again') {
    turn = order.turn
    ready = Math.min(ready, order.from)
    expected.fill(0, Math.floor(order.from / blockBytes))
    if (at > order.from) goBackTo(order.from)
  }
  soon()
})
