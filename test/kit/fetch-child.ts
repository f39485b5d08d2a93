// Downloads one file and tells how it goes, for tests that end it at any moment: `fetch-child.ts '{"wanted":…,"stallMs":…}'`.
import { Agent } from 'undici'
import { download, type FileWanted } from '../../core/engine/download/download.ts'

const { wanted, stallMs } = JSON.parse(process.argv[2]!) as { wanted: FileWanted; stallMs: number }
let said = ''
try {
  const got = await download(wanted, {
    dispatcher: new Agent(),
    stallMs,
    retryMs: 20,
    onNews: ({ is, doneBytes }) => {
      if (is !== said || is === 'fetching') process.send!({ is, doneBytes })
      said = is
    },
  })
  process.send!({ is: 'done', fetchedBytes: got.fetchedBytes })
} catch (cause) {
  process.send!({ is: 'failed', reason: String(cause) })
}
process.disconnect()
process.exit()
