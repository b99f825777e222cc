import { HEADER_BYTES, MessageReader, readFields, readTextRow } from '../wire/message.ts'

/** A statement of the engine's own was refused; the message is the server's. */
export class SqlError extends Error {}

/** The rows of a simple query's replies as text. @throws SqlError at an ErrorResponse */
export function readReplies(bytes: Buffer): string[][] {
  const rows: string[][] = []
  new MessageReader().push(bytes, (type, message) => {
    if (type === ERROR) throw new SqlError(readFields(message.subarray(HEADER_BYTES)).get('M') ?? 'unknown error')
    if (type === DATA_ROW) rows.push(readTextRow(message))
  })
  return rows
}

const ERROR = 'E'.charCodeAt(0)
const DATA_ROW = 'D'.charCodeAt(0)
