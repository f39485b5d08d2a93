export const endpoints = /* sql */ `
  -- agents elsewhere, each a worker by its name; their keys are secrets
  CREATE TABLE endpoints (
    name        TEXT    PRIMARY KEY,
    url         TEXT    NOT NULL UNIQUE,
    enabled     INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    capacity    INTEGER NOT NULL CHECK (capacity > 0),
    checkpoints TEXT    NOT NULL CHECK (json_valid(checkpoints)), -- [] = any job
    pace        TEXT    NOT NULL CHECK (json_valid(pace)), -- seconds it took, as learned
    used_at     INTEGER,
    created_at  INTEGER NOT NULL
  ) STRICT;
`
