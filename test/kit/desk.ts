import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { ModelNeeded } from '../../core/contract/snapshot.ts'
import { capture } from '../../core/engine/snapshot/capture.ts'
import { FolderDepot } from '../../core/engine/snapshot/depot.ts'
import { seal } from '../../core/engine/snapshot/manifest.ts'
import { carryOutPush, planPush } from '../../core/engine/snapshot/push.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'
import { facts, put, smallComfy } from './small-comfy.ts'

const rehearsal = path.resolve(import.meta.dirname, '../../core/engine/rehearsal/main.ts')
const held = path.resolve(import.meta.dirname, 'held-comfy.ts')
/** Starts as ComfyUI does, with its flags, and then is a rehearsal. */
const PROGRAM = `import os, sys, tiny
def given(flag): return sys.argv[sys.argv.index(flag) + 1]
base = given("--base-directory")
if os.path.exists(os.path.join(base, "custom_nodes", "dies")): sys.exit("ImportError: a node that takes ComfyUI down")
node = ${JSON.stringify(process.execPath)}
os.execv(node, [node, PROGRAM, "--dir", given("--output-directory"), "--port", given("--port"), FLAG, VALUE])
`

/** A desk with a ComfyUI in `root`, whose snapshots are pushed to the store of agents. Nothing is made there while the file `gate` is there. */
export function deskAt(root: string, storeDir: string, { stepMs = 0, gate = null as string | null } = {}) {
  mkdirSync(root, { recursive: true })
  const here = smallComfy(root)
  const command = { env: process.env, log: path.join(root, 'commands.log') }
  const program = gate === null ? [rehearsal, '--step-ms', String(stepMs)] : [held, '--gate', gate]
  const words = program.map((word) => JSON.stringify(word))
  put(
    path.join(here.dir, 'main.py'),
    ['PROGRAM', 'FLAG', 'VALUE'].reduce((code, name, at) => code.replace(name, words[at]!), PROGRAM),
  )
  const objects = ObjectStore.open(path.join(root, 'snapshots'))
  let made = 0
  return {
    here,
    storeDir,
    /** Gives its id. */
    async push({ nodeClasses = ['EmptyImage', 'SaveImage'], models = [] as ModelNeeded[] } = {}) {
      const store = await objects
      const now = () => ++made
      const { manifest } = await capture(store, here, { ...facts, now, nodeClasses, models }, { threads: 1, command })
      const depot = new FolderDepot(storeDir)
      const { sealed } = await carryOutPush(
        store,
        await planPush(store, seal(manifest, null), depot, { models: [] }),
        depot,
      )
      return sealed.id
    },
    async packs() {
      return [...(await new FolderDepot(storeDir).packs()).keys()]
    },
  }
}
