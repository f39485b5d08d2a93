import { createContext } from 'react'
import { inputThumbUrl } from '../client/client.ts'
import { addInput } from '../client/files.ts'

/** Who keeps the files of a form and shows them small: our host, or the place a form was published at. */
export const OwnFiles = createContext({
  /** What stands for the file in a value. @throws FailureError */
  keep: async (file: File): Promise<string> => (await addInput(file)).ref,
  /** The address of a small picture of a value; empty: there is none. */
  pictureOf: inputThumbUrl as (value: string, workflowId: string, size: number) => string,
  /** Values that stand for a file, besides addresses. */
  isKept: (value: string) => value.startsWith('input:'),
  /** What a person called it, where the value does not say. */
  nameOf: (_value: string): string | undefined => undefined,
})
