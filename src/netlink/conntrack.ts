/**
 * Connections that the kernel tracks (linux/netfilter/nfnetlink_conntrack.h), as far as network policies need them: the source,
 * where packets go after translation of the destination, and the id that `ct id` of nftables matches.
 */

import { attributeTable, nested } from "./attribute.ts";
import type { NetlinkConnection } from "./connection.ts";
import { ip, u8, u16be, u32be } from "./kind.ts";
import { layoutOf, requestOf } from "./message.ts";
import { struct } from "./struct.ts";

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

/** All connections, of both families. Throws NetlinkError, and EINTR as {@link NetlinkConnection.dump} does. */
export function dumpConnections(connection: NetlinkConnection): ConntrackEntry[] {
  const type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
  const entries: ConntrackEntry[] = [];
  for (const { bytes, start, end } of connection.dump(requestOf("CT_GET", type, 0, CONNECTION, {}))) {
    const { original, reply, id } = CONNECTION.decode(bytes, start, end);
    const source = original?.ip?.source4 ?? original?.ip?.source6;
    const destination = reply?.ip?.source4 ?? reply?.ip?.source6;
    if (source === undefined || destination === undefined || id === undefined) continue;
    const { protocol = 0, sourcePort: port = 0 } = reply?.proto ?? {};
    entries.push({ id, source, destination, protocol, port });
  }
  return entries;
}
