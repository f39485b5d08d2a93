import type { Values } from '../../contract/batch.ts'
import type { Prompt } from '../../contract/comfyui.ts'
import { itemFor, itemsOf, type Panel } from '../../contract/panel.ts'
import type { PublishedWorkflow } from '../../contract/release.ts'
import { chooseTexts, withOverrides } from '../batch/materialise.ts'
import { type PanelFault, panelValues } from './panel.ts'

/** What one without a form of its own is filled in with. */
export const formOf = ({ name, panel, parameters }: Omit<PublishedWorkflow, 'prompt' | 'id'>): Panel =>
  panel ?? { title: name, params: parameters.filter(({ shown }) => shown).map((parameter) => itemFor(parameter)) }

/**
 * The prompt of a form that was filled in. `given`: by `NODE.INPUT`, or by what the form calls the field; only what is on
 * the form can be given. `chance` decides between the choices in its texts, as ComfyUI’s page does by chance.
 */
export function fillPublished(
  workflow: Omit<PublishedWorkflow, 'id'>,
  given: Values,
  chance: number,
): { prompt: Prompt; faults: PanelFault[]; unknown: string[]; fields: string[] } {
  const form = formOf(workflow)
  const fields = new Map<string, string>()
  for (const { item, key, hidden } of itemsOf(form.params)) {
    if (hidden || key === null) continue
    if (item.title && !fields.has(item.title)) fields.set(item.title, key)
    fields.set(key, key)
  }
  const unknown = Object.keys(given).filter((name) => !fields.has(name))
  const byKey = Object.fromEntries(Object.entries(given).map(([name, value]) => [fields.get(name) ?? name, value]))
  const { values, faults } = panelValues(form, byKey, workflow.parameters)
  const prompt = withOverrides(workflow.prompt, values, workflow.parameters)
  return {
    prompt: withOverrides(prompt, chooseTexts(prompt, workflow.parameters, chance, 0), []),
    faults,
    unknown,
    fields: [...fields.keys()],
  }
}
