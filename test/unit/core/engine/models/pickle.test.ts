import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { ZipFile } from 'yazl'
import { bytesSource } from '../../../../../core/engine/metadata/source.ts'
import { readHeader } from '../../../../../core/engine/models/header.ts'
import { scanPickleBytes } from '../../../../../core/engine/models/pickle.ts'
import { aPickle } from '../../../../kit/model-files.ts'

const bytes = (text: string) => Buffer.from(text, 'latin1')
async function zip(files: Record<string, Buffer>) {
  const archive = new ZipFile()
  for (const [name, content] of Object.entries(files)) archive.addBuffer(content, name)
  archive.end()
  return buffer(archive.outputStream as never)
}
/** collections.OrderedDict of a tensor, as torch.save writes one. */
const aTensor = bytes(
  '\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00wq\x02ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storagectorch\nHalfStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.',
)

/** A tar of the kind before `ustar`, that is a pickle of a text as well. `signed`: some count bytes above 127 as below 0. */
function oldTar(signed = false): Buffer {
  const head = Buffer.alloc(512)
  head.write('\x80\x02T\xf8\x01\0\0', 'latin1') // a text that reaches to the end, where STOP is
  head.write('\xff', 20, 'latin1')
  head.write('.', 511)
  head.fill(0x20, 148, 156)
  const sum = head.reduce((all, byte) => all + (signed && byte > 127 ? byte - 256 : byte), 0)
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return head
}

/** Entries as they are, each with another name in the field for Unicode. */
function rawZip(entries: { name: string; called?: string; content: Buffer }[], before = 0): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = before
  for (const { name, called, content } of entries) {
    const raw = Buffer.from(name)
    const sizes = Buffer.alloc(8)
    sizes.writeUInt32LE(content.length, 0)
    sizes.writeUInt32LE(content.length, 4)
    const field = called === undefined ? Buffer.alloc(0) : Buffer.alloc(9 + called.length)
    if (called !== undefined) {
      field.writeUInt16LE(0x7075, 0)
      field.writeUInt16LE(5 + called.length, 2)
      field.write(called, 9)
    }
    const local = Buffer.alloc(30)
    local.write('PK\x03\x04', 'latin1')
    sizes.copy(local, 18)
    local.writeUInt16LE(raw.length, 26)
    const entry = Buffer.alloc(46)
    entry.write('PK\x01\x02', 'latin1')
    sizes.copy(entry, 20)
    entry.writeUInt16LE(raw.length, 28)
    entry.writeUInt16LE(field.length, 30)
    entry.writeUInt32LE(at, 42)
    parts.push(local, raw, content)
    directory.push(entry, raw, field)
    at += 30 + raw.length + content.length
  }
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(Buffer.concat(directory).length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, ...directory, end])
}

/** A whole safetensors file, of which a pickle takes all before the numbers for texts, and the numbers for what to do. */
function safetensorsThatRuns(): Buffer {
  const code = bytes('cos\nsystem\n(X\x02\0\0\0hitR.')
  const begin = '{"__metadata__":{"a":"'
  const end = `"},"w":{"dtype":"U8","shape":[${code.length}],"data_offsets":[0,${code.length}]}}`
  const length = 0x1958 // its first byte is X, which takes `length >> 8` bytes from the fifth on: to the end of `begin`
  let left = length - begin.length
  let said = ''
  const skip = (bytes: number, what = '') => {
    said += `U${String.fromCharCode(bytes - 2)}${' '.repeat(bytes - 2 - what.length)}${what}`
    left -= bytes
  }
  while (left > 2 * 128) skip(128)
  if (left > 128) skip(left - 128)
  skip(128, end)
  const head = Buffer.alloc(8)
  head.writeBigUInt64LE(BigInt(length))
  return Buffer.concat([head, Buffer.from(begin + said), code])
}

test('what tensors are made of is clean, and its names and types are told', async () => {
  expect(scanPickleBytes(aTensor)).toMatchObject({ is: 'clean', storages: ['F16'] })
  const archive = await zip({
    'm/data.pkl': aTensor,
    'm/data/0': bytes('\x80\x02cos\nsystem\n.'),
    'm/version': bytes('3\n'),
  })
  expect(scanPickleBytes(archive, 'm.pt')).toMatchObject({ is: 'clean', found: [] })
})

