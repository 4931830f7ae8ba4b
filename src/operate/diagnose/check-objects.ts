/** Whether the kernel really sends a peer's packets where flanneld programmed them: lookup, neighbour, FDB entry. */

import { formatIp, type Ip } from "../../address/ip.ts";
import { addressAt, formatPrefix, type Prefix } from "../../address/prefix.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { RouteReport } from "../../status/api.ts";

/** What is wrong, and what to do. */
export interface Fault {
  readonly seen: string;
  readonly advice: string;
}

/** Undefined = nothing. */
export function findObjectFault(
  rtnetlink: Rtnetlink,
  peer: {
    readonly route: RouteReport;
    readonly subnet: Prefix;
    readonly publicIp: Ip | undefined;
    readonly backend: string;
  },
): Fault | undefined {
  const { route, subnet, publicIp } = peer;
  const device = rtnetlink.linkByName(route.device ?? "");
  if (device === undefined)
    return { seen: `there is no device ${route.device}`, advice: "restart flanneld, and see its log" };
  if (!device.isUp)
    return {
      seen: `${device.name} is down`,
      advice: `run "ip link set ${device.name} up", or restart flanneld`,
    };
  // An address of a container: more specific routes, rules and other tables count, too.
  const address = formatIp(addressAt(subnet, 2n));
  const hop = rtnetlink.lookupRoute(address);
  const used = hop?.oif === undefined ? undefined : rtnetlink.link(hop.oif)?.name;
  if (used !== device.name)
    return {
      seen: `packets to ${address} leave through ${used ?? "no device"} instead of ${device.name}`,
      advice: `another route or rule comes before flannel's; see "ip route get ${address}" and "ip rule", and remove it`,
    };
  if (device.vxlan === undefined || route.via === undefined || publicIp === undefined) return undefined;
  const neighbour = rtnetlink
    .neighbours({ family: subnet.family, ifindex: device.index })
    .find((each) => each.address === route.via);
  if (neighbour?.mac === undefined)
    return {
      seen: `${device.name} has no neighbour ${route.via} for ${formatPrefix(subnet)}`,
      advice: "flanneld repairs this within a minute; if not, see its log and flannelctl drift",
    };
  const entry = rtnetlink.fdb({ ifindex: device.index }).find(({ mac }) => mac === neighbour.mac);
  if (entry?.destination !== formatIp(publicIp))
    return {
      seen: `the FDB of ${device.name} sends ${neighbour.mac} to ${entry?.destination ?? "nowhere"} instead of ${formatIp(publicIp)}`,
      advice: "flanneld repairs this within a minute; if not, see its log and flannelctl drift",
    };
  return undefined;
}
