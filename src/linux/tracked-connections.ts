/** The kernel's table of connections, for network policies: the port ConnectionTable on a real kernel. */

import { setImmediate } from "node:timers/promises";
import { type ConntrackEntry, dumpConnections } from "../netlink/conntrack.ts";
import { NETLINK_NETFILTER } from "../netlink/nfnetlink.ts";
import type { ConnectionTable, TrackedConnection } from "../policy/connections.ts";
import { type NetlinkOptions, openNetlink, openRtnetlink } from "./netlink-socket.ts";

const PROTOCOLS: Readonly<Record<number, string>> = { 6: "TCP", 17: "UDP", 132: "SCTP" };

/** Opens its sockets for each call: calls are rare. */
export const trackedConnections = (options: NetlinkOptions = {}): ConnectionTable => ({
  async list() {
    const socket = openNetlink({ ...options, family: NETLINK_NETFILTER });
    try {
      return (await dumpConnections(socket, () => setImmediate())).map(named);
    } finally {
      socket.close();
    }
  },
  async nodeAddresses() {
    using rtnetlink = openRtnetlink(options);
    return new Set(rtnetlink.addresses().map(({ address }) => address));
  },
});

const named = (entry: ConntrackEntry): TrackedConnection => ({
  ...entry,
  protocol: PROTOCOLS[entry.protocol] ?? String(entry.protocol),
});
