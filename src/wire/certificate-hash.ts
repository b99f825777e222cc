import { createHash } from 'node:crypto'

// RFC 5280 and RFC 4055: the object identifiers of signature algorithms, as DER bytes in hex, and their hashes.
// RFC 5929 asks for SHA-256 where the certificate was signed with MD5 or SHA-1.
const HASHES: Readonly<Record<string, string>> = {
  '2a864886f70d010104': 'sha256',
  '2a864886f70d010105': 'sha256',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a864886f70d01010e': 'sha224',
  '2a8648ce3d0401': 'sha256',
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
}

/**
 * The hash of a server's certificate that channel binding compares (RFC 5929, tls-server-end-point). Node 20 does not
 * tell a certificate's signature algorithm, so it is read from the DER bytes.
 *
 * @param certificate - in DER
 * @returns undefined for algorithms whose hash no standard names (RSA-PSS, Ed25519): clients then cannot bind
 */
export function certificateHash(certificate: Buffer): Buffer | undefined {
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OBJECT IDENTIFIER, … }, signature }
  const toBeSigned = content(certificate, 0).start
  const algorithm = content(certificate, content(certificate, toBeSigned).end)
  const identifier = content(certificate, algorithm.start)
  const hash = HASHES[certificate.toString('hex', identifier.start, identifier.end)]
  return hash === undefined ? undefined : createHash(hash).update(certificate).digest()
}

/** Where the content of the DER element at `at` starts and ends. */
function content(bytes: Buffer, at: number): { readonly start: number; readonly end: number } {
  const first = bytes[at + 1] ?? 0
  const more = first < 0x80 ? 0 : first & 0x7f
  const start = at + 2 + more
  return { start, end: start + (more === 0 ? first : bytes.readUIntBE(at + 2, more)) }
}
