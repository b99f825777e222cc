/**
 * The first packet of a connection (PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest,
 * GSSENCRequest, CancelRequest, NegotiateProtocolVersion). It has no type byte: a length that counts itself, a code.
 */
import { int32, message } from './message.ts'

/** The length and the code. */
export const STARTUP_HEADER_BYTES = 8
/** A server takes no longer ones. */
const LONGEST = 10_000
const PROTOCOL_MAJOR = 3
const CODE = { cancel: 80877102, tls: 80877103, gss: 80877104 }

/** A name and its value, as a start-up message has them. */
export type Parameter = readonly [name: string, value: string]

/** What a client asks for first. */
export type StartupRequest =
  | { readonly kind: 'tls' }
  | { readonly kind: 'gss' }
  | { readonly kind: 'cancel'; readonly processId: number; readonly key: number }
  | { readonly kind: 'start'; readonly minor: number; readonly parameters: readonly Parameter[] }
  | { readonly kind: 'unknown'; readonly version: string }

/** The length of the packet that begins with these four bytes; undefined where no server takes such a one. */
export function startupLength(bytes: Buffer): number | undefined {
  const length = bytes.readInt32BE(0)
  return length < STARTUP_HEADER_BYTES || length > LONGEST ? undefined : length
}

/** Reads a whole packet, its length included. */
export function readStartup(packet: Buffer): StartupRequest {
  const code = packet.readInt32BE(4)
  if (code === CODE.tls) return { kind: 'tls' }
  if (code === CODE.gss) return { kind: 'gss' }
  if (code === CODE.cancel && packet.length === 16)
    return { kind: 'cancel', processId: packet.readInt32BE(8), key: packet.readInt32BE(12) }
  const [major, minor] = [packet.readUInt16BE(4), packet.readUInt16BE(6)]
  if (major !== PROTOCOL_MAJOR) return { kind: 'unknown', version: `${major}.${minor}` }
  return { kind: 'start', minor, parameters: readParameters(packet.subarray(STARTUP_HEADER_BYTES)) }
}

function readParameters(body: Buffer): Parameter[] {
  const words = body.toString('utf8').split('\0')
  const parameters: Parameter[] = []
  for (let at = 0; at + 1 < words.length && words[at] !== ''; at += 2)
    parameters.push([words[at] ?? '', words[at + 1] ?? ''])
  return parameters
}

/** Names of protocol options that a client may ask for and a server may not know. */
const isProtocolOption = (name: string): boolean => name.startsWith('_pq_.')

/** Says that protocol 3.0 is spoken, without these options; undefined where the client asked for nothing more. */
export function negotiateProtocolVersion(minor: number, parameters: readonly Parameter[]): Buffer | undefined {
  const options = parameters.flatMap(([name]) => (isProtocolOption(name) ? [name] : []))
  if (minor === 0 && options.length === 0) return undefined
  return message('v', int32(PROTOCOL_MAJOR << 16), int32(options.length), ...options)
}

/** The settings among start-up parameters: those that name one, and those in `options` (`-c name=value`, `--name=value`). */
export function startupSettings(parameters: readonly Parameter[]): Parameter[] {
  return parameters.flatMap(([name, value]) => {
    if (name === 'options') return optionSettings(value)
    return ['user', 'database', 'replication'].includes(name) || isProtocolOption(name) ? [] : [[name, value] as const]
  })
}

function optionSettings(text: string): Parameter[] {
  // A backslash makes the next character, such as a space, part of the word.
  const words = (text.match(/(?:\\.|\S)+/g) ?? []).map((word) => word.replace(/\\(.)/g, '$1'))
  const settings: Parameter[] = []
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? ''
    const setting = word === '-c' ? (words[++at] ?? '') : word.replace(/^--?c?/, '')
    const equals = setting.indexOf('=')
    if (equals > 0) settings.push([setting.slice(0, equals).replaceAll('-', '_'), setting.slice(equals + 1)])
  }
  return settings
}
