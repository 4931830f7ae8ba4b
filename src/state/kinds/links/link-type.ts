/** What each type of device that flanneld makes says about itself; one module per type in this folder. */

import type { Link as KernelLink } from "../../../netlink/link.ts";
import { setNoLinkLocal } from "../../../netlink/link.ts";
import type { Rtnetlink } from "../../../netlink/rtnetlink.ts";
import type { NetlinkHost } from "../../netlink-handling.ts";

/** What devices of all types have in common. */
export interface LinkBase {
  readonly kind: "link";
  readonly name: string;
  readonly type: string;
  readonly mtuBytes: number;
  /** "c6:d2:32:6f:8f:44"; undefined for devices without a link-layer address. */
  readonly mac?: string;
  /** Administratively up (IFF_UP). */
  readonly up: boolean;
}

/** One type of device. */
export interface LinkType<L extends LinkBase> {
  readonly type: L["type"];
  /** The state of a device of this type; undefined = it is of another. `lowerName` = name of its lower device. */
  observe(link: KernelLink, lowerName: string): L | undefined;
  /** What follows the device's name in a description: "vxlan id 1 dev eth0 …". */
  describe(link: L): string;
  /** Whether the kernel cannot turn `previous` into `next` in place, so that it takes a new device. */
  mustRemake(previous: L, next: L): boolean;
  /** Whether the desired device replaces an observed one of another type, because both are flannel's. */
  takesOver?(observed: LinkBase & { readonly alias?: string }, desired: L): boolean;
  /** Makes the device and sets it up. Throws FlannelError. */
  create(host: NetlinkHost, link: L): void;
  /** Name of the device that carries its packets, which has to exist first; undefined = it needs none. */
  lower?(link: L): string;
  /** Whether the kernel refuses to hold both devices. */
  excludes?(one: L, other: L): boolean;
  /** What else an operator can do about a foreign device of this name. */
  readonly renameAdvice?: string;
  /** What an operator can do about a creation that failed with the errno `code`; `host` is asked for what is in the way. */
  adviseCreation?(link: L, code: string, host: NetlinkHost | undefined): string | undefined;
}

/** Keeps the kernel from giving the device an IPv6 link-local address; to be called before it goes up. */
export function disableLinkLocal(rtnetlink: Rtnetlink, name: string): void {
  try {
    rtnetlink.connection.request(setNoLinkLocal(name));
  } catch {
    // A kernel without IPv6 assigns no link-local addresses.
  }
}
