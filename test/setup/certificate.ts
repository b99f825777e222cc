import { generateKeyPairSync } from 'node:crypto'
import forge from 'node-forge'

export interface KeyAndCertificate {
  readonly key: string
  readonly cert: string
}

export interface Authority extends KeyAndCertificate {
  readonly name: string
}

/** A certificate authority made on the spot, valid for a day. */
export function makeAuthority(name: string): Authority {
  return { name, ...makeCertificate(name, [{ name: 'basicConstraints', cA: true, critical: true }]) }
}

/** A server's certificate for exactly this DNS name, signed by `authority`. */
export function makeServerCertificate(hostName: string, authority: Authority): KeyAndCertificate {
  return makeCertificate(hostName, [{ name: 'subjectAltName', altNames: [{ type: 2, value: hostName }] }], authority)
}

function makeCertificate(
  name: string,
  extensions: readonly Record<string, unknown>[],
  authority?: Authority,
): KeyAndCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey)
  certificate.serialNumber = `01${Math.floor(Math.random() * 2 ** 40).toString(16)}`
  certificate.validity = { notBefore: new Date(Date.now() - 3600e3), notAfter: new Date(Date.now() + 86400e3) }
  certificate.setSubject([{ name: 'commonName', value: name }])
  certificate.setIssuer([{ name: 'commonName', value: authority?.name ?? name }])
  certificate.setExtensions(extensions)
  certificate.sign(forge.pki.privateKeyFromPem(authority?.key ?? privateKey), forge.md.sha256.create())
  return { key: privateKey, cert: forge.pki.certificateToPem(certificate) }
}
