/** Limits a server sets to what clients send ("Message Formats"; PqMsg_* and PQ_*_MESSAGE_LIMIT of its source). */

/** Messages without data are small. */
const SMALL = 10_000
const MESSAGES = 'QPBDECSHFXdcf'
const WITH_DATA = 'QPBFd'
/** The only messages a COPY reads; any other would make the engine end itself. */
const IN_COPY = 'dcfHSX'

/** What is wrong with a message's type or length, in the server's words; undefined where nothing is. */
export function frontendFault(type: string, length: number, copying: boolean, limit: number): string | undefined {
  if (!MESSAGES.includes(type)) return `invalid frontend message type ${type.charCodeAt(0)}`
  if (length < 4 || length > (WITH_DATA.includes(type) ? limit : SMALL)) return 'invalid message length'
  if (copying && !IN_COPY.includes(type)) return `unexpected message type "${type}" during COPY from stdin`
  return undefined
}
