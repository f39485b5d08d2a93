// biome-ignore-all lint/suspicious/noExplicitAny: anything may cross
// What runs inside a page, as source text: the page's own world, and the preload's isolated one. The two share the
// DOM but no objects; values cross as JSON in synchronous events, functions as handles.

export interface Boot {
  readonly preload: string
  readonly platform: string
  readonly versions: Record<string, string>
}
type Hold = (held: any) => number
type Make = (kind: 'function' | 'promise', handle: number) => unknown

export function makeCodec() {
  const MARK = '\u0000is'
  const { entries, fromEntries, getPrototypeOf, prototype } = Object // before a page can change them
  const { isArray } = Array
  const each = (list: ArrayLike<any>, change: (item: any) => any) => {
    const changed: any[] = []
    for (let at = 0; at < list.length; at += 1) changed[at] = change(list[at])
    return changed
  }
  const refuse = () => new Error('An object could not be cloned.')

  /** `hold` null: as for IPC, where functions and promises cannot go. `files` null: nor files. */
  function encode(value: any, hold: Hold | null, files: any[] | null, above: any[] = []): any {
    if (value === undefined) return { [MARK]: 'undefined' }
    if (typeof value === 'bigint') return { [MARK]: 'bigint', v: String(value) }
    if (typeof value === 'symbol') throw refuse()
    if (typeof value === 'function') {
      if (!hold) throw refuse()
      return { [MARK]: 'function', v: hold(value) }
    }
    if (typeof value !== 'object' || value === null) return value
    if (value instanceof Date) return { [MARK]: 'date', v: Number(value) }
    if (value instanceof Error) return { [MARK]: 'error', v: value.message }
    if (value instanceof Map) return { [MARK]: 'map', v: each([...value], (pair) => encode(pair, hold, files, above)) }
    if (value instanceof Uint8Array) return { [MARK]: 'bytes', v: each(value, (byte) => byte) }
    if (typeof Blob !== 'undefined' && value instanceof Blob) {
      if (!files) throw refuse()
      return { [MARK]: 'file', v: files.push(value) - 1 }
    }
    if (hold && typeof value.then === 'function') return { [MARK]: 'promise', v: hold(value) }
    if (above.includes(value)) throw new Error('stand-in: a cyclic object')
    const inside = [...above, value]
    if (isArray(value)) return each(value, (item) => encode(item, hold, files, inside))
    const parent = getPrototypeOf(value)
    if (parent !== prototype && parent !== null && !hold && value.constructor?.name !== 'Object')
      throw new Error(`stand-in: a ${value.constructor?.name} is not modelled`)
    return fromEntries(each(entries(value), ([key, item]) => [key, encode(item, hold, files, inside)]))
  }

  function decode(value: any, make: Make | null, files: ArrayLike<any>): any {
    if (typeof value !== 'object' || value === null) return value
    if (isArray(value)) return each(value, (item) => decode(item, make, files))
    switch (value[MARK]) {
      case 'undefined':
        return undefined
      case 'bigint':
        return BigInt(value.v)
      case 'date':
        return new Date(value.v)
      case 'error':
        return new Error(value.v)
      case 'map':
        return new Map(each(value.v, (pair) => decode(pair, make, files)))
      case 'bytes':
        return new Uint8Array(value.v)
      case 'file':
        return files[value.v]
      case 'function':
      case 'promise':
        return make?.(value[MARK], value.v)
    }
    return fromEntries(each(entries(value), ([key, item]) => [key, decode(item, make, files)]))
  }
  return { encode, decode }
}

/** One side of the border between the worlds. */
export function joinWorlds(me: string, other: string) {
  const { encode, decode } = makeCodec()
  const { parse, stringify } = JSON
  const { freeze } = Object
  const Event = CustomEvent
  const send = window.dispatchEvent.bind(window)
  const listen = window.addEventListener.bind(window)
  const forget = window.removeEventListener.bind(window)
  const held: any[] = []
  const hold: Hold = (item) => {
    const at = held.indexOf(item)
    return at >= 0 ? at : held.push(item) - 1
  }

  /** Events are synchronous, so the answer is there when dispatch returns. */
  function cross(type: string, message: unknown, files: any[] = []): any {
    let answer: any = null
    const take = (event: any) => {
      answer = event.detail
    }
    listen(`${type}:answer`, take)
    send(new Event(type, { detail: { text: stringify(message), files } }))
    forget(`${type}:answer`, take)
    return answer
  }
  function callOver(handle: number, given: any[]): any {
    const files: any[] = []
    const answer = cross(`\u0000${other}:call`, { handle, given: encode(given, hold, files) }, files)
    if (!answer) throw new Error('stand-in: the other world is gone')
    const { value, error } = parse(answer.text)
    if (error !== undefined) throw decode(error, make, answer.files)
    return decode(value, make, answer.files)
  }
  const make: Make = (kind, handle) => {
    if (kind === 'function') return freeze((...given: any[]) => callOver(handle, given))
    return new Promise((resolve, reject) => {
      const settle = (good: boolean, value: any) => (good ? resolve(value) : reject(value))
      cross(`\u0000${other}:await`, { handle, settle: hold(settle) })
    })
  }
  listen(`\u0000${me}:call`, ({ detail }: any) => {
    const { handle, given } = parse(detail.text)
    const files: any[] = []
    let answer: object
    try {
      answer = { value: encode(held[handle](...decode(given, make, detail.files)), hold, files) }
    } catch (cause) {
      answer = { error: encode(cause instanceof Error ? cause : new Error(String(cause)), hold, null) }
    }
    send(new Event(`\u0000${me}:call:answer`, { detail: { text: stringify(answer), files } }))
  })
  listen(`\u0000${me}:await`, ({ detail }: any) => {
    const { handle, settle } = parse(detail.text)
    Promise.resolve(held[handle]).then(
      (value) => callOver(settle, [true, value]),
      (cause) => callOver(settle, [false, cause]),
    )
  })
  return { encode, decode, hold, make }
}

