/** IPIP devices (RFC 2003; kernel: net/ipv4/ipip.c): IPv4 in IPv4, without a fixed remote address: routes name it as their gateway. */

import { newLink, setLink } from "../../../netlink/link.ts";
import { disableLinkLocal, type LinkBase, type LinkType } from "./link-type.ts";

/** An IPIP device. */
export interface IpipLink extends LinkBase {
  readonly type: "ipip";
  /** Source address of the tunnel packets. A difference takes a new device. */
  readonly local: string;
}

/** Another source address takes a new device. A second one with the same source is refused (EEXIST). */
export const ipipLink: LinkType<IpipLink> = {
  type: "ipip",
  observe({ name, ipip, mtuBytes, isUp }) {
    // One with a remote address is a foreign point-to-point tunnel, and one in metadata mode gets its peers from eBPF.
    if (ipip === undefined || ipip.collectMetadata === true || hasAddress(ipip.remote)) return undefined;
    return { kind: "link", name, type: "ipip", local: ipip.local ?? "", mtuBytes, up: isUp };
  },
  describe: ({ local, mtuBytes }) => `ipip local ${local} remote any mtu ${mtuBytes}`,
  mustRemake: (previous, next) => previous.local !== next.local,
  create({ rtnetlink }, { name, mtuBytes, up, local }) {
    rtnetlink.connection.request(newLink({ name, kind: "ipip", mtuBytes, ipip: { local } }));
    disableLinkLocal(rtnetlink, name);
    rtnetlink.connection.request(setLink(name, { up }));
  },
  // ip_tunnel_newlink() refuses a second tunnel with the same addresses.
  excludes: (one, other) => one.local === other.local,
  adviseCreation({ local }, code) {
    if (code === "EOPNOTSUPP") return "this kernel has no ipip: load it with 'modprobe ipip'";
    if (code !== "EEXIST") return undefined;
    return `another ipip device has the local address ${local} and no remote one (see 'ip -d link show type ipip'): remove it`;
  },
};

const hasAddress = (address: string | undefined): boolean => address !== undefined && address !== "0.0.0.0";
