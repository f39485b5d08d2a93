export const artifacts = /* sql */ `
  CREATE TABLE artifacts (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    job_id       TEXT    NOT NULL REFERENCES jobs (id),
    batch_id     TEXT    NOT NULL REFERENCES batches (id),
    prompt_id    TEXT    NOT NULL, -- the attempt that made it
    row          INTEGER NOT NULL,
    node         TEXT    NOT NULL,
    output       INTEGER NOT NULL, -- the how-manieth of its node, from 0
    state        TEXT    NOT NULL CHECK (state IN ('planned', 'kept')),
    folder       TEXT    NOT NULL, -- absolute
    name         TEXT    NOT NULL, -- below folder, with forward slashes
    place        TEXT    NOT NULL UNIQUE, -- folder and name as a file system that ignores case sees them
    part         TEXT    NOT NULL, -- absolute; the file's temporary name
    counter      INTEGER NOT NULL, -- of its batch, from 1
    sha256       TEXT    NOT NULL,
    size_bytes   INTEGER NOT NULL,
    media_type   TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('image', 'video', 'audio', 'text', '3d', 'other')),
    width        INTEGER,
    height       INTEGER,
    stripped     INTEGER NOT NULL CHECK (stripped IN (0, 1)),
    rehearsal    INTEGER NOT NULL CHECK (rehearsal IN (0, 1)),
    created_at   INTEGER NOT NULL,
    UNIQUE (job_id, node, output) -- a job's output is kept once, whichever attempt made it
  ) STRICT;
  CREATE INDEX artifacts_kept ON artifacts (seq) WHERE state = 'kept';
  CREATE INDEX artifacts_of_kind ON artifacts (kind, seq) WHERE state = 'kept';
  CREATE INDEX artifacts_of_batch ON artifacts (batch_id, row, seq) WHERE state = 'kept';
  CREATE INDEX artifacts_planned ON artifacts (seq) WHERE state = 'planned';
  CREATE UNIQUE INDEX artifacts_counted ON artifacts (batch_id, counter);

  -- Temporary files that may lie in output folders: one is written down before it is made.
  CREATE TABLE artifact_parts (path TEXT PRIMARY KEY) STRICT;

  -- What made the outputs of an attempt, for sidecars: zstd JSON; later ones of a batch have its first as dictionary.
  CREATE TABLE artifact_records (
    prompt_id  TEXT    PRIMARY KEY,
    batch_id   TEXT    NOT NULL REFERENCES batches (id),
    dictionary TEXT    REFERENCES artifact_records (prompt_id),
    outputs    INTEGER NOT NULL, -- how many artifacts the attempt gives when all are kept
    body       BLOB    NOT NULL
  ) STRICT;
  CREATE INDEX artifact_dictionaries ON artifact_records (batch_id) WHERE dictionary IS NULL;

  -- The words of kept artifacts by seq: names and values, each Chinese or Japanese character a word of its own.
  CREATE VIRTUAL TABLE artifact_words USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');
`
