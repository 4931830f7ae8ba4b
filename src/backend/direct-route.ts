/** Routes to peers without a tunnel: their subnet through their public address, which is on a link of this host. */

import { formatIp, type Ip } from "../address/ip.ts";
import { formatPrefix, type Prefix } from "../address/prefix.ts";
import { type Route, RTPROT_FLANNEL } from "../state/objects.ts";

/** The route to `subnet` through a peer that is reached over `device` without a router between. */
export const directRoute = (subnet: Prefix, publicIp: Ip, device: string): Route => ({
  kind: "route",
  destination: formatPrefix(subnet),
  device,
  via: formatIp(publicIp),
  onlink: false,
  protocol: RTPROT_FLANNEL,
});
