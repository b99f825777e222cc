import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { HEADER_BYTES, int32, message } from '../../src/wire/message.ts'
import { fieldsOf, RawClient, type Reply } from './raw-client.ts'

export interface Login {
  readonly user?: string
  readonly password: string
  readonly parameters?: Readonly<Record<string, string>>
  readonly minor?: number
  /** Changes what a well-behaved client would send; for clients that do not behave. */
  readonly tamper?: Tamper
}

/** Each takes the honest text and gives what is sent. */
export interface Tamper {
  readonly mechanism?: string
  readonly clientFirst?: (text: string) => string
  readonly clientFinal?: (text: string) => string
  /** Sees what the server answered. */
  readonly serverFirst?: (text: string) => void
}

export const startup = (parameters: Readonly<Record<string, string>>, minor = 0): Buffer => {
  const words = Object.entries(parameters).flat()
  const body = Buffer.concat([
    int32(0x30000 + minor),
    ...words.map((word) => Buffer.from(`${word}\0`)),
    Buffer.alloc(1),
  ])
  return Buffer.concat([int32(body.length + 4), body])
}

export const sslRequest: Buffer = Buffer.concat([int32(8), int32(80877103)])
export const gssRequest: Buffer = Buffer.concat([int32(8), int32(80877104)])
export const cancelRequest = (processId: number, key: number): Buffer =>
  Buffer.concat([int32(16), int32(80877102), int32(processId), int32(key)])

/** A TCP connection to a served database. */
export async function dial(served: { readonly port: number }): Promise<net.Socket> {
  const socket = net.connect(served.port, '127.0.0.1')
  await once(socket, 'connect')
  return socket
}

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()
const textOf = (reply: Reply | undefined): string => reply?.bytes.toString('utf8', HEADER_BYTES + 4) ?? ''

/** Logs in byte by byte, by an implementation of its own (RFC 5802); gives the replies up to the first query. */
export async function logIn(
  client: RawClient,
  { user = 'postgres', password, parameters = {}, minor = 0, tamper = {} }: Login,
): Promise<Reply[]> {
  client.send(startup({ user, ...parameters }, minor))
  const replies = await untilOrError(client, 'R')
  const bare = `n=,r=${randomBytes(18).toString('base64')}`
  const clientFirst = Buffer.from((tamper.clientFirst ?? same)(`n,,${bare}`))
  client.send(message('p', tamper.mechanism ?? 'SCRAM-SHA-256', int32(clientFirst.length), clientFirst))
  const serverFirst = textOf((await untilOrError(client, 'R')).at(-1))
  tamper.serverFirst?.(serverFirst)
  const [, nonce, salt = '', iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? []
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
  const withoutProof = `c=biws,r=${nonce}`
  const text = `${bare},${serverFirst},${withoutProof}`
  const clientKey = hmac(salted, 'Client Key')
  const signature = hmac(sha256(clientKey), text)
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0))).toString('base64')
  client.send(message('p', Buffer.from((tamper.clientFinal ?? same)(`${withoutProof},p=${proof}`))))
  const serverFinal = textOf((await untilOrError(client, 'R')).at(-1))
  if (serverFinal !== `v=${hmac(hmac(salted, 'Server Key'), text).toString('base64')}`)
    throw new Error('the server does not know the password')
  return [...replies, ...(await untilOrError(client, 'Z'))]
}

/** A raw client that is logged in. */
export async function openRaw(served: {
  readonly port: number
  readonly password: string | undefined
}): Promise<RawClient> {
  const client = new RawClient(await dial(served))
  await logIn(client, { password: served.password ?? '' })
  return client
}

const same = (text: string): string => text

async function untilOrError(client: RawClient, type: string): Promise<Reply[]> {
  const replies = await client.until(`${type}E`)
  const last = replies.at(-1)
  if (last?.type === 'E') throw Object.assign(new Error(fieldsOf(last).get('M')), { code: fieldsOf(last).get('C') })
  return replies
}
