import { type ByteSource, begins, bytesSource, viewOf } from '../metadata/source.ts'
import { textOf } from '../metadata/text.ts'
import { readZip } from '../metadata/zip.ts'

/**
 * What a pickle would load. `clean`: only what tensors are made of. `unknown`: classes nobody here knows. `unsafe`: it
 * names what runs programs, or could not be read to its end; what cannot be read is not clean.
 */
export interface PickleVerdict {
  readonly is: 'clean' | 'unknown' | 'unsafe'
  /** What made it so: `module.name`. */
  readonly found: string[]
  readonly reason: string | null
  /** It ends before it should: damaged rather than made to deceive. */
  readonly truncated: boolean
  /** Texts in it, which name its tensors. */
  readonly strings: string[]
  /** Types of its numbers, as safetensors calls them. */
  readonly storages: string[]
  /** No reader gets further than to an opcode that there is none of, with nothing loaded until then. */
  readonly isNone: boolean
}

const MOST_STRINGS = 20_000
const MOST_OPCODES = 20_000_000
const LONGEST_LINE = 65_536
const LARGEST_PIECE = 256 * 1024 * 1024

/** Everything that tensors, and the lists and numbers around them, are made of. */
const harmless: readonly RegExp[] = [
  /^collections\.(OrderedDict|defaultdict|Counter)$/,
  /^(__builtin__|builtins)\.(set|frozenset|list|dict|tuple|int|long|float|complex|bytearray|bytes|str|unicode|bool|object|slice|range|xrange)$/,
  /^torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state|device_tensor_from_numpy)$/,
  /^torch\._tensor\._rebuild_from_type_v2$/,
  /^torch\.(Float|Half|BFloat16|Double|Int|Long|Short|Char|Byte|Bool|ComplexFloat|ComplexDouble|Untyped)Storage$/,
  /^torch\.storage\.(UntypedStorage|TypedStorage)$/,
  /^torch\.(Tensor|Size|device|nn\.parameter\.Parameter)$/,
  /^torch\.(float|bfloat|int|uint|complex)\d+(_e\d+m\d+(fn|fnuz)?)?$/,
  /^torch\.(float|double|half|int|long|short|bool)$/,
  /^numpy\.(_?core)\.multiarray\.(_reconstruct|scalar)$/,
  /^numpy\.(dtype|ndarray|dtypes\.\w+|core\.numeric\._frombuffer)$/,
  /^_codecs\.encode$/,
  /^argparse\.Namespace$/,
  /^pathlib\.(Pure)?(Posix|Windows)?Path$/,
]
/** Modules whose mere mention is enough. */
const dangerous =
  /^(os|nt|posix|ntpath|posixpath|subprocess|sys|socket|shutil|runpy|importlib|webbrowser|commands|pty|platform|ctypes|multiprocessing|threading|asyncio|http|urllib|urllib2|requests|httpx|ftplib|smtplib|telnetlib|paramiko|pip|pickle|_pickle|cPickle|dill|cloudpickle|marshal|code|codeop|inspect|types|operator|functools|timeit|bdb|pdb|trace|cProfile|profile|site|sysconfig|signal|tempfile|zipimport|pkgutil|imp|builtins|__builtin__|__main__|aiohttp|winreg|msvcrt|nturl2path)$/
const dangerousName =
  /^(eval|exec|execfile|compile|open|getattr|setattr|delattr|__import__|__globals__|__builtins__|__getattribute__|__reduce__|__subclasses__|globals|locals|vars|input|breakpoint|apply|system|popen|spawn\w*|exec[lv]p?e?|run|call|check_output|Popen|load_source|hub)$/

function judge(module: string, name: string): PickleVerdict['is'] {
  const whole = `${module}.${name}`
  if (harmless.some((pattern) => pattern.test(whole))) return 'clean'
  if (dangerous.test(module.split('.', 1)[0]!)) return 'unsafe'
  // a dotted name walks from what looks harmless to what is not
  if (
    whole
      .split('.')
      .slice(1)
      .some((part) => dangerousName.test(part) || /^(os|subprocess|sys|posix|nt)$/.test(part))
  )
    return 'unsafe'
  return 'unknown'
}

const storageTypes: Readonly<Record<string, string>> = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
}

