/** What a parameter's name is made of: a label, a number, and what tells it from others of its kind. */
const parts = /^(.+?)(?: (\d+))?(?: \((.+)\))?(?: (\d+))?$/s

/**
 * A parameter's name in another language, where `words` (resources/locales names.json) has them; a name that someone
 * gave it stays.
 */
export function sayName(name: string, words: Readonly<Record<string, string | undefined>>): string {
  const [, label = '', number, part, last] = parts.exec(name) ?? []
  const said = words[label]
  if (said === undefined) return name
  const one = [said, number].filter(Boolean).join(' ')
  const told = part === undefined ? one : `${one}${words['('] ?? ' ('}${words[part] ?? part}${words[')'] ?? ')'}`
  return last === undefined ? told : `${told} ${last}`
}
