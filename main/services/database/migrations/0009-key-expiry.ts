export const keyExpiry = /* sql */ `
  ALTER TABLE keys ADD COLUMN expires_at INTEGER; -- NULL: never
`
