/** The host as backends see it, from the external interface that was chosen. */

import { formatIp, type Ip } from "../address/ip.ts";
import { containsIp, type Prefix } from "../address/prefix.ts";
import type { Host, LocalAddress } from "../backend/backend.ts";
import { ConfigError } from "../base/error.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { InterfaceOptions } from "../config/options.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { type ChoiceContext, chooseExternalInterface, type ExternalInterface } from "./external-interface.ts";
import { readHostInterfaces } from "./host-interfaces.ts";
import type { HostInterfaces } from "./network-interface.ts";

/** Chooses among the existing interfaces. Throws ConfigError if none is usable, NetlinkError. */
export function chooseInterface(
  rtnetlink: Rtnetlink,
  options: InterfaceOptions,
  network: NetworkFamilies,
  context: ChoiceContext = {},
): ExternalInterface {
  const families = { ipv4: network.ipv4 !== undefined, ipv6: network.ipv6 !== undefined };
  const own = [network.ipv4?.network, network.ipv6?.network].filter((prefix) => prefix !== undefined);
  const networks = [...own, ...(context.networks ?? [])];
  const host = readHostInterfaces(rtnetlink);
  const chosen = chooseExternalInterface(host, options, families, { ...context, networks });
  return { ...chosen, localAddresses: localAddressesOf(host, own) };
}

/**
 * Why no interface can be chosen by these options now, for any families of the network; undefined = one can. For a report
 * before the network config is known: the interface or its address may still appear. Throws NetlinkError.
 */
export function interfaceProblem(rtnetlink: Rtnetlink, options: InterfaceOptions): string | undefined {
  const host = readHostInterfaces(rtnetlink);
  let problem: string | undefined;
  for (const ipv4 of [false, true]) {
    try {
      chooseExternalInterface(host, options, { ipv4, ipv6: !ipv4 });
      return undefined;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problem = error.message;
    }
  }
  return problem;
}

/** In an order that does not depend on the kernel's. Those inside the network come and go with flannel's own devices. */
const localAddressesOf = ({ interfaces }: HostInterfaces, networks: readonly Prefix[]): LocalAddress[] =>
  interfaces
    .flatMap(({ addresses }) => addresses)
    .filter(({ ip, scope }) => scope === "global" && !networks.some((network) => containsIp(network, ip)))
    .map(({ ip, prefixLength }) => ({ ip, prefixLength }))
    .sort((a, b) => a.ip.family - b.ip.family || Number(a.ip.value - b.ip.value));

export const hostOf = ({ name, mtuBytes, index: _, ...addresses }: ExternalInterface): Host => ({
  interfaceName: name,
  interfaceMtuBytes: mtuBytes,
  ...addresses,
});

/** "eth0: 192.168.7.1, MTU 1500, published as 203.0.113.7", for the log; `published` = what the lease names. */
export function describeHost(
  host: Host,
  published: Pick<LeaseAttributes, "publicIp" | "publicIpv6"> = host,
): string {
  const show = (ip: Ip | undefined) => (ip === undefined ? [] : [formatIp(ip)]);
  const own = [...show(host.ipv4), ...show(host.ipv6)].join(", ");
  const peersUse = [...show(published.publicIp), ...show(published.publicIpv6)].join(", ");
  const difference = peersUse === own ? "" : `, published as ${peersUse}`;
  return `${host.interfaceName}: ${own}, MTU ${host.interfaceMtuBytes}${difference}`;
}
