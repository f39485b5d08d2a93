import type { Sentence } from '../../contract/batch.ts'
import { type Facts, fill } from '../../contract/errors.ts'

/** What reading a table and planning a batch may have to tell. Other languages: resources/locales, problems.json, under the same codes. */
export const batchSentences = {
  'batch.repeated-seed':
    '{count} jobs repeat another with the same seed ({seeds}); ComfyUI would answer with the same picture.',
  'batch.identical-jobs': '{count} jobs are the same as another; they would give the same picture.',
  'batch.empty-cells': '{count} empty cells keep the workflow’s own text.',
  'batch.more-faults': 'Only the first {limit} of {count} faults are listed.',
  'batch.would-lose': 'The workflow cannot be queued: {count} parts of it would be lost.',
  'batch.loses': '{count} parts of the workflow are left out, as you allowed.',
  'batch.missing-nodes': '{worker} has no {classTypes}; only the rehearsal can sketch them.',
  'batch.missing-models': '{worker} lacks {models}.',
  'batch.paid': 'Uses nodes that cost money: {classTypes}.',
  'batch.paid-no-key': 'No key of a ComfyUI account is set; nodes that cost money will fail without one.',
  'batch.rehearsal-only': 'No ComfyUI is connected, so the rehearsal will sketch the pictures.',
  'batch.unknown-token': 'The name pattern has words that mean nothing here: {tokens}.',
  'table.open-quote': 'Line {line}: a quotation mark is never closed; it was read as an ordinary character.',
  'table.empty-rows': '{count} empty rows were left out.',
  'table.long-row': 'Row {row} has {cells} cells, the header {width}: “{left}” was left out.',
  'table.short-row': 'Row {row} has {cells} cells, the header {width}; the rest is empty.',
  'table.more-notes': '… and {count} more notes.',
  'table.no-stored-value':
    '{cells}: a formula without a stored value was read as empty; open the file in Excel and save it again.',
  'table.long-number': '{cells}: Excel keeps 15 digits of a number; format longer seeds as text to keep every digit.',
  'table.damaged-text': '{count} damaged characters were replaced by �.',
  'row.placeholder-empty': '{placeholder} has no value.',
  'row.file-missing': 'There is no such file.',
  'row.file-not-there': '{worker} has no input file of this name; give a file of this computer, or put it there.',
  'row.file-not-media': 'It is not a picture, video or sound.',
  'row.file-unreachable': 'It could not be fetched: {reason}.',
  'row.file-by-path': 'Files are given by choosing or dropping them, not by their path.',
} as const

export type BatchCode = keyof typeof batchSentences
export const warning = (code: BatchCode, facts: Facts = {}): Sentence => ({
  code,
  message: fill(batchSentences[code], facts),
  facts,
})
