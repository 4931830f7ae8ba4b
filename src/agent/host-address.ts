/**
 * Which address of an interface tunnels use: a choice over data. The address in use
 * stays while it exists; a fresh choice follows the order of {@link rankOf}, then the kernel's own source address
 * selection (RFC 6724 for IPv6), then the kernel's order.
 */

import { bitsOf, type Family, type Ip, sameIp } from "../address/ip.ts";
import { containsIp, parsePrefix } from "../address/prefix.ts";
import type { InterfaceAddress } from "./network-interface.ts";

/** What decides between several usable addresses. */
export interface AddressEvidence {
  /** Addresses that this host's tunnels use now, or used before a restart. */
  readonly inUse: readonly Ip[];
  /** Whether the lease of another host has this address. */
  readonly isPeerAddress: (ip: Ip) => boolean;
  /** The source that the kernel chooses for packets that leave through this interface; undefined = unknown. */
  readonly kernelSource: () => Ip | undefined;
  /** The source that the default route names (`src` of ip-route(8)); undefined = none. */
  readonly routeSource: () => Ip | undefined;
}

/** Bits of a rank that outweigh use: an address of a better class displaces the one in use. */
const LINK_LOCAL_RANK = 64;
const EXTRA_RANK = 32;

/** The best address of that family which `accepts`; undefined = none is usable. */
export function chooseAddress(
  addresses: readonly InterfaceAddress[],
  family: Family,
  evidence: AddressEvidence,
  accepts: (ip: Ip) => boolean = () => true,
): Ip | undefined {
  const usable = addresses.filter((address) => address.ip.family === family && isUsable(address));
  const accepted = usable.filter(({ ip }) => accepts(ip));
  if (accepted.length < 2) return accepted[0]?.ip;
  const hasOwnPrefix = usable.some((address) => !isLinkLocal(address) && !isHostLength(address));
  const ranked = accepted
    .map((address) => ({ ip: address.ip, rank: rankOf(address, hasOwnPrefix, evidence) }))
    .sort((a, b) => a.rank - b.rank);
  const best = ranked[0]!;
  const inUse = ranked.find(
    ({ ip, rank }) => classOf(rank) === classOf(best.rank) && evidence.inUse.some((used) => sameIp(used, ip)),
  );
  if (inUse !== undefined) return inUse.ip;
  const equals = ranked.filter(({ rank }) => rank === best.rank);
  if (equals.length === 1) return best.ip;
  const source = evidence.kernelSource();
  return (equals.find(({ ip }) => isSame(source, ip)) ?? best).ip;
}

/** Whether a tunnel can be bound to the address and peers can reach it. */
export const isUsable = ({ ip, scope, deprecated, dadFailed }: InterfaceAddress): boolean =>
  !deprecated && !dadFailed && scope !== "host" && !isIn(UNUSABLE, ip);

/**
 * Lower is better. A host-length address beside one with a prefix is an extra: a virtual address that moves between hosts
 * (keepalived, kube-vip), unless DHCP assigned it or the default route names it as the source. An address that another
 * host's lease has moves too. A secondary address was added later than the interface's own. A tentative address becomes
 * usable within seconds, so that hardly counts.
 */
function rankOf(address: InterfaceAddress, hasOwnPrefix: boolean, evidence: AddressEvidence): number {
  const { ip, permanent, secondary, temporary, tentative } = address;
  const isExtra = hasOwnPrefix && permanent && isHostLength(address) && !isSame(evidence.routeSource(), ip);
  return (
    (isLinkLocal(address) ? LINK_LOCAL_RANK : 0) +
    (isExtra ? EXTRA_RANK : 0) +
    (evidence.isPeerAddress(ip) ? 16 : 0) +
    (secondary ? 8 : 0) +
    (permanent ? 0 : 4) +
    (temporary ? 2 : 0) +
    (tentative ? 1 : 0)
  );
}

const isSame = (a: Ip | undefined, b: Ip): boolean => a !== undefined && sameIp(a, b);

const classOf = (rank: number): number => rank & (LINK_LOCAL_RANK | EXTRA_RANK);

const isHostLength = ({ ip, prefixLength }: InterfaceAddress): boolean => prefixLength === bitsOf(ip.family);

const isLinkLocal = ({ ip, scope }: InterfaceAddress): boolean => scope === "link" || isIn(LINK_LOCAL, ip);

/** RFC 3927, RFC 4291 §2.5.6. */
const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"].map((text) => parsePrefix(text)!);
/** Loopback, unspecified and multicast addresses (RFC 6890). */
const UNUSABLE = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8"].map(
  (text) => parsePrefix(text)!,
);

const isIn = (prefixes: typeof LINK_LOCAL, ip: Ip): boolean =>
  prefixes.some((prefix) => containsIp(prefix, ip));