class Broken extends Error {
  readonly ended: boolean
  readonly noOpcode: boolean
  constructor(reason: string, { ended = false, noOpcode = false } = {}) {
    super(reason)
    this.ended = ended
    this.noOpcode = noOpcode
  }
}

/** Looks through a pickle, or every pickle of an archive, without running any of it. */
export function scanPickle(source: ByteSource, name: string): PickleVerdict {
  const strings = new Set<string>()
  const storages = new Set<string>()
  const unknown = new Set<string>()
  const unsafe = new Set<string>()
  let loads = 0
  const seen: Seen = {
    text: (text) => {
      if (strings.size < MOST_STRINGS && text.length < 400) strings.add(text)
    },
    global(module, what) {
      loads += 1
      const storage = module === 'torch' ? storageTypes[what] : undefined
      if (storage) storages.add(storage)
      const verdict = judge(module, what)
      if (verdict === 'unsafe') unsafe.add(`${module}.${what}`)
      else if (verdict === 'unknown') unknown.add(`${module}.${what}`)
    },
  }
  let reason: string | null = null
  let truncated = false
  let isNone = false
  try {
    const head = source.read(0, 512)
    if (begins(head, 'PK\x03\x04') || begins(head, 'PK\x05\x06')) scanArchive(source, name, seen)
    else if (begins(head, '7z\xbc\xaf')) throw new Broken('it is a 7-Zip archive')
    else if (isTar(head)) throw new Broken('it is an archive of an older PyTorch')
    else scanStream(source, seen)
  } catch (cause) {
    reason = cause instanceof Error ? cause.message : String(cause)
    truncated = cause instanceof Broken ? cause.ended : /ends (before|inside)/.test(reason)
    isNone = cause instanceof Broken && cause.noOpcode && loads === 0
  }
  const is = unsafe.size > 0 || reason !== null ? 'unsafe' : unknown.size > 0 ? 'unknown' : 'clean'
  const found = [...unsafe, ...unknown]
  return {
    is,
    found: reason === null || unsafe.size > 0 ? found : [],
    reason,
    truncated,
    strings: [...strings],
    storages: [...storages],
    isNone,
  }
}

/** As Python's tarfile knows one: by the sum of its head, also where no `ustar` stands in it. PyTorch looks for these first. */
function isTar(head: Uint8Array): boolean {
  if (head.length < 512) return false
  if (begins(head, 'ustar', 257)) return true
  const field = head.subarray(148, 156)
  const digits = /^[ \0]*([0-7]+)[ \0]*/.exec(Buffer.from(field).toString('latin1'))?.[1]
  const said =
    field[0] === 0x80 || field[0] === 0xff
      ? Number(viewOf(field).getBigUint64(0) & 0x7fffffffffffffn)
      : digits === undefined
        ? Number.NaN
        : Number.parseInt(digits, 8)
  let [unsigned, signed] = [0, 0]
  for (const [at, byte] of head.entries()) {
    const counts = at >= 148 && at < 156 ? 0x20 : byte
    unsigned += counts
    signed += counts > 127 ? counts - 256 : counts
  }
  return said === unsigned || said === signed
}

interface Seen {
  text(text: string): void
  global(module: string, name: string): void
}

/** Numbers lie in `data/`, one entry each; whatever else there is may be read as a pickle. Names are PyTorch's: bytes. */
function scanArchive(source: ByteSource, name: string, seen: Seen) {
  let any = false
  for (const entry of readZip(name, source, { exact: true })) {
    const at = entry.rawName
    if (at.endsWith('/') || /(^|\/)(data|tensors|constants)\/\d+$/.test(at)) continue
    // this alone makes PyTorch take it for a program
    if (/(^|\/)(code\/.*\.py|constants\.pkl)$/i.test(at)) seen.global('torch.jit', 'ScriptModule')
    const inside = entry.open()
    const isPickle = /\.pkl$/i.test(at) || inside.read(0, 1)[0] === 0x80
    if (!isPickle) continue
    any ||= /(^|\/)(data|archive)\.pkl$/.test(at)
    const end = scanOne(inside, 0, seen)
    if (end.at < inside.sizeBytes) throw new Broken(`${entry.name} goes on after its end`)
  }
  if (!any) throw new Broken('there is no data.pkl in it')
}

