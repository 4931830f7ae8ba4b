/** The kernel's table of connections, for network policies: the port ConnectionTable on a real kernel. */

import { setImmediate, setTimeout } from "node:timers/promises";
import { type ConntrackEntry, dumpConnections } from "../netlink/conntrack.ts";
import { NETLINK_NETFILTER } from "../netlink/nfnetlink.ts";
import type { ConnectionTable, TrackedConnection } from "../policy/connections.ts";
import { type NetlinkOptions, openNetlink, openRtnetlink } from "./netlink-socket.ts";

const PROTOCOLS: Readonly<Record<number, string>> = { 6: "TCP", 17: "UDP", 132: "SCTP" };

/** Reading takes a fifth of the time at most: pods come and go faster than 100,000 connections are read. */
const REST = 4;
const MAX_REST_MS = 2000;

/** Opens its sockets for each call. */
export const trackedConnections = (options: NetlinkOptions = {}): ConnectionTable => {
  let restedAtMs = 0;
  return {
    async list() {
      const waitMs = restedAtMs - performance.now();
      if (waitMs > 0) await setTimeout(waitMs);
      const startMs = performance.now();
      const socket = openNetlink({ ...options, family: NETLINK_NETFILTER });
      try {
        return (await dumpConnections(socket, () => setImmediate())).map(named);
      } finally {
        socket.close();
        const endMs = performance.now();
        restedAtMs = endMs + Math.min(MAX_REST_MS, REST * (endMs - startMs));
      }
    },
    async nodeAddresses() {
      using rtnetlink = openRtnetlink(options);
      return new Set(rtnetlink.addresses().map(({ address }) => address));
    },
  };
};

const named = (entry: ConntrackEntry): TrackedConnection => ({
  ...entry,
  protocol: PROTOCOLS[entry.protocol] ?? String(entry.protocol),
});
