/** VXLAN devices (RFC 7348; kernel: drivers/net/vxlan). */

import { FlannelError } from "../../../base/error.ts";
import { type Link as KernelLink, newLink, setLink } from "../../../netlink/link.ts";
import type { NetlinkHost } from "../../netlink-handling.ts";
import { disableLinkLocal, type LinkBase, type LinkType } from "./link-type.ts";

/** A VXLAN device. A difference in a field marked (fixed) takes a new device. */
export interface VxlanLink extends LinkBase {
  readonly type: "vxlan";
  /** VXLAN network identifier, 1…2^24-1 (fixed). */
  readonly vni: number;
  /** Name of the lower device (fixed). */
  readonly lower: string;
  /** Source address of the tunnel packets (fixed). */
  readonly local: string;
  /** UDP destination port (fixed). */
  readonly port: number;
  /** Whether the device learns FDB entries from traffic (fixed). */
  readonly learning: boolean;
  /** Group policy extension (fixed). */
  readonly gbp: boolean;
  readonly mac: string;
}

/** MTU, MAC and state change in place. Another VNI, port, source address, lower device, learning or GBP takes a new device. */
export const vxlanLink: LinkType<VxlanLink> = {
  type: "vxlan",
  observe({ name, vxlan, mtuBytes, mac = "", isUp }, lower) {
    // A device that takes its parameters from routes or eBPF (Cilium's) is none of ours.
    if (vxlan === undefined || vxlan.collectMetadata === true) return undefined;
    const { vni = 0, local = "", port = 0, learning = true, gbp = false } = vxlan;
    return {
      kind: "link",
      name,
      type: "vxlan",
      vni,
      lower,
      local,
      port,
      learning,
      gbp,
      mtuBytes,
      mac,
      up: isUp,
    };
  },
  describe: ({ vni, lower, local, port, mtuBytes, mac }) =>
    `vxlan id ${vni} dev ${lower} local ${local} port ${port} mtu ${mtuBytes} address ${mac}`,
  // What vxlan_changelink() refuses (drivers/net/vxlan/vxlan_core.c).
  mustRemake: (previous, next) =>
    previous.vni !== next.vni ||
    previous.lower !== next.lower ||
    previous.local !== next.local ||
    previous.port !== next.port ||
    previous.learning !== next.learning ||
    previous.gbp !== next.gbp,
  create({ rtnetlink }, { name, mtuBytes, mac, up, vni, lower, local, port, learning, gbp }) {
    const lowerLink = rtnetlink.link(lower);
    if (lowerLink === undefined) throw new FlannelError("ENODEV", `interface ${lower} does not exist`);
    const vxlan = { vni, lowerIndex: lowerLink.index, local, port, learning, gbp };
    rtnetlink.connection.request(newLink({ name, kind: "vxlan", mtuBytes, mac, vxlan }));
    disableLinkLocal(rtnetlink, name);
    rtnetlink.connection.request(setLink(name, { up }));
  },
  lower: ({ lower }) => lower,
  excludes: (one, other) => one.vni === other.vni && one.port === other.port,
  renameAdvice: "choose another VNI in the network config",
  adviseCreation(link, code, host) {
    const { name, vni, port } = link;
    if (code === "EOPNOTSUPP") return "this kernel has no vxlan: load it with 'modprobe vxlan'";
    if (code !== "EEXIST" && code !== "EADDRINUSE") return undefined;
    const others = vxlanDevicesOn(port, host).filter((device) => device.name !== name);
    const rival = code === "EEXIST" ? others.find(({ vxlan }) => vxlan?.vni === vni) : others[0];
    if (rival === undefined && code === "EADDRINUSE" && host !== undefined)
      return `another program has UDP port ${port} open (see 'ss -lunp sport = ${port}'): stop it, or choose another Port in the network config`;
    const who =
      code === "EADDRINUSE" && rival !== undefined
        ? `device ${rival.name} holds UDP port ${port}`
        : `another device uses VNI ${vni} on UDP port ${port}`;
    const rivalName = rival === undefined ? "" : `${rival.name}, `;
    return `${who} (${rivalName}see 'ip -d link show type vxlan'): remove it, or choose another VNI or Port in the network config`;
  },
};

function vxlanDevicesOn(port: number, host: NetlinkHost | undefined): readonly KernelLink[] {
  try {
    return host?.rtnetlink.links().filter(({ vxlan }) => vxlan?.port === port) ?? [];
  } catch (error) {
    if (!(error instanceof FlannelError)) throw error;
    return []; // advice is not worth a second error
  }
}
