// One step of the snapshot benchmark, as a program of its own: `keep TREE STORE` or `restore STORE TO`.
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { Keeper } from '../../core/engine/snapshot/keep.ts'
import { restoreTree } from '../../core/engine/snapshot/restore.ts'
import { ObjectStore } from '../../core/engine/snapshot/store.ts'

const [step, from = '', to = ''] = process.argv.slice(2)
const threads = availableParallelism()
if (step === 'keep') {
  const store = await ObjectStore.open(to)
  const keeper = await Keeper.open(store, threads)
  const { tree } = await keeper.keep(from)
  await keeper.finish()
  writeFileSync(path.join(to, 'latest'), tree)
} else {
  const store = await ObjectStore.open(from)
  await restoreTree(store, readFileSync(path.join(from, 'latest'), 'utf8'), to, { threads })
}
