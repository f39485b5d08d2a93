import type { EngineState } from '../../../core/contract/engine.ts'
import type { WorkerHealth } from '../../../core/contract/worker.ts'
import type { ComfyAddress } from '../../../core/engine/comfy/address.ts'
import { readAddress } from '../../../core/engine/comfy/address.ts'
import { type SshTarget, sshAddress } from '../../../core/engine/remote/ssh.ts'
import { Tunnel, type TunnelOptions, type TunnelState } from '../../../core/engine/remote/tunnel.ts'
import { LocalWorker, type LocalWorkerOptions } from './local.ts'
import { testAddress } from './remote.ts'

/** What every tunnel needs of this machine. */
export type Tunnelling = Omit<TunnelOptions, 'id' | 'target'>

const TEST_WITHIN_MS = 60_000

/** A ComfyUI behind ssh: spoken to only while its tunnel stands, as one of this machine is while it runs. */
export class TunnelledWorker extends LocalWorker {
  readonly #tunnel: Tunnel
  readonly #target: SshTarget

  constructor(options: LocalWorkerOptions, target: SshTarget, tunnelling: Tunnelling) {
    super({ ...options, kind: 'remote' })
    this.#target = target
    this.#tunnel = new Tunnel({ ...tunnelling, id: fileName(options.id), target })
    this.#tunnel.events.on('state', (state) => this.heed(asEngine(state, options.now())))
  }

  override get url() {
    return sshAddress(this.#target)
  }

  override start() {
    if (this.enabled) this.#tunnel.begin()
  }

  override async enable(enabled: boolean) {
    await super.enable(enabled)
    this.start() // disabled, it stays while what it has goes on
  }

  override async close() {
    await super.close()
    await this.#tunnel.stop()
  }
}

/** Asks who is behind ssh, through a tunnel that is gone afterwards. */
export async function testTunnel(
  target: SshTarget,
  header: ComfyAddress['header'],
  tunnelling: Tunnelling,
): Promise<WorkerHealth> {
  const tunnel = new Tunnel({ ...tunnelling, id: `test-${tunnelling.newId()}`, target })
  tunnel.begin()
  try {
    const url = await tunnel.settled(AbortSignal.timeout(TEST_WITHIN_MS))
    return (await testAddress({ ...readAddress(url), header }, tunnelling.newId())).health
  } finally {
    await tunnel.stop()
  }
}

function asEngine(state: TunnelState, now: number): EngineState {
  if (state.is === 'ready') return { is: 'ready', url: state.url, pid: 0, since: now, silentSince: null }
  if (state.is === 'pausing') return { is: 'pausing', because: state.because, restartAt: state.retryAt }
  return state.is === 'starting' ? { is: 'starting', phase: 'launching', since: now } : state
}

/** Names are the person's own; files are called after them in letters that every disk takes. */
const fileName = (id: string) => Buffer.from(id).toString('base64url').slice(0, 80)
