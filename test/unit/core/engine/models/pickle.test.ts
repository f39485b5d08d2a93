import { buffer } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { ZipFile } from 'yazl'
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
