/** Socket of the udp backend (ip(7), udp(7), socket(7)), with buffers for bursts, and batching if the kernel supports it. */

import { type Family, formatIp, type Ip, ipToBytes } from "../address/ip.ts";
import type { OpenUdp } from "../datapath/descriptors.ts";
import { check, lastErrno, sys } from "./ffi.ts";
import { isOfOwnNetns } from "./netns.ts";

// bits/socket.h, netinet/in.h, asm-generic/socket.h
export const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDTIMEO = 21;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SIOCGSKNS = 0x894c;
const IPPROTO_IP = 0;
const IPPROTO_RAW = 255;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
const IPV6_V6ONLY = 26;
const IP_MTU_DISCOVER = 10;
const IP_MTU = 14;
const IP_PMTUDISC_DONT = 0;
const IP_PMTUDISC_DO = 2;
// linux/udp.h
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

/** Memory is used only by waiting datagrams. A TCP stream between two hosts has some MB in flight. */
const BUFFER_BYTES = 4 * 1024 * 1024;
/** A packet is dropped if the device accepts nothing for so long. */
const SEND_TIMEOUT_MS = 100;

/** Opens a socket for complete IPv4 packets, header included (raw(7)); -1 without the capability CAP_NET_RAW. */
export const openRaw = (): number => sys.socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

/** sizeof(struct sockaddr_in). */
export const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

/**
 * Opens a UDP socket of the family on all addresses, in the caller's namespace; datagrams above the path MTU are fragmented. `fd`
 * is -1 if the kernel does not have IPv6. Throws SyscallError: EADDRINUSE.
 */
export function openUdpOnAll(family: Family, port: number): OpenUdp {
  const domain = family === 4 ? AF_INET : AF_INET6;
  const fd = sys.socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 && family === 6) return { fd: -1, segments: false, joins: false };
  check(fd, "socket", "UDP");
  try {
    if (family === 6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    const opened = configureOnAll(fd, family);
    const address = addressOnAll(family, port);
    check(sys.bind(fd, address, address.length), "bind", `UDP port ${port}`);
    return opened;
  } catch (error) {
    sys.close(fd);
    throw error;
  }
}

/** Adopts a descriptor from before a restart, as {@link openUdpOnAll} opens it; undefined if it is another one. */
export function adoptUdpOnAll(fd: number, family: Family, port: number): OpenUdp | undefined {
  const wanted = addressOnAll(family, port);
  const address = new Uint8Array(wanted.length);
  if (sys.getsockname(fd, address, Uint32Array.of(address.length)) < 0) return undefined;
  if (!wanted.every((byte, index) => byte === address[index])) return undefined;
  if (getOption(fd, SOL_SOCKET, SO_TYPE) !== SOCK_DGRAM || !isOfOwnNetns(fd, SIOCGSKNS)) return undefined;
  return configureOnAll(fd, family);
}

function configureOnAll(fd: number, family: Family): OpenUdp {
  const opened = configure(fd, true);
  if (family === 4) fragmentOutgoing(fd, true);
  else setOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DONT);
  return opened;
}

