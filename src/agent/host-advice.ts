/** Faults of the host, outside of flannel, that keep containers from communicating: one line each, with the remedy. */

import { FAMILIES } from "../address/family.ts";
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
  /** Devices that flanneld created. */
  readonly devices: ReadonlySet<string>;
  readonly rtnetlink: Rtnetlink;
  /** Text of a file; undefined if it does not exist. */
  readonly readFile: (path: string) => string | undefined;
}

/** One line for each fault; call it once the host is programmed. Throws NetlinkError. */
export function adviceFor(input: HostAdviceInput): string[] {
  return [...adviceOnKernel(input), ...adviceOnRoutes(input)];
}

function adviceOnKernel({ network, readFile }: HostAdviceInput): string[] {
  const advice: string[] = [];
  const sysctl = (path: string) => readFile(`/proc/sys/net/${path}`)?.trim();
  const requireForwarding = (path: string, family: string) => {
    if (sysctl(path) !== "0") return;
    const name = `net.${path.replaceAll("/", ".")}`;
    advice.push(
      `This host does not forward ${family}, so its containers cannot reach other hosts: run 'sysctl -w ${name}=1' (Docker and Kubernetes enable it when they start)`,
    );
  };
  if (network.ipv4 !== undefined) requireForwarding("ipv4/ip_forward", "IPv4");
  if (network.ipv6 !== undefined) requireForwarding("ipv6/conf/all/forwarding", "IPv6");
  if (sysctl("bridge/bridge-nf-call-iptables") === undefined) {
    advice.push(
      "Kernel module br_netfilter is not loaded, so firewall rules do not apply between containers on one bridge, which Kubernetes services need: if you use them, run 'modprobe br_netfilter' and add it to /etc/modules-load.d",
    );
  }
  return advice;
}

/** Foreign routes that overlap the flannel network. */
function adviceOnRoutes({ network, own, devices, rtnetlink }: HostAdviceInput): string[] {
  const names = new Map<number, string>();
  const nameOf = (index: number): string => {
    if (!names.has(index)) names.set(index, rtnetlink.link(index)?.name ?? `#${index}`);
    return names.get(index)!;
  };
  return FAMILIES.flatMap(({ family, name }) => {
    const config = network[name];
    if (config === undefined) return [];
    return foreignRoutes(rtnetlink, family).flatMap((route) => {
      const prefix = parsePrefix(route.destination);
      const device = nameOf(route.oif ?? route.nextHops[0]?.oif ?? 0);
      // The container bridge has a route to the own subnet, or to a part of it.
      if (prefix === undefined || devices.has(device) || isInside(prefix, own[name])) return [];
      if (!overlaps(prefix, config.network)) return [];
      const via = route.gateway === undefined ? "" : ` via ${route.gateway}`;
      return [
        `The flannel network ${formatPrefix(config.network)} overlaps this host's route ${route.destination}${via} dev ${device}: ` +
          "addresses in both can be reached on one side only; remove the route or choose another network",
      ];
    });
  });
}

const isInside = (prefix: Prefix, subnet: Prefix | undefined): boolean =>
  subnet !== undefined && prefix.length >= subnet.length && overlaps(prefix, subnet);

/** Routes of routing daemons are left out: their tables are long, and their operators know them. */
const PROTOCOLS = [RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC];

function foreignRoutes(rtnetlink: Rtnetlink, family: 4 | 6): Route[] {
  return rtnetlink.connection
    .dump(getRoutes(family, { table: RT_TABLE_MAIN }))
    .filter((message) => routeLengthOf(message) > 0 && PROTOCOLS.includes(routeProtocolOf(message)))
    .flatMap((message) => decodeRoute(message) ?? [])
    .filter(({ table, type }) => table === RT_TABLE_MAIN && type === RTN_UNICAST);
}
