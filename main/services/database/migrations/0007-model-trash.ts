export const modelTrash = /* sql */ `
  -- names of model files that were put aside, each written before it is done; there as long as it can be put back
  CREATE TABLE model_trash (
    seq         INTEGER PRIMARY KEY,
    trash_id    TEXT    NOT NULL, -- of one model, with all its names
    at          INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    folder      TEXT    NOT NULL,
    path        TEXT    NOT NULL,
    lies        TEXT    NOT NULL UNIQUE, -- beside its path, where no loader takes it for a model
    beside      TEXT    NOT NULL CHECK (json_valid(beside)), -- names in its folder that belong to it
    size_bytes  INTEGER NOT NULL, -- 0 for every name of a file but its first
    freed_bytes INTEGER NOT NULL -- once it is thrown away: 0 where a name of it stays elsewhere
  ) STRICT;
  CREATE INDEX model_trash_of ON model_trash (trash_id);
`
