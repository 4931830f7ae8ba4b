/** What all raw ICMP sockets of this program have in common (raw(7), icmp(7), RFC 3542 §3): the types of echo, and DF. */

import type { Family } from "../address/ip.ts";
import { check, sys } from "./ffi.ts";
import { ADDRESS_FAMILY } from "./socket-address.ts";

// bits/socket.h, netinet/in.h
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
const PROTOCOL = { 4: 1, 6: 58 } as const; // IPPROTO_ICMP, IPPROTO_ICMPV6
const SOL = { 4: 0, 6: 41 } as const; // IPPROTO_IP, IPPROTO_IPV6
const MTU_DISCOVER = { 4: 10, 6: 23 } as const; // IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
/** Sets DF, and ignores what the kernel has learned of the path: linux/in.h, linux/in6.h. */
const PMTUDISC_PROBE = 3;

// netinet/ip_icmp.h, netinet/icmp6.h
export const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
export const ECHO_REPLY = { 4: 0, 6: 129 } as const;

/** The descriptor of a new raw ICMP socket, non-blocking; negative without CAP_NET_RAW, or if the kernel lacks the family. */
export const openRawIcmp = (family: Family): number =>
  sys.socket(ADDRESS_FAMILY[family], SOCK_RAW_NONBLOCK_CLOEXEC, PROTOCOL[family]);

/** Packets carry DF, whatever the kernel believes about the path's MTU, so that a size is tested on the wire. Throws SyscallError. */
export function probePathMtu(fd: number, family: Family): void {
  const value = new Uint8Array(Uint32Array.of(PMTUDISC_PROBE).buffer);
  check(sys.setsockopt(fd, SOL[family], MTU_DISCOVER[family], value, value.length), "setsockopt");
}

/** Where the ICMP message starts in what a raw socket received at `at`: with IPv4 the header precedes it. */
export const messageStart = (family: Family, bytes: Uint8Array, at: number): number =>
  family === 4 ? at + (bytes[at]! & 0x0f) * 4 : at;
