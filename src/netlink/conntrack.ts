/**
 * Connections that the kernel tracks (linux/netfilter/nfnetlink_conntrack.h), as far as network policies need them: the source,
 * where packets go after translation of the destination, and the id that `ct id` of nftables matches.
 */

import { attributeTable, nested } from "./attribute.ts";
import { errnoName } from "./errno.ts";
import { ip, u8, u16be, u32be } from "./kind.ts";
import {
  errnoOf,
  layoutOf,
  type NetlinkMessage,
  NLM_F_DUMP,
  NLMSG_DONE,
  NLMSG_ERROR,
  requestOf,
  splitMessages,
  writeRequest,
} from "./message.ts";
import { NetlinkError } from "./netlink-error.ts";
import type { NetlinkSocket } from "./socket.ts";
import { struct } from "./struct.ts";
import { Writer } from "./writer.ts";

// linux/netfilter/nfnetlink.h: the subsystem is the message type's upper byte
const NFNL_SUBSYS_CTNETLINK = 1;
// enum cntl_msg_types
const IPCTNL_MSG_CT_GET = 1;

const TUPLE_IP = attributeTable({
  CTA_IP_V4_SRC: [1, "source4", ip],
  CTA_IP_V6_SRC: [3, "source6", ip],
});
const TUPLE_PROTO = attributeTable({
  CTA_PROTO_NUM: [1, "protocol", u8],
  CTA_PROTO_SRC_PORT: [2, "sourcePort", u16be],
});
const TUPLE = attributeTable({
  CTA_TUPLE_IP: [1, "ip", nested(TUPLE_IP)],
  CTA_TUPLE_PROTO: [2, "proto", nested(TUPLE_PROTO)],
});
const CONNECTION = layoutOf(
  struct("nfgenmsg", [
    ["_family", u8],
    ["_version", u8],
    ["_resId", u16be],
  ]),
  attributeTable({
    CTA_TUPLE_ORIG: [1, "original", nested(TUPLE)],
    CTA_TUPLE_REPLY: [2, "reply", nested(TUPLE)],
    CTA_ID: [12, "id", u32be],
  }),
);

/** One connection. */
export interface ConntrackEntry {
  /** As `ct id` of nft(8) writes it. */
  readonly id: number;
  /** Of the first packet, as it was sent. */
  readonly source: string;
  /** Whose replies are expected: the destination after translation. */
  readonly destination: string;
  /** IPPROTO_…. */
  readonly protocol: number;
  /** The destination's port after translation; 0 = the protocol has none. */
  readonly port: number;
}

/** Datagrams of some 100 connections between two pauses. */
const DATAGRAMS_AT_ONCE = 8;

/**
 * All connections, of both families. The table changes while it is read: a connection can be missing only if it begins or ends
 * meanwhile. There can be hundreds of thousands, so `pause` is awaited now and then. Throws NetlinkError, SyscallError (ENOBUFS,
 * ETIMEDOUT).
 */
export async function dumpConnections(
  socket: NetlinkSocket,
  pause: () => Promise<void>,
): Promise<ConntrackEntry[]> {
  const type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
  const request = requestOf("CT_GET", type, 0, CONNECTION, {});
  const writer = new Writer();
  writeRequest(writer, request, 1, NLM_F_DUMP);
  socket.send(writer.written);
  const entries: ConntrackEntry[] = [];
  for (let count = 1; ; count++) {
    const datagram = socket.receive();
    if (datagram === undefined) throw new NetlinkError("ETIMEDOUT", request.name);
    for (const message of splitMessages(datagram)) {
      if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
        const errno = errnoOf(message);
        if (errno === 0) return entries;
        throw new NetlinkError(errnoName(errno), request.name, { errno });
      }
      const entry = decodeEntry(message);
      if (entry !== undefined) entries.push(entry);
    }
    if (count % DATAGRAMS_AT_ONCE === 0) await pause();
  }
}

function decodeEntry({ bytes, start, end }: NetlinkMessage): ConntrackEntry | undefined {
  const { original, reply, id } = CONNECTION.decode(bytes, start, end);
  const source = original?.ip?.source4 ?? original?.ip?.source6;
  const destination = reply?.ip?.source4 ?? reply?.ip?.source6;
  if (source === undefined || destination === undefined || id === undefined) return undefined;
  const { protocol = 0, sourcePort: port = 0 } = reply?.proto ?? {};
  return { id, source, destination, protocol, port };
}
