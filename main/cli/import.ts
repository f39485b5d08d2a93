import path from 'node:path'
import type { ImportResult } from '../../core/contract/app.ts'
import type { Json } from '../../core/contract/json.ts'
import { filesUnder } from '../services/importer.ts'
import { type Command, EXIT, parseOptions, usageError } from './context.ts'
import { reachApp } from './reach.ts'

/** As many at once, so that there is something to tell between. */
const AT_ONCE = 16
/** As many as the contract lets one tell of. */
const MOST_COMPANIONS = 1000

/** `import`: files, folders, archives and addresses into the library, each told of on its own. */
export const importFiles: Command = async (context, args) => {
  const { terminal, cwd } = context
  const { reason, import: said } = terminal.speech.words
  const { positionals } = parseOptions(args, {})
  if (positionals.length === 0) throw usageError(reason.missing, { what: 'FILE' })
  const app = await reachApp(context, { work: false })
  const counts = { imported: 0, failed: 0 }
  const started = performance.now()
  try {
    const sources: ({ url: string } | { path: string })[] = []
    for (const given of positionals)
      if (/^(https?|data):/i.test(given)) sources.push({ url: given })
      else {
        const place = path.resolve(cwd, given)
        const files = await filesUnder(place).catch(() => [place]) // what is not there is told of like the others
        sources.push(...files.map((file) => ({ path: file })))
      }
    const ids = new Set<string>()
    const tell = (result: ImportResult) => {
      if (result.ok) {
        const { id, name, format, nodes, problems, runnable } = result.workflow
        const { forms } = result
        if (!ids.has(id)) counts.imported += 1
        ids.add(id)
        terminal.event('workflow', {
          file: result.name,
          id,
          name,
          format,
          nodes,
          problems,
          runnable,
          ...(forms && { forms }),
        })
        if (terminal.json) return
        if (forms) terminal.say(said.forms, { file: result.name, name, forms: forms.join(', ') })
        else terminal.say(said.one, { file: result.name, name, nodes, problems })
        return
      }
      counts.failed += 1
      const { code, message, remedy, facts } = result.failure
      terminal.event('failed', { file: result.name, code, message, remedy, facts: facts as Json })
      const words = terminal.speech.failure(result.failure)
      terminal.note(`${words.message} ${words.remedy}`)
    }
    const ask = async (some: typeof sources) => {
      const cameWith = [...ids].slice(-MOST_COMPANIONS)
      return (await app.client.call('workflow.importMany', { sources: some, cameWith })).results
    }
    const alone: ImportResult[] = []
    for (let at = 0; at < sources.length; at += AT_ONCE) {
      for (const result of await ask(sources.slice(at, at + AT_ONCE))) {
        // the workflow a form is for may still come
        if (result.ok || !result.failure.code.startsWith('panel.')) tell(result)
        else alone.push(result)
      }
      const done = Math.min(at + AT_ONCE, sources.length)
      const minutes = (performance.now() - started) / 60_000
      const perMinute = done / minutes
      const secondsLeft = ((sources.length - done) / perMinute) * 60
      if (sources.length > AT_ONCE)
        terminal.progress({ done, total: sources.length, partial: 0, perMinute, secondsLeft })
    }
    const ofName = (name: string) => sources.filter((source) => 'path' in source && path.basename(source.path) === name)
    for (const name of new Set(alone.map((result) => result.name))) {
      const again = ofName(name)
      // from within an archive, or an address: it was with what it came with already
      if (again.length === 0) alone.filter((result) => result.name === name).forEach(tell)
      else for (const result of await ask(again)) tell(result)
    }
    terminal.endProgress()
    if (!terminal.json) terminal.say(said.done, counts)
    const ok = counts.failed === 0
    terminal.event('done', { ok, ...counts })
    return ok ? EXIT.ok : counts.imported > 0 ? EXIT.someFailed : EXIT.usage
  } finally {
    await app.close()
  }
}
