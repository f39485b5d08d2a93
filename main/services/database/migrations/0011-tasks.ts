export const tasks = /* sql */ `
  -- what other programs sent to be run here; their files lie beside the database
  CREATE TABLE tasks (
    id         TEXT    PRIMARY KEY,
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempt    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    body       TEXT    NOT NULL CHECK (json_valid(body))
  ) STRICT;
  CREATE INDEX tasks_open ON tasks (state) WHERE state IN ('queued', 'running');
  CREATE INDEX tasks_recent ON tasks (created_at);
  -- each is set once; of tasks, and of what is sent ahead of them
  CREATE TABLE task_marks (
    task_id TEXT    NOT NULL,
    mark    TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (task_id, mark)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE task_hooks (
    task_id TEXT    PRIMARY KEY,
    next_at INTEGER, -- NULL: told, or given up
    body    TEXT    NOT NULL CHECK (json_valid(body))
  ) STRICT;
  CREATE INDEX task_hooks_owed ON task_hooks (next_at) WHERE next_at IS NOT NULL;
`
