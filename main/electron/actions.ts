import path from 'node:path'
import { BrowserWindow, dialog, nativeImage, shell, type WebContents } from 'electron'
import { AppError, type Failure, fill, toFailure } from '../../core/contract/errors.ts'
import { workflowExtensions } from '../../core/contract/workflow.ts'
import type { DesktopActions } from '../api/serve-ipc.ts'
import { explain, type Language } from '../language.ts'
import { isHarmless } from './addresses.ts'
import { openOutside } from './guards.ts'
import type { HostLink } from './host-link.ts'
import { wordsIn } from './words.ts'

interface ActionDeps {
  readonly link: Pick<HostLink, 'call'>
  readonly language: () => Language
  /** Follows the mouse while files are dragged out. */
  readonly dragIcon: string
}

/** What a page may ask of its window's process. Ids come in; paths stay here. */
export const actionsOf =
  ({ link, language, dragIcon }: ActionDeps) =>
  (page: WebContents): DesktopActions => {
    const locate = async (ids: readonly string[]) => {
      const { files } = await link.call('artifact.locate', { ids: [...ids] })
      if (files.length === 0) throw new AppError('app.not-found', { what: 'The file' })
      return files.map((file) => file.path)
    }
    return {
      'desktop.openArtifact': async ({ id }) => {
        const [file = ''] = await locate([id])
        if (!isHarmless(file)) shell.showItemInFolder(file)
        else {
          const reason = await shell.openPath(file)
          if (reason) throw new AppError('app.internal', { reason })
        }
        return {}
      },
      'desktop.revealArtifact': async ({ id }) => {
        const [file = ''] = await locate([id])
        shell.showItemInFolder(file)
        return {}
      },
      'desktop.startDrag': async ({ ids }) => {
        const files = await locate(ids)
        page.startDrag({ file: files[0] as string, files, icon: nativeImage.createFromPath(dragIcon) })
        return {}
      },
      'desktop.chooseFolder': async ({ from }) => {
        const { canceled, filePaths } = await ask(page, {
          title: wordsIn(language()).folder.choose,
          ...(from ? { defaultPath: from } : {}),
          properties: ['openDirectory', 'createDirectory'],
        })
        return { path: canceled ? null : (filePaths[0] ?? null) }
      },
      'desktop.openExternal': async ({ url }) => ({ opened: await openOutside(url, wordsIn(language())) }),
    }
  }

function ask(page: WebContents, options: Electron.OpenDialogOptions) {
  const owner = BrowserWindow.fromWebContents(page)
  return owner ? dialog.showOpenDialog(owner, options) : dialog.showOpenDialog(options)
}

/** Asks for workflows, and gives their paths. */
export async function chooseWorkflows(language: Language): Promise<string[]> {
  const words = wordsIn(language).import
  const { canceled, filePaths } = await dialog.showOpenDialog({
    title: words.choose,
    filters: [{ name: words.filter, extensions: workflowExtensions }],
    properties: ['openFile', 'multiSelections'],
  })
  return canceled ? [] : filePaths
}

/** Brings files into the library, saying which could not be; the id of the last that could. */
export async function importFiles(
  files: readonly string[],
  { link, language }: ActionDeps,
): Promise<string | undefined> {
  if (files.length === 0) return undefined
  const sources = files.slice(0, 1000).map((file) => ({ path: file }))
  const { results } = await link.call('workflow.importMany', { sources }).catch((cause) => ({
    results: [{ ok: false as const, name: path.basename(files[0]!), failure: toFailure(cause) }],
  }))
  const [fault, ...more] = results.flatMap((result) => (result.ok ? [] : [result]))
  if (fault) {
    const names = [fault, ...more].map(({ name }) => name)
    const shown = names.length > MOST_NAMED ? [...names.slice(0, MOST_NAMED), '…'] : names
    await sayFailed(fill(wordsIn(language()).import.failed, { name: shown.join(', ') }), fault.failure, language())
  }
  return results.flatMap((result) => (result.ok ? [result.workflow.id] : [])).at(-1)
}
const MOST_NAMED = 8

async function sayFailed(message: string, failure: Failure, language: Language) {
  const { message: what, remedy } = explain(failure, language)
  await dialog.showMessageBox({ type: 'error', message, detail: `${what}\n${remedy}` })
}
