import type { Manifest, SnapshotChange } from '../../contract/snapshot.ts'

/** What differs from one environment to another, and so has to travel or may change a picture. */
export function compareManifests(before: Manifest, after: Manifest): SnapshotChange[] {
  const changes: SnapshotChange[] = []
  const differ = (what: SnapshotChange['what'], name: string, a: string | null, b: string | null) => {
    if (a === b) return
    changes.push({ what, is: a === null ? 'added' : b === null ? 'removed' : 'changed', name, before: a, after: b })
  }
  const each = (what: SnapshotChange['what'], a: Iterable<[string, string]>, b: Iterable<[string, string]>) => {
    const [from, to] = [new Map(a), new Map(b)]
    for (const name of new Set([...from.keys(), ...to.keys()]))
      differ(what, name, from.get(name) ?? null, to.get(name) ?? null)
  }
  const treeOf = ({ layers }: Manifest, layer: string) =>
    layers.find(({ name }) => name === layer)?.tree.slice(0, 12) ?? ''
  const sourceOf = (manifest: Manifest) =>
    [
      manifest.comfyui.version ?? manifest.comfyui.describe ?? '',
      manifest.comfyui.commit?.slice(0, 12) ?? '',
      treeOf(manifest, 'comfyui'),
    ]
      .filter((part) => part !== '')
      .join(' ')
  differ('comfyui', 'ComfyUI', sourceOf(before), sourceOf(after))
  differ('python', 'Python', before.python.version, after.python.version)
  differ('torch', 'torch', torchOf(before), torchOf(after))
  each('package', before.packages.map(nameAndVersion), after.packages.map(nameAndVersion))
  each('node', before.nodes.map(nodeState), after.nodes.map(nodeState))
  if (!changes.some(({ what }) => what === 'node') && treeOf(before, 'nodes') !== treeOf(after, 'nodes'))
    differ('file', 'custom_nodes', treeOf(before, 'nodes'), treeOf(after, 'nodes'))
  const modelOf = ({ folder, name, sha256 }: Manifest['models'][number]): [string, string] => [
    `${folder}/${name}`,
    sha256.slice(0, 12),
  ]
  each('model', before.models.map(modelOf), after.models.map(modelOf))
  differ('flag', '', before.launch.flags.join(' '), after.launch.flags.join(' '))
  const classes = (manifest: Manifest) => (manifest.nodeClasses ?? []).map((name): [string, string] => [name, name])
  if (before.nodeClasses && after.nodeClasses) each('class', classes(before), classes(after))
  return changes
}

const torchOf = ({ torch }: Manifest) => (torch ? `${torch.version}${torch.cuda ? ` (CUDA ${torch.cuda})` : ''}` : null)
const nameAndVersion = ({ name, version }: { name: string; version: string }): [string, string] => [name, version]
const nodeState = ({ folder, version, commit, changed, untracked }: Manifest['nodes'][number]): [string, string] => {
  const edits = changed.length + untracked.length
  const what = [version, commit?.slice(0, 12), edits > 0 && `${edits} own files`].filter(Boolean)
  return [folder, what.join(', ') || 'present']
}
