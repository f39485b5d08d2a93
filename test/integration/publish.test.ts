import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { AppError, toFailure } from '../../core/contract/errors.ts'
import type { ReleaseAsked, ReleaseState, ReleaseView } from '../../core/contract/release.ts'
import type { SealedManifest, SnapshotView } from '../../core/contract/snapshot.ts'
import { compareFiles } from '../../core/engine/proof.ts'
import { createMake } from '../../main/services/prepare.ts'
import { Publish, type Target } from '../../main/services/publish.ts'
import { startRehearsal } from '../../main/services/workers/rehearsal.ts'
import type { Worker } from '../../main/services/workers/worker.ts'
import { eventually } from '../kit/eventually.ts'
import { asBytes, imagePrompt, libraryKit } from '../kit/library-kit.ts'

const SNAPSHOT = 'a'.repeat(64)
const EARLIER = 'b'.repeat(64)
const view = (id: string) => ({ id, name: 'desk' }) as SnapshotView
const push = {
  ...{ id: SNAPSHOT, where: 'gpu', objects: { missing: 3, all: 40 }, bytes: { missing: 300, all: 9_000 }, packs: 1 },
  models: { count: 1, bytes: 1, missing: 0, missingBytes: 0, fetched: 0 },
}

/** An endpoint in memory: it keeps releases as an agent does, and makes pictures on a rehearsal of its own. */
class FakeEndpoint {
  readonly releases: (ReleaseView & { asked: ReleaseAsked })[] = []
  readonly pushed: { models: string[] }[] = []
  /** What a new release becomes. */
  becomes: ReleaseState = { is: 'ready' }
  isHere = false
  /** Before the request is taken, or after it was carried out and before its answer. */
  fails: Partial<Record<'push' | 'publish' | 'published' | 'promote' | 'release', Error>> = {}
  held: Promise<void> = Promise.resolve()
  readonly worker: Worker

  constructor(worker: Worker) {
    this.worker = worker
  }

  #fail(at: keyof FakeEndpoint['fails']) {
    const fault = this.fails[at]
    delete this.fails[at]
    if (fault) throw fault
  }

  target: Target = {
    isHere: false,
    client: {
      releases: async () => this.releases.toReversed(),
      release: async (version) => {
        this.#fail('release')
        const found = this.releases[version - 1]
        if (!found) throw new AppError('app.not-found', { what: String(version) })
        return found
      },
      publish: async (asked) => {
        this.#fail('publish')
        const version = this.releases.length + 1
        const made = {
          version,
          createdAt: 1,
          seconds: {},
          ...asked,
          models: asked.models.length,
          state: this.becomes,
          asked,
        }
        this.releases.push(made as never)
        this.#fail('published')
        return this.releases.at(-1)!
      },
      promote: async (version) => {
        this.#fail('promote')
        for (const each of this.releases) if (each.state.is === 'live') each.state = { is: 'retired' }
        const now = this.releases[version - 1]!
        now.state = { is: 'live' }
        return now
      },
    },
    worker: () => ({ ...bound(this.worker), close: async () => {} }),
    planPush: async () => push,
    push: async (_, models, { signal, onNews }) => {
      await Promise.race([this.held, aborted(signal)])
      this.#fail('push')
      onNews({ sentBytes: 300, totalBytes: 300 })
      this.pushed.push({ models: models.map(({ name }) => name) })
      return push
    },
  }
}
const aborted = (signal: AbortSignal) =>
  new Promise<never>((_, no) => {
    signal.addEventListener('abort', () => no(signal.reason))
  })
/** A worker's methods, to be changed one by one. */
const bound = (worker: Worker): Worker =>
  Object.assign(Object.create(worker) as Worker, {
    ...Object.fromEntries(
      (['onHealth', 'definitions', 'run', 'follow', 'recover', 'cancel', 'upload', 'hasInput', 'fetch'] as const).map(
        (name) => [name, (worker[name] as (...given: never[]) => unknown).bind(worker)],
      ),
    ),
  })

