import { z } from 'zod'

/** What is fetched, by how it is asked for: hubs of models, code as git repositories and as files, Python and its packages, lists. */
export const mirrorKinds = [
  'huggingface',
  'modelscope',
  'civitai',
  'git',
  'github',
  'lists',
  'python-index',
  'torch-index',
  'python-builds',
] as const
export const MirrorKind = z.enum(mirrorKinds)
export type MirrorKind = z.infer<typeof MirrorKind>

/** Hosts that know people by a token. */
export const TokenHost = z.enum(['huggingface', 'modelscope', 'civitai', 'github'])
export type TokenHost = z.infer<typeof TokenHost>

const KnownFile = z.object({
  url: z.url(),
  sha256: z.string().regex(/^[\da-f]{64}$/),
  sizeBytes: z.int().positive().optional(),
})

/** How a place is tried: with a real file whose content is known. */
export const MirrorCheck = z.discriminatedUnion('is', [
  /** The file itself, from the address that stands in for this one. */
  KnownFile.extend({ is: z.literal('file') }),
  /** A page of a Python index, and the file it names. */
  z.object({
    is: z.literal('index'),
    url: z.url(),
    file: z.string(),
    sha256: KnownFile.shape.sha256,
  }),
  /** The beginning of a large file, for the rate: what is right is known from the others. */
  z.object({ is: z.literal('bulk'), url: z.url(), sizeBytes: z.int().positive() }),
  /** What a repository answers when its branches are asked for, which names a commit. */
  z.object({ is: z.literal('git'), url: z.url(), commit: z.string().regex(/^[\da-f]{40}$/) }),
])
export type MirrorCheck = z.infer<typeof MirrorCheck>

/**
 * Another place that has what a host has, or what lies under a path of it: `host/path`. `pattern` holds {path} for another
 * host, {url} for a proxy before it, or the parts of a file in a repository: {owner}, {repo}, {ref}, {file}; {rest} is what
 * follows the path stood in for.
 */
export const Mirror = z.object({
  standsInFor: z.string(),
  pattern: z.string(),
  /** What people call it; else its host. */
  name: z.string().max(100).optional(),
  /** Only for these of the kinds that the host is of. */
  kinds: z.array(MirrorKind).optional(),
  /** Connections at once that its keepers bear. */
  connections: z.int().min(1).max(64).optional(),
  /** Not through the proxy: it serves one country, and would see an address of another. */
  direct: z.boolean().optional(),
  /** For what its content cannot be checked by hash. */
  note: z.string().max(500).optional(),
})
export type Mirror = z.infer<typeof Mirror>

/** What resources/mirrors.json holds, and a person's own `mirrors.json` in the data folder, which goes before it. */
export const Mirrors = z.object({
  /** `formerly`: where it was before it moved, asked last. */
  lists: z
    .record(z.string(), z.object({ url: z.url(), formerly: z.url().optional(), licence: z.string() }))
    .default({}),
  /** Where an installation takes what it needs from, by kind. */
  sources: z.record(z.string(), z.string()).default({}),
  /** Where each kind comes from originally, and how a place that has it is tried. */
  kinds: z
    .partialRecord(
      MirrorKind,
      z.object({ official: z.url(), standsIn: z.array(z.string()), checks: z.array(MirrorCheck) }),
    )
    .default({}),
  /** Hosts that know people by a token: where it may be sent, where it is made, and what says whose it is. */
  accounts: z
    .partialRecord(TokenHost, z.object({ hosts: z.array(z.string()).min(1), page: z.url(), check: z.url().nullable() }))
    .default({}),
  mirrors: z.array(Mirror).default([]),
})
export type Mirrors = z.infer<typeof Mirrors>

/** What was seen when a place was last tried from this network. */
export const Measured = z.object({
  at: z.number(),
  /** Its content was what it should be, or why not. */
  ok: z.boolean(),
  /** `declined`: it sends people to the official place. */
  fault: z.enum(['unreachable', 'refused', 'declined', 'wrong', 'slow']).nullable(),
  reason: z.string().nullable(),
  /** Until the first byte. */
  latencyMs: z.number().nullable(),
  bytesPerSecond: z.number().nullable(),
  ranges: z.boolean().nullable(),
})
export type Measured = z.infer<typeof Measured>

export const MirrorView = z.object({
  /** Its host, which is also how it is named on the command line. */
  id: z.string(),
  name: z.string(),
  pattern: z.string(),
  official: z.boolean(),
  /** It is asked; those that sent something else, or send people away, are not. */
  used: z.boolean(),
  /** The person's own. */
  own: z.boolean(),
  direct: z.boolean(),
  note: z.string().nullable(),
  measured: Measured.nullable(),
  testing: z.boolean(),
  /** Our token for this hub is given to it. */
  hasToken: z.boolean(),
})
export type MirrorView = z.infer<typeof MirrorView>
/** A kind, and its places in the order they are tried now. */
export const MirrorKindView = z.object({
  kind: MirrorKind,
  choice: z.string(),
  places: z.array(MirrorView),
})
export type MirrorKindView = z.infer<typeof MirrorKindView>

export const TokenView = z.object({
  host: TokenHost,
  isSet: z.boolean(),
  /** Whose it is; null: nobody could be asked. */
  account: z.string().nullable(),
  checkedAt: z.number().nullable(),
  /** Where such a token is made. */
  page: z.url(),
  /** Mirrors that are given it, by the person's own wish. */
  given: z.array(z.string()),
})
export type TokenView = z.infer<typeof TokenView>

/** How this machine reaches the internet. */
export const NetworkSettings = z.object({
  proxy: z.enum(['system', 'manual', 'none']).default('system'),
  /** http://host:port or socks5://host:port, without credentials; for `manual`. */
  proxyAddress: z.string().max(500).default(''),
  /** Hosts reached directly, besides this machine. */
  bypass: z.array(z.string().max(253)).max(200).default([]),
  /** A file of certificates to trust as well (PEM). */
  certificates: z.string().max(4000).default(''),
  /** Where nothing was measured: mirrors before the official place, after it, never, or by where the machine seems to be. */
  mirrors: z.enum(['auto', 'first', 'last', 'none']).default('auto'),
  /** By kind: the place to ask first; not said: the best one measured. */
  choices: z.partialRecord(MirrorKind, z.string()).default({}),
  /** `host:mirror` pairs that the person lets have the host's token. */
  tokensTo: z.array(z.string()).default([]),
})
export type NetworkSettings = z.infer<typeof NetworkSettings>
/** Those to change. */
export const NetworkChange = z.object({
  proxy: NetworkSettings.shape.proxy.unwrap().optional(),
  proxyAddress: NetworkSettings.shape.proxyAddress.unwrap().optional(),
  bypass: NetworkSettings.shape.bypass.unwrap().optional(),
  certificates: NetworkSettings.shape.certificates.unwrap().optional(),
  mirrors: NetworkSettings.shape.mirrors.unwrap().optional(),
})
export const ProxyCredentials = z.object({ user: z.string().min(1).max(500), password: z.string().max(500) })
export const NetworkView = z.object({
  settings: NetworkSettings,
  /** What is in use, without credentials; null: none. */
  proxyInUse: z.string().nullable(),
  proxyUser: z.string().nullable(),
  tokens: z.array(TokenView),
})
export type NetworkView = z.infer<typeof NetworkView>
