/**
 * Requests and their answers over one netlink socket (netlink(7)). All calls are synchronous: the kernel's rtnetlink
 * has queued its answer before send() returns, and continues a dump inside recv(), so there is nothing to wait for.
 */

import { hasCode } from "../base/error.ts";
import { attributeTable } from "./attribute.ts";
import { errnoName } from "./errno.ts";
import { string, u32 } from "./kind.ts";
import {
  describeRequest,
  errnoOf,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  NLMSG_NOOP,
  splitMessages,
  writeRequest,
} from "./message.ts";
import { NetlinkError } from "./netlink-error.ts";
import type { NetlinkSocket } from "./socket.ts";
import { align4, Writer } from "./writer.ts";

/**
 * What goes into one send() of a batch. If every message failed, the answers of a chunk (about 1 KB of socket memory
 * each) must fit into the receive buffer; and the chunk itself into the send buffer (208 KB by default).
 */
const CHUNK_MESSAGES = 500;
const CHUNK_BYTES = 64 * 1024;

/** A dump that the kernel marks as interrupted (NLM_F_DUMP_INTR) is taken again this often. */
const DUMP_ATTEMPTS = 16;

/** What the kernel adds to an error (NETLINK_EXT_ACK; linux/netlink.h, enum nlmsgerr_attrs). */
const EXT_ACK = attributeTable({
  NLMSGERR_ATTR_MSG: [1, "message", string],
  NLMSGERR_ATTR_OFFS: [2, "offset", u32],
});

/**
 * One netlink socket, its sequence numbers and its write buffer. Not for concurrent use: each call completes before it
 * returns.
 */