async function publishKit({ classes = null as string[] | null, models = [] as string[] } = {}) {
  const kit = libraryKit()
  const { library, dataDir, database, clock, inputs } = kit
  const sealed = (id: string) =>
    ({
      id,
      manifest: {
        nodeClasses: classes,
        models: models.map((name) => ({ folder: 'checkpoints', name, size: 1, sha256: 'c'.repeat(64) })),
      },
    }) as SealedManifest
  let ids = 0
  const newId = () => `${String(++ids).padStart(8, '0')}-0000-4000-8000-000000000000`
  const rehearse = async (name: string) => {
    const started = await startRehearsal({ newId, now: Date.now }, { dir: path.join(dataDir, name), stepMs: 0 })
    onTestFinished(() => started.close())
    started.worker.start()
    await eventually(() => expect(started.worker.health.is).toBe('ready'))
    return started.worker
  }
  const [desk, there] = await Promise.all([rehearse('desk'), rehearse('there')])
  const endpoint = new FakeEndpoint(there)
  const secrets = { found: [] as never[] }
  const deps: ConstructorParameters<typeof Publish>[0] = {
    ...{ database, clock, newId, dataDir, library, inputs },
    random: () => 0.5,
    person: () => 'mo',
    snapshots: {
      create: async () => ({ snapshot: view(SNAPSHOT), secrets: secrets.found, left: [], newBytes: 0 }),
      get: async (id) => sealed(id),
      list: async () => [view(SNAPSHOT), view(EARLIER)],
      diff: async (before, after) => [{ what: 'node', is: 'changed', name: 'pack', before, after }],
    },
    make: createMake({ inputs }),
    target(name) {
      if (name !== 'gpu') throw new AppError('endpoint.unknown', { name })
      return { ...endpoint.target, isHere: endpoint.isHere }
    },
    desk: async () => desk,
    compare: (one, other, difference) => compareFiles(one, other, { difference }),
    lookEveryMs: 1,
  }
  const open = () => {
    const publish = new Publish(deps)
    onTestFinished(() => publish.stop())
    return publish
  }
  const { id: workflow } = await library.import('海 报.json', asBytes(sampled))
  const ask = (more: Partial<Parameters<Publish['begin']>[0]> = {}) => ({
    ...{ endpoint: 'gpu', snapshot: SNAPSHOT, workflows: [workflow], note: '', acceptDifferent: false },
    bytesPerSecond: null,
    ...more,
  })
  return { ...kit, deps, desk, endpoint, secrets, open, workflow, ask }
}

/** What a rehearsal sketches from the seed. */
const sampled = {
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sdxl.safetensors' } },
  '2': { class_type: 'CLIPTextEncode', inputs: { text: 'a lighthouse', clip: ['1', 1] } },
  '3': { class_type: 'EmptyLatentImage', inputs: { width: 128, height: 96, batch_size: 1 } },
  '4': {
    class_type: 'KSampler',
    inputs: {
      ...{ model: ['1', 0], positive: ['2', 0], negative: ['2', 0], latent_image: ['3', 0], seed: -1, steps: 2 },
      ...{ cfg: 7, sampler_name: 'euler', scheduler: 'normal', denoise: 1 },
    },
  },
  '5': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['1', 2] } },
  '6': { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 'poster' } },
}
const withModel = { models: ['SDXL.safetensors', 'unused.safetensors'] }

test('a snapshot is pushed with the models its workflows name, released, proven and promoted', async () => {
  const { open, ask, endpoint, workflow } = await publishKit(withModel)
  endpoint.isHere = true
  const publish = open()
  const { id } = await publish.begin(ask({ note: 'spring' }))
  const done = await publish.settled(id)
  expect(done).toMatchObject({
    state: { is: 'done' },
    version: 1,
    note: 'spring',
    workflows: [{ id: workflow, name: '海 报' }],
    sent: { bytes: { missing: 300 } },
    proof: { demands: 'identical', verdict: 'identical', pictures: [{ workflow: '海 报', node: '6', ssim: 1 }] },
    consent: null,
  })
  expect(Object.keys(done.seconds)).toEqual(['push', 'release', 'prepare', 'prove', 'promote'])
  expect(endpoint.pushed).toEqual([{ models: ['SDXL.safetensors'] }])
  const [{ asked, state }] = endpoint.releases as [(typeof endpoint.releases)[0]]
  expect(state).toEqual({ is: 'live' })
  expect(asked.workflows).toMatchObject([{ id: expect.stringMatching(/^w-/), name: '海 报' }])
  expect(await publish.picture(id, 0, 'desk')).toMatchObject({ mediaType: 'image/png' })
  expect(await publish.picture(id, 0, 'difference')).toBeNull()
})

test('cut off in any step it goes on there after a restart, and makes one release', async () => {
  for (const step of ['push', 'publish', 'published', 'release', 'promote'] as const) {
    const { open, ask, endpoint } = await publishKit(withModel)
    const cut = new AppError('worker.unreachable', { url: 'gpu', reason: 'cut' })
    const first = open()
    endpoint.fails[step] = cut
    const { id } = await first.begin(ask())
    const failed = await first.settled(id)
    if (step === 'release')
      expect(failed.state.is).toBe('done') // it looks again
    else expect(failed.state).toMatchObject({ is: 'failed', failure: { code: 'worker.unreachable' } })
    await first.stop()
    const next = open()
    await next.start()
    next.resume(id)
    expect(await next.settled(id), step).toMatchObject({ state: { is: 'done' }, version: 1 })
    expect(endpoint.releases.map(({ state }) => state.is)).toEqual(['live'])
  }
})