describe('what could run something is unsafe', () => {
  test.each<[string, Buffer]>([
    ['a call of the system', aPickle('os', 'system')],
    ['a builtin that evaluates', aPickle('builtins', 'eval')],
    ['the system by another name', aPickle('posix', 'popen')],
    ['a dotted way out of what looks harmless', aPickle('torch', 'serialization.os.system')],
    ['a name put together on the stack', bytes('\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x8c\x02hi\x85R.')],
    ['a name recalled from the memo', bytes('\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93)R.')],
    ['an old-style instance', bytes('(S"hi"\nios\nsystem\n.')],
    ['a number from a registry', bytes('\x80\x02\x82\x01.')],
    ['bytes after its end', Buffer.concat([aTensor, bytes('x')])],
    ['a pickle that is cut short', aTensor.subarray(0, -3)],
    ['no pickle at all', bytes('hello')],
    ['an archive of another kind', bytes('7z\xbc\xaf\x27\x1c')],
    ['a name hidden in a computed value', bytes('\x80\x04)\x8c\x06system\x93.')],
  ])('%s', (_, pickle) => {
    expect(scanPickleBytes(pickle).is).toBe('unsafe')
  })

  test.each<[string, Buffer]>([
    // int() of Python reads 1_0 as 10
    [
      'a place in the memo that Python finds elsewhere',
      bytes('\x80\x04\x8c\x02osp10\n0\x8c\x0bcollectionsp9_1\n0\x8c\x0bOrderedDictp11\n0g1_0\ng11\n\x93)R.'),
    ],
    ['a tar without its mark, which PyTorch opens first', oldTar()],
    ['a tar that counts in another way', oldTar(true)],
  ])('%s', (_, pickle) => {
    expect(scanPickleBytes(pickle)).toMatchObject({ is: 'unsafe', isNone: false })
  })

  test('a pickle whose name is another for those who read encodings', () => {
    const hidden = { name: 'm/data.pkl', called: 'm/data/0', content: aPickle('os', 'system') }
    const shown = { name: 'm/x', called: 'm/data.pkl', content: aTensor }
    expect(scanPickleBytes(rawZip([hidden, shown]), 'm.pt')).toMatchObject({ is: 'unsafe', found: ['os.system'] })
  })
  test('a second directory, which is not where the archive says', () => {
    const evil = rawZip([{ name: 'm/data.pkl', content: aPickle('os', 'system') }])
    const good = rawZip([{ name: 'm/data.pkl', content: aTensor }], evil.length)
    const both = Buffer.concat([evil, good])
    expect(scanPickleBytes(both, 'm.pt').is).toBe('clean') // its end says where: at the good one
    both.writeUInt32LE(evil.readUInt32LE(evil.length - 6), both.length - 6)
    expect(scanPickleBytes(both, 'm.pt').is).toBe('unsafe')
  })
  test('a program of TorchScript, by whatever tells PyTorch so', async () => {
    const archive = await zip({ 'm/data.pkl': aTensor, 'm/constants.pkl': bytes('\x80\x02).') })
    expect(scanPickleBytes(archive, 'm.pt')).toMatchObject({ is: 'unknown', found: ['torch.jit.ScriptModule'] })
  })
  test.each([
    ['safetensors', safetensorsThatRuns()],
    ['GGUF', bytes(`GGUF\x03\0\0\0\0cos\nsystem\n(X\x02\0\0\0hitR.`)],
  ])('one that is %s for others as well, where PyTorch loads it', (_, file) => {
    expect(scanPickleBytes(file)).toMatchObject({ is: 'unsafe', found: ['os.system'], isNone: false })
    const other = readHeader(bytesSource(file), 'both.safetensors')
    expect(['safetensors', 'gguf']).toContain(other.format) // for whoever goes by that
    for (const name of ['both.ckpt', 'both.pt', 'both.bin'])
      expect(readHeader(bytesSource(file), name).pickle).toMatchObject({ is: 'unsafe', found: ['os.system'] })
  })

  test('a second pickle beside the one that is loaded', async () => {
    const archive = await zip({ 'm/data.pkl': aTensor, 'm/extra.bin': aPickle('os', 'system') })
    expect(scanPickleBytes(archive, 'm.pt')).toMatchObject({ is: 'unsafe', found: ['os.system'] })
  })
  test('an archive whose directory is broken', async () => {
    const archive = await zip({ 'm/data.pkl': aTensor })
    expect(scanPickleBytes(archive.subarray(0, -10), 'm.pt')).toMatchObject({ is: 'unsafe', truncated: true })
  })
})

test('a class of a framework is unknown, and named', () => {
  expect(scanPickleBytes(aPickle('pytorch_lightning.callbacks', 'ModelCheckpoint'))).toMatchObject({
    is: 'unknown',
    found: ['pytorch_lightning.callbacks.ModelCheckpoint'],
  })
})
