/**
 * Interfaces that must not become the external interface: their packets reach no other host, or only through the tunnel
 * itself. The rules skip them; by name they are refused with the reason.
 */

import { bitsOf, formatIp } from "../address/ip.ts";
import { containsIp, formatPrefix, type Prefix } from "../address/prefix.ts";
import { FLANNEL_DEVICES } from "../backend/backends.ts";
import type { HostInterfaces, NetworkInterface } from "./network-interface.ts";

/** Types of device that lead nowhere (IFLA_INFO_KIND). */
const LEAF_KINDS = ["dummy", "vrf", "ifb", "nlmon"];
/** A chain of devices (VLAN on bond on port…) is never longer; guards against a loop. */
const MAX_DEPTH = 8;

/** Whether packets sent through the device stay on this host; its addresses may be usable all the same (routed hosts). */
export const staysOnHost = ({ isLoopback, kind }: NetworkInterface): boolean =>
  isLoopback || LEAF_KINDS.includes(kind ?? "");

/**
 * Why the device cannot carry the tunnels, for a message after its name; undefined = it can. `networks` are those of
 * flannel on this host, current and former.
 */
export function refusalOf(
  link: NetworkInterface,
  host: HostInterfaces,
  networks: readonly Prefix[],
  depth = 0,
): string | undefined {
  if (link.isLoopback) return "is the loopback device, whose packets reach no other host";
  if (staysOnHost(link)) return `is a ${link.kind} device, whose packets reach no other host`;
  if (isFlannelDevice(link)) return "is a device of flannel's";
  const held = heldSubnet(link, host, networks);
  if (held !== undefined) return held;
  for (const [index, relation] of [
    [link.masterIndex, "is a port of"],
    [link.kind === "veth" ? undefined : link.lowerIndex, "is on top of"], // of a veth it is the other end
  ] as const) {
    const other = host.interfaces.find((one) => one.index === index);
    if (other === undefined || other.kind === "vrf" || depth >= MAX_DEPTH) continue;
    const reason = refusalOf(other, host, networks, depth + 1);
    if (reason !== undefined) return `${relation} ${other.name}, which ${reason}`;
  }
  return undefined;
}

const isFlannelDevice = ({ name, kind }: NetworkInterface): boolean =>
  FLANNEL_DEVICES.some((pattern) => pattern.name.test(name) && pattern.kinds.includes(kind ?? ""));

/**
 * A bridge with an address of the flannel network is a container bridge; a veth with a host-length one is a container's
 * (the ptp plugin). Not so the device of a default route: then the host's own network overlaps flannel's.
 */
function heldSubnet(
  { index, kind, addresses }: NetworkInterface,
  { defaultRoutes }: HostInterfaces,
  networks: readonly Prefix[],
): string | undefined {
  if (kind !== "bridge" && kind !== "veth") return undefined;
  for (const { ip, prefixLength } of addresses) {
    const network = networks.find((one) => containsIp(one, ip));
    if (network === undefined || (kind === "veth" && prefixLength < bitsOf(ip.family))) continue;
    if ([...defaultRoutes.ipv4, ...defaultRoutes.ipv6].some((route) => route.indexes.includes(index)))
      continue;
    return `has the address ${formatIp(ip)} of the flannel network ${formatPrefix(network)}: it belongs to containers`;
  }
  return undefined;
}
