/** The part of node-forge that certificate.ts uses; the package has no types. */
declare module 'node-forge' {
  interface PublicKey {
    readonly n: unknown
  }
  interface PrivateKey {
    readonly d: unknown
  }
  interface Certificate {
    publicKey: PublicKey
    serialNumber: string
    validity: { notBefore: Date; notAfter: Date }
    setSubject(attributes: readonly { name: string; value: string }[]): void
    setIssuer(attributes: readonly { name: string; value: string }[]): void
    setExtensions(extensions: readonly Record<string, unknown>[]): void
    sign(key: PrivateKey, digest: unknown): void
  }
  const forge: {
    readonly pki: {
      createCertificate(): Certificate
      certificateToPem(certificate: Certificate): string
      publicKeyFromPem(pem: string): PublicKey
      privateKeyFromPem(pem: string): PrivateKey
      certificateFromPem(pem: string): Certificate
      certificateToAsn1(certificate: Certificate): unknown
    }
    readonly asn1: { toDer(element: unknown): { getBytes(): string } }
    readonly md: Readonly<Record<'md5' | 'sha1' | 'sha256' | 'sha384' | 'sha512', { create(): unknown }>>
  }
  // biome-ignore lint/style/noDefaultExport: the package has only this one
  export default forge
}
