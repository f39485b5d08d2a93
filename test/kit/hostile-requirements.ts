import type { LeftOutReason, NodeClash } from '../../core/contract/custom-node.ts'

export interface Hostile {
  readonly name: string
  /** Of the custom node's folder, beside its code. */
  readonly files: Record<string, string | Uint8Array>
  /** What is named: package and why. */
  readonly clashes?: readonly (readonly [string, NodeClash['because']])[]
  readonly leftOut?: readonly LeftOutReason[]
  /** What it may still add. */
  readonly adds?: readonly string[]
  /** It is agreed that packages are built. */
  readonly builds?: boolean
  /** The plan is good, and carrying it out is not. */
  readonly fails?: string
}
const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')
const project = (code: string) => ({
  'requirements.txt': 'evil @ https://127.0.0.1:9/evil-1.0.tar.gz\n',
  'setup.py': code,
})

/** What requirements do to people's ComfyUIs, or could. No address in them answers. */
export const hostileRequirements: readonly Hostile[] = [
  { name: 'a PyTorch for the processor', files: { 'requirements.txt': 'torch==2.4.0\n' }, clashes: [['torch', 'gpu']] },
  {
    name: 'a package that needs another PyTorch',
    files: { 'requirements.txt': 'wants-old-torch\n' },
    clashes: [['wants-old-torch', 'gpu']],
  },
  {
    name: 'PyTorch from an address',
    files: { 'requirements.txt': 'torch @ https://127.0.0.1:9/torch-2.4.0-py3-none-any.whl\n' },
    clashes: [['torch', 'gpu']],
  },
  { name: 'an older NumPy', files: { 'requirements.txt': 'numpy<2\n' }, clashes: [['numpy', 'clash']] },
  {
    name: 'a package that needs an older NumPy',
    files: { 'requirements.txt': 'harmless\nwants-old-numpy\n' },
    clashes: [['wants-old-numpy', 'clash']],
    adds: ['harmless'],
  },
  {
    name: 'git over ssh',
    files: { 'requirements.txt': 'git+ssh://git@127.0.0.1/a/b.git\nharmless\n' },
    leftOut: ['not-https'],
    adds: ['harmless'],
  },
  {
    name: 'a package that nobody has',
    files: { 'requirements.txt': 'surely-not-a-package\n' },
    clashes: [['surely-not-a-package', 'missing']],
  },
  {
    name: 'two lines that cannot be together',
    files: { 'requirements.txt': 'harmless>=2\nneeds-harmless-one\n' },
    clashes: [['needs-harmless-one', 'clash']],
    adds: ['harmless'],
  },
  {
    name: 'indexes of its own',
    files: {
      'requirements.txt':
        '--index-url https://127.0.0.1:9/simple\n--extra-index-url https://127.0.0.1:9/simple\n-f https://127.0.0.1:9/\n--trusted-host 127.0.0.1\nharmless\n',
    },
    leftOut: ['option', 'option', 'option', 'option'],
    adds: ['harmless'],
  },
  {
    name: 'an index after a package',
    files: { 'requirements.txt': 'harmless --index-url https://127.0.0.1:9/simple\n' },
    leftOut: ['option'],
    adds: ['harmless'],
  },
  {
    name: 'itself, editable, and other paths',
    files: { 'requirements.txt': '-e .\n.\n./sub\n../other\n/etc\nfile:///etc\n', 'setup.py': 'raise SystemExit(1)' },
    leftOut: ['editable', 'editable', 'editable', 'editable', 'editable', 'editable'],
  },
  {
    name: 'files outside its folder',
    files: { 'requirements.txt': '-r /etc/passwd\n-r ../../secrets.txt\n-r https://127.0.0.1:9/r.txt\n' },
    leftOut: ['outside', 'outside', 'outside'],
  },
  {
    name: 'a list that names itself',
    files: { 'requirements.txt': '-r more.txt\nharmless\n', 'more.txt': '-r requirements.txt\nharmless\n' },
    adds: ['harmless'],
  },
  {
    name: 'a wheel from an address that does not answer',
    files: { 'requirements.txt': 'https://127.0.0.1:9/evil-1.0-py3-none-any.whl\n' },
    clashes: [['evil', 'missing']],
  },
  {
    name: 'markers of other systems',
    files: {
      'requirements.txt':
        'torch==2.4.0 ; sys_platform == "nowhere"\nnumpy<2 ; python_version < "3"\nharmless ; python_version >= "3"\n',
    },
    adds: ['harmless'],
  },
  {
    name: 'a mark at its beginning and Windows’ line ends',
    files: { 'requirements.txt': '\ufeffharmless\r\nnumpy<2\r\n' },
    clashes: [['numpy', 'clash']],
    adds: ['harmless'],
  },
  {
    name: 'UTF-16',
    files: { 'requirements.txt': utf16('harmless\r\nnumpy<2\r\n') },
    clashes: [['numpy', 'clash']],
    adds: ['harmless'],
  },
  {
    name: 'no text at all',
    files: { 'requirements.txt': Buffer.from([0, 1, 2, 3, 0, 255, 254]) },
    leftOut: ['unreadable'],
  },
  {
    name: 'a hash of something else',
    files: { 'requirements.txt': `harmless==1.0 \\\n  --hash=sha256:${'0'.repeat(64)}\n` },
    adds: ['harmless'],
    fails: 'nodes.resolve-failed',
  },
  {
    name: 'pip and uv themselves',
    files: { 'requirements.txt': 'pip>=99\nuv==99.0\nharmless\n' },
    leftOut: ['tool', 'tool'],
    adds: ['harmless'],
  },
  {
    name: 'older pages of ComfyUI',
    files: { 'requirements.txt': 'comfyui-frontend-package==1.20.0\ncomfyui\nharmless\n' },
    leftOut: ['core', 'core'],
    adds: ['harmless'],
  },
  {
    name: 'other builds of OpenCV',
    files: { 'requirements.txt': 'opencv-python\nopencv-contrib-python\n' },
    leftOut: ['same'],
    clashes: [['opencv-contrib-python', 'clash']],
  },
  {
    name: 'what the environment holds',
    files: { 'requirements.txt': 'harmless @ https://127.0.0.1:9/$' + '{HOME}.whl\n' },
    leftOut: ['unreadable'],
  },
  {
    name: 'a source from an address that does not answer',
    files: project('raise SystemExit(1)'),
    clashes: [['evil', 'missing']],
  },
  {
    name: '300 packages',
    files: { 'requirements.txt': `${Array.from({ length: 300 }, (_, at) => `harmless>=0.${at}`).join('\n')}\n` },
    adds: ['harmless'],
  },
]