/** @public run as source text, see launch.ts */
export function pageWorld() {
  const { decode, make } = joinWorlds('page', 'preload')
  const { defineProperty, freeze, values } = Object
  const { parse } = JSON
  const freezeAll = (value: any): any => {
    if (typeof value === 'object' && value !== null) for (const inner of values(freeze(value))) freezeAll(inner)
    return value
  }
  const known = new Set<string>()
  window.addEventListener('\u0000expose', ({ detail }: any) => {
    const { key, api } = parse(detail)
    if (known.has(key)) return
    known.add(key)
    defineProperty(window, key, { value: freezeAll(decode(api, make, [])), enumerable: true })
  })
  window.dispatchEvent(new CustomEvent('\u0000hello'))
}

/** @public run as source text, see launch.ts */
export function preloadWorld(boot: Boot) {
  const { encode, decode, hold } = joinWorlds('preload', 'page')
  const world = globalThis as any
  const out = (message: object) => world.standInOut(JSON.stringify(message))

  const exposed: { key: string; api: unknown }[] = []
  const expose = (one: object) => window.dispatchEvent(new CustomEvent('\u0000expose', { detail: JSON.stringify(one) }))
  window.addEventListener('\u0000hello', () => exposed.forEach(expose))

  const listeners = new Map<string, ((...given: any[]) => void)[]>()
  const waiting = new Map<number, { channel: string; resolve: (value: any) => void; reject: (cause: Error) => void }>()
  let asked = 0
  world.standInHear = (text: string) => {
    const { is, id, channel, value, given, error } = JSON.parse(text)
    if (is === 'message') {
      for (const listener of listeners.get(channel) ?? [])
        listener({ sender: ipcRenderer, ports: [] }, ...decode(given, null, []))
      return
    }
    const asker = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) asker?.resolve(decode(value, null, []))
    else asker?.reject(new Error(`Error invoking remote method '${asker.channel}': Error: ${error}`))
  }
  const ipcRenderer = {
    invoke: (channel: string, ...given: any[]) =>
      new Promise((resolve, reject) => {
        asked += 1
        const message = { is: 'invoke', id: asked, channel, given: encode(given, null, null) }
        waiting.set(asked, { channel, resolve, reject })
        out(message)
      }),
    on(channel: string, listener: (...given: any[]) => void) {
      listeners.set(channel, [...(listeners.get(channel) ?? []), listener])
      return ipcRenderer
    },
  }
  const contextBridge = {
    exposeInMainWorld(key: string, api: unknown) {
      const one = { key, api: encode(api, hold, null) }
      exposed.push(one)
      expose(one)
    },
  }
  const webUtils = {
    getPathForFile(file: File) {
      if (!(file instanceof File)) throw new TypeError('getPathForFile takes a File')
      return world.standInPaths?.[`${file.name}|${file.size}`] ?? ''
    },
  }
  // what a sandboxed preload may require, and no more
  const modules: Record<string, object> = { electron: { contextBridge, ipcRenderer, webUtils } }
  const require = (name: string) => {
    const found = modules[name]
    if (!found) throw new Error(`module not found: ${name}`)
    return found
  }
  const process = {
    platform: boot.platform,
    versions: boot.versions,
    env: {},
    argv: [],
    type: 'renderer',
    sandboxed: true,
  }
  try {
    const run = new Function('require', 'process', 'module', 'exports', 'Buffer', 'global', boot.preload)
    run(require, process, { exports: {} }, {}, undefined, globalThis)
  } catch (cause) {
    out({ is: 'preload-error', message: String(cause) })
  }
}
