import type { StartupPhase } from '../../contract/engine.ts'
import { AppError, type ErrorCode, type Facts } from '../../contract/errors.ts'
import { plain, readStartupLine } from './startup.ts'

/** How a ComfyUI ended, and what it said last. */
export interface Ended {
  readonly lines: readonly string[]
  readonly exitCode: number | null
  readonly signal: string | null
  readonly phase: StartupPhase
  /** It had answered. */
  readonly wasReady: boolean
  readonly port: number
  /** The system says it ended processes for want of memory meanwhile. */
  readonly memoryRanOut?: boolean
}
export interface Diagnosis {
  readonly failure: AppError
  /** Starting it again as it is may help. */
  readonly mayPass: boolean
}

interface Told {
  /** The text that decides: the traceback nobody caught, or the last lines. */
  readonly text: string
  /** `Type: message` of that traceback. */
  readonly exception: string
  /** Files of its frames, the one that raised it last. */
  readonly files: readonly string[]
}
type Cause = {
  code: ErrorCode
  /** Matched on the exception, else on the text. */
  pattern: RegExp
  facts: (found: RegExpExecArray, told: Told, ended: Ended) => Facts
  mayPass?: boolean
}

const MOST_LINES = 300
const LONGEST_LINE = 600
const LAST_LINES = 60
const LONGEST_REASON = 300
const reason = (_: RegExpExecArray, { exception, text }: Told): Facts => ({
  reason: shorten(exception || text.trim().split('\n').at(-1) || ''),
})
const shorten = (text: string) => (text.length > LONGEST_REASON ? `${text.slice(0, LONGEST_REASON - 1)}…` : text)

/** In order of how certain they are: what the machine lacks comes before whose code met it. */
const machineCauses: Cause[] = [
  { code: 'engine.torch-without-cuda', pattern: /Torch not compiled with CUDA enabled/, facts: () => ({}) },
  {
    code: 'engine.driver-too-old',
    pattern:
      /NVIDIA driver on your system is too old|CUDA driver version is insufficient|driver\/library version mismatch/i,
    facts: reason,
  },
  {
    code: 'engine.no-gpu',
    pattern:
      /Found no NVIDIA driver|No CUDA GPUs are available|No HIP GPUs are available|no CUDA-capable device is detected|invalid device ordinal|No XPU devices are available/i,
    facts: reason,
  },
  {
    code: 'engine.gpu-unsupported',
    pattern:
      /no kernel image is available|is not compatible with the current PyTorch installation|device kernel image is invalid/i,
    facts: reason,
  },
  {
    code: 'engine.out-of-gpu-memory',
    pattern:
      /(?:CUDA|HIP|XPU|MPS backend)(?: error:)? out of memory|OutOfMemoryError|Allocation on device|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED/i,
    facts: reason,
    mayPass: true,
  },
  {
    code: 'engine.out-of-memory',
    pattern:
      /DefaultCPUAllocator|^MemoryError|Cannot allocate memory|WinError 1455|paging file is too small|std::bad_alloc/im,
    facts: () => ({}),
    mayPass: true,
  },
  {
    code: 'engine.disk-full',
    pattern:
      /No space left on device|database or disk is full|WinError 112|Disk quota exceeded|There is not enough space on the disk/i,
    facts: reason,
  },
  {
    code: 'engine.port-taken',
    pattern:
      /Port (\d+) is already in use|(?:Errno (?:98|48|10048)|WinError 10048)[\s\S]*?, (\d+)\)?|address already in use/i,
    facts: ([, a, b], _, { port }) => ({ port: Number(a ?? b ?? port), holder: '' }),
    mayPass: true,
  },
  {
    code: 'engine.database-locked',
    pattern: /Database is locked\. Another ComfyUI|sqlite3\.OperationalError\) database is locked/i,
    facts: () => ({}),
  },
  {
    code: 'engine.cuda-failed',
    pattern:
      /CUDA error: |CUDNN_STATUS_|CUBLAS_STATUS_|cudaError|HIP error: |NVML_ERROR|CUDA driver initialization failed/,
    facts: reason,
    mayPass: true,
  },
]

