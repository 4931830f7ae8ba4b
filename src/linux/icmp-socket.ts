/**
 * A raw ICMP socket of one family for echo probes (raw(7), icmp(7), RFC 3542 §3.2), which sends and receives in batches. It
 * needs CAP_NET_RAW and no other capability. The kernel passes only replies with the identifier of this process, and echo
 * requests while they are wanted, so that nothing else wakes the process.
 */

import type { AddressBytes, Family } from "../address/ip.ts";
import { createStructMemory } from "../packet/packet-memory.ts";
import { check, EINTR, lastErrno, sys } from "./ffi.ts";
import { ECHO_REPLY, ECHO_REQUEST, messageStart, openRawIcmp, probePathMtu } from "./icmp.ts";
import {
  IOVEC_BYTES,
  MessageStructs,
  MMSGHDR_BYTES,
  MSG_IOV,
  MSG_IOVLEN,
  MSG_LEN,
  MSG_NAME,
  MSG_NAMELEN,
} from "./message-structs.ts";
import { watchReadable } from "./poller.ts";
import { ADDRESS_FAMILY } from "./socket-address.ts";

// asm-generic/socket.h, netinet/in.h, linux/icmp.h, netinet/icmp6.h
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const IPPROTO_ICMPV6 = 58;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const ICMP6_FILTER = 1;
// linux/bpf_common.h, linux/filter.h: BPF_LDX|BPF_B|BPF_MSH, BPF_LDX|BPF_IMM, BPF_LD|BPF_B|BPF_IND, BPF_LD|BPF_H|BPF_IND, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
const LOAD_HEADER_LENGTH = 0xb1;
const LOAD_ZERO = 0x01;
const LOAD_BYTE = 0x50;
const LOAD_HALF = 0x48;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;

/** Messages that are sent or received by one call. */
const BATCH = 64;
/** The head of a message is enough: an IPv4 header with options, and the beginning of the echo. */
const RECEIVE_BYTES = 96;
const HEAD_BYTES = 16;
/** Largest message that is sent: what fits into a jumbo frame. */
const MOST_BYTES = 9_000;
/** struct sockaddr_in, struct sockaddr_in6: their sizes, and where the address is. */
const NAME_BYTES = { 4: 16, 6: 28 } as const;
const NAME_ADDRESS = { 4: 4, 6: 8 } as const;
const ADDRESS_BYTES = { 4: 4, 6: 16 } as const;
const MEMORY_BYTES = 64 * 1024;

export interface IcmpSocket extends Disposable {
  /**
   * Queues an ICMP message of `length` bytes: `head` (16 bytes at most), then zeros. What the kernel refuses (no route, too
   * large, filtered) is lost, as it would be on the way.
   */
  queue(to: AddressBytes, head: Uint8Array, length: number): void;
  /** Sends what is queued. */
  flush(): void;
  /** Whether echo requests of others are received, besides replies. */
  receiveRequests(isWanted: boolean): void;
}

/** `source` and `message` are valid during the call only; the ICMP message in `message` starts at `start`. */
export type IcmpReader = (source: AddressBytes, message: Uint8Array, start: number, length: number) => void;

/**
 * Opens a socket in the caller's namespace that receives replies with the identifier (16 bits); undefined without CAP_NET_RAW,
 * or if the kernel does not have the family.
 */
export function openIcmp(family: Family, identifier: number, onMessage: IcmpReader): IcmpSocket | undefined {
  const fd = openRawIcmp(family);
  if (fd < 0) return undefined;
  probePathMtu(fd, family);
  let wantsRequests = false;
  setTypeFilter(fd, family, false);
  const memory = createStructMemory(MEMORY_BYTES);
  const structs = new MessageStructs(memory);
  attachFilter(fd, family, identifier, structs, memory.reserve(128), memory.view);
  const sending = reserveMessages(structs, memory, family, [HEAD_BYTES, 0]);
  const zeros = memory.reserve(MOST_BYTES);
  const receiving = reserveMessages(structs, memory, family, [RECEIVE_BYTES]);
  const { bytes, words } = memory;
  const source = { family, bytes, at: 0 };
  let queued = 0;

  const flush = (): void => {
    for (let first = 0; first < queued; ) {
      const address = structs.base + sending.headers + first * MMSGHDR_BYTES;
      const sent = sys.sendmmsg(fd, address, queued - first, 0);
      // An error belongs to the first of them, which is lost.
      first += sent > 0 ? sent : lastErrno() === EINTR ? 0 : 1;
    }
    queued = 0;
  };

  const watch = watchReadable(fd, () => {
    for (let index = 0; index < BATCH; index++)
      words[(receiving.headers + index * MMSGHDR_BYTES + MSG_NAMELEN) >> 2] = NAME_BYTES[family];
    // Negative: EAGAIN, EINTR, or an error of an earlier probe. More than one batch is readable again.
    const count = sys.recvmmsg(fd, structs.base + receiving.headers, BATCH, 0, 0);
    for (let index = 0; index < count; index++) {
      const length = words[(receiving.headers + index * MMSGHDR_BYTES + MSG_LEN) >> 2]!;
      const at = receiving.data + index * receiving.stride;
      const headerBytes = messageStart(family, bytes, at) - at;
      source.at = receiving.names + index * NAME_BYTES[6] + NAME_ADDRESS[family];
      if (length > headerBytes) onMessage(source, bytes, at + headerBytes, length - headerBytes);
    }
  });

  return {
    queue(to, head, length) {
      if (queued === BATCH) flush();
      const name = sending.names + queued * NAME_BYTES[6] + NAME_ADDRESS[family];
      for (let index = 0; index < ADDRESS_BYTES[family]; index++)
        bytes[name + index] = to.bytes[to.at + index]!;
      const data = sending.data + queued * sending.stride;
      for (let index = 0; index < head.length; index++) bytes[data + index] = head[index]!;
      const piece = sending.pieces + queued * 2 * IOVEC_BYTES;
      structs.setPiece(piece, 0, data, head.length);
      structs.setPiece(piece, 1, zeros, Math.min(Math.max(0, length - head.length), MOST_BYTES));
      queued++;
    },
    flush,
    receiveRequests(isWanted) {
      if (isWanted === wantsRequests) return;
      wantsRequests = isWanted;
      setTypeFilter(fd, family, isWanted);
    },
    [Symbol.dispose]() {
      watch.close();
      sys.close(fd);
    },
  };
}

