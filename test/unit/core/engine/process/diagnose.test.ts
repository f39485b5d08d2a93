import { readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { toFailure } from '../../../../../core/contract/errors.ts'
import { diagnose, type Ended } from '../../../../../core/engine/process/diagnose.ts'
import { stopwatch } from '../../../../kit/stopwatch.ts'

const logs = path.resolve(import.meta.dirname, '../../../../fixtures/engine-logs')
const recorded = (name: string) => readFileSync(path.join(logs, `${name}.txt`), 'utf8').split('\n')

function causeOf(lines: readonly string[], more: Partial<Ended> = {}) {
  const ended: Ended = { lines, exitCode: 1, signal: null, phase: 'devices', wasReady: false, port: 8188, ...more }
  const { failure, mayPass } = diagnose(ended)
  const { code, facts, message, remedy } = toFailure(failure)
  expect(message + remedy).not.toMatch(/\{\w+\}/)
  return { code, facts, mayPass }
}

test.each<[log: string, exitCode: number, phase: Ended['phase'], code: string, facts: object]>([
  ['0.33.0-torch-without-cuda', 1, 'devices', 'engine.torch-without-cuda', {}],
  ['0.33.0-missing-module', 1, 'launching', 'engine.missing-module', { module: 'sqlalchemy' }],
  ['0.33.0-bad-flag', 2, 'launching', 'engine.bad-flag', { flags: '--no-such-flag' }],
  ['0.33.0-port-taken', 1, 'listening', 'engine.port-taken', { port: 8392, holder: '' }],
  ['0.3.64-port-taken', 1, 'listening', 'engine.port-taken', { port: 8393, holder: '' }],
  ['0.33.0-node-exits', 3, 'nodes', 'engine.nodes-ended-it', { exitCode: 3 }],
  [
    '0.33.0-node-crashes',
    139,
    'nodes',
    'engine.custom-node-broken',
    { folder: 'segv', reason: 'Fatal Python error: Segmentation fault' },
  ],
  ['0.33.0-no-main', 2, 'launching', 'engine.missing-file', { file: '/home/me/gone/main.py' }],
  ['0.3.64-newer-packages', 1, 'nodes', 'engine.frontend-missing', {}],
  ['0.3.64-no-folder', 1, 'preparing', 'engine.missing-file', { file: '/proc/nope/custom_nodes' }],
])('%s, recorded, is understood', (log, exitCode, phase, code, facts) => {
  expect(causeOf(recorded(log), { exitCode, phase })).toEqual({ code, facts, mayPass: code === 'engine.port-taken' })
})

const traceback = (exception: string, file = '/c/ComfyUI/execution.py') => [
  'Traceback (most recent call last):',
  '  File "/c/ComfyUI/main.py", line 135, in <module>',
  '    import execution',
  `  File "${file}", line 12, in <module>`,
  ...exception.split('\n'),
]
const tooOld =
  'RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver.'

test.each<[text: string, code: string, mayPass: boolean]>([
  [tooOld, 'engine.driver-too-old', false],
  [
    'RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver',
    'engine.no-gpu',
    false,
  ],
  ['RuntimeError: No CUDA GPUs are available', 'engine.no-gpu', false],
  [
    'torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device',
    'engine.gpu-unsupported',
    false,
  ],
  [
    'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.78 GiB',
    'engine.out-of-gpu-memory',
    true,
  ],
  ['torch.cuda.OutOfMemoryError: Allocation on device', 'engine.out-of-gpu-memory', true],
  [
    "RuntimeError: [enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 10737418240 bytes. Error code 12 (Cannot allocate memory)",
    'engine.out-of-memory',
    true,
  ],
  [
    'OSError: [WinError 1455] The paging file is too small for this operation to complete',
    'engine.out-of-memory',
    true,
  ],
  ['MemoryError', 'engine.out-of-memory', true],
  ["OSError: [Errno 28] No space left on device: '/c/ComfyUI/user/default'", 'engine.disk-full', false],
  ['sqlite3.OperationalError: database or disk is full', 'engine.disk-full', false],
  ['RuntimeError: CUDA error: an illegal memory access was encountered', 'engine.cuda-failed', true],
  [
    'RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted; cudaErrorCompatNotSupportedOnDevice',
    'engine.cuda-failed',
    true,
  ],
  [
    'ImportError: libGL.so.1: cannot open shared object file: No such file or directory',
    'engine.missing-library',
    false,
  ],
  [
    'OSError: [WinError 126] The specified module could not be found. Error loading "C:\\ComfyUI\\venv\\Lib\\site-packages\\torch\\lib\\c10.dll" or one of its dependencies.',
    'engine.missing-library',
    false,
  ],
  ["TypeError: unsupported operand type(s) for |: 'type' and 'type'", 'engine.wrong-python', false],
  ["ImportError: cannot import name 'StrEnum' from 'enum' (/usr/lib/python3.10/enum.py)", 'engine.wrong-python', false],
  ["PermissionError: [Errno 13] Permission denied: '/c/ComfyUI/user'", 'engine.denied', false],
  ["PermissionError: [WinError 5] Access is denied: 'C:\\\\ComfyUI\\\\temp'", 'engine.denied', false],
  [
    "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8188): address already in use",
    'engine.port-taken',
    true,
  ],
  [
    "OSError: [Errno 10048] error while attempting to bind on address ('127.0.0.1', 8188): only one usage of each socket address",
    'engine.port-taken',
    true,
  ],
  ['ValueError: what nobody foresaw', 'engine.ended', true],
])('%s', (text, code, mayPass) => {
  expect(causeOf(traceback(text))).toMatchObject({ code, mayPass })
})

test('a file of ComfyUI that is no Python is named with its line', () => {
  const lines = traceback('    def x(:\n          ^\nSyntaxError: invalid syntax', '/c/ComfyUI/nodes.py')
  expect(causeOf(lines)).toEqual({
    code: 'engine.syntax-error',
    facts: { file: '/c/ComfyUI/nodes.py', line: 12, reason: 'invalid syntax' },
    mayPass: false,
  })
})

test('a list of model folders that cannot be read is named with its line, and the reason', () => {
  const frame = (file: string, line: number, name: string) => `  File "${file}", line ${line}, in ${name}`
  const through = [
    'Traceback (most recent call last):',
    frame('/c/ComfyUI/main.py', 171, '<module>'),
    frame('/c/ComfyUI/utils/extra_config.py', 8, 'load_extra_path_config'),
  ]
  // as PyYAML 6.0.2 and ComfyUI 0.33.0 say it
  const scanner = [
    ...through,
    frame('/venv/lib/yaml/scanner.py', 258, 'fetch_more_tokens'),
    'yaml.scanner.ScannerError: while scanning for the next token',
    "found character '\\t' that cannot start any token",
    '  in "/c/ComfyUI/extra_model_paths.yaml", line 2, column 1',
  ]
  const code = 'engine.bad-model-paths'
  expect(causeOf(scanner)).toEqual({
    code,
    facts: {
      file: '/c/ComfyUI/extra_model_paths.yaml',
      reason: 'yaml.scanner.ScannerError: while scanning for the next token (line 2)',
    },
    mayPass: false,
  })
  const empty = [...through, '    for c in config:', "TypeError: 'NoneType' object is not iterable"]
  expect(causeOf(empty)).toMatchObject({
    code,
    facts: { file: 'extra_model_paths.yaml', reason: "TypeError: 'NoneType' object is not iterable" },
  })
})

test('a custom node whose code raised is named by its folder, on Windows too', () => {
  const lines = traceback('RuntimeError: no', 'C:\\Users\\我\\ComfyUI\\custom_nodes\\Impact Pack\\impact\\core.py')
  expect(causeOf(lines, { phase: 'nodes' })).toEqual({
    code: 'engine.custom-node-broken',
    facts: { folder: 'Impact Pack', reason: 'RuntimeError: no' },
    mayPass: false,
  })
})

test('what the machine lacks is the cause, even where a custom node met it first', () => {
  const lines = traceback('OSError: [Errno 28] No space left on device', '/c/ComfyUI/custom_nodes/pack/__init__.py')
  expect(causeOf(lines).code).toBe('engine.disk-full')
})

test('errors that ComfyUI caught are not the cause of its end', () => {
  const lines = [
    'got prompt',
    '!!! Exception during processing !!! Allocation on device',
    ...traceback('torch.OutOfMemoryError: Allocation on device'),
    '',
    'Got an OOM, unloading all loaded models.',
    'Prompt executed in 1.00 seconds',
    'got prompt',
  ]
  expect(causeOf(lines, { exitCode: null, signal: 'SIGSEGV', phase: 'listening', wasReady: true })).toEqual({
    code: 'engine.crashed',
    facts: { how: 'SIGSEGV' },
    mayPass: true,
  })
})

test.each<[Partial<Ended>, string, object]>([
  [{ exitCode: null, signal: 'SIGKILL', memoryRanOut: true }, 'engine.out-of-memory', {}],
  [{ exitCode: null, signal: 'SIGKILL' }, 'engine.killed', { how: 'SIGKILL' }],
  [{ exitCode: 137 }, 'engine.killed', { how: 'SIGKILL' }],
  [{ exitCode: null, signal: 'SIGTERM' }, 'engine.killed', { how: 'SIGTERM' }],
  [{ exitCode: 139 }, 'engine.crashed', { how: 'SIGSEGV' }],
  [{ exitCode: 0xc0000005 }, 'engine.crashed', { how: '0xC0000005' }],
  [{ exitCode: 0 }, 'engine.ended', { exitCode: 0, reason: 'Prompt executed in 1.00 seconds' }],
  [
    { exitCode: 255, phase: 'launching', wasReady: false },
    'engine.ended',
    { exitCode: 255, reason: 'Prompt executed in 1.00 seconds' },
  ],
])('an end without a word (%j)', (more, code, facts) => {
  const lines = ['got prompt', 'Prompt executed in 1.00 seconds', '']
  expect(causeOf(lines, { phase: 'listening', wasReady: true, ...more })).toMatchObject({ code, facts, mayPass: true })
})

test('no text makes the diagnosis fail or run away', () => {
  const hostile = [
    'Traceback (most recent call last):'.repeat(2000),
    `PermissionError ${"'".repeat(5000)}`,
    '\x00'.repeat(9000),
  ]
  const took = stopwatch()
  for (const line of hostile) expect(causeOf(Array(200).fill(line)).code).toMatch(/^engine\./)
  expect(took()).toBeLessThan(2_000)
})