test('ended while it runs it is still running, and goes on by itself at the next start', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  const { promise, resolve } = Promise.withResolvers<void>()
  endpoint.held = promise
  const first = open()
  const { id } = await first.begin(ask())
  await expect(first.begin(ask())).rejects.toMatchObject({ code: 'publish.busy' })
  await first.stop()
  expect(first.get(id).state).toMatchObject({ is: 'running', step: 'push' })
  resolve()
  const next = open()
  await next.start()
  expect(await next.settled(id)).toMatchObject({ state: { is: 'done' } })
})

test('stopped by a person it waits, and goes on when told', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  const { promise, resolve } = Promise.withResolvers<void>()
  endpoint.held = promise
  const publish = open()
  const { id } = await publish.begin(ask())
  expect(await publish.cancel(id)).toMatchObject({ state: { is: 'stopped', step: 'push' } })
  resolve()
  publish.resume(id)
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'done' } })
})

test('what the snapshot lacks is refused before anything travels, each by its name', async () => {
  const { open, ask, endpoint } = await publishKit({
    classes: ['KSampler', 'SaveImage', 'VAEDecode', 'CLIPTextEncode'],
  })
  const publish = open()
  const { refusals } = await publish.plan({ endpoint: 'gpu', workflows: [...ask().workflows], consent: [] })
  expect(refusals.map(({ code, facts }) => [code, facts])).toEqual([
    ['publish.missing-class', { workflow: '海 报', classTypes: 'CheckpointLoaderSimple, EmptyLatentImage' }],
    ['publish.missing-model', { workflow: '海 报', models: 'sdxl.safetensors' }],
  ])
  await expect(publish.begin(ask())).rejects.toMatchObject({ code: 'publish.missing-class' })
  expect([endpoint.pushed, publish.list()]).toEqual([[], []])
})

test('a plan says what is live and what changed since; with secrets nobody consented to nothing is made', async () => {
  const { open, ask, endpoint, secrets, deps } = await publishKit(withModel)
  const publish = open()
  await publish.settled((await publish.begin(ask({ snapshot: EARLIER }))).id)
  const asked = { endpoint: 'gpu', workflows: [...ask().workflows], consent: [] }
  expect(await publish.plan(asked)).toMatchObject({
    snapshot: { id: SNAPSHOT },
    live: { version: 1, snapshotId: EARLIER },
    changes: [{ name: 'pack', before: EARLIER, after: SNAPSHOT }],
    push: { bytes: { missing: 300 } },
    models: [{ name: 'SDXL.safetensors' }],
    refusals: [],
  })
  const found = [{ path: 'nodes/a.py', line: 1, kind: 'API key', shown: 'sk-abc…', id: 'x' }]
  Object.assign(deps.snapshots, {
    create: async () => ({ snapshot: null, secrets: found, left: [], newBytes: 0 }),
  })
  expect(secrets.found).toEqual([])
  expect(await publish.plan(asked)).toMatchObject({ snapshot: null, secrets: found, push: null })
  expect(endpoint.releases).toHaveLength(1)
})

test('a release the endpoint refuses is refused in its words, and what was live stays so', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  const publish = open()
  await publish.settled((await publish.begin(ask())).id)
  const failure = toFailure(new AppError('prompt.missing-node', { classType: 'Gone' }))
  endpoint.becomes = { is: 'refused', failure }
  const { id } = await publish.begin(ask({ note: 'again' }))
  expect((await publish.settled(id)).state).toEqual({ is: 'failed', step: 'prepare', failure })
  expect(endpoint.releases.map(({ state }) => state.is)).toEqual(['live', 'refused'])
  endpoint.becomes = { is: 'ready' } // what it lacked is there
  publish.resume(id)
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'done' }, version: 3 })
  expect(endpoint.pushed).toHaveLength(3)
})

test('what comes back to an endpoint that lost its release, or is another one by now, begins anew and promotes nothing else', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  otherPictures(endpoint)
  const publish = open()
  const { id } = await publish.begin(ask())
  await publish.settled(id)
  endpoint.releases[0]!.snapshotId = EARLIER
  publish.answer(id, true)
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'asking' }, version: 2, consent: null })
  expect(endpoint.releases.map(({ state }) => state.is)).toEqual(['ready', 'ready'])
  endpoint.releases.length = 0
  publish.answer(id, true)
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'asking' }, version: 1, consent: null })
  publish.answer(id, true)
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'done' }, version: 1, consent: { by: 'mo' } })
})

