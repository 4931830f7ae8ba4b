/** Socket addresses of the internet protocols as bytes (ip(7), ipv6(7)). */

import { type Ip, ipToBytes } from "../address/ip.ts";

/** AF_INET and AF_INET6 (bits/socket.h). */
export const ADDRESS_FAMILY = { 4: 2, 6: 10 } as const;

/** struct sockaddr_in, struct sockaddr_in6, without a port. */
export function socketAddressOf(ip: Ip): Uint8Array {
  const address = new Uint8Array(ip.family === 4 ? 16 : 28);
  new DataView(address.buffer).setUint16(0, ADDRESS_FAMILY[ip.family], true);
  address.set(ipToBytes(ip), ip.family === 4 ? 4 : 8);
  return address;
}
