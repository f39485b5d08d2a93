export const first = /* sql */ `
  CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL CHECK (json_valid(value))
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE workers (
    id         TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('rehearsal', 'remote', 'local', 'endpoint')),
    url        TEXT    UNIQUE,
    has_header INTEGER NOT NULL DEFAULT 0 CHECK (has_header IN (0, 1)), -- the header itself is a secret
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE workflows (
    id            TEXT    PRIMARY KEY,
    name          TEXT    NOT NULL,
    format        TEXT    NOT NULL,
    container     TEXT    NOT NULL,
    source_sha256 TEXT    NOT NULL,
    source_ext    TEXT    NOT NULL,
    read          TEXT    NOT NULL CHECK (json_valid(read)),
    choices       TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(choices)),
    summary       TEXT    NOT NULL DEFAULT '{"nodes":0,"problems":0,"runnable":false}' CHECK (json_valid(summary)), -- what a list shows
    imported_at   INTEGER NOT NULL,
    used_at       INTEGER,
    removed_at    INTEGER
  ) STRICT;
  CREATE INDEX workflows_by_source ON workflows (source_sha256);

  -- base prompts, editor graphs and parameter lists: JSON, zstd, kept once by the sha256 of the JSON
  CREATE TABLE prompts (
    hash TEXT PRIMARY KEY,
    body BLOB NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- one row: what holds for the whole queue
  CREATE TABLE queue (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    paused  TEXT NOT NULL DEFAULT 'no' CHECK (paused IN ('no', 'after-current', 'now')),
    because TEXT CHECK (json_valid(because)) -- a Failure: the queue paused itself
  ) STRICT;
  INSERT INTO queue (only) VALUES (1);

  CREATE TABLE batches (
    number       INTEGER PRIMARY KEY, -- the id is 'b' and this
    workflow_id  TEXT    NOT NULL REFERENCES workflows (id),
    name         TEXT    NOT NULL,
    plan         TEXT    NOT NULL CHECK (json_valid(plan)), -- without its rows: the jobs hold them
    prompt       TEXT    NOT NULL REFERENCES prompts (hash),
    editor       TEXT    REFERENCES prompts (hash),
    parameters   TEXT    NOT NULL REFERENCES prompts (hash),
    workers      TEXT    NOT NULL CHECK (json_valid(workers)), -- [] = any worker but the rehearsal
    pattern      TEXT    NOT NULL,
    out_dir      TEXT    NOT NULL,
    priority     INTEGER NOT NULL,
    paused       TEXT    NOT NULL DEFAULT 'no' CHECK (paused IN ('no', 'after-current', 'now')),
    start_at     TEXT,
    stop_at      TEXT,
    from_minute  INTEGER, -- both given: open each day from … to …, minutes of the wall clock
    to_minute    INTEGER,
    opens_at     INTEGER, -- one given: a moment
    closes_at    INTEGER,
    continue_key TEXT,
    first_job    INTEGER NOT NULL, -- its jobs are first_job … first_job + jobs - 1
    jobs         INTEGER NOT NULL DEFAULT 0,
    waiting      INTEGER NOT NULL DEFAULT 0,
    running      INTEGER NOT NULL DEFAULT 0,
    done         INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    cancelled    INTEGER NOT NULL DEFAULT 0,
    parked       INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    CHECK ((from_minute IS NULL) = (to_minute IS NULL)),
    CHECK (waiting >= 0 AND running >= 0 AND waiting + running + done + failed + cancelled + parked = jobs)
  ) STRICT;
  CREATE INDEX batches_with_work ON batches (number) WHERE waiting > 0;
  CREATE INDEX batches_to_continue ON batches (continue_key) WHERE ended_at IS NULL AND continue_key IS NOT NULL;
  CREATE INDEX batches_by_workflow ON batches (workflow_id);

  CREATE TABLE jobs (
    seq        INTEGER PRIMARY KEY, -- the id is 'j' and this; a batch begins at a multiple of 256, see chunks
    batch      INTEGER NOT NULL REFERENCES batches (number),
    row        INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled', 'parked')),
    priority   INTEGER NOT NULL,
    position   INTEGER NOT NULL, -- order among equals
    not_before INTEGER NOT NULL DEFAULT 0,
    retried_at INTEGER NOT NULL DEFAULT 0, -- a person asked again: attempts before it do not count against the job
    wanted     TEXT    CHECK (wanted IN ('cancel', 'requeue')), -- what a person asked for while it runs
    worker_id  TEXT,
    attempts   INTEGER NOT NULL DEFAULT 0, -- ended ones
    artifacts  INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER,
    label      TEXT    NOT NULL,
    overrides  TEXT    NOT NULL CHECK (json_valid(overrides)),
    extra      TEXT    CHECK (json_valid(extra)),
    failure    TEXT    CHECK (json_valid(failure))
  ) STRICT;
  CREATE INDEX jobs_to_claim ON jobs (batch, priority DESC, position, not_before) WHERE state = 'waiting';
  CREATE INDEX jobs_in_order ON jobs (priority DESC, position) WHERE state = 'waiting';
  CREATE INDEX jobs_held_back ON jobs (not_before) WHERE state = 'waiting' AND not_before > 0;
  CREATE INDEX jobs_by_state ON jobs (state);

  CREATE TABLE attempts (
    prompt_id    TEXT    PRIMARY KEY, -- ours, a UUID, committed before it is sent
    job          INTEGER NOT NULL REFERENCES jobs (seq),
    worker_id    TEXT    NOT NULL,
    prompt_hash  TEXT    NOT NULL, -- sha256 of the exact prompt
    started_at   INTEGER NOT NULL,
    submitted_at INTEGER, -- the server said it has it
    began_at     INTEGER, -- the server began to run it
    ended_at     INTEGER,
    ended        TEXT    CHECK (ended IN ('done', 'failed', 'cancelled', 'lost')),
    failure      TEXT    CHECK (json_valid(failure)),
    seconds      REAL,
    leftover     INTEGER NOT NULL DEFAULT 0 CHECK (leftover IN (0, 1)), -- given up here, still to be cancelled there
    CHECK ((ended IS NULL) = (ended_at IS NULL))
  ) STRICT;
  CREATE UNIQUE INDEX one_attempt_at_a_time ON attempts (job) WHERE ended IS NULL;
  CREATE TRIGGER attempts_counted AFTER UPDATE OF ended ON attempts BEGIN -- with the job's own change, not before
    UPDATE jobs SET attempts = attempts + 1 WHERE seq = new.job;
  END;
  CREATE INDEX attempts_by_job ON attempts (job, started_at);
  CREATE INDEX attempts_leftover ON attempts (worker_id) WHERE leftover = 1;

  -- how many jobs of each 256, and of each 16384, are in each state, so that a list can jump to any place without
  -- counting its way there
  CREATE TABLE chunks (
    bits      INTEGER NOT NULL CHECK (bits IN (8, 14)),
    chunk     INTEGER NOT NULL, -- seq >> bits
    waiting   INTEGER NOT NULL DEFAULT 0,
    running   INTEGER NOT NULL DEFAULT 0,
    done      INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    parked    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (bits, chunk)
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER jobs_counted AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE chunks SET
      waiting = waiting + (new.state = 'waiting') - (old.state = 'waiting'),
      running = running + (new.state = 'running') - (old.state = 'running'),
      done = done + (new.state = 'done') - (old.state = 'done'),
      failed = failed + (new.state = 'failed') - (old.state = 'failed'),
      cancelled = cancelled + (new.state = 'cancelled') - (old.state = 'cancelled'),
      parked = parked + (new.state = 'parked') - (old.state = 'parked')
    WHERE (bits, chunk) IN (VALUES (8, new.seq >> 8), (14, new.seq >> 14));
    UPDATE batches SET
      waiting = waiting + (new.state = 'waiting') - (old.state = 'waiting'),
      running = running + (new.state = 'running') - (old.state = 'running'),
      done = done + (new.state = 'done') - (old.state = 'done'),
      failed = failed + (new.state = 'failed') - (old.state = 'failed'),
      cancelled = cancelled + (new.state = 'cancelled') - (old.state = 'cancelled'),
      parked = parked + (new.state = 'parked') - (old.state = 'parked')
    WHERE number = new.batch;
  END;
  -- the only legal moves, as in core/domain/queue/job-state.ts
  CREATE TRIGGER jobs_move BEFORE UPDATE OF state ON jobs WHEN old.state <> new.state AND NOT (
    (old.state = 'waiting' AND new.state IN ('running', 'cancelled', 'parked')) OR
    (old.state = 'running' AND new.state IN ('done', 'failed', 'cancelled', 'waiting', 'parked')) OR
    (old.state IN ('failed', 'cancelled') AND new.state = 'waiting') OR
    (old.state = 'parked' AND new.state IN ('waiting', 'cancelled'))
  ) BEGIN
    SELECT RAISE(ABORT, 'illegal move of a job');
  END;

  -- planned: the final name is taken; kept: the file is there
  CREATE TABLE artifacts (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    prompt_id  TEXT    NOT NULL REFERENCES artifact_records (prompt_id), -- the attempt that made it
    job_id     TEXT    NOT NULL,
    batch_id   TEXT    NOT NULL,
    row        INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    idx        INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('planned', 'kept')),
    dir        TEXT    NOT NULL, -- the batch's output folder
    name       TEXT    NOT NULL, -- relative to it, '/' between parts
    place      TEXT    NOT NULL UNIQUE, -- both, as a file system that ignores case sees them
    part       TEXT    NOT NULL, -- absolute: the file's temporary name
    counter    INTEGER NOT NULL, -- {counter} in its name: the how-manieth of its batch
    sha256     TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL,
    media_type TEXT    NOT NULL,
    kind       TEXT    NOT NULL CHECK (kind IN ('image', 'video', 'audio', 'text', '3d', 'other')),
    width      INTEGER,
    height     INTEGER,
    rehearsal  INTEGER NOT NULL CHECK (rehearsal IN (0, 1)),
    created_at INTEGER NOT NULL,
    UNIQUE (job_id, node, idx), -- a job's output is kept once, whichever attempt made it
    UNIQUE (batch_id, counter)
  ) STRICT;
  CREATE INDEX artifacts_kept ON artifacts (seq) WHERE state = 'kept';
  CREATE INDEX artifacts_planned ON artifacts (seq) WHERE state = 'planned';
  CREATE INDEX artifacts_by_kind ON artifacts (kind, seq) WHERE state = 'kept';
  CREATE INDEX artifacts_by_batch ON artifacts (batch_id, seq) WHERE state = 'kept';
  CREATE INDEX artifacts_by_row ON artifacts (batch_id, row, seq) WHERE state = 'kept';
  -- what made an attempt's outputs, for their sidecars: JSON, zstd, with the first one of its batch as the dictionary
  CREATE TABLE artifact_records (
    prompt_id  TEXT    PRIMARY KEY,
    batch_id   TEXT    NOT NULL,
    dictionary TEXT    REFERENCES artifact_records (prompt_id),
    outputs    INTEGER NOT NULL, -- artifacts of the attempt once all are kept
    body       BLOB    NOT NULL
  ) STRICT;
  CREATE INDEX artifact_dictionaries ON artifact_records (batch_id) WHERE dictionary IS NULL;
  -- output folders in which a crash may have left temporary files
  CREATE TABLE artifact_dirs (dir TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  -- names and values of kept artifacts, by seq; each Chinese or Japanese character is a word of its own
  CREATE VIRTUAL TABLE artifact_words USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');
`
