// Keeps the two outputs of an attempt, and dies at a named point as if the power went.
// keep-and-die.ts DATABASE OUT POINT PROMPT_ID LINKS
import fs from 'node:fs/promises'
import { openDatabase } from '../../main/services/database/open.ts'
import { aMade, aPng, buildArtifacts, FileWorker, markOf } from './artifact-kit.ts'

const [file = '', outDir = '', point, promptId = '', links] = process.argv.slice(2)
if (links === 'no-links') {
  fs.link = () => Promise.reject(Object.assign(new Error('links are not supported'), { code: 'EPERM' }))
}
const worker = new FileWorker()
const { artifacts } = buildArtifacts(openDatabase(file), `${outDir}/../cache`, (reached) => {
  if (reached === point) process.kill(process.pid, 'SIGKILL')
})
const outputs = [
  worker.put(await aPng(markOf(promptId), { shade: 1 }), `${promptId}_00001_.png`),
  worker.put(await aPng(markOf(promptId), { shade: 2 }), `${promptId}_00002_.png`, { index: 1 }),
]
await artifacts.keep(aMade({ outDir, outputs, worker, promptId, pattern: '{batch}/{row}' }))
