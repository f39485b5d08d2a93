export const engines = /* sql */ `
  -- ComfyUIs of this machine that we run
  CREATE TABLE engines (
    name       TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('portable', 'desktop', 'manual', 'stability-matrix', 'installed')),
    dir        TEXT    NOT NULL, -- where main.py is
    python     TEXT    NOT NULL,
    settings   TEXT    NOT NULL CHECK (json_valid(settings)),
    created_at INTEGER NOT NULL
  ) STRICT;
`
