import type { Prompt } from '../../core/contract/comfyui.ts'
import type { Inspection } from '../../core/contract/workflow.ts'
import { foldersOf, onWorkers, type WorkerFiles } from '../../core/domain/workflow/needs.ts'
import { estimateVram } from '../../core/domain/workflow/vram.ts'
import type { NodePacks } from './node-packs.ts'

interface Deps {
  fleet: { filesOf(folders: readonly string[]): Promise<WorkerFiles[]> }
  nodePacks: Pick<NodePacks, 'complete'>
}

/** Adds what only servers and the network can say: where each model is, how large, and who brings the missing classes. */
export async function completeNeeds(
  inspection: Inspection,
  prompt: Prompt,
  { fleet, nodePacks }: Deps,
): Promise<Inspection> {
  const { models, customNodes, definitions } = inspection
  const [workers, packs] = await Promise.all([
    models.length > 0 ? fleet.filesOf(foldersOf(models)) : [],
    nodePacks.complete(customNodes),
  ])
  const there = onWorkers(models, prompt, workers, definitions.from)
  return { ...inspection, ...packs, models: there, vram: estimateVram(there, prompt) }
}
