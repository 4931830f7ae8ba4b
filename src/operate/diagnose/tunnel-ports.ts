/** What carries a backend's packets between hosts, as firewalls see it. */

import type { Rtnetlink } from "../../netlink/rtnetlink.ts";
import type { Status } from "../../status/api.ts";

/** `udpPort` undefined = a protocol without ports. */
export interface Tunnel {
  /** "UDP port 8472". */
  readonly name: string;
  readonly udpPort: number | undefined;
}

/** Default ports of flannel's backends (docs: backends). The config may name others, except for vxlan, whose device says it. */
const DEFAULT_PORTS: Readonly<Record<string, number>> = { udp: 8285, wireguard: 51820, vxlan: 8472 };

/** Undefined for backends whose packets travel as they are. */
export function tunnelOf(
  rtnetlink: Pick<Rtnetlink, "linkByName">,
  { backend = "" }: Status,
  device: string | undefined,
): Tunnel | undefined {
  if (backend === "ipip") return { name: "IP protocol 4 (IPIP)", udpPort: undefined };
  if (backend === "ipsec")
    return { name: "UDP ports 500 and 4500 and IP protocol 50 (ESP)", udpPort: undefined };
  const link = rtnetlink.linkByName(device ?? "");
  const port = link?.vxlan?.port ?? (device?.startsWith("flannel") ? DEFAULT_PORTS[backend] : undefined);
  return port === undefined ? undefined : { name: `UDP port ${port}`, udpPort: port };
}
