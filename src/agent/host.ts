/** The host as backends see it, from the external interface that was chosen. */

import { formatIp, type Ip } from "../address/ip.ts";
import type { Host } from "../backend/backend.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { InterfaceOptions } from "../config/options.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { chooseExternalInterface, type ExternalInterface } from "./external-interface.ts";
import { readHostInterfaces } from "./host-interfaces.ts";

/** Chooses among the interfaces there are now. Throws ConfigError if none will do, NetlinkError. */
export function chooseInterface(
  rtnetlink: Rtnetlink,
  options: InterfaceOptions,
  network: NetworkFamilies,
): ExternalInterface {
  const families = { ipv4: network.ipv4 !== undefined, ipv6: network.ipv6 !== undefined };
  return chooseExternalInterface(readHostInterfaces(rtnetlink), options, families);
}

export const hostOf = ({ name, mtuBytes, ipv4, ipv6, publicIp, publicIpv6 }: ExternalInterface): Host => ({
  interfaceName: name,
  interfaceMtuBytes: mtuBytes,
  ipv4,
  ipv6,
  publicIp,
  publicIpv6,
});

/** "eth0: 192.168.7.1, MTU 1500, peers are told 203.0.113.7"; `told` if that is not the host's public address. */
export function describeHost(
  host: Host,
  told: Pick<LeaseAttributes, "publicIp" | "publicIpv6"> = host,
): string {
  const show = (ip: Ip | undefined) => (ip === undefined ? [] : [formatIp(ip)]);
  const own = [...show(host.ipv4), ...show(host.ipv6)].join(", ");
  const published = [...show(told.publicIp), ...show(told.publicIpv6)].join(", ");
  const difference = published === own ? "" : `, peers are told ${published}`;
  return `${host.interfaceName}: ${own}, MTU ${host.interfaceMtuBytes}${difference}`;
}
