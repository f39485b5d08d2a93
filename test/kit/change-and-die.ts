// Updates a custom node, and kills itself at a point: DATA WHEELS POINT.
import { NodeConsent } from '../../core/contract/custom-node.ts'
import { carryOutNodes, planNodes } from '../../core/engine/custom-nodes/change.ts'
import { installedSite, nodesTools } from './nodes-kit.ts'

const [data, wheels, point] = process.argv.slice(2)
const tools = nodesTools(data!, {
  findLinks: wheels!,
  point: (name) => {
    if (name === point) process.kill(process.pid, 'SIGKILL')
  },
})
const site = installedSite(data!)
const plan = await planNodes(site, tools, [{ is: 'update', folder: 'pack', from: null }])
await carryOutNodes(site, tools, plan.id, NodeConsent.parse({}))
