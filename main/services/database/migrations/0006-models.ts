export const models = /* sql */ `
  -- model files as they were last seen: what is known of one holds as long as inode, size and time do
  CREATE TABLE model_files (
    real        TEXT    PRIMARY KEY, -- its path with no link on the way
    device      TEXT    NOT NULL,
    inode       TEXT    NOT NULL,
    size_bytes  INTEGER NOT NULL,
    modified_ns TEXT    NOT NULL,
    facts       TEXT    NOT NULL CHECK (json_valid(facts)),
    places      TEXT    NOT NULL CHECK (json_valid(places)), -- [] = it was not there at the last look
    sha256      TEXT,
    seen_at     INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX model_files_by_inode ON model_files (inode);

  -- folders the person added
  CREATE TABLE model_roots (
    dir      TEXT    PRIMARY KEY,
    added_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE model_notes (
    real   TEXT PRIMARY KEY,
    sha256 TEXT, -- so that the note finds a file that was moved
    note   TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX model_notes_by_hash ON model_notes (sha256);

  -- files that may run code when they are loaded, and may do so
  CREATE TABLE model_trusted (
    sha256     TEXT    PRIMARY KEY,
    trusted_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- which batches' kept outputs were made with a file of this name; lower case, without folders
  CREATE TABLE model_uses (
    file      TEXT    NOT NULL,
    batch_id  TEXT    NOT NULL,
    artifacts INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    PRIMARY KEY (file, batch_id)
  ) STRICT, WITHOUT ROWID;

  -- names that were made to share their bytes with another, each written before it is done
  CREATE TABLE model_merges (
    seq         INTEGER PRIMARY KEY,
    merge_id    TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    path        TEXT    NOT NULL,
    keep        TEXT    NOT NULL,
    sha256      TEXT    NOT NULL,
    size_bytes  INTEGER NOT NULL,
    how         TEXT    NOT NULL CHECK (how IN ('reflink', 'hard-link')),
    inode       TEXT    NOT NULL, -- of the file that was there before, with its time and permissions
    modified_ns TEXT    NOT NULL,
    mode        INTEGER NOT NULL,
    freed_bytes INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('merging', 'merged', 'undoing', 'undone', 'left'))
  ) STRICT;
  CREATE INDEX model_merges_open ON model_merges (merge_id) WHERE state IN ('merging', 'merged', 'undoing');
`