const programCauses: Cause[] = [
  {
    code: 'engine.bad-model-paths',
    pattern: /\bload_extra_path_config\b/,
    facts(_, { text, exception }) {
      const [, file, line] = /^ *in "([^"]+)", line (\d+)/m.exec(text) ?? []
      const where = line === undefined ? '' : ` (line ${line})`
      return { file: file ?? 'extra_model_paths.yaml', reason: shorten(exception) + where }
    },
  },
  {
    code: 'engine.bad-flag',
    pattern: /error: (?:unrecognized arguments: (.+)|(argument .+|ambiguous option: .+|one of the arguments .+))/,
    facts: ([, unknown, other]) => ({ flags: shorten(unknown ?? other ?? '') }),
  },
  {
    code: 'engine.frontend-missing',
    pattern:
      /comfyui-(?:frontend-package|workflow-templates) is not installed|Error: [^\n]*comfyui_(?:frontend_package|workflow_templates)/,
    facts: () => ({}),
  },
  {
    code: 'engine.missing-library',
    pattern:
      /(\S+\.so(?:\.\d+)*): cannot open shared object|DLL load failed while importing (\w+)|Error loading "?([^"\n]+\.dll)|Library not loaded: (\S+)/,
    facts: (found) => ({ library: found.slice(1).find(Boolean) ?? '' }),
  },
  {
    code: 'engine.wrong-python',
    pattern:
      /unsupported operand type\(s\) for \|: '.*type'|cannot import name '(?:StrEnum|Self|override|NotRequired)' from|requires a different Python|was compiled using .* Python|Python \d\S* is not supported|_ARRAY_API not found|compiled for Python/,
    facts: reason,
  },
  {
    code: 'engine.missing-module',
    pattern: /^(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)/m,
    facts: ([, module]) => ({ module: module! }),
  },
  {
    code: 'engine.syntax-error',
    pattern: /^(?:SyntaxError|IndentationError|TabError): (.*)/m,
    facts: ([, said], { text, files }) => ({
      file: files.at(-1) ?? '?',
      line: Number([.../line (\d+)/g[Symbol.matchAll](text)].at(-1)?.[1] ?? 0),
      reason: shorten(said!.trim()),
    }),
  },
  {
    code: 'engine.denied',
    pattern: /^(?:PermissionError|OSError: \[(?:Errno 13|Errno 30|WinError 5)\])[^'"\n]*(?:['"]([^'"]+)['"])?/m,
    facts: ([, path]) => ({ path: path ?? '?' }),
  },
  {
    code: 'engine.missing-file',
    pattern:
      /can't open file '([^']+)'|FileNotFoundError[^'"\n]*['"]([^'"]+)['"]|NotADirectoryError[^'"\n]*['"]([^'"]+)['"]/,
    facts: (found) => ({ file: found.slice(1).find(Boolean) ?? '?' }),
  },
]

const SEGFAULTS = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP']
const shellSignals: Record<number, string> = {
  132: 'SIGILL',
  134: 'SIGABRT',
  135: 'SIGBUS',
  136: 'SIGFPE',
  137: 'SIGKILL',
  139: 'SIGSEGV',
  143: 'SIGTERM',
}

/** Why a ComfyUI ended that nobody asked to end. */
export function diagnose(ended: Ended): Diagnosis {
  const lines = ended.lines.slice(-MOST_LINES).map((line) => plain(line.slice(0, LONGEST_LINE)))
  const told = whatEndedIt(lines)
  const { exitCode, wasReady, phase } = ended
  const signal = ended.signal ?? (exitCode === null ? null : (shellSignals[exitCode] ?? null))

  const ofMachine = firstOf(machineCauses, told, ended)
  if (ofMachine) return ofMachine
  const folder = folderOf(told.files)
  if (folder !== null) {
    const said = told.exception || /Fatal Python error: .*/.exec(told.text)?.[0] || `exit code ${exitCode}`
    return { failure: new AppError('engine.custom-node-broken', { folder, reason: shorten(said) }), mayPass: wasReady }
  }
  const ofProgram = firstOf(programCauses, told, ended)
  if (ofProgram) return { ...ofProgram, mayPass: wasReady }

  if (signal === 'SIGKILL') {
    if (ended.memoryRanOut) return { failure: new AppError('engine.out-of-memory'), mayPass: true }
    return { failure: new AppError('engine.killed', { how: signal }), mayPass: true }
  }
  const native = exitCode !== null && exitCode >= 0xc0000000 ? `0x${exitCode.toString(16).toUpperCase()}` : null
  if (native !== null || (signal !== null && SEGFAULTS.includes(signal)))
    return { failure: new AppError('engine.crashed', { how: native ?? signal! }), mayPass: true }
  if (signal !== null) return { failure: new AppError('engine.killed', { how: signal }), mayPass: true }
  if (phase === 'nodes' && !wasReady && told.exception === '')
    return { failure: new AppError('engine.nodes-ended-it', { exitCode }), mayPass: false }
  const last = told.exception || lines.findLast((line) => line.trim() !== '')?.trim() || '–'
  return { failure: new AppError('engine.ended', { exitCode, reason: shorten(last) }), mayPass: true }
}

function firstOf(causes: readonly Cause[], told: Told, ended: Ended): Diagnosis | null {
  for (const { code, pattern, facts, mayPass = false } of causes) {
    const found = pattern.exec(told.exception) ?? pattern.exec(told.text)
    if (found) return { failure: new AppError(code, facts(found, told, ended)), mayPass }
  }
  return null
}

const TRACEBACK = /Traceback \(most recent call last\):|^Fatal Python error: /
const FRAME = /^\s*File "([^"]+)", line \d+/
/** Whoever printed it went on: the traceback before was caught. */
const WENT_ON =
  /^(?:\[\w+\] )?(?:Cannot import |Import times|Prompt executed|got prompt|Processing interrupted|Got an OOM)/

