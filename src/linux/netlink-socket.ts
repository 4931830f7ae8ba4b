/** Netlink sockets (netlink(7)) for requests: the port NetlinkSocket on a real kernel. */

import { SyscallError } from "../base/error.ts";
import { NetlinkConnection } from "../netlink/connection.ts";
import { Rtnetlink } from "../netlink/rtnetlink.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { check, EAGAIN, EINTR, ENOBUFS, ENOPROTOOPT, lastErrno, lastError, sys } from "./ffi.ts";
import { withNetns } from "./netns.ts";

// bits/socket.h, linux/netlink.h, asm-generic/socket.h
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

/** Netlink families (linux/netlink.h). */
export const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
const NETLINK_GENERIC = 16;

/** The kernel sends dumps in pieces of up to 32 KB if the reader's buffer is as large; single objects may be larger. */
const RECEIVE_BYTES = 64 * 1024;

export interface NetlinkOptions {
  /** Path of the network namespace, e.g. /run/netns/h1; default the caller's. */
  readonly netns?: string | undefined;
  /** Size of the socket's receive buffer. Memory is used only while answers wait in it. Default 8 MB. */
  readonly receiveBufferBytes?: number;
  /** Longest time that receive() waits. Only a faulty kernel makes it wait. Default 5 s. */
  readonly timeoutMs?: number;
}

/** A connection to rtnetlink. Throws SyscallError; ENOENT if the namespace does not exist. */
export const openRtnetlink = (options: NetlinkOptions = {}): Rtnetlink =>
  new Rtnetlink(new NetlinkConnection(openNetlink(options)));

/** A connection to generic netlink (linux/genetlink.h). Throws SyscallError. */
export const openGenericNetlink = (options: NetlinkOptions = {}): NetlinkConnection =>
  new NetlinkConnection(openNetlink({ ...options, family: NETLINK_GENERIC }));

/** A connection to the kernel's IPsec (linux/xfrm.h). Throws SyscallError; EPROTONOSUPPORT on a kernel without it. */
export const openXfrmNetlink = (options: NetlinkOptions = {}): NetlinkConnection =>
  new NetlinkConnection(openNetlink({ ...options, family: NETLINK_XFRM }));

/** A socket for requests of one netlink family (default NETLINK_ROUTE). Throws SyscallError. */
export function openNetlink(options: NetlinkOptions & { readonly family?: number } = {}): NetlinkSocket {
  const { fd, portId } = openFd(options.family ?? NETLINK_ROUTE, options);
  setTimeoutMs(fd, options.timeoutMs ?? 5000);
  const buffer = new Uint8Array(RECEIVE_BYTES);
  let isOpen = true;
  return {
    portId,
    send(datagram) {
      while (sys.send(fd, datagram, datagram.length, 0) < 0) {
        if (lastErrno() !== EINTR) throw lastError("send", "netlink");
      }
    },
    receive: () => receiveDatagram(fd, buffer, 0),
    discard() {
      while (sys.recv(fd, buffer, 0, MSG_DONTWAIT) >= 0 || lastErrno() === ENOBUFS);
    },
    close() {
      if (isOpen) sys.close(fd);
      isOpen = false;
    },
  };
}

/** A non-blocking socket's next datagram; undefined if there is none now. Throws SyscallError: ENOBUFS, EMSGSIZE. */
export const receiveNow = (fd: number, buffer: Uint8Array): Uint8Array | undefined =>
  receiveDatagram(fd, buffer, MSG_DONTWAIT);

/** Opens and binds a socket with the options that this program needs, as a member of `groups`. Throws SyscallError. */
export function openFd(
  family: number,
  options: NetlinkOptions,
  groups: readonly number[] = [],
): { fd: number; portId: number } {
  const open = (): number =>
    check(sys.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family), "socket", "netlink");
  const fd = options.netns === undefined ? open() : withNetns(options.netns, open);
  try {
    setReceiveBuffer(fd, options.receiveBufferBytes ?? 8 * 1024 * 1024);
    setIfKnown(fd, NETLINK_EXT_ACK);
    setIfKnown(fd, NETLINK_CAP_ACK);
    setIfKnown(fd, NETLINK_GET_STRICT_CHK);
    const address = new Uint8Array(12); // struct sockaddr_nl; port 0: the kernel chooses
    address[0] = AF_NETLINK;
    check(sys.bind(fd, address, address.length), "bind", "netlink");
    for (const group of groups) {
      check(
        setOption(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group),
        "setsockopt",
        `netlink group ${group}`,
      );
    }
    check(sys.getsockname(fd, address, Uint32Array.of(address.length)), "getsockname");
    return { fd, portId: new DataView(address.buffer).getUint32(4, true) };
  } catch (error) {
    sys.close(fd);
    throw error;
  }
}

function receiveDatagram(fd: number, buffer: Uint8Array, flags: number): Uint8Array | undefined {
  for (;;) {
    const length = sys.recv(fd, buffer, buffer.length, flags | MSG_TRUNC);
    if (length > buffer.length) {
      throw new SyscallError(
        "recv",
        90,
        "EMSGSIZE",
        `netlink: answer of ${length} bytes exceeds the buffer of ${buffer.length}`,
      );
    }
    if (length >= 0) return buffer.slice(0, length);
    const errno = lastErrno();
    if (errno === EAGAIN) return undefined;
    if (errno !== EINTR) throw lastError("recv", "netlink");
  }
}

function setOption(fd: number, level: number, name: number, value: number): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return sys.setsockopt(fd, level, name, bytes, bytes.length);
}

/** Options that older kernels lack are optional (messages, filters). */
function setIfKnown(fd: number, name: number): void {
  if (setOption(fd, SOL_NETLINK, name, 1) < 0 && lastErrno() !== ENOPROTOOPT)
    throw lastError("setsockopt", "netlink");
}

/** May exceed the sysctl rmem_max with CAP_NET_ADMIN; otherwise limited by it. */
function setReceiveBuffer(fd: number, bytes: number): void {
  // The kernel doubles the number given, for its own overhead (socket(7)).
  if (setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes / 2) < 0) {
    check(setOption(fd, SOL_SOCKET, SO_RCVBUF, bytes / 2), "setsockopt", "SO_RCVBUF");
  }
}

function setTimeoutMs(fd: number, timeoutMs: number): void {
  const timeval = new BigInt64Array([
    BigInt(Math.floor(timeoutMs / 1000)),
    BigInt((timeoutMs % 1000) * 1000),
  ]);
  check(
    sys.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(timeval.buffer), 16),
    "setsockopt",
    "SO_RCVTIMEO",
  );
}
