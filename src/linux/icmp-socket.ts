/**
 * A raw ICMP socket of one family for echo probes (raw(7), icmp(7), RFC 3542 §3.2). It needs CAP_NET_RAW and no other capability.
 * The kernel passes only echo replies, and echo requests while they are wanted.
 */

import { type Family, type Ip, ipFromBytes, ipToBytes } from "../address/ip.ts";
import { check, EINTR, lastErrno, sys } from "./ffi.ts";
import { watchReadable } from "./poller.ts";

// bits/socket.h, netinet/in.h, linux/in6.h, linux/icmp.h, netinet/icmp6.h
const ADDRESS_FAMILY = { 4: 2, 6: 10 } as const;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const ICMP6_FILTER = 1;
const IP_MTU_DISCOVER = 10;
const IPV6_MTU_DISCOVER = 23;
/** Sets DF, and ignores what the kernel has learned of the path: linux/in.h, linux/in6.h. */
const PMTUDISC_PROBE = 3;
const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
const ECHO_REPLY = { 4: 0, 6: 129 } as const;

/** Messages that are read in one turn of the event loop. */
const BATCH = 64;
/** The head of a message is enough: an IPv4 header with options, and the beginning of the echo. */
const RECEIVE_BYTES = 96;

export interface IcmpSocket extends Disposable {
  /** Sends an ICMP message. What the kernel refuses (no route, too large, filtered) is lost, as it would be on the way. */
  send(to: Ip, message: Uint8Array, length: number): void;
  /** Whether echo requests of others are received, besides replies. */
  receiveRequests(isWanted: boolean): void;
}

/** `message` is valid during the call only; the ICMP message in it starts at `start`. */
export type IcmpReader = (source: Ip, message: Uint8Array, start: number, length: number) => void;

/** Opens a socket in the caller's namespace; undefined without CAP_NET_RAW, or if the kernel does not have the family. */
export function openIcmp(family: Family, onMessage: IcmpReader): IcmpSocket | undefined {
  const protocol = family === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  const fd = sys.socket(ADDRESS_FAMILY[family], SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  if (fd < 0) return undefined;
  if (family === 4) setOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
  else setOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
  let wantsRequests = false;
  setFilter(fd, family, false);
  const address = new Uint8Array(family === 4 ? 16 : 28);
  const addressLength = new Uint32Array(1);
  const buffer = new Uint8Array(RECEIVE_BYTES);
  const destination = new Uint8Array(address.length);
  new DataView(destination.buffer).setUint16(0, ADDRESS_FAMILY[family], true);
  const ipOffset = family === 4 ? 4 : 8;
  const ipBytes = family === 4 ? 4 : 16;
  const watch = watchReadable(fd, () => {
    for (let count = 0; count < BATCH; count++) {
      addressLength[0] = address.length;
      const length = sys.recvfrom(fd, buffer, buffer.length, 0, address, addressLength);
      if (length < 0 && lastErrno() === EINTR) continue;
      if (length < 0) return; // EAGAIN, or an error of an earlier probe
      // With IPv4 the header precedes the message.
      const start = family === 4 ? (buffer[0]! & 0x0f) * 4 : 0;
      const source = ipFromBytes(address.subarray(ipOffset, ipOffset + ipBytes));
      if (source !== undefined && length > start) onMessage(source, buffer, start, length - start);
    }
  });
  return {
    send(to, message, length) {
      destination.set(ipToBytes(to), ipOffset);
      sys.sendto(fd, message, length, 0, destination, destination.length);
    },
    receiveRequests(isWanted) {
      if (isWanted === wantsRequests) return;
      wantsRequests = isWanted;
      setFilter(fd, family, isWanted);
    },
    [Symbol.dispose]() {
      watch.close();
      sys.close(fd);
    },
  };
}

function setOption(fd: number, level: number, name: number, value: number): void {
  const bytes = new Uint8Array(Int32Array.of(value).buffer);
  check(sys.setsockopt(fd, level, name, bytes, bytes.length), "setsockopt");
}

/** A bit for each type that is not received: `struct icmp_filter`, `struct icmp6_filter`. */
function setFilter(fd: number, family: Family, withRequests: boolean): void {
  const blocked = new Uint32Array(family === 4 ? 1 : 8).fill(0xffff_ffff);
  for (const type of withRequests ? [ECHO_REPLY[family], ECHO_REQUEST[family]] : [ECHO_REPLY[family]])
    blocked[type >>> 5]! &= ~(1 << (type & 31));
  const bytes = new Uint8Array(blocked.buffer);
  const [level, name] = family === 4 ? [SOL_RAW, ICMP_FILTER] : [IPPROTO_ICMPV6, ICMP6_FILTER];
  check(sys.setsockopt(fd, level, name, bytes, bytes.length), "setsockopt");
}
