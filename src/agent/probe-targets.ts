/** What is probed: the peers of the plan with their addresses on both paths, and what holds for all of them. */

import { formatIp, type Ip, sameIp } from "../address/ip.ts";
import { addressAt, baseOf } from "../address/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { ProbeContext } from "../probe/ports.ts";
import type { ProbeTarget } from "../probe/target-table.ts";
import type { Planner } from "./planner.ts";

/** What holds for all peers. */
export function contextOf(planner: Planner): ProbeContext {
  const { backend, host } = planner.config;
  const [listener] = backend.listeners(host);
  return {
    mtuBytes: planner.mtuBytes,
    interfaceMtuBytes: host.interfaceMtuBytes,
    listener:
      listener === undefined
        ? undefined
        : listener.protocol === "udp"
          ? `UDP port ${listener.port}`
          : "IP protocol 4 (IPIP)",
    hasDeviceAddress: planner.hasDeviceAddress,
    ownAddress: (family: Ip["family"]) => {
      const ip = family === 4 ? (host.ipv4 ?? host.ipv6) : (host.ipv6 ?? host.ipv4);
      return ip === undefined ? "this host" : formatIp(ip);
    },
  };
}

/** A peer in each family of its subnets. A peer at an address of this host is a clone: it would answer itself. */
export function targetsOf(
  { key, subnets, attributes }: Lease,
  planner: Planner,
  isRoutable: boolean,
): ProbeTarget[] {
  const { backend, host } = planner.config;
  const { publicIp, publicIpv6, backendType } = attributes;
  const isCarried = isRoutable && planner.carriesPeers && backendType === backend.published.backendType;
  return [subnets.ipv4, subnets.ipv6].flatMap((subnet) => {
    const underlay = subnet?.family === 6 ? (publicIpv6 ?? publicIp) : (publicIp ?? publicIpv6);
    if (subnet === undefined || underlay === undefined) return [];
    if ([host.publicIp, host.publicIpv6].some((own) => own !== undefined && sameIp(own, underlay))) return [];
    // Without a device of its own, a peer has the first usable address of its subnet on the containers' bridge.
    const overlay = planner.hasDeviceAddress ? baseOf(subnet) : addressAt(subnet, 1n);
    const isRefused = planner.carriesPeers && !isCarried;
    return [{ key, family: subnet.family, underlay, overlay: isCarried ? overlay : undefined, isRefused }];
  });
}

/** Whether a target need not be probed anew. */
export const sameTarget = (a: ProbeTarget, b: ProbeTarget): boolean =>
  a.isRefused === b.isRefused &&
  sameIp(a.underlay, b.underlay) &&
  (a.overlay === undefined || b.overlay === undefined
    ? a.overlay === b.overlay
    : sameIp(a.overlay, b.overlay));
