/**
 * The server's side of SCRAM-SHA-256 (RFC 5802 and RFC 7677; PostgreSQL documentation, "SASL Authentication"), as text
 * and keys; sending and waiting is the caller's.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const ITERATIONS = 4096
const KEY_BYTES = 32
const SALT_BYTES = 16

/** What a server keeps instead of a password: enough to check one, not to use it elsewhere. */
export interface ScramVerifier {
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

/** How the exchange is bound to the TLS connection that it runs on. */
export interface ChannelBinding {
  /** The hash of the server's certificate (RFC 5929, tls-server-end-point); undefined without TLS. */
  readonly certificateHash: Buffer | undefined
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
const hmac = (key: Uint8Array, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** Makes the verifier of a password, with a salt of its own. */
export async function makeVerifier(password: string): Promise<ScramVerifier> {
  const salt = randomBytes(SALT_BYTES)
  const salted = await promisify(pbkdf2)(prepare(password), salt, ITERATIONS, KEY_BYTES, 'sha256')
  return { salt, storedKey: sha256(hmac(salted, 'Client Key')), serverKey: hmac(salted, 'Server Key') }
}

/** A verifier that no password fits: the same salt for the same name and `secret`, as a user who exists would have. */
export function mockVerifier(user: string, secret: Uint8Array): ScramVerifier {
  const salt = hmac(secret, `salt ${user}`).subarray(0, SALT_BYTES)
  return { salt, storedKey: hmac(secret, `stored key ${user}`), serverKey: hmac(secret, `server key ${user}`) }
}

// SASLprep (RFC 4013) as far as it changes a password: RFC 3454 tables C.1.2 (spaces), B.1 (mapped to nothing), NFKC.
// Passwords that it would refuse are taken as they are, which PostgreSQL does too.
const SPACES = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/g
const NOTHING = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/g

const prepare = (password: string): string => password.replace(SPACES, ' ').replace(NOTHING, '').normalize('NFKC')

/** The mechanisms offered to a client. */
export function mechanisms({ certificateHash }: ChannelBinding): readonly string[] {
  return certificateHash === undefined ? [PLAIN] : [PLUS, PLAIN]
}

const PLAIN = 'SCRAM-SHA-256'
const PLUS = 'SCRAM-SHA-256-PLUS'
const END_POINT = 'p=tls-server-end-point'

// gs2-header, then client-first-message-bare: no authorization identity, no mandatory extension.
const CLIENT_FIRST = /^((n|y|p=[A-Za-z0-9.-]+),,)(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/
const CLIENT_FINAL = /^(c=([A-Za-z0-9+/]+=*),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?),p=([A-Za-z0-9+/]{43}=)$/

/** An exchange that began. */
export interface ScramExchange {
  /** What the server answers to the client's first message. */
  readonly serverFirst: string
  /** Checks the client's last message: the server's last one, or undefined where the proof is wrong or malformed. */
  finish(clientFinal: string): string | undefined
}

/** Reads the client's first message; undefined where it is malformed or does not fit the channel. */
export function beginExchange(
  mechanism: string,
  clientFirst: string,
  verifier: ScramVerifier,
  { certificateHash }: ChannelBinding,
): ScramExchange | undefined {
  const [, header, flag, bare, clientNonce] = CLIENT_FIRST.exec(clientFirst) ?? []
  if (header === undefined || flag === undefined || bare === undefined || clientNonce === undefined) return undefined
  const bound = mechanism === PLUS
  if (bound ? certificateHash === undefined || flag !== END_POINT : mechanism !== PLAIN || flag.startsWith('p'))
    return undefined
  // The client could bind and was made to believe that this server cannot: somebody is in between.
  if (flag === 'y' && certificateHash !== undefined) return undefined
  const binding = Buffer.concat([Buffer.from(header), ...(bound && certificateHash ? [certificateHash] : [])])
  const nonce = clientNonce + randomBytes(18).toString('base64')
  const serverFirst = `r=${nonce},s=${verifier.salt.toString('base64')},i=${ITERATIONS}`
  return {
    serverFirst,
    finish: (clientFinal) => {
      const [, withoutProof, bindingText, finalNonce, proofText] = CLIENT_FINAL.exec(clientFinal) ?? []
      if (finalNonce !== nonce || bindingText !== binding.toString('base64')) return undefined
      const proof = Buffer.from(proofText ?? '', 'base64')
      const text = `${bare},${serverFirst},${withoutProof}`
      const signature = hmac(verifier.storedKey, text)
      const clientKey = proof.map((byte, index) => byte ^ (signature[index] ?? 0))
      const serverSignature = hmac(verifier.serverKey, text).toString('base64')
      return timingSafeEqual(sha256(clientKey), verifier.storedKey) ? `v=${serverSignature}` : undefined
    },
  }
}
