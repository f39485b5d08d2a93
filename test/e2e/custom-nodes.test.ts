import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { writeJson } from '../../core/contract/json.ts'
import { comfyFolderForNodes } from '../kit/comfy-folder.ts'
import { hasGit } from '../kit/has-git.ts'
import { nodeCode, nodeRepository } from '../kit/nodes-kit.ts'
import { serve } from '../kit/serve.ts'
import { tempDir } from '../kit/temp-dir.ts'
import { barriers, go, openScreens } from './kit.ts'

test.skipIf(!hasGit || process.platform === 'win32')(
  'a custom node that a workflow lacks is found, its plan and script are seen, and it is installed, looked at and switched off',
  async () => {
    const root = tempDir()
    const repository = path.join(root, 'flipper')
    nodeRepository(repository, { '__init__.py': nodeCode(['Flip']), 'install.py': 'print("installing")\n' })
    // the shapes of ComfyUI-Manager's lists as of August 2026
    const answers: Record<string, unknown> = {
      '/map.json': { [repository]: [['Flip'], { title_aux: 'Flipper' }] },
      '/list.json': {
        custom_nodes: [
          {
            reference: 'https://example.org/o/flipper',
            files: [repository],
            title: 'Flipper',
            author: 'Ada',
            description: 'Turns pictures.',
          },
        ],
      },
      '/stats.json': { 'https://example.org/o/flipper': { stars: 1234, last_update: '2026-01-02 03:04:05' } },
    }
    const { url } = await serve((request, response) => {
      const answer = answers[request.url ?? '']
      response.writeHead(answer ? 200 : 404).end(writeJson(answer ?? {}))
    })
    const dataDir = path.join(root, 'data')
    mkdirSync(dataDir)
    const at = (name: string) => ({ url: `${url}/${name}.json`, licence: 'GPL-3.0' })
    const lists = { 'extension-node-map': at('map'), 'custom-node-list': at('list'), 'github-stats': at('stats') }
    writeFileSync(path.join(dataDir, 'mirrors.json'), writeJson({ lists, sources: { 'node-registry': url } }))
    const { page, client } = await openScreens({}, { dataDir })

    await go(page, '/custom-nodes')
    await page.getByRole('heading', { name: 'No ComfyUI of this machine' }).waitFor()
    const comfy = comfyFolderForNodes({ dir: path.join(root, 'ComfyUI') })
    mkdirSync(path.join(comfy.dir, 'custom_nodes'))
    await client.call('engine.adopt', { ...comfy, name: 'mine', settings: { autoStart: false } })
    await page.getByRole('heading', { name: 'No custom nodes yet' }).waitFor()

    const workflow = { nodes: [{ id: 1, type: 'Flip', widgets_values: [] }], links: [] }
    const base64 = Buffer.from(writeJson(workflow)).toString('base64')
    await client.call('workflow.import', { name: 'turned.json', base64 })
    await page.getByRole('button', { name: 'Find', exact: true }).first().click()
    await page.getByRole('searchbox', { name: 'Name, author, description or class' }).fill('turns')
    await page.getByRole('listitem', { name: 'Flipper' }).getByText('1,234').waitFor()
    expect(await barriers(page)).toEqual([])
    await page.getByRole('button', { name: /^Missing \(\d+\)$/ }).click()
    await page.getByText('turned').waitFor()
    await page.getByRole('button', { name: 'Install 1 package' }).click()

    const plan = page.getByRole('dialog', { name: 'What would change' })
    await plan.getByText('flipper/install.py', { exact: true }).click()
    await plan.getByText('print("installing")').waitFor()
    expect(await barriers(page)).toEqual([])
    await plan.getByRole('button', { name: 'Carry out' }).click()
    const done = page.getByRole('dialog', { name: 'Custom nodes changed' })
    await done.getByText('flipper/install.py was not run, since it was not allowed.').waitFor()
    await done.getByRole('button', { name: 'Close' }).last().click()

    await page.getByRole('button', { name: 'Installed', exact: true }).click()
    const row = page.getByRole('listitem', { name: 'flipper' })
    await row.getByRole('button', { name: 'Actions for flipper' }).click()
    await page.getByRole('menuitem', { name: 'Switch off' }).click()
    await plan.getByRole('button', { name: 'Carry out' }).click()
    await done.getByRole('button', { name: 'Close' }).last().click()
    await row.getByText('Off', { exact: true }).waitFor()
    expect((await client.call('nodes.list', {})).rows).toMatchObject([{ folder: 'flipper', enabled: false }])
  },
)