export class NetlinkConnection implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #writer = new Writer();
  #sequence = 0;
  /** An answer was lost or did not come: remains of it may be waiting. */
  #isInDoubt = false;

  /** Takes over the socket: closing the connection closes it. */
  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** Changes made through this connection show up in notifications with this number. */
  get portId(): number {
    return this.#socket.portId;
  }

  /**
   * One request that the kernel acknowledges. Returns the messages it answered with before the acknowledgement.
   * Throws NetlinkError: the kernel's errno, ENOBUFS (the answer was lost), ETIMEDOUT (there was none).
   */
  request(request: NetlinkRequest): NetlinkMessage[] {
    const sequence = this.#send(request, NLM_F_ACK);
    const answers: NetlinkMessage[] = [];
    for (;;) {
      for (const message of this.#receive(request)) {
        if (message.sequence !== sequence || message.type === NLMSG_NOOP) continue;
        if (message.type !== NLMSG_ERROR) {
          answers.push(message);
          continue;
        }
        if (errnoOf(message) !== 0) throw errorOf(request, message);
        return answers;
      }
    }
  }

  /**
   * All objects that a dump request gives, as one consistent picture. Throws NetlinkError as {@link request} does,
   * and EINTR if the table changed during every one of 16 attempts.
   */
  dump(request: NetlinkRequest): NetlinkMessage[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const answers = this.#dumpOnce(request);
      if (answers !== undefined) return answers;
    }
    throw new NetlinkError("EINTR", describeRequest(request), {
      kernelMessage: `the table changed during each of ${DUMP_ATTEMPTS} dumps`,
    });
  }

  /**
   * Many requests, in order, at little more than the kernel's own cost. The result has one entry per request:
   * undefined = done, else why not. Entries with code ENOBUFS (an answer was lost) mean “unknown: observe again”.
   * Throws only if the socket itself is broken.
   */
  batch(requests: readonly NetlinkRequest[]): (NetlinkError | undefined)[] {
    const outcomes = new Array<NetlinkError | undefined>(requests.length).fill(undefined);
    let start = 0;
    while (start < requests.length) start = this.#sendChunk(requests, start, outcomes);
    return outcomes;
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #send(request: NetlinkRequest, flags: number): number {
    const sequence = this.#nextSequence();
    this.#begin();
    writeRequest(this.#writer, request, sequence, flags);
    this.#socket.send(this.#writer.written);
    return sequence;
  }

  /** An empty buffer to write requests in. */
  #begin(): Writer {
    // The kernel drops further answers to a socket that overran, until everything that waits has been read.
    if (this.#isInDoubt) this.#socket.discard();
    this.#isInDoubt = false;
    this.#writer.clear();
    return this.#writer;
  }

  #receive(request: NetlinkRequest): NetlinkMessage[] {
    let datagram: Uint8Array | undefined;
    try {
      datagram = this.#socket.receive();
    } catch (error) {
      if (!hasCode(error, "ENOBUFS")) throw error;
      this.#isInDoubt = true;
      throw new NetlinkError("ENOBUFS", describeRequest(request), {
        kernelMessage: "the kernel's answer was lost",
      });
    }
    if (datagram === undefined) {
      this.#isInDoubt = true;
      throw new NetlinkError("ETIMEDOUT", describeRequest(request), {
        kernelMessage: "no answer from the kernel",
      });
    }
    return splitMessages(datagram);
  }

  /** Undefined = the table changed meanwhile, or a part was lost. */
  #dumpOnce(request: NetlinkRequest): NetlinkMessage[] | undefined {
    const sequence = this.#send(request, NLM_F_DUMP);
    const answers: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      let received: NetlinkMessage[] = [];
      try {
        received = this.#receive(request);
      } catch (error) {
        if (!hasCode(error, "ENOBUFS")) throw error;
        interrupted = true; // a part is missing; the rest must be read before the kernel starts another dump
      }
      for (const message of received) {
        if (message.sequence !== sequence || message.type === NLMSG_NOOP) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type !== NLMSG_DONE && message.type !== NLMSG_ERROR) {
          answers.push(message);
          continue;
        }
        if (errnoOf(message) !== 0) throw errorOf(request, message);
        return interrupted ? undefined : answers;
      }
    }
  }

  /** Sends as many requests from `start` on as fit and notes their outcomes; returns the index after the last. */
  #sendChunk(
    requests: readonly NetlinkRequest[],
    start: number,
    outcomes: (NetlinkError | undefined)[],
  ): number {
    const writer = this.#begin();
    const firstSequence = this.#sequence + 1;
    const limit = Math.min(requests.length, start + CHUNK_MESSAGES);
    let index = start;
    let lastAt = 0;
    while (index < limit && writer.length < CHUNK_BYTES) {
      lastAt = writer.length;
      writeRequest(writer, requests[index++]!, this.#nextSequence(), 0);
    }
    // Errors always answer; the one requested acknowledgement says that all before it are done.
    writer.patchU16(lastAt + 6, requests[index - 1]!.flags | NLM_F_REQUEST | NLM_F_ACK);
    try {
      this.#socket.send(writer.written);
      this.#collect(requests, start, index, firstSequence, outcomes);
    } catch (error) {
      if (!(error instanceof NetlinkError) && !hasCode(error, "ENOBUFS")) throw error;
      const code = hasCode(error, "ETIMEDOUT") ? "ETIMEDOUT" : "ENOBUFS";
      for (let at = start; at < index; at++) {
        outcomes[at] ??= new NetlinkError(code, describeRequest(requests[at]!), {
          kernelMessage: "the kernel's answer was lost",
        });
      }
    }
    return index;
  }

  #collect(
    requests: readonly NetlinkRequest[],
    start: number,
    end: number,
    firstSequence: number,
    outcomes: (NetlinkError | undefined)[],
  ): void {
    for (;;) {
      for (const message of this.#receive(requests[start]!)) {
        const index = start + ((message.sequence - firstSequence) >>> 0);
        if (index >= end || message.type !== NLMSG_ERROR) continue;
        if (errnoOf(message) !== 0) outcomes[index] = errorOf(requests[index]!, message);
        if (index === end - 1) return;
      }
    }
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }
}

/** The error in an NLMSG_ERROR (`struct nlmsgerr`) or a failing NLMSG_DONE. */
function errorOf(request: NetlinkRequest, message: NetlinkMessage): NetlinkError {
  const errno = errnoOf(message);
  const details = (message.flags & NLM_F_ACK_TLVS) === 0 ? {} : EXT_ACK.decode(...extAckRange(message));
  return new NetlinkError(errnoName(errno), describeRequest(request), {
    errno,
    kernelMessage: details.message,
    offset: details.offset,
  });
}

/** Where the attributes of the extended acknowledgement begin: after the errno and the (capped) copy of the request. */
function extAckRange(message: NetlinkMessage): [Uint8Array, number, number] {
  if (message.type === NLMSG_DONE) return [message.bytes, message.start + 4, message.end];
  const isCapped = (message.flags & NLM_F_CAPPED) !== 0;
  const copied = isCapped ? NLMSG_HDRLEN : u32.decode(message.bytes, message.start + 4, message.end);
  return [message.bytes, message.start + 4 + align4(copied), message.end];
}
