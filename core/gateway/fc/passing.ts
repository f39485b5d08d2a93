import { Agent, request } from 'undici'
import { AppError } from '../../contract/errors.ts'
import { isJsonObject } from '../../contract/json.ts'
import type { ComfyAddress } from '../../engine/comfy/address.ts'
import { bytesWithin } from '../../engine/download/follow.ts'
import { json, passReply } from '../wire.ts'
import { type Asked, parsed, UPLOAD_LIMIT_BYTES } from './asked.ts'
import { readWorkflow } from './runner.ts'

const REPLY_LIMIT_BYTES = 256 * 2 ** 20
const WORD = '[^/]{1,200}'
/** Tells nothing of what a person makes. */
const OF_NODES = /^(?:system_stats|features|embeddings|extensions|(?:object_info|models)(?:\/[^/]{1,200})?)$/

interface PassingOptions {
  readonly address: () => ComfyAddress
  /** Only what its nodes are is told. */
  readonly own: boolean
  /** A whole body. */
  readonly text: (asked: Asked) => Promise<string>
}

/** What may be asked of ComfyUI itself: what there is, one prompt or file more, and the end of prompts by name. */
export class Passing {
  readonly #options: PassingOptions
  readonly #agent = new Agent({ headersTimeout: 300_000, bodyTimeout: 60_000 })

  constructor(options: PassingOptions) {
    this.#options = options
  }

  async stop() {
    await this.#agent.destroy()
  }

  /** @throws AppError 'agent.refused' | 'worker.unreachable' */
  async serve(asked: Asked) {
    const { method, path, route } = asked
    const passed = this.#passed.find(({ methods, route: known }) => methods.includes(method) && known.test(route))
    if (!passed || (this.#options.own && !OF_NODES.test(route)))
      throw new AppError('agent.refused', { reason: `${method} ${path.slice(0, 100)}` })
    await passed.serve(asked)
  }

  readonly #passed: readonly { methods: readonly string[]; route: RegExp; serve: (asked: Asked) => Promise<void> }[] = [
    { methods: ['GET'], route: /^system_stats$/, serve: (asked) => this.#stats(asked) },
    {
      methods: ['GET', 'HEAD'],
      route: new RegExp(
        `^(?:queue|prompt|features|embeddings|extensions|view|(?:history|object_info|models)(?:/${WORD})?)$`,
      ),
      serve: (asked) => this.#pass(asked),
    },
    { methods: ['POST'], route: /^prompt$/, serve: (asked) => this.#prompt(asked) },
    { methods: ['POST'], route: /^upload\/(?:image|mask)$/, serve: (asked) => this.#upload(asked) },
    { methods: ['POST'], route: /^(?:queue|interrupt)$/, serve: (asked) => this.#end(asked) },
  ]

  async #prompt(asked: Asked) {
    const text = await this.#options.text(asked)
    const said = parsed(text)
    readWorkflow(isJsonObject(said) ? said.prompt! : null)
    await this.#pass(asked, text)
  }

  /** Into the input folder only. */
  async #upload(asked: Asked) {
    const bytes = await asked.body(UPLOAD_LIMIT_BYTES)
    const type = asked.headers['content-type'] ?? ''
    const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': type } })
      .formData()
      .catch(() => null)
    const file = form?.get('image')
    if (!form || !(file instanceof File) || file.name === '')
      throw new AppError('app.bad-request', { reason: 'no file' })
    if ((form.get('type') ?? 'input') !== 'input') throw new AppError('agent.refused', { reason: 'not an input' })
    await this.#pass(asked, bytes)
  }

  /** Of named prompts only: not all that waits, nor whatever happens to run. */
  async #end(asked: Asked) {
    const text = await this.#options.text(asked)
    const said = parsed(text)
    const { delete: names, clear, prompt_id } = isJsonObject(said) ? said : {}
    const named = asked.route === 'queue' ? Array.isArray(names) && clear === undefined : typeof prompt_id === 'string'
    if (!named) throw new AppError('agent.refused', { reason: `${asked.route} without naming a prompt` })
    await this.#pass(asked, text)
  }

  async #pass(asked: Asked, body?: string | Buffer) {
    const { request, reply } = asked
    const answer = await this.#ask(asked, body)
    request.resume()
    if (answer.statusCode >= 500) {
      await answer.body.dump()
      throw new AppError('worker.unreachable', { url: 'ComfyUI', reason: `HTTP ${answer.statusCode}` })
    }
    await passReply(answer, reply)
  }

  /** Without the command line, which tells of the folders there. */
  async #stats(asked: Asked) {
    const answer = await this.#ask(asked)
    const said = parsed((await bytesWithin(answer, REPLY_LIMIT_BYTES)).toString('utf8'))
    if (isJsonObject(said) && isJsonObject(said.system)) delete said.system.argv
    json(asked.reply, answer.statusCode, said)
  }

  async #ask({ headers, method, route, search, reply }: Asked, body?: string | Buffer) {
    const { url, header } = this.#options.address()
    const passed: Record<string, string> = {}
    for (const name of ['range', 'accept', 'content-type'] as const) if (headers[name]) passed[name] = headers[name]
    if (header) passed[header.name] = header.value
    const target = new URL(search.size > 0 ? `${route}?${search}` : route, url)
    const left = new AbortController()
    reply.on('close', () => left.abort())
    return request(target, {
      method: method as 'GET',
      headers: passed,
      body,
      signal: left.signal,
      dispatcher: this.#agent,
    }).catch((cause) => {
      throw new AppError('worker.unreachable', { url: 'ComfyUI', reason: (cause as Error).message }, { cause })
    })
  }
}