/** An array of struct mmsghdr, each with a name (28 bytes apart) and a piece of each size; the first has room in `data`. */
function reserveMessages(
  structs: MessageStructs,
  { reserve, view }: ReturnType<typeof createStructMemory>,
  family: Family,
  sizes: readonly number[],
) {
  const stride = sizes[0]!;
  const headers = reserve(BATCH * MMSGHDR_BYTES);
  const names = reserve(BATCH * NAME_BYTES[6]);
  const data = reserve(BATCH * stride);
  const pieces = structs.reservePieces(BATCH * sizes.length);
  for (let index = 0; index < BATCH; index++) {
    const header = headers + index * MMSGHDR_BYTES;
    const name = names + index * NAME_BYTES[6];
    const piece = pieces + index * sizes.length * IOVEC_BYTES;
    view.setUint16(name, ADDRESS_FAMILY[family], true);
    structs.setPointer(header + MSG_NAME, name);
    view.setUint32(header + MSG_NAMELEN, NAME_BYTES[family], true);
    structs.setPointer(header + MSG_IOV, piece);
    view.setUint32(header + MSG_IOVLEN, sizes.length, true);
    structs.setPiece(piece, 0, data + index * stride, stride);
  }
  return { headers, names, data, pieces, stride };
}

/** A bit for each type that is not received: `struct icmp_filter`, `struct icmp6_filter`. */
function setTypeFilter(fd: number, family: Family, withRequests: boolean): void {
  const blocked = new Uint32Array(family === 4 ? 1 : 8).fill(0xffff_ffff);
  for (const type of withRequests ? [ECHO_REPLY[family], ECHO_REQUEST[family]] : [ECHO_REPLY[family]])
    blocked[type >>> 5]! &= ~(1 << (type & 31));
  const bytes = new Uint8Array(blocked.buffer);
  const [level, name] = family === 4 ? [SOL_RAW, ICMP_FILTER] : [IPPROTO_ICMPV6, ICMP6_FILTER];
  check(sys.setsockopt(fd, level, name, bytes, bytes.length), "setsockopt");
}

/**
 * Replies of others' probes end in the kernel, and the rest is cut to its head: Documentation/networking/filter.rst. Sockets of
 * IPv4 see the IP header, those of IPv6 do not.
 */
function attachFilter(
  fd: number,
  family: Family,
  identifier: number,
  structs: MessageStructs,
  at: number,
  view: DataView,
): void {
  const program: readonly (readonly [code: number, ifTrue: number, ifFalse: number, value: number])[] = [
    family === 4 ? [LOAD_HEADER_LENGTH, 0, 0, 0] : [LOAD_ZERO, 0, 0, 0],
    [LOAD_BYTE, 0, 0, 0],
    [JUMP_IF_EQUAL, 2, 0, ECHO_REQUEST[family]],
    [LOAD_HALF, 0, 0, 4],
    [JUMP_IF_EQUAL, 0, 1, identifier],
    [RETURN, 0, 0, RECEIVE_BYTES],
    [RETURN, 0, 0, 0],
  ];
  for (const [index, [code, ifTrue, ifFalse, value]] of program.entries()) {
    const instruction = at + index * 8; // struct sock_filter
    view.setUint16(instruction, code, true);
    view.setUint8(instruction + 2, ifTrue);
    view.setUint8(instruction + 3, ifFalse);
    view.setUint32(instruction + 4, value, true);
  }
  const fprog = at + program.length * 8; // struct sock_fprog
  view.setUint16(fprog, program.length, true);
  structs.setPointer(fprog + 8, at);
  const bytes = new Uint8Array(view.buffer, fprog, 16);
  check(
    sys.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, bytes, bytes.length),
    "setsockopt(SO_ATTACH_FILTER)",
  );
}
