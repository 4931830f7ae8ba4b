/**
 * The packets of the tunnel itself, which arrive at this host's own address and leave from it: the ports and protocols that the
 * backend uses. The addresses of the peers are not known here, so a rule that accepts some sources may mean them.
 */

import { bitsOf, type Ip } from "../address/ip.ts";
import { containsPrefix, type Prefix } from "../address/prefix.ts";
import { anyOf, type Match, negate, type Packet, type Truth } from "./walk.ts";

/** Where a backend receives the packets of its peers, and the device that they arrive on. */
export interface TunnelListener {
  /** `ipip`: IP in IP, protocol 4 (RFC 2003), without ports. */
  readonly protocol: "udp" | "ipip";
  /** UDP port. */
  readonly port?: number;
  /** This host's own address. */
  readonly address: Ip;
  /** The external interface. */
  readonly device: string;
}

/** "UDP port 8472". */
export const describeListener = ({ protocol, port }: TunnelListener): string =>
  protocol === "udp" ? `UDP port ${port}` : "IP protocol 4 (ipip)";

/** The packets that arrive at a listener (`in`), or leave for those of the peers (`out`). */
export function tunnelPacket(listener: TunnelListener, direction: "in" | "out"): Packet {
  const { address, device, protocol, port } = listener;
  const own: Prefix = { family: address.family, base: address.value, length: bitsOf(address.family) };
  const ownSide = direction === "in" ? "destination" : "source";
  return {
    truthOf(match) {
      switch (match.kind) {
        case "address": {
          const prefixes = match.prefixes.filter((each) => each === undefined || each.family === own.family);
          if (prefixes.length === 0) return "none";
          const truths = prefixes.map((each): Truth => {
            if (each === undefined) return "unknown";
            if (each.length === 0) return "all";
            if (match.side !== ownSide) return "unknown";
            return containsPrefix(each, own) ? "all" : "none";
          });
          return negate(anyOf(truths), match.negated);
        }
        case "interface":
          if (match.side !== direction) return "unknown";
          return negate(anyOf(match.names.map((name) => truthOfName(name, device))), match.negated);
        case "protocol":
          return negate(
            anyOf(match.names.map((name): Truth => (NAMES[protocol].includes(name) ? "all" : "none"))),
            match.negated,
          );
        case "port":
          return truthOfPort(match, port);
        case "family":
          return match.family === own.family ? "all" : "none";
        case "destination-type": {
          if (direction === "out") return "unknown";
          const truths = match.types.map((type): Truth => (type === "local" ? "all" : "none"));
          return negate(anyOf(truths), match.negated);
        }
        case "translated":
          return match.negated ? "all" : "none";
        case "state":
          return match.includesNew ? "all" : "none";
        default:
          return "unknown";
      }
    },
    mayBeMeantBy: () => true,
  };
}

/** As both tools print them (/etc/protocols). */
const NAMES = {
  udp: ["udp", "17", "all"],
  ipip: ["ipencap", "ipip", "ipv4", "4", "all"],
};

const truthOfName = (name: string, device: string): Truth => {
  const start = /^(.*)[*+]$/.exec(name)?.[1];
  return name === device || (start !== undefined && device.startsWith(start)) ? "all" : "none";
};

function truthOfPort(match: Match & { readonly kind: "port" }, port: number | undefined): Truth {
  const isOther = match.protocol !== undefined && !NAMES.udp.includes(match.protocol);
  if (port === undefined || isOther) return "none";
  if (match.side === "source") return "unknown";
  const isListed = match.ranges.some(([first, last]) => first <= port && port <= last);
  return isListed !== match.negated ? "all" : "none";
}
