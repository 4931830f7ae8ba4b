/** TUN devices (kernel: drivers/net/tun.c), which stay while no process has them open. */

import { FlannelError } from "../../../base/error.ts";
import { setLink } from "../../../netlink/link.ts";
import { disableLinkLocal, type LinkBase, type LinkType } from "./link-type.ts";

/** Layer 3, unlike TAP (linux/if_tun.h). */
const IFF_TUN = 1;

/** `ip link` shows it. */
export const WIREGUARD_ALIAS = "flannel WireGuard";

/** A TUN device. Its packets pass through a tunnel of this process (kinds/tunnel.ts). */
export interface TunLink extends LinkBase {
  readonly type: "tun";
  /** Marks the device of a userspace WireGuard, so that a device of the kernel may replace it, and no foreign one. */
  readonly alias?: typeof WIREGUARD_ALIAS;
}

/** Made through /dev/net/tun (TUNSETIFF, TUNSETPERSIST), not rtnetlink, which cannot make a TUN device. */
export const tunLink: LinkType<TunLink> = {
  type: "tun",
  observe: ({ name, tun, mtuBytes, isUp, alias }) =>
    tun?.type === IFF_TUN
      ? {
          ...{ kind: "link", name, type: "tun", mtuBytes, up: isUp },
          ...(alias === WIREGUARD_ALIAS ? { alias } : {}),
        }
      : undefined,
  describe: ({ mtuBytes }) => `tun mtu ${mtuBytes}`,
  mustRemake: () => false,
  takesOver: (observed, { alias }) => alias !== undefined && observed.type === "wireguard",
  create({ rtnetlink, makeTun }, { name, mtuBytes, up, alias }) {
    if (makeTun === undefined) throw new FlannelError("EOPNOTSUPP", "TUN devices cannot be made here");
    makeTun(name);
    disableLinkLocal(rtnetlink, name);
    rtnetlink.connection.request(setLink(name, { mtuBytes, up, alias }));
  },
};
