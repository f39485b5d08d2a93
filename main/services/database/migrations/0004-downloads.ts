export const downloads = /* sql */ `
  -- files that are fetched, or were; what came so far lies beside the file itself
  CREATE TABLE downloads (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('model', 'file')),
    path        TEXT    NOT NULL,
    sources     TEXT    NOT NULL CHECK (json_valid(sources)),
    size_bytes  INTEGER,
    sha256      TEXT,
    git_sha1    TEXT,
    about       TEXT    NOT NULL CHECK (json_valid(about)),
    state       TEXT    NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'paused', 'done', 'failed', 'cancelled')),
    priority    INTEGER NOT NULL DEFAULT 0,
    place       REAL    NOT NULL, -- the order among those of one priority
    start_at    TEXT,
    stop_at     TEXT,
    from_minute INTEGER,
    to_minute   INTEGER,
    opens_at    INTEGER,
    closes_at   INTEGER,
    tries       INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER NOT NULL DEFAULT 0,
    done_bytes  INTEGER NOT NULL DEFAULT 0,
    per_source  TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(per_source)),
    switched    TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(switched)),
    failure     TEXT    CHECK (json_valid(failure)),
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,
    ended_at    INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX one_download_of_a_file ON downloads (path) WHERE state IN ('waiting', 'running', 'paused', 'failed');
  CREATE INDEX downloads_in_order ON downloads (priority DESC, place) WHERE state = 'waiting';
  CREATE INDEX downloads_by_hash ON downloads (sha256) WHERE sha256 IS NOT NULL;
  -- how places that files come from did when they were last tried from here
  CREATE TABLE mirror_measurements (
    kind             TEXT    NOT NULL,
    place            TEXT    NOT NULL, -- its host
    at               INTEGER NOT NULL,
    ok               INTEGER NOT NULL CHECK (ok IN (0, 1)),
    fault            TEXT    CHECK (fault IN ('unreachable', 'refused', 'declined', 'wrong', 'slow')),
    reason           TEXT,
    latency_ms       REAL,
    bytes_per_second REAL,
    ranges           INTEGER CHECK (ranges IN (0, 1)),
    PRIMARY KEY (kind, place),
    CHECK (ok = (fault IS NULL))
  ) STRICT;
`
