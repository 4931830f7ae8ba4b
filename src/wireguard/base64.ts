/** Keys of 32 bytes in base64 (RFC 4648 §4), as wg(8) and Go flannel's leases have them. */

/** "kJ…=". */
export const base64Of = (key: Uint8Array): string => key.toBase64();

/** The bytes of a key that is known to be well-formed. Throws SyntaxError otherwise. */
export const bytesOf = (text: string): Uint8Array => Uint8Array.fromBase64(text);

/** The bytes of a key; undefined = it is no key: not base64, or not 32 bytes. */
export function parseKey(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return undefined;
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return undefined;
  }
}
