/** WireGuard devices of the kernel (drivers/net/wireguard). Keys, port and peers are objects of their own (kinds/wireguard.ts). */

import { newLink, setLink } from "../../../netlink/link.ts";
import { disableLinkLocal, type LinkBase, type LinkType } from "./link-type.ts";
import { WIREGUARD_ALIAS } from "./tun.ts";

/** A WireGuard device. */
export interface WireguardLink extends LinkBase {
  readonly type: "wireguard";
}

/** Only MTU and state are the link's own, so it is never recreated. */
export const wireguardLink: LinkType<WireguardLink> = {
  type: "wireguard",
  observe: ({ name, kind, mtuBytes, isUp }) =>
    kind === "wireguard" ? { kind: "link", name, type: "wireguard", mtuBytes, up: isUp } : undefined,
  describe: ({ mtuBytes }) => `wireguard mtu ${mtuBytes}`,
  mustRemake: () => false,
  takesOver: (observed) => observed.alias === WIREGUARD_ALIAS,
  create({ rtnetlink }, { name, mtuBytes, up }) {
    rtnetlink.connection.request(newLink({ name, kind: "wireguard", mtuBytes }));
    disableLinkLocal(rtnetlink, name);
    rtnetlink.connection.request(setLink(name, { up }));
  },
  adviseCreation: (_link, code) =>
    code === "EOPNOTSUPP"
      ? "this kernel has no WireGuard: load it with 'modprobe wireguard', or use another backend"
      : undefined,
};
