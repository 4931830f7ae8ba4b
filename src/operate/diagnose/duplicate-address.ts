/** Whether two hosts use one public IP: ARP probes (RFC 5227) on the external interface. */

import { formatIp, type Ip, parseIp } from "../../address/ip.ts";
import { type Context, type Finding, failed } from "./check-finding.ts";

const ARP_TIMEOUT_MS = 300;

/** Another host that answers for an address of ours, or two for the peer's. */
export async function findDuplicateAddress(
  { ports, fabric, publicIp, rtnetlink }: Context,
  ownIps: readonly string[],
): Promise<Finding | undefined> {
  const link = rtnetlink.link(fabric.status.externalInterface?.name ?? "");
  if (link?.mac === undefined) return undefined;
  const device = { ifindex: link.index, mac: link.mac };
  // Also the answers of other interfaces of this host on the same link (arp_ignore) are no duplicates.
  const ownMacs = new Set(rtnetlink.links().map(({ mac }) => mac));
  const answering = async (ip: Ip | undefined) => {
    if (ip?.family !== 4) return [];
    try {
      const macs = await ports.arpProbe(device, ip, ARP_TIMEOUT_MS);
      return macs.filter((mac) => !ownMacs.has(mac));
    } catch {
      return []; // no CAP_NET_RAW, or a device without ARP
    }
  };
  for (const text of ownIps) {
    const [mac] = await answering(parseIp(text));
    if (mac !== undefined)
      return failed(
        `${mac} also uses this host's address ${text} on ${link.name}`,
        "two hosts have one address; give one of them another and restart its flanneld",
      );
  }
  const macs = await answering(publicIp);
  if (publicIp === undefined || macs.length < 2) return undefined;
  return failed(
    `${macs.join(" and ")} both use the peer's address ${formatIp(publicIp)} on ${link.name}`,
    "two hosts have one address; give one of them another and restart its flanneld",
  );
}
