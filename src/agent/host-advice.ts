/** Faults of the host, outside of flannel, that keep containers from communicating: one line each, with the remedy. */

import { FAMILIES } from "../address/family.ts";
import { formatPrefix, overlaps, type Prefix, parsePrefix } from "../address/prefix.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { SubnetPair } from "../lease/lease.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { foreignRoutes } from "./host-routes.ts";

export interface HostAdviceInput {
  readonly network: NetworkFamilies;
  readonly own: SubnetPair;
  /** Devices that flanneld created. */
  readonly devices: ReadonlySet<string>;
  /** Name of the interface that carries the traffic between hosts. */
  readonly externalInterface: string;
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
function adviceOnRoutes({ network, own, devices, externalInterface, rtnetlink }: HostAdviceInput): string[] {
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
      if (prefix === undefined || devices.has(device)) return [];
      if (!overlaps(prefix, config.network)) return [];
      const via = route.gateway === undefined ? "" : ` via ${route.gateway}`;
      const subnet = own[name];
      // The container bridge has a route to the own subnet, or to a part of it.
      if (subnet !== undefined && isInside(prefix, subnet)) {
        if (via === "" && device !== externalInterface) return [];
        return [
          `Subnet ${formatPrefix(subnet)} of this host overlaps its own route ${route.destination}${via} dev ${device}: containers and hosts there cannot reach each other; ` +
            "choose another network, or limit it with SubnetMin and SubnetMax and release this lease",
        ];
      }
      return [
        `The flannel network ${formatPrefix(config.network)} overlaps this host's route ${route.destination}${via} dev ${device}: ` +
          "addresses in both can be reached on one side only; remove the route or choose another network",
      ];
    });
  });
}

const isInside = (prefix: Prefix, subnet: Prefix): boolean =>
  prefix.length >= subnet.length && overlaps(prefix, subnet);
