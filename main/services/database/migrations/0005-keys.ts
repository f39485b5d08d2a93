export const keys = /* sql */ `
  -- what opens the surfaces that other programs call; the key itself is not kept
  CREATE TABLE keys (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL,
    start      TEXT    NOT NULL, -- its first letters, to tell it apart
    hash       TEXT    NOT NULL UNIQUE, -- sha256
    scopes     TEXT    NOT NULL CHECK (json_valid(scopes)),
    created_at INTEGER NOT NULL,
    used_at    INTEGER,
    revoked_at INTEGER
  ) STRICT;
`
