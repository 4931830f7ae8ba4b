/**
 * What the filter does with the first packet of a connection, computed as nftables computes it: the chain of each isolated end,
 * its rules, their sets. `flannelctl policy explain` asks it, and the tests compare it with the kernel and with an oracle.
 */

import { type Ip, parseIp } from "../address/ip.ts";
import type { DesiredFilter, Direction, FilterChain, FilterRule, FilterSet } from "./model.ts";
import { isClosed } from "./node-pods.ts";
import { hasText } from "./sorted-texts.ts";

/** The first packet of a connection, after the destination was translated (a Service's address is a pod's by then). */
export interface FirstPacket {
  readonly source: string;
  readonly destination: string;
  /** "TCP", "UDP", "SCTP"; anything else has no ports, and no rule with ports allows it. */
  readonly protocol: string;
  /** Destination port. */
  readonly port: number;
}

/** What one end's policies say. */
interface EndVerdict {
  readonly direction: Direction;
  readonly chain: FilterChain;
  /** The first rule that allows it; undefined = denied. */
  readonly allowedBy: FilterRule | undefined;
}

export interface Judgement {
  readonly isAllowed: boolean;
  /** Of the source's end, if its egress is isolated; then of the destination's, if its ingress is. */
  readonly ends: readonly EndVerdict[];
}

/** A pod reaches itself in spite of all policies. Addresses are in the text form of `formatIp`. */
export function judge(filter: DesiredFilter, packet: FirstPacket): Judgement {
  if (packet.source === packet.destination) return { isAllowed: true, ends: [] };
  if (isClosed(filter, packet.source) || isClosed(filter, packet.destination))
    return { isAllowed: false, ends: [] };
  const ends: EndVerdict[] = [];
  for (const direction of ["egress", "ingress"] as const) {
    const own = direction === "egress" ? packet.source : packet.destination;
    const chain = filter.chains.get(filter[direction].get(own) ?? "");
    if (chain === undefined) continue;
    const allowedBy = chain.rules.find((rule) => matches(filter, rule, packet, direction));
    ends.push({ direction, chain, allowedBy });
  }
  return { isAllowed: ends.every(({ allowedBy }) => allowedBy !== undefined), ends };
}

function matches(
  filter: DesiredFilter,
  rule: FilterRule,
  packet: FirstPacket,
  direction: Direction,
): boolean {
  const { source, destination, protocol, port } = packet;
  const set = (name: string): FilterSet => filter.sets.get(name)!;
  const remote = direction === "egress" ? destination : source;
  if (rule.peers !== undefined && !containsAddress(set(rule.peers), remote)) return false;
  if (rule.protocol !== undefined && rule.protocol !== protocol) return false;
  if (typeof rule.ports === "string") {
    if (!set(rule.ports).elements.some((range) => isInPorts(range, port))) return false;
  } else if (rule.ports !== undefined) {
    if (port < rule.ports.first || port > rule.ports.last) return false;
  }
  return (
    rule.endpoints === undefined ||
    hasText(set(rule.endpoints).elements, `${destination} ${protocol} ${port}`)
  );
}

function containsAddress(set: FilterSet, address: string): boolean {
  if (set.type === "addresses") return hasText(set.elements, address);
  const ip = parseIp(address);
  return ip !== undefined && set.elements.some((range) => isInAddresses(range, ip));
}

function isInAddresses(range: string, ip: Ip): boolean {
  const [first, last] = range.split("-").map(parseIp);
  return (
    first?.family === ip.family && last !== undefined && ip.value >= first.value && ip.value <= last.value
  );
}

function isInPorts(range: string, port: number): boolean {
  const [first, last] = range.split("-").map(Number);
  return port >= first! && port <= last!;
}
