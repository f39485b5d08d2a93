export const panels = /* sql */ `
  -- the forms made for a workflow, as files spell them; panels_before: as they were before the last change, for undoing it
  ALTER TABLE workflows ADD COLUMN panels TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(panels));
  ALTER TABLE workflows ADD COLUMN panels_before TEXT CHECK (json_valid(panels_before));
`
