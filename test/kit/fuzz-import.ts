import { AppError } from '../../core/contract/errors.ts'
import { readWorkflows } from '../../core/domain/workflow/read.ts'
import { readWorkflowFiles } from '../../core/engine/metadata/read-file.ts'
import { bytesSource } from '../../core/engine/metadata/source.ts'
import { everyContainer, type Texts } from './containers.ts'
import { chanceOf, mutated } from './mutate.ts'
import { stopwatch } from './stopwatch.ts'

const texts: Texts = {
  prompt: '{"1":{"class_type":"EmptyImage","inputs":{"width":64,"text":"猫 ÿ"}}}',
  workflow: '{"nodes":[{"id":1,"type":"EmptyImage"}],"links":[],"version":0.4}',
}

export interface Fuzzed {
  files: number
  workflows: number
  refused: Record<string, number>
  /** Of the processor: others may be busy. */
  slowestMs: number
}

/** Reads `count` damaged files of a container, as an import does. @throws what is no error of ours, with the file */
export function fuzzContainer(kind: string, count: number, seed = 1): Fuzzed {
  const whole = everyContainer[kind]!.make(texts)
  const chance = chanceOf(seed)
  const told: Fuzzed = { files: 0, workflows: 0, refused: {}, slowestMs: 0 }
  for (let made = 0; made < count; made++) {
    const file = mutated(whole, chance)
    const spentMs = stopwatch()
    try {
      for (const found of readWorkflowFiles(`damaged.${everyContainer[kind]!.ext}`, bytesSource(file))) {
        if ('fault' in found) throw found.fault
        told.workflows += readWorkflows(found.name, found.file.texts).length
      }
    } catch (cause) {
      if (!(cause instanceof AppError))
        throw new Error(`file ${made} of ${kind}, seed ${seed}: ${file.length} bytes`, { cause })
      told.refused[cause.code] = (told.refused[cause.code] ?? 0) + 1
    }
    told.slowestMs = Math.max(told.slowestMs, spentMs())
    told.files += 1
  }
  return told
}
