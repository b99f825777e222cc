import { type ErrorFields, errorResponse, HEADER_BYTES, readFields } from '../wire/message.ts'

/** SQLSTATEs of this server's own, in a class no server uses. */
export const OwnState: { readonly trapped: 'TK001'; readonly busy: 'TK002'; readonly unresponsive: 'TK003' } = {
  /** The engine crashed while it ran the statement. */
  trapped: 'TK001',
  /** Another connection's transaction held the engine too long. */
  busy: 'TK002',
  /** The engine did not answer a cancel and was ended. */
  unresponsive: 'TK003',
}

/** What a statement is told that waited too long for another connection's transaction. */
export function waitRefusal(nested: boolean, waitedMs: number): ErrorFields {
  if (nested)
    return {
      sqlState: OwnState.busy,
      message: 'The statement waits for the transaction it was started in, which waits for the statement.',
      hint: 'Inside transaction(async (tx) => …) use tx, not the database object: the embedded engine has one session.',
    }
  return {
    sqlState: OwnState.busy,
    message: `Another connection's transaction held the embedded engine for ${Math.round(waitedMs)} ms.`,
    hint: 'Keep transactions short, or raise lockWaitMs: the embedded engine has one session and connections take turns.',
  }
}

/** What a statement is told that waited too long for a result that another connection does not read on. */
export function readerRefusal(waitedMs: number): ErrorFields {
  return {
    sqlState: OwnState.busy,
    message: `Another connection's result, of which nothing was read for ${Math.round(waitedMs)} ms, holds the embedded engine.`,
    hint: 'Inside a loop over a stream run no other statements, or gather the result first: the embedded engine has one session.',
  }
}

/** What a connection is told when the engine is gone: whether its statement ran decides whether it may be repeated. */
export function lossOf(
  lost: { readonly running: boolean; readonly inTransaction: boolean },
  sqlState: string,
  text: string,
): ErrorFields {
  if (lost.running)
    return {
      sqlState,
      message: `The embedded engine ended while it ran this statement: ${text}.`,
      hint: 'The engine was opened again and everything committed is there; look whether this statement was.',
    }
  // 57P03 says that the statement was never begun.
  return { sqlState: lost.inTransaction ? '57P02' : '57P03', message: 'The embedded engine was restarted.' }
}

/** The engine knows one kind of cancel; the client is told which one it was, as a server does. */
export function timeoutError(bytes: Buffer): Buffer | undefined {
  const sqlState = readFields(bytes.subarray(HEADER_BYTES)).get('C') ?? ''
  return sqlState === '57014'
    ? errorResponse({ sqlState, message: 'canceling statement due to statement timeout' })
    : undefined
}
