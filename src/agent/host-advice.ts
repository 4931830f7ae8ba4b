/** What on this host will keep containers from talking though flannel does its part: said once, with what to do. */

import { formatPrefix, overlaps, type Prefix, parsePrefix } from "../address/prefix.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { SubnetPair } from "../lease/lease.ts";
import {
  decodeRoute,
  getRoutes,
  type Route,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  RTPROT_BOOT,
  RTPROT_KERNEL,
  RTPROT_STATIC,
  routeLengthOf,
  routeProtocolOf,
} from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";

export interface HostAdviceInput {
  readonly network: NetworkFamilies;
  readonly own: SubnetPair;
  /** Devices of ours. */
  readonly devices: ReadonlySet<string>;
  readonly rtnetlink: Rtnetlink;
  /** Text of a file; undefined if there is none. */
  readonly readFile: (path: string) => string | undefined;
}

/** A sentence for each fault; to be asked once everything of ours is in place. Throws NetlinkError. */
export function adviceFor(input: HostAdviceInput): string[] {
  return [...adviceOnKernel(input), ...adviceOnRoutes(input)];
}

function adviceOnKernel({ network, readFile }: HostAdviceInput): string[] {
  const advice: string[] = [];
  const sysctl = (path: string) => readFile(`/proc/sys/net/${path}`)?.trim();
  const needForwarding = (path: string, family: string) => {
    if (sysctl(path) !== "0") return;
    const name = `net.${path.replaceAll("/", ".")}`;
    advice.push(
      `This host does not forward ${family}, so its containers reach nobody on other hosts: 'sysctl -w ${name}=1' (Docker and Kubernetes do that when they start)`,
    );
  };
  if (network.ipv4 !== undefined) needForwarding("ipv4/ip_forward", "IPv4");
  if (network.ipv6 !== undefined) needForwarding("ipv6/conf/all/forwarding", "IPv6");
  if (sysctl("bridge/bridge-nf-call-iptables") === undefined) {
    advice.push(
      "The kernel module br_netfilter is not loaded: firewall rules do not see what passes between containers on one bridge, which Kubernetes' services need; if you use those, 'modprobe br_netfilter', and name it in /etc/modules-load.d",
    );
  }
  return advice;
}

/** Routes of the host's own that share addresses with the flannel network. */
function adviceOnRoutes({ network, own, devices, rtnetlink }: HostAdviceInput): string[] {
  const names = new Map<number, string>();
  const nameOf = (index: number): string => {
    if (!names.has(index)) names.set(index, rtnetlink.link(index)?.name ?? `#${index}`);
    return names.get(index)!;
  };
  return ([4, 6] as const).flatMap((family) => {
    const config = network[`ipv${family}`];
    if (config === undefined) return [];
    return foreignRoutes(rtnetlink, family).flatMap((route) => {
      const prefix = parsePrefix(route.destination);
      const device = nameOf(route.oif ?? route.nextHops[0]?.oif ?? 0);
      // The bridge of the own subnet, and what is inside it, belongs there.
      if (prefix === undefined || devices.has(device) || isInside(prefix, own[`ipv${family}`])) return [];
      if (!overlaps(prefix, config.network)) return [];
      const via = route.gateway === undefined ? "" : ` via ${route.gateway}`;
      return [
        `The flannel network ${formatPrefix(config.network)} overlaps this host's route ${route.destination}${via} dev ${device}: ` +
          "of the addresses in both only one side can be reached; remove the route, or choose another network",
      ];
    });
  });
}

const isInside = (prefix: Prefix, subnet: Prefix | undefined): boolean =>
  subnet !== undefined && prefix.length >= subnet.length && overlaps(prefix, subnet);

/** Who makes routes to a host's own networks; the tables of routing daemons are long, and their business. */
const MAKERS = [RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC];

function foreignRoutes(rtnetlink: Rtnetlink, family: 4 | 6): Route[] {
  return rtnetlink.connection
    .dump(getRoutes(family, { table: RT_TABLE_MAIN }))
    .filter((message) => routeLengthOf(message) > 0 && MAKERS.includes(routeProtocolOf(message)))
    .flatMap((message) => decodeRoute(message) ?? [])
    .filter(({ table, type }) => table === RT_TABLE_MAIN && type === RTN_UNICAST);
}
