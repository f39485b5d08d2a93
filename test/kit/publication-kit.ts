import { mkdirSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import path from 'node:path'
import sharp from 'sharp'
import { writeJson } from '../../core/contract/json.ts'
import type { ReleaseView } from '../../core/contract/release.ts'
import { compareFiles } from '../../core/engine/proof.ts'
import { openDatabase } from '../../main/services/database/open.ts'

export const SNAPSHOTS = ['3f9c', 'a41e', '77d0'].map((start) => start.padEnd(64, '5')) as [string, string, string]

/** An agent that knows three releases, and promotes what it is told to; the newest is ready. */
export function releasesAgent(): RequestListener {
  const states: ReleaseView['state'][] = [{ is: 'retired' }, { is: 'live' }, { is: 'ready' }]
  const notes = ['First of all', 'Face Mender 2.1', 'Softer light']
  const views = () =>
    states.map((state, at) => ({
      ...{ version: at + 1, snapshotId: SNAPSHOTS[at], note: notes[at], createdAt: Date.UTC(2026, 10, 19 + at, 22, 5) },
      ...{ workflows: [{ id: 'poster', name: 'Poster' }], models: 2, state, seconds: {} },
    }))
  return (request, response) => {
    const [, version, act] = /^\/v1\/releases\/(\d+)(\/promote)?$/.exec(request.url ?? '') ?? []
    if (act)
      for (const [at, { is }] of states.entries())
        if (at === Number(version) - 1) states[at] = { is: 'live' }
        else if (is === 'live') states[at] = { is: 'retired' }
    const answers: Record<string, unknown> = {
      '/readyz': { ok: true },
      '/api/system_stats': { system: { comfyui_version: '0.33.0' }, devices: [] },
      '/v1/releases': { rows: views().toReversed() },
    }
    const answer = version ? views()[Number(version) - 1] : answers[request.url ?? '']
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' }).end(writeJson(answer ?? {}))
  }
}

/** Into the data folder of an app that does not run: version 3 on its way to an endpoint, its pictures other than here. */
export async function keepPublication(dataDir: string, endpoint: string, workflowId = 'w') {
  const id = 'p1'
  const dir = path.join(dataDir, 'proofs', id)
  mkdirSync(dir, { recursive: true })
  const files = { desk: 'desk.png', endpoint: 'endpoint.png', difference: 'difference.png' }
  const at = (name: string) => path.join(dir, name)
  await Promise.all([scene(0, at(files.desk)), scene(110, at(files.endpoint))])
  const compared = await compareFiles(at(files.desk), at(files.endpoint), { difference: at(files.difference) })
  const picture = { ...compared, workflow: 'Poster', node: '9', mediaType: 'image/png', shows: Object.keys(files) }
  const facts = {
    ...{ engine: null, note: 'Softer light', acceptDifferent: false, bytesPerSecond: null, before: 2 },
    workflows: [{ workflowId, id: 'poster', name: 'Poster', prompt: {}, panel: null, parameters: [], overrides: {} }],
    seconds: { push: 4.2, release: 0.4, prepare: 41, prove: 12 },
    sent: {
      ...{ id: SNAPSHOTS[2], where: endpoint, objects: { missing: 41, all: 24_180 }, packs: 1 },
      bytes: { missing: 2_310_000, all: 412_000_000 },
      models: { count: 2, bytes: 7_300_000_000, missing: 0, missingBytes: 0, fetched: 0 },
    },
    proof: {
      demands: 'equivalent',
      verdict: compared.verdict,
      pictures: [picture],
      seconds: { desk: 21, endpoint: 4 },
    },
    files: [files],
  }
  const database = openDatabase(path.join(dataDir, 'nightshift.db'))
  database
    .prepare(
      `INSERT INTO publications (id, endpoint, snapshot_id, version, step, state, facts, created_at)
       VALUES (?, ?, ?, 3, 'prove', 'asking', ?, ?)`,
    )
    .run(id, endpoint, SNAPSHOTS[2], writeJson(facts), Date.UTC(2026, 10, 21, 22, 5))
  database.close()
  return id
}

/** A hill under a moon, which stands as far to the right as it is told. */
async function scene(moon: number, file: string) {
  const stars = Array.from(
    { length: 60 },
    (_, n) => `<circle cx="${(n * 97) % 640}" cy="${(n * 53) % 260}" r="1.3" fill="#fff"/>`,
  )
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480">
    <defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="#10183a"/><stop offset="1" stop-color="#5b4a7d"/></linearGradient></defs>
    <rect width="640" height="480" fill="url(#s)"/>${stars.join('')}
    <circle cx="${430 + moon}" cy="${130 - moon / 2}" r="62" fill="#f4ecd0"/>
    <path d="M0 400 Q160 250 330 360 T640 330 V480 H0Z" fill="#1b2a26"/>
    <path d="M0 440 Q220 ${340 + moon} 420 420 T640 400 V480 H0Z" fill="#0f1a17"/></svg>`
  await sharp(Buffer.from(svg)).png().toFile(file)
}
