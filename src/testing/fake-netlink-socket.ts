/**
 * A netlink socket without a kernel, for tests: a function answers each request, and the fake turns the answers into
 * the datagrams that the kernel's netlink core would send (net/netlink/af_netlink.c): acknowledgements on request,
 * errors always, dumps in parts, and it refuses what the kernel refuses (a datagram beyond the send buffer).
 */

import { SyscallError } from "../base/error.ts";
import { attributeTable } from "../netlink/attribute.ts";
import { string, u32 } from "../netlink/kind.ts";
import {
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  splitMessages,
} from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { Writer } from "../netlink/writer.ts";

/** Answer to one request. Empty = success. */
export interface FakeReply {
  /** Positive errno. */
  readonly errno?: number;
  /** NLMSGERR_ATTR_MSG and NLMSGERR_ATTR_OFFS. */
  readonly text?: string;
  readonly offset?: number;
  /** Objects that a get or a dump returns, two in each datagram. */
  readonly objects?: readonly { readonly type: number; readonly payload: Uint8Array }[];
  /** Mark the dump as interrupted. */
  readonly interrupted?: boolean;
  /** The answer (of a dump: its objects) does not fit into the receive buffer: receive() fails with ENOBUFS instead. */
  readonly lost?: boolean;
  /** Do not answer: receive() will time out. */
  readonly silent?: boolean;
}

/** SO_SNDBUF as Linux has it by default. */
const SEND_BUFFER_BYTES = 212_992;
const OBJECTS_PER_DATAGRAM = 2;

const EXT_ACK = attributeTable({
  NLMSGERR_ATTR_MSG: [1, "text", string],
  NLMSGERR_ATTR_OFFS: [2, "offset", u32],
});

export class FakeNetlinkSocket implements NetlinkSocket {
  readonly portId = 4711;
  /** Number of send() calls. */
  sends = 0;
  isClosed = false;
  readonly #answer: (request: NetlinkMessage) => FakeReply;
  readonly #queue: (Uint8Array | "ENOBUFS")[] = [];

  constructor(answer: (request: NetlinkMessage) => FakeReply) {
    this.#answer = answer;
  }

  send(datagram: Uint8Array): void {
    this.sends++;
    if (datagram.length > SEND_BUFFER_BYTES) throw new SyscallError("send", 90, "EMSGSIZE", "netlink");
    for (const request of splitMessages(datagram.slice())) this.#reply(request, this.#answer(request));
  }

  receive(): Uint8Array | undefined {
    const next = this.#queue.shift();
    if (next === "ENOBUFS") throw new SyscallError("recv", 105, "ENOBUFS", "netlink");
    return next;
  }

  /** Puts a datagram in front of the answers to come, e.g. a stale one. */
  push(datagram: Uint8Array): void {
    this.#queue.push(datagram);
  }

  discard(): void {
    this.#queue.length = 0;
  }

  close(): void {
    this.isClosed = true;
  }

  #reply(request: NetlinkMessage, reply: FakeReply): void {
    if (reply.silent) return;
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP && reply.objects !== undefined;
    const mustAnswer = isDump || (reply.errno ?? 0) !== 0 || (request.flags & NLM_F_ACK) !== 0;
    if (reply.lost) {
      if (mustAnswer && this.#queue.at(-1) !== "ENOBUFS") this.#queue.push("ENOBUFS");
      if (!isDump) return;
    }
    const flags = (isDump ? NLM_F_MULTI : 0) | (reply.interrupted ? NLM_F_DUMP_INTR : 0);
    if (!reply.lost) this.#pushObjects(request, reply.objects ?? [], flags);
    if (mustAnswer) this.#queue.push(endOf(request, reply, isDump, flags));
  }

  #pushObjects(request: NetlinkMessage, objects: NonNullable<FakeReply["objects"]>, flags: number): void {
    for (let at = 0; at < objects.length; at += OBJECTS_PER_DATAGRAM) {
      const writer = new Writer();
      for (const { type, payload } of objects.slice(at, at + OBJECTS_PER_DATAGRAM)) {
        writeMessage(writer, type, flags, request.sequence, this.portId, () => writer.bytes(payload));
      }
      this.#queue.push(writer.written.slice());
    }
  }
}

/** The last message of an answer: NLMSG_DONE of a dump, else NLMSG_ERROR with a capped copy of the request. */
function endOf(request: NetlinkMessage, reply: FakeReply, isDump: boolean, dumpFlags: number): Uint8Array {
  const writer = new Writer();
  const hasTlvs = reply.text !== undefined || reply.offset !== undefined;
  const type = isDump ? NLMSG_DONE : NLMSG_ERROR;
  const flags = (isDump ? dumpFlags : NLM_F_CAPPED) | (hasTlvs ? NLM_F_ACK_TLVS : 0);
  writeMessage(writer, type, flags, request.sequence, 4711, () => {
    writer.u32(-(reply.errno ?? 0));
    if (!isDump) writer.bytes(request.bytes.subarray(request.start - 16, request.start));
    EXT_ACK.encode(writer, { text: reply.text, offset: reply.offset });
  });
  return writer.written.slice();
}

/** Writes a message with its header around what `payload` writes. */
function writeMessage(
  writer: Writer,
  type: number,
  flags: number,
  sequence: number,
  portId: number,
  payload: () => void,
): void {
  const at = writer.length;
  writer.u32(0);
  writer.u16(type);
  writer.u16(flags);
  writer.u32(sequence);
  writer.u32(portId);
  payload();
  writer.patchU32(at, writer.length - at);
  writer.align();
}
