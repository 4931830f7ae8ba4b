/**
 * The packets that stand for the traffic of a network: new connections between two of its addresses, by TCP, UDP and ICMP,
 * arriving from and leaving to another host. A match that cannot be decided for them (a port, a mark, the state of a set) applies
 * to some of them only, so its rule decides nothing here: a drop by such a rule is an operator's or a network policy's.
 */

import { containsPrefix, overlaps, type Prefix } from "../address/prefix.ts";
import { anyOf, type Match, negate, type Packet, type Truth } from "./walk.ts";

type Protocol = "tcp" | "udp" | "icmp";

interface NetworkPacket {
  readonly network: Prefix;
  readonly protocol: Protocol;
  /** From another host to a container of this one, or the opposite. */
  readonly isInbound: boolean;
}

/** The packets of a network. */
export const networkPackets = (network: Prefix): Packet[] =>
  (["tcp", "udp", "icmp"] as const).flatMap((protocol) =>
    [true, false].map((isInbound) => ({
      truthOf: (match: Match) => truthOfMatch(match, { network, protocol, isInbound }),
      mayBeMeantBy: ({ matches, effect }) =>
        effect.kind === "accept" && matches.some(({ kind }) => kind === "set"),
    })),
  );

function truthOfMatch(match: Match, packet: NetworkPacket): Truth {
  switch (match.kind) {
    case "address": {
      const { family } = packet.network;
      const prefixes = match.prefixes.filter((prefix) => prefix === undefined || prefix.family === family);
      if (prefixes.length === 0) return "none"; // addresses of the other family, also if negated
      return negate(anyOf(prefixes.map((prefix) => truthOfAddress(prefix, packet.network))), match.negated);
    }
    case "interface": {
      const isTunnelSide = packet.isInbound === (match.side === "in");
      return negate(anyOf(match.names.map((name) => truthOfInterface(name, isTunnelSide))), match.negated);
    }
    case "protocol":
      return negate(anyOf(match.names.map((name) => truthOfProtocol(name, packet))), match.negated);
    case "family":
      return match.family === packet.network.family ? "all" : "none";
    case "state":
      return match.includesNew ? "all" : "none";
    default:
      return "unknown";
  }
}

function truthOfAddress(prefix: Prefix | undefined, network: Prefix): Truth {
  if (prefix === undefined) return "unknown";
  if (containsPrefix(prefix, network)) return "all";
  return overlaps(prefix, network) ? "unknown" : "none";
}

/** Devices that packets come from or go to on the tunnel's side, and on the containers' side. */
const TUNNEL_DEVICE = /^flannel/;
const CONTAINER_DEVICE = /^cni0$/;

/** Packets of the network pass `lo` never, and devices of unknown names perhaps. */
function truthOfInterface(name: string, isTunnelSide: boolean): Truth {
  if (name === "lo") return "none";
  if (name === "*" || name === "+") return "all";
  if (TUNNEL_DEVICE.test(name)) return isTunnelSide ? "all" : "none";
  if (CONTAINER_DEVICE.test(name)) return isTunnelSide ? "none" : "all";
  return "unknown";
}

/** Names and numbers as both tools print them (/etc/protocols). */
const PROTOCOL_NAMES: Readonly<Record<string, Protocol | "icmpv6">> = {
  tcp: "tcp",
  6: "tcp",
  udp: "udp",
  17: "udp",
  icmp: "icmp",
  1: "icmp",
  icmpv6: "icmpv6",
  "ipv6-icmp": "icmpv6",
  58: "icmpv6",
};

function truthOfProtocol(name: string, { protocol, network }: NetworkPacket): Truth {
  if (name === "all") return "all";
  const own = protocol === "icmp" && network.family === 6 ? "icmpv6" : protocol;
  return PROTOCOL_NAMES[name] === own ? "all" : "none";
}