test('while a person is asked, what was live before can come back; an endpoint that goes ends what is under way', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  const publish = open()
  for (const note of ['1', '2']) await publish.settled((await publish.begin(ask({ note }))).id)
  otherPictures(endpoint)
  await publish.settled((await publish.begin(ask({ note: '3' }))).id)
  expect(await publish.rollBack('gpu', null)).toMatchObject({ version: 1, state: { is: 'live' } })
  const [asking] = publish.list('gpu')
  publish.answer(asking!.id, false)
  endpoint.held = new Promise(() => {})
  const { id } = await publish.begin(ask({ note: '4' }))
  await publish.cancelAll('gpu')
  expect(publish.get(id).state).toEqual({ is: 'stopped', step: 'push' })
})

/** The endpoint samples with another seed: its picture is another one. */
function otherPictures(endpoint: FakeEndpoint) {
  const right = endpoint.target.worker
  endpoint.target = {
    ...endpoint.target,
    worker(release) {
      const worker = right(release)
      const run = worker.run
      worker.run = (attempt, signal) => {
        const { '4': sampler, ...others } = attempt.prompt
        const prompt = { ...others, '4': { ...sampler!, inputs: { ...sampler!.inputs, seed: 99 } } }
        return run({ ...attempt, prompt }, signal)
      }
      return worker
    },
  }
}

test('pictures that differ wait for a person, whose word is kept; without it the release is not promoted', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  otherPictures(endpoint)
  const publish = open()
  const { id } = await publish.begin(ask())
  const asking = await publish.settled(id)
  expect(asking).toMatchObject({ state: { is: 'asking' }, proof: { verdict: 'different' } })
  expect(await publish.picture(id, 0, 'difference')).toMatchObject({ mediaType: 'image/png' })
  expect(publish.answer(id, false)).toMatchObject({
    state: { is: 'failed', step: 'prove', failure: { code: 'publish.different', facts: { count: 1, all: 1 } } },
    consent: null,
  })
  expect(endpoint.releases[0]!.state).toEqual({ is: 'ready' })
  publish.resume(id)
  expect((await publish.settled(id)).state).toEqual({ is: 'asking' })
  publish.answer(id, true)
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'done' }, consent: { by: 'mo' } })
  expect(endpoint.releases[0]!.state).toEqual({ is: 'live' })

  const second = await publish.begin(ask({ acceptDifferent: true, note: 'accepted beforehand' }))
  expect(await publish.settled(second.id)).toMatchObject({ state: { is: 'done' }, consent: { by: 'mo' } })
  const [newest] = await publish.versions('gpu')
  expect(newest).toMatchObject({ version: 2, verdict: 'different', consent: { by: 'mo' }, publicationId: second.id })
})

test('the version before comes back, or one that is named; one that never was is told', async () => {
  const { open, ask, endpoint } = await publishKit(withModel)
  const publish = open()
  for (const note of ['1', '2', '3']) await publish.settled((await publish.begin(ask({ note }))).id)
  const live = () => endpoint.releases.find(({ state }) => state.is === 'live')?.version
  expect(await publish.rollBack('gpu', null)).toMatchObject({ version: 2, state: { is: 'live' } })
  expect(live()).toBe(2)
  await publish.rollBack('gpu', null)
  expect(live()).toBe(1)
  await publish.rollBack('gpu', 3)
  expect(live()).toBe(3)
  await expect(publish.rollBack('gpu', 9)).rejects.toMatchObject({ code: 'publish.no-version' })
  await expect(publish.rollBack('attic', null)).rejects.toMatchObject({ code: 'endpoint.unknown' })
})

test('an input file that lies in the ComfyUI here goes along, and is in what is offered', async () => {
  const { open, ask, endpoint, library, desk, inputs } = await publishKit()
  const picture = await inputs.addPath(path.resolve('docs/icon.png')).catch(() => null)
  const png = picture ?? (await inputs.add('boat.png', onePixel))
  const there = await desk.upload(inputs.resolve(png.ref))
  const loading = imagePrompt({
    '3': { class_type: 'LoadImage', inputs: { image: there } },
    '2': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'x' } },
  })
  const { id: workflow } = await library.import('boat.json', asBytes(loading))
  const publish = open()
  const { id } = await publish.begin(ask({ workflows: [workflow] }))
  expect(await publish.settled(id)).toMatchObject({ state: { is: 'done' }, proof: { verdict: 'identical' } })
  const offered = endpoint.releases[0]!.asked.workflows[0]!.prompt['3']!.inputs.image
  expect(await endpoint.worker.hasInput(String(offered))).toBe(true)
})
const onePixel = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)