/** struct sockaddr_in or sockaddr_in6 of all addresses. */
function addressOnAll(family: Family, port: number): Uint8Array {
  const address = new Uint8Array(family === 4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  const view = new DataView(address.buffer);
  view.setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  return address;
}

/** Opens and binds the socket, in the caller's namespace. Throws SyscallError: EADDRINUSE, EADDRNOTAVAIL. */
export function openUdp(local: Ip, port: number, wantOffloads: boolean): OpenUdp {
  const fd = check(sys.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket", "UDP");
  try {
    const opened = configure(fd, wantOffloads);
    const address = socketAddress(ipToBytes(local), port);
    check(sys.bind(fd, address, address.length), "bind", `UDP ${formatIp(local)}:${port}`);
    return opened;
  } catch (error) {
    sys.close(fd);
    throw error;
  }
}

/**
 * Adopts a descriptor from before a restart, with the datagrams that wait in it; the result is that of {@link openUdp}.
 * Undefined if it is not a socket of this address, in this namespace, with the same offloads; it is not closed.
 */
export function adoptUdp(fd: number, local: Ip, port: number, wantOffloads: boolean): OpenUdp | undefined {
  const address = new Uint8Array(SOCKADDR_IN_BYTES);
  if (sys.getsockname(fd, address, Uint32Array.of(address.length)) < 0) return undefined;
  const wanted = socketAddress(ipToBytes(local), port);
  if (!wanted.every((byte, index) => byte === address[index])) return undefined;
  if (getOption(fd, SOL_SOCKET, SO_TYPE) !== SOCK_DGRAM || !isOfOwnNetns(fd, SIOCGSKNS)) return undefined;
  // Datagrams that were joined already would be read as one if the reader did not expect joined ones.
  const joins = getOption(fd, SOL_UDP, UDP_GRO) === 1;
  if (joins && !wantOffloads) return undefined;
  return configure(fd, wantOffloads);
}

function configure(fd: number, wantOffloads: boolean): OpenUdp {
  setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
  setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
  setTimeoutMs(fd);
  fragmentOutgoing(fd, false);
  return {
    fd,
    segments: wantOffloads && setOption(fd, SOL_UDP, UDP_SEGMENT, 0) === 0,
    joins: wantOffloads && setOption(fd, SOL_UDP, UDP_GRO, 1) === 0,
  };
}

/** Sets whether datagrams above the path MTU are fragmented; if not, sending them fails with EMSGSIZE. Negative errno on failure. */
export const fragmentOutgoing = (fd: number, isAllowed: boolean): number =>
  setOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, isAllowed ? IP_PMTUDISC_DONT : IP_PMTUDISC_DO);

/** Path MTU to an address (4 bytes) as the kernel knows it now (IP_MTU, ip(7)), in bytes; 0 = no route. */
export function pathMtuBytes(address: Uint8Array): number {
  const fd = sys.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  try {
    const peer = socketAddress(address, 9); // connecting sends nothing
    return sys.connect(fd, peer, peer.length) < 0 ? 0 : (getOption(fd, IPPROTO_IP, IP_MTU) ?? 0);
  } finally {
    sys.close(fd);
  }
}

/** struct sockaddr_in; `ip` has 4 bytes. */
export function socketAddress(ip: Uint8Array, port: number): Uint8Array {
  const address = new Uint8Array(SOCKADDR_IN_BYTES);
  new DataView(address.buffer).setUint16(0, AF_INET, true);
  new DataView(address.buffer).setUint16(2, port);
  address.set(ip, 4);
  return address;
}

/** A numeric option; undefined if the kernel does not have it. */
function getOption(fd: number, level: number, name: number): number | undefined {
  const value = new Uint8Array(4);
  if (sys.getsockopt(fd, level, name, value, Uint32Array.of(value.length)) < 0) return undefined;
  return new DataView(value.buffer).getInt32(0, true);
}

function setOption(fd: number, level: number, name: number, value: number): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return sys.setsockopt(fd, level, name, bytes, bytes.length) < 0 ? -lastErrno() : 0;
}

/** May exceed net.core.rmem_max with CAP_NET_ADMIN; otherwise limited by it. */
function setBuffer(fd: number, force: number, plain: number): void {
  if (setOption(fd, SOL_SOCKET, force, BUFFER_BYTES) < 0) setOption(fd, SOL_SOCKET, plain, BUFFER_BYTES);
}

function setTimeoutMs(fd: number): void {
  const timeval = new Uint8Array(16);
  new DataView(timeval.buffer).setBigInt64(8, BigInt(SEND_TIMEOUT_MS * 1000), true);
  check(sys.setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timeval, timeval.length), "setsockopt");
}
