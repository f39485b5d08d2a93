/** All the text one picture may unpack to. */
export const maxTextBytes = 64 * 1024 * 1024

/** UTF-8, as ComfyUI writes; else Latin-1, as the PNG standard says. NULs at the end are padding. */
export function textOf(bytes: Uint8Array): string {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  const text = bytes.subarray(0, end)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(text)
  } catch {
    return new TextDecoder('latin1').decode(text)
  }
}

/** Some programs write `Workflow` or `PROMPT`; the first text under a key stands. */
export function putText(texts: Record<string, string>, key: string, value: string) {
  const plain = /^(workflow|prompt|parameters)$/i.test(key) ? key.toLowerCase() : key
  if (plain === '' || plain === '__proto__' || Object.hasOwn(texts, plain)) return
  texts[plain] = value
}