/** PyTorch's older way: five pickles, of which the first is this number, and then the numbers themselves. */
const OLD_TORCH = '6cfc9c46f9206aa85019'
const OLD_PICKLES = 5

function scanStream(source: ByteSource, seen: Seen) {
  const first = scanOne(source, 0, seen)
  let at = first.at
  if (first.long !== OLD_TORCH) {
    if (at < source.sizeBytes) throw new Broken('it goes on after its end')
    return
  }
  for (let pickle = 1; pickle < OLD_PICKLES; pickle++) at = scanOne(source, at, seen).at
}

// What lies on the stack: a text, or something else. A mark ends what a later opcode takes.
const MARK = Symbol('mark')
const OTHER = Symbol('other')
type Item = string | typeof OTHER | typeof MARK

/** One pickle from `at` to its STOP, opcode by opcode as Python's pickletools names them. */
function scanOne(source: ByteSource, from: number, seen: Seen): { at: number; long: string | null } {
  const PIECE = 1 << 16
  let piece: Uint8Array = new Uint8Array()
  let pieceAt = from
  let at = from
  let long: string | null = null
  const take = (length: number): Uint8Array => {
    if (!(length >= 0 && length <= LARGEST_PIECE)) throw new Broken('a part of it is too long')
    if (at + length > source.sizeBytes) throw new Broken('it ends inside its pickle', { ended: true })
    if (at < pieceAt || at + length > pieceAt + piece.length) {
      pieceAt = at
      piece = source.read(at, Math.max(length, PIECE))
      if (piece.length < length) throw new Broken('it ends inside its pickle', { ended: true })
    }
    at += length
    return piece.subarray(at - length - pieceAt, at - pieceAt)
  }
  const u8 = () => take(1)[0]!
  const u16 = () => viewOf(take(2)).getUint16(0, true)
  const u32 = () => viewOf(take(4)).getUint32(0, true)
  const u64 = () => Number(viewOf(take(8)).getBigUint64(0, true))
  const skip = (length: number) => {
    if (!(length >= 0) || at + length > source.sizeBytes) throw new Broken('it ends inside its pickle', { ended: true })
    at += length
  }
  const line = () => {
    const bytes: number[] = []
    for (let byte = u8(); byte !== 0x0a; byte = u8()) {
      bytes.push(byte)
      if (bytes.length > LONGEST_LINE) throw new Broken('a line of it is too long')
    }
    return textOf(Uint8Array.from(bytes))
  }

  const stack: Item[] = []
  const memo = new Map<number, Item>()
  const push = (item: Item = OTHER) => {
    stack.push(item)
    if (stack.length > 10_000_000) throw new Broken('it is nested without end')
  }
  const pop = (): Item => {
    const item = stack.pop()
    if (item === undefined || item === MARK) throw new Broken('it takes what is not there')
    return item
  }
  const popMark = () => {
    for (let item = stack.pop(); item !== MARK; item = stack.pop())
      if (item === undefined) throw new Broken('it takes what is not there')
  }
  const top = (): Item => {
    const item = stack.at(-1)
    if (item === undefined || item === MARK) throw new Broken('it takes what is not there')
    return item
  }
  const text = (bytes: Uint8Array) => {
    const read = textOf(bytes)
    seen.text(read)
    push(read)
  }
  /** Python's int() takes more, and would find another place. */
  const place = () => {
    const said = line()
    if (!/^\d{1,10}$/.test(said)) throw new Broken('it keeps things where nobody writes')
    return Number(said)
  }
  const recall = (key: number) => {
    const item = memo.get(key)
    if (item === undefined) throw new Broken('it recalls what it never kept')
    push(item)
  }

  for (let count = 0; count < MOST_OPCODES; count++) {
    const opcode = String.fromCharCode(u8())
    switch (opcode) {
      case '.': // STOP
        pop()
        return { at, long }
      case '\x80': // PROTO
        if (u8() > 5) throw new Broken('it is of a newer protocol')
        break
      case '\x95': // FRAME
        skip(8)
        break
      case '(':
        stack.push(MARK)
        break
      case '0': // POP, also of a mark
        if (stack.pop() === undefined) throw new Broken('it takes what is not there')
        break
      case '1': // POP_MARK
        popMark()
        break
      case '2': // DUP
        push(top())
        break
      // numbers and the like
      case 'N':
      case '\x88':
      case '\x89':
        push()
        break
      case 'I':
      case 'L':
      case 'F':
        line()
        push()
        break
      case 'K':
        skip(1)
        push()
        break
      case 'M':
        skip(2)
        push()
        break
      case 'J':
        skip(4)
        push()
        break
      case 'G':
        skip(8)
        push()
        break
      case '\x8a': {
        // LONG1
        const bytes = take(u8())
        long ??= Buffer.from(bytes).toString('hex')
        push()
        break
      }
      case '\x8b': // LONG4
        skip(u32())
        push()
        break
      // texts
      case 'S': // STRING, quoted
      case 'V': // UNICODE
        {
          const read = line().replace(/^(['"])(.*)\1$/s, '$2')
          seen.text(read)
          push(read)
        }
        break
      case 'T': // BINSTRING
        text(take(u32()))
        break
      case 'U': // SHORT_BINSTRING
        text(take(u8()))
        break
      case 'X': // BINUNICODE
        text(take(u32()))
        break
      case '\x8c': // SHORT_BINUNICODE
        text(take(u8()))
        break
      case '\x8d': // BINUNICODE8
        text(take(u64()))
        break
      case 'B': // BINBYTES
        skip(u32())
        push()
        break
      case 'C': // SHORT_BINBYTES
        skip(u8())
        push()
        break
      case '\x8e': // BINBYTES8
      case '\x96': // BYTEARRAY8
        skip(u64())
        push()
        break
      case '\x97': // NEXT_BUFFER
        push()
        break
      case '\x98': // READONLY_BUFFER
        top()
        break
      // lists, dicts, tuples, sets
      case ']':
      case '}':
      case ')':
      case '\x8f':
        push()
        break
      case 'l':
      case 'd':
      case 't':
      case '\x91':
        popMark()
        push()
        break
      case 'a': // APPEND
        pop()
        top()
        break
      case 's': // SETITEM
        pop()
        pop()
        top()
        break
      case 'e': // APPENDS
      case 'u': // SETITEMS
      case '\x90': // ADDITEMS
        popMark()
        top()
        break
      case '\x85': // TUPLE1
        pop()
        push()
        break
      case '\x86': // TUPLE2
        pop()
        pop()
        push()
        break
      case '\x87': // TUPLE3
        pop()
        pop()
        pop()
        push()
        break
      // memo
      case 'p':
        memo.set(place(), top())
        break
      case 'q':
        memo.set(u8(), top())
        break
      case 'r':
        memo.set(u32(), top())
        break
      case '\x94':
        memo.set(memo.size, top())
        break
      case 'g':
        recall(place())
        break
      case 'h':
        recall(u8())
        break
      case 'j':
        recall(u32())
        break
      // what is loaded, and what is done with it
      case 'c': // GLOBAL
        seen.global(line(), line())
        push()
        break
      case '\x93': {
        // STACK_GLOBAL
        const name = pop()
        const module = pop()
        if (typeof name !== 'string' || typeof module !== 'string') throw new Broken('it hides what it loads')
        seen.global(module, name)
        push()
        break
      }
      case 'i': // INST
        seen.global(line(), line())
        popMark()
        push()
        break
      case 'o': // OBJ
        popMark()
        push()
        break
      case 'R': // REDUCE
      case '\x81': // NEWOBJ
        pop()
        pop()
        push()
        break
      case '\x92': // NEWOBJ_EX
        pop()
        pop()
        pop()
        push()
        break
      case 'b': // BUILD
        pop()
        top()
        break
      case 'P': // PERSID
        line()
        push()
        break
      case 'Q': // BINPERSID
        pop()
        push()
        break
      case '\x82':
      case '\x83':
      case '\x84': // EXT1, EXT2, EXT4
        u16()
        throw new Broken('it loads by a number that only the other side knows')
      default:
        throw new Broken('it is no pickle, or a damaged one', { noOpcode: true })
    }
  }
  throw new Broken('it never ends')
}

/** For bytes that are at hand. */
export const scanPickleBytes = (bytes: Uint8Array, name = 'data.pkl') => scanPickle(bytesSource(bytes), name)
