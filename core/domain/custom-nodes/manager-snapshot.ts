import type { CustomNode, NodeChange } from '../../contract/custom-node.ts'
import { isJsonObject, type Json, type JsonObject } from '../../contract/json.ts'
import { keyOf } from './packs.ts'

/** What ComfyUI-Manager writes into its snapshots folder; switched off packages of the registry are not in it. */
export interface ManagerSnapshot {
  /** The commit of ComfyUI. */
  readonly comfyui: string | null
  readonly git: readonly { url: string; commit: string | null; disabled: boolean }[]
  readonly registry: readonly { id: string; version: string }[]
  readonly files: readonly { name: string; disabled: boolean }[]
  /** `name==version`, or a name, to an address; null: they were not noted. */
  readonly packages: Readonly<Record<string, string>> | null
}

export const isManagerSnapshot = (value: Json): boolean => bodyOf(value) !== null

/** null: it is none. What it holds besides is left out. */
export function readManagerSnapshot(value: Json): ManagerSnapshot | null {
  const body = bodyOf(value)
  if (!body) return null
  const { comfyui, git_custom_nodes, cnr_custom_nodes, file_custom_nodes, pips } = body
  return {
    comfyui: typeof comfyui === 'string' ? comfyui : null,
    git: Object.entries(objectOf(git_custom_nodes)).flatMap(([url, said]) =>
      isJsonObject(said)
        ? [{ url, commit: typeof said.hash === 'string' ? said.hash : null, disabled: said.disabled === true }]
        : [],
    ),
    registry: Object.entries(objectOf(cnr_custom_nodes)).flatMap(([id, version]) =>
      typeof version === 'string' ? [{ id, version }] : [],
    ),
    files: (Array.isArray(file_custom_nodes) ? file_custom_nodes : []).flatMap((said) =>
      isJsonObject(said) && typeof said.filename === 'string'
        ? [{ name: said.filename.replace(/\.disabled$/, ''), disabled: said.disabled === true }]
        : [],
    ),
    packages: isJsonObject(pips)
      ? Object.fromEntries(Object.entries(pips).map(([name, from]) => [name, String(from ?? '')]))
      : null,
  }
}

/** A version of the registry that is to be looked up there, or a change as it is. */
export type SnapshotWish = NodeChange | { is: 'registry'; id: string; version: string; folder: string | null }

export interface SnapshotDifference {
  readonly wishes: readonly SnapshotWish[]
  /** As the snapshot says already. */
  readonly same: number
  /** Single files that are not here: a snapshot holds their names alone. */
  readonly lost: readonly string[]
  /** The commit of ComfyUI it was taken with, where it is another one. */
  readonly comfyui: string | null
}

/** What has to be changed so that the custom nodes are as in a snapshot. What it does not name is switched off, never removed. */
export function differenceFrom(
  snapshot: ManagerSnapshot,
  here: readonly CustomNode[],
  comfyui: string | null,
): SnapshotDifference {
  const wishes: SnapshotWish[] = []
  const lost: string[] = []
  const named = new Set<string>()
  let same = 0
  const turn = (node: CustomNode, enabled: boolean) => {
    if (node.enabled === enabled) return false
    wishes.push({ is: enabled ? 'enable' : 'disable', folder: node.folder })
    return true
  }
  for (const { url, commit, disabled } of snapshot.git) {
    const node = here.find((each) => remoteOf(each) !== null && keyOf(remoteOf(each)!) === keyOf(url))
    const from = { is: 'git', url, ref: commit } as const
    if (node) named.add(node.folder)
    if (!node) {
      if (!disabled) wishes.push({ is: 'add', from, folder: null })
      continue
    }
    const other = commit !== null && commitOf(node) !== commit && !disabled
    if (other) wishes.push({ is: 'update', folder: node.folder, from })
    if (!turn(node, !disabled) && !other) same += 1
  }
  for (const { id, version } of snapshot.registry) {
    const node = here.find(({ source }) => source.is === 'registry' && alike(source.id) === alike(id))
    if (node) named.add(node.folder)
    const other = node?.source.is !== 'registry' || node.source.version !== version
    if (other) wishes.push({ is: 'registry', id, version, folder: node?.folder ?? null })
    if (node && !turn(node, true) && !other) same += 1
  }
  for (const { name, disabled } of snapshot.files) {
    const node = here.find(({ folder }) => folder === name)
    if (node) named.add(node.folder)
    if (!node) {
      if (!disabled) lost.push(name)
    } else if (!turn(node, !disabled)) same += 1
  }
  for (const node of here)
    if (node.enabled && !named.has(node.folder) && !/^comfyui-manager$/i.test(node.folder)) turn(node, false)
  return { wishes, same, lost, comfyui: snapshot.comfyui === comfyui ? null : snapshot.comfyui }
}

/** A snapshot as ComfyUI-Manager restores it. `packages`: name → version, or where it is from. */
export function writeManagerSnapshot(
  here: readonly CustomNode[],
  comfyui: string | null,
  packages: ReadonlyMap<string, { version: string; url: string | null }> | null,
): JsonObject {
  const git = here.flatMap((node): [string, Json][] => {
    const [remote, hash] = [remoteOf(node), commitOf(node)]
    return remote === null || hash === null ? [] : [[remote, { hash, disabled: !node.enabled }]]
  })
  const registry = here.flatMap(({ source, enabled }): [string, Json][] =>
    source.is === 'registry' && enabled ? [[source.id, source.version]] : [],
  )
  const pips = [...(packages ?? [])].map(([name, { version, url }]): [string, Json] =>
    url === null ? [`${name}==${version}`, ''] : [name, url],
  )
  return {
    comfyui,
    git_custom_nodes: Object.fromEntries(git),
    cnr_custom_nodes: Object.fromEntries(registry),
    file_custom_nodes: here
      .filter(({ source }) => source.is === 'file')
      .map(({ folder, enabled }) => ({ filename: folder, disabled: !enabled })),
    pips: packages === null ? null : Object.fromEntries(pips),
  }
}

/** As it calls them: by the time of this machine. */
export function managerSnapshotName(at: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const date = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join('-')
  return `${date}_${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join('-')}_snapshot.json`
}

const remoteOf = ({ source }: CustomNode) => ('remote' in source ? source.remote : null)
const commitOf = ({ source }: CustomNode) => ('commit' in source ? source.commit : null)
const alike = (id: string) => id.toLowerCase().replaceAll('_', '-')
const objectOf = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {})

/** Its YAML exports wrap everything once more. */
function bodyOf(value: Json): JsonObject | null {
  if (!isJsonObject(value)) return null
  const body = isJsonObject(value.custom_nodes) ? value.custom_nodes : value
  return isJsonObject(body.git_custom_nodes) || isJsonObject(body.cnr_custom_nodes) ? body : null
}
