/** The cryptography that WireGuard needs (wireguard.com/papers/wireguard.pdf, §5.4), as a port: none is written here. */

export const TAG_BYTES = 16;

/** A private key of X25519 (RFC 7748). */
export interface PrivateKey {
  readonly publicKey: Uint8Array;
  /** The shared secret of 32 bytes; undefined if it would be zero: the other key is of low order. */
  agree(publicKey: Uint8Array): Uint8Array | undefined;
}

/** ChaCha20-Poly1305 (RFC 8439) with one key in one direction, on packet memory. */
export interface TransportCipher {
  /** Encrypts `length` bytes at `from` to `to`, the same or apart; the tag follows them. `counter` below 2^53 is the nonce. */
  seal(counter: number, from: number, to: number, length: number): void;
  /** Decrypts `length` bytes in place, of which the last 16 are the tag; false = they are forged, and are garbage now. */
  open(counter: number, offset: number, length: number): boolean;
  /** Overwrites the key. The cipher must not be used any more. */
  destroy(): void;
}

export interface WireguardPrimitives {
  randomBytes(count: number): Uint8Array;
  importKey(privateKey: Uint8Array): PrivateKey;
  generateKey(): PrivateKey;
  /** BLAKE2s with 32 bytes of output (RFC 7693). */
  hash(...parts: readonly Uint8Array[]): Uint8Array;
  /** HMAC (RFC 2104) with it. */
  hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
  /** Keyed BLAKE2s with 16 bytes of output. */
  mac(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** ChaCha20-Poly1305 with nonce 0: the tag follows the ciphertext. */
  seal(key: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array;
  /** Undefined = forged. */
  open(key: Uint8Array, ciphertext: Uint8Array, associated: Uint8Array): Uint8Array | undefined;
  /** XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a nonce of 24 bytes. */
  sealX(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array;
  openX(
    key: Uint8Array,
    nonce: Uint8Array,
    ciphertext: Uint8Array,
    associated: Uint8Array,
  ): Uint8Array | undefined;
  createCipher(key: Uint8Array, isForSealing: boolean): TransportCipher;
}
