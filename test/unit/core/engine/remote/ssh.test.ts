import { expect, test } from 'vitest'
import { toFailure } from '../../../../../core/contract/errors.ts'
import {
  forwardFailure,
  readSshAddress,
  type SshTarget,
  sshAddress,
  sshArguments,
  sshByHand,
  sshFailure,
  sshProgram,
} from '../../../../../core/engine/remote/ssh.ts'

const gpu: SshTarget = { host: 'gpu', user: 'me', port: null, keyFile: null, comfyPort: 8188 }

test.each([
  ['ssh://me@gpu', gpu, 'ssh://me@gpu/?comfyui=8188'],
  ['ssh://gpu/', { ...gpu, user: null }, 'ssh://gpu/?comfyui=8188'],
  ['ssh://me@gpu:2222/?comfyui=9000', { ...gpu, port: 2222, comfyPort: 9000 }, 'ssh://me@gpu:2222/?comfyui=9000'],
  ['ssh://[::1]:22/', { ...gpu, host: '::1', user: null, port: 22 }, 'ssh://[::1]:22/?comfyui=8188'],
  [
    'ssh://me@gpu/?comfyui=8188&key=%2Fhome%2F%E6%88%91%2F.ssh%2Fid',
    { ...gpu, keyFile: '/home/我/.ssh/id' },
    'ssh://me@gpu/?comfyui=8188&key=%2Fhome%2F%E6%88%91%2F.ssh%2Fid',
  ],
  [
    'ssh://DOM%5Cme@gpu/?key=C:\\Users\\me\\id',
    { ...gpu, user: 'DOM\\me', keyFile: 'C:\\Users\\me\\id' },
    'ssh://DOM%5Cme@gpu/?comfyui=8188&key=C%3A%5CUsers%5Cme%5Cid',
  ],
])('%s is read, and always written the same way', (typed, target, address) => {
  expect(readSshAddress(typed)).toEqual(target)
  expect(sshAddress(target)).toBe(address)
  expect(readSshAddress(address)).toEqual(target)
})

test.each([
  'ssh:',
  'ssh://',
  'ssh://-oProxyCommand=touch%20x/',
  'ssh://me@-oProxyCommand=x/',
  'ssh://-lroot@gpu/',
  'ssh://me:word@gpu/',
  'ssh://gpu/?comfyui=0',
  'ssh://gpu/?comfyui=99999',
  'ssh://gpu/?key=id_rsa',
  'ssh://gpu/elsewhere',
  'ssh://a%20b@gpu/',
  'ssh://a%3Bb/',
  'ssh://$(x)@gpu/',
  'ssh://%zz@gpu/',
])('%s is no address for ssh', (typed) => {
  expect(() => readSshAddress(typed)).toThrow(expect.objectContaining({ code: 'tunnel.bad-address' }))
})

test('ssh asks nobody, ends when it cannot forward, and shares no connection; host and user come after options', () => {
  const args = sshArguments({ ...gpu, port: 2222, keyFile: '/k' }, 28_188).join(' ')
  for (const option of ['BatchMode=yes', 'ExitOnForwardFailure=yes', 'ServerAliveInterval=10', 'ControlMaster=no'])
    expect(args).toContain(`-o ${option}`)
  expect(args).toMatch(/-i \/k -L 127\.0\.0\.1:28188:127\.0\.0\.1:8188 -p 2222 -l me -- gpu$/)
  expect(args).not.toMatch(/StrictHostKeyChecking|UserKnownHostsFile/) // known hosts are the person's
  expect(sshByHand({ ...gpu, port: 2222, keyFile: '/my keys/k' })).toBe('ssh -i "/my keys/k" -p 2222 -l me gpu exit')
})

test('on Windows the system’s own OpenSSH is tried first', () => {
  expect(sshProgram('win32', { SystemRoot: 'D:\\Win' })).toEqual(['D:\\Win\\System32\\OpenSSH\\ssh.exe', 'ssh.exe'])
  expect(sshProgram('linux', {})).toEqual(['ssh'])
})

test.each([
  [['Host key verification failed.'], 'tunnel.unknown-host'],
  [['@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @', 'Host key verification failed.'], 'tunnel.changed-host'],
  [['me@gpu: Permission denied (publickey,password).'], 'tunnel.key-refused'],
  [['Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures'], 'tunnel.key-refused'],
  [['ssh: Could not resolve hostname gpu: Name or service not known'], 'tunnel.no-host'],
  [['ssh: connect to host gpu port 22: Connection refused'], 'tunnel.closed'],
  [['ssh: connect to host gpu port 22: Connection timed out'], 'tunnel.closed'],
  [['Permissions 0644 for /k are too open.', '@ WARNING: UNPROTECTED PRIVATE KEY FILE! @'], 'tunnel.bad-key'],
  [['bind [127.0.0.1]:28188: Address already in use', 'Could not request local forwarding.'], 'tunnel.port-taken'],
  [
    ['channel 2: open failed: connect failed: Connection refused', 'Timeout, server gpu not responding.'],
    'tunnel.ended',
  ],
  [[], 'tunnel.ended'],
])('%j is %s', (lines, code) => {
  const failure = toFailure(sshFailure(gpu, lines, 255))
  expect(failure.code).toBe(code)
  expect(failure.message + failure.remedy).not.toMatch(/\{\w+\}/)
})

test('a stranger’s key is not taken by us: the command for the person is told', () => {
  expect(toFailure(sshFailure(gpu, ['Host key verification failed.'], 255)).remedy).toContain('ssh -l me gpu exit')
})

test.each([
  ['channel 2: open failed: connect failed: Connection refused', 'tunnel.no-comfyui'],
  ['channel 3: open failed: administratively prohibited: open failed', 'tunnel.forbidden'],
  ['debug1: something', undefined],
])('%s tells of the forward: %s', (line, code) => {
  expect(forwardFailure(gpu, line)?.code).toBe(code)
})

test('a password in an address is not repeated', () => {
  expect(() => readSshAddress('ssh://me:w0rd@gpu/')).toThrow(
    expect.objectContaining({ facts: expect.objectContaining({ url: 'ssh://me@gpu/' }) }),
  )
})
