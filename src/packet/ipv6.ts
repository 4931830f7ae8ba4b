/** IPv6 headers in packet memory (RFC 8200 §3): field offsets. Extension headers are not looked into. */

export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;
export const IPV6_HEADER_BYTES = 40;

/** Source and destination together. */
export const IPV6_ADDRESSES_BYTES = 32;

/** Whether the packet at `offset` is of IPv6, by its version field alone. */
export const isIpv6At = (bytes: Uint8Array, offset: number): boolean => bytes[offset]! >> 4 === 6;
