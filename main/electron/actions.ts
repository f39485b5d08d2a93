import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { BrowserWindow, dialog, nativeImage, shell, type WebContents } from 'electron'
import { AppError, type Failure, fill, toFailure } from '../../core/contract/errors.ts'
import type { DesktopActions } from '../api/serve-ipc.ts'
import { isHarmless, WORKFLOW_EXTENSIONS } from './addresses.ts'
import { openOutside } from './guards.ts'
import type { HostLink } from './host-link.ts'
import { explain, type Language, wordsIn } from './words.ts'

const MiB = 1024 * 1024
const IMPORT_LIMIT_BYTES = 64 * MiB

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
    filters: [{ name: words.filter, extensions: WORKFLOW_EXTENSIONS }],
    properties: ['openFile', 'multiSelections'],
  })
  return canceled ? [] : filePaths
}

/** Brings files into the library one after the other, saying which could not be; the id of the last that could. */
export async function importFiles(
  files: readonly string[],
  { link, language }: ActionDeps,
): Promise<string | undefined> {
  let last: string | undefined
  for (const file of files) {
    const name = path.basename(file)
    try {
      const { size } = await stat(file)
      if (size > IMPORT_LIMIT_BYTES)
        throw new AppError('import.too-large', {
          name,
          sizeMiB: Math.ceil(size / MiB),
          limitMiB: IMPORT_LIMIT_BYTES / MiB,
        })
      const { id } = await link.call('workflow.import', { name, base64: await readFile(file, 'base64') })
      last = id
    } catch (cause) {
      await sayFailed(fill(wordsIn(language()).import.failed, { name }), toFailure(cause), language())
    }
  }
  return last
}

async function sayFailed(message: string, failure: Failure, language: Language) {
  const { message: what, remedy } = explain(failure, language)
  await dialog.showMessageBox({ type: 'error', message, detail: `${what}\n${remedy}` })
}
