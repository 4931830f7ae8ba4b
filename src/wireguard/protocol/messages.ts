/** Layout of WireGuard's messages (wireguard.com/papers/wireguard.pdf, §5.4.2 to §5.4.7). Numbers are little-endian. */

export const TYPE_INITIATION = 1;
export const TYPE_RESPONSE = 2;
export const TYPE_COOKIE_REPLY = 3;
export const TYPE_TRANSPORT = 4;

export const INITIATION_BYTES = 148;
export const RESPONSE_BYTES = 92;
export const COOKIE_REPLY_BYTES = 64;

/** Offsets in all handshake messages: from the start, and lengths at the end. */
export const SENDER = 4;
export const RECEIVER_IN_RESPONSE = 8;
export const MACS_BYTES = 32;
export const MAC_BYTES = 16;

/** Of transport messages: receiver, counter, then the encrypted packet with its tag. */
export const RECEIVER = 4;
export const COUNTER = 8;
export const TRANSPORT_HEADER_BYTES = 16;
/** Header and tag. */
export const TRANSPORT_OVERHEAD_BYTES = 32;

export const u32 = (bytes: Uint8Array, offset: number): number =>
  (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>>
  0;

export function setU32(bytes: Uint8Array, offset: number, value: number): void {
  for (let index = 0; index < 4; index++) bytes[offset + index] = (value >>> (8 * index)) & 255;
}
