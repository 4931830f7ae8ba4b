/** Making, changing and removing devices of ours in the kernel. */

import { FlannelError } from "../base/error.ts";
import {
  deleteLink,
  type Link,
  type LinkSettings,
  newLink,
  setLink,
  setNoLinkLocal,
} from "../netlink/link.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { mustRemake } from "./diff.ts";
import type { Operation, TunMaker } from "./kernel.ts";
import { stateOfLink } from "./kernel-objects.ts";
import type { TunLink, VxlanLink } from "./objects.ts";

type OwnLink = VxlanLink | TunLink;

/** Whether the device is of a kind that we do not make. */
export const isForeign = (link: Link): boolean => stateOfLink(link, "").type === "foreign";

/** Since it was looked at, somebody may have put a device of his own in the place of ours. */
export function refuseForeign(link: Link): void {
  if (isForeign(link)) throw new FlannelError("EEXIST", `device ${link.name} is not flannel's any more`);
}

/** Does what an operation on a link asks for. Throws FlannelError. */
export function applyLink(rtnetlink: Rtnetlink, makeTun: TunMaker | undefined, operation: Operation): void {
  const { object } = operation;
  if (object.kind !== "link" || object.type === "foreign") return;
  if (operation.action !== "create") {
    const link = rtnetlink.link(object.name);
    if (link === undefined) throw new FlannelError("ENODEV", `device ${object.name} does not exist`);
    refuseForeign(link);
    const previous = operation.action === "replace" ? operation.previous : undefined;
    if (previous?.kind === "link" && previous.type !== "foreign" && !mustRemake(previous, object)) {
      rtnetlink.connection.request(setLink(link.index, changedSettings(previous, object)));
      return;
    }
    rtnetlink.connection.request(deleteLink(link.index));
    if (operation.action === "remove") return;
  }
  if (object.type === "tun") makeTunLink(rtnetlink, makeTun, object);
  else makeVxlan(rtnetlink, object);
}

function makeTunLink(rtnetlink: Rtnetlink, makeTun: TunMaker | undefined, link: TunLink): void {
  const { name, mtuBytes, up } = link;
  if (makeTun === undefined) throw new FlannelError("EOPNOTSUPP", "TUN devices cannot be made here");
  makeTun(name);
  keepLinkLocalAway(rtnetlink, name);
  rtnetlink.connection.request(setLink(name, { mtuBytes, up }));
}

function makeVxlan(rtnetlink: Rtnetlink, link: VxlanLink): void {
  const lower = rtnetlink.link(link.lower);
  if (lower === undefined) throw new FlannelError("ENODEV", `interface ${link.lower} does not exist`);
  const { vni, local, port, learning, gbp } = link;
  rtnetlink.connection.request(
    newLink({
      name: link.name,
      kind: "vxlan",
      mtuBytes: link.mtuBytes,
      mac: link.mac,
      vxlan: { vni, lowerIndex: lower.index, local, port, learning, gbp },
    }),
  );
  keepLinkLocalAway(rtnetlink, link.name);
  rtnetlink.connection.request(setLink(link.name, { up: link.up }));
}

function keepLinkLocalAway(rtnetlink: Rtnetlink, name: string): void {
  try {
    rtnetlink.connection.request(setNoLinkLocal(name));
  } catch {
    // A kernel without IPv6 has no link-local address to keep away.
  }
}

/** Only what differs: a MAC that is set, even to what it was, costs the device all its neighbours. */
function changedSettings(have: OwnLink, want: OwnLink): LinkSettings {
  const macOf = (link: OwnLink) => (link.type === "vxlan" ? link.mac : undefined);
  return {
    mtuBytes: have.mtuBytes === want.mtuBytes ? undefined : want.mtuBytes,
    mac: macOf(have) === macOf(want) ? undefined : macOf(want),
    up: have.up === want.up ? undefined : want.up,
  };
}