/**
 * The last traceback that nothing followed; else the last lines. ComfyUI prints many it caught: one for each custom node
 * that fails to load, one for each prompt that fails.
 */
function whatEndedIt(lines: readonly string[]): Told {
  const at = lines.findLastIndex((line) => TRACEBACK.test(line))
  const after = at < 0 ? [] : lines.slice(at)
  const caught = after.some((line) => WENT_ON.test(line) || (!FRAME.test(line) && readStartupLine(line)?.phase))
  if (at < 0 || caught) {
    const tail = lines.slice(-LAST_LINES).filter((line) => !WENT_ON.test(line))
    const from = caught ? lastCaught(tail) : 0
    return { text: tail.slice(from).join('\n'), exception: '', files: [] }
  }
  // one exception during the handling of another: all of it tells, the last one decides
  const files = after.flatMap((line) => FRAME.exec(line)?.[1] ?? [])
  const exception =
    after.findLast((line) => /^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b/.test(line)) ?? ''
  // a native crash lists the innermost frame first
  const innermostFirst = after[0]!.startsWith('Fatal Python error')
  return { text: after.join('\n'), exception, files: innermostFirst ? files.toReversed() : files }
}

/** Where the last caught traceback of these lines ends. */
function lastCaught(lines: readonly string[]): number {
  const at = lines.findLastIndex((line) => TRACEBACK.test(line))
  if (at < 0) return 0
  const end = lines.findIndex((line, index) => index > at && line.trim() === '')
  return end < 0 ? lines.length : end
}

/** The custom node whose file is nearest to where it broke. */
function folderOf(files: readonly string[]): string | null {
  for (const file of files.toReversed()) {
    const found = /[\\/]custom_nodes[\\/]([^\\/]+)/.exec(file)?.[1]
    if (found) return found
  }
  return null
}
