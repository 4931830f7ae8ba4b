/** Endpoints in the kernel's form: `struct sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7)), padded to 28 bytes. */

import { formatIp, ipFromBytes, ipToBytes, parseIp } from "../address/ip.ts";

// bits/socket.h
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCKADDR_BYTES = 28;

/** From "192.168.7.2:51820" or "[fd00:7::2]:51820"; undefined = it is neither. */
export function parseSocketAddress(text: string): Uint8Array | undefined {
  const [, inner, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const ip = parseIp(inner ?? plain ?? "");
  if (ip === undefined || (ip.family === 6) !== (inner !== undefined) || Number(port) > 65535)
    return undefined;
  return socketAddressOf(ipToBytes(ip), Number(port));
}

/** `ip` has 4 or 16 bytes. */
function socketAddressOf(ip: Uint8Array, port: number): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, ip.length === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  bytes.set(ip, ip.length === 4 ? 4 : 8);
  return bytes;
}

/** As {@link parseSocketAddress} reads it; undefined = no address. */
export function formatSocketAddress(bytes: Uint8Array): string | undefined {
  const family = bytes[0]! | (bytes[1]! << 8);
  const port = (bytes[2]! << 8) | bytes[3]!;
  if (family === AF_INET) return `${formatIp(ipFromBytes(bytes.subarray(4, 8))!)}:${port}`;
  if (family === AF_INET6) return `[${formatIp(ipFromBytes(bytes.subarray(8, 24))!)}]:${port}`;
  return undefined;
}
