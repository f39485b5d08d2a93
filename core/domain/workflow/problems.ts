import { type Facts, fill } from '../../contract/errors.ts'
import type { Problem } from '../../contract/workflow.ts'

/** What a workflow and its forms may have to tell. Other languages: resources/locales, under the same codes. */
const sentences = {
  'metadata-unreadable': 'The picture’s {key} could not be read: {reason}',
  'not-a-node': 'The entry {key} is not a node.',
  'unused-parts': 'Also in the file, and not used: {keys}.',
  'entry-unreadable': 'The entry {entry} of the file could not be read: {reason}',
  'more-workflows': 'The file holds {count} workflows; this is the first. The others: {titles}.',
  'panel-alone': 'Only forms are in the file; the workflow they turn is in a file of its own.',
  'blueprint-inputs': '{title} is a blueprint: these inputs have to be connected: {inputs}.',
  'blueprint-outputs': '{title} is a blueprint: nothing saves or shows what it gives: {outputs}.',
  'foreign-noise': '{program} makes its noise in another way: pictures will resemble the original, not repeat it.',
  'foreign-weights': '{program} balances weighted words in another way; weights may act stronger or weaker here.',
  'foreign-schedule': 'Words that change while sampling were brought over as spans of time, which only comes near.',
  'foreign-combined': 'Prompts joined by AND were brought over as a combination, which only comes near.',
  'foreign-alternation': 'Words that alternate step by step cannot be brought over; the first of each is used.',
  'foreign-tags': 'These tags of {program} mean nothing to ComfyUI and were left out: {tags}.',
  'foreign-sampler': 'ComfyUI has no sampler like {sampler}; {used} comes nearest.',
  'foreign-files-guessed': '{program} names models without their file endings; looked for are: {files}.',
  'foreign-no-model': '{title}: {program} does not say which file it used; choose one.',
  'foreign-needs-image': '{program} started from a picture that is not in the file: choose it.',
  'foreign-part-missing': '{part} of {program} is not brought over ({details}).',
  'foreign-settings-unused': 'Settings of {program} without a place here: {settings}.',
  'missing-node': 'The node class {classType} is not known here.',
  'missing-model': '{file} is not in the {folder} folder.',
  'missing-input-file': '{worker} has no input file {file} for “{name}”; choose a file, or put it there.',
  'values-left-over': '{title} has {actual} stored values where {expected} are known; left over: {values}.',
  'values-misaligned': 'The stored values of {title} do not fit its inputs: {inputs}.',
  'values-unknown': '{title} stores {actual} values, and nothing says which inputs they are for.',
  'values-defaulted': '{title} stores no value for {inputs}; the defaults are used.',
  'browser-widget': '{title} takes {input} from the browser while it queues, which only ComfyUI’s own page can do.',
  'dangling-link': 'The link into {input} of {title} comes from a node that is not there.',
  'link-from-muted': '{input} of {title} is fed by a muted node, so it is left unconnected.',
  'link-through-bypassed':
    '{input} of {title} is fed by a bypassed node that has no matching input, so it is left unconnected.',
  'link-cycle': 'The connection into {input} of {title} runs in a circle.',
  cycle: 'These nodes feed each other in a circle: {nodes}.',
  'no-set-node': '{input} of {title} asks for {name}, which no Set node offers.',
  'undeclared-input': '{title} has an input {input} that its definition does not list; it is passed on as it is.',
  'unknown-input': '{title} has no input {input} any more, so its connection is lost.',
  'primitive-not-a-widget': 'The primitive connected to {input} of {title} has no effect there.',
  'group-node': 'The group node {title} cannot be taken apart: {reason}.',
  'muted-inside': '{title} is muted or bypassed inside a subgraph; ComfyUI runs what is in it all the same.',
  'subgraph-missing': 'The subgraph of {title} is not in the file.',
  'subgraph-recursive': 'The subgraph {title} contains itself.',
  'use-everywhere': '{title} broadcasts to unconnected inputs; its connections were filled in: {inputs}.',
  'use-everywhere-unclear': '{title} broadcasts in a way that cannot be followed: {reason}.',
  'node-unaccounted': '{title} is not in the prompt.',
  'link-unaccounted': 'The connection into {input} of {title} is not in the prompt.',
  'value-unaccounted': 'These stored values of {title} are not in the prompt: {values}.',
  'link-replaced':
    'The connection into {input} of {title} has no effect: the subgraph around it turns the value itself.',
  'bad-link': '{input} of {title} is connected to a node {from} that is not there.',
  'panel.unreadable-item': '{title}: {reason}',
  'panel.no-input': '{title} names no input.',
  'panel.node-missing': '{title} turns node {node}, which is not in the workflow.',
  'panel.input-missing': '{title} turns {input} of {nodeTitle}, which has no such value.',
  'panel.input-linked': '{title} turns {input} of {nodeTitle}, which another node feeds.',
  'no-output': 'Nothing in the workflow saves or shows anything.',
  'comfyui-too-old': '{classTypes}: ComfyUI has this itself from {version} on; update the server, which has {at}.',
  'definitions-cached': '{worker} does not answer; its nodes and models are judged by a copy from {at}.',
} as const

export type ProblemCode = keyof typeof sentences

export function problem(
  kind: Problem['kind'],
  code: ProblemCode,
  facts: Facts,
  at: { node?: string; classType?: string; input?: string } = {},
): Problem {
  return {
    kind,
    code,
    message: fill(sentences[code], facts),
    node: at.node ?? null,
    classType: at.classType ?? null,
    input: at.input ?? null,
    facts,
  }
}

export const problemSentences: Readonly<Record<string, string>> = sentences
