/** A part of a web address without its percent signs; as it stands where it was not written so. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
