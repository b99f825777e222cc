import type { WriteStream } from 'node:tty'

const CODES = { red: 31, yellow: 33, cyan: 36 }

/** The text in a colour where the stream is a terminal that wants colours (see https://no-color.org). */
export function paint(stream: WriteStream | NodeJS.WriteStream, color: keyof typeof CODES, text: string): string {
  const plain = !stream.isTTY || (process.env['NO_COLOR'] ?? '') !== '' || process.env['TERM'] === 'dumb'
  return plain ? text : `\u001b[${CODES[color]}m${text}\u001b[39m`
}
