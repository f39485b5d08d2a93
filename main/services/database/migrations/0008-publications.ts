export const publications = /* sql */ `
  -- snapshots on their way to an endpoint, and those that came there
  CREATE TABLE publications (
    id          TEXT    PRIMARY KEY,
    endpoint    TEXT    NOT NULL,
    snapshot_id TEXT    NOT NULL,
    version     INTEGER, -- of the release it became there
    step        TEXT    NOT NULL CHECK (step IN ('push', 'release', 'prepare', 'prove', 'promote')), -- the one to do next
    state       TEXT    NOT NULL CHECK (state IN ('running', 'asking', 'done', 'failed', 'stopped')),
    facts       TEXT    NOT NULL CHECK (json_valid(facts)),
    failure     TEXT    CHECK (json_valid(failure)),
    consent_by  TEXT, -- who said that pictures may differ
    consent_at  INTEGER,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER
  ) STRICT;
  CREATE INDEX publications_by_endpoint ON publications (endpoint, created_at);
  -- one at a time for each endpoint
  CREATE UNIQUE INDEX publications_open ON publications (endpoint) WHERE state IN ('running', 'asking');
`
