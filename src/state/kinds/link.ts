/** Devices of ours. What is particular to one type of device is in links/<type>.ts; a new type is one entry in LINK_TYPES. */

import { FlannelError } from "../../base/error.ts";
import { deleteLink, type Link as KernelLink, type LinkSettings, setLink } from "../../netlink/link.ts";
import type { NetlinkBatch, NoticeContext, ObjectNotification } from "../netlink-handling.ts";
import type { ObjectKind } from "../object-kind.ts";
import type { Change, ObjectBase, Operation } from "../operation.ts";
import { ipipLink } from "./links/ipip.ts";
import type { LinkType } from "./links/link-type.ts";
import { tunLink } from "./links/tun.ts";
import { vxlanLink } from "./links/vxlan.ts";
import { wireguardLink } from "./links/wireguard.ts";
import { settingsOf } from "./setting.ts";

const LINK_TYPES = [vxlanLink, tunLink, ipipLink, wireguardLink] as const;

/** A device of a type that flanneld makes. */
export type OwnLink = (typeof LINK_TYPES)[number] extends infer T
  ? T extends LinkType<infer L>
    ? L
    : never
  : never;

/** A device with one of our names, of a type that we do not make: observed, reported, never touched. */
export interface ForeignLink {
  readonly kind: "link";
  readonly name: string;
  readonly type: "foreign";
  /** The kernel's name for its type, e.g. "bridge". */
  readonly linkKind: string;
}

/** A device by one of our names: of a type of ours, or a foreign one that blocks the name. */
export type Link = OwnLink | ForeignLink;

/** The key of the device of that name. */
export const linkKey = (name: string): string => `link ${name}`;

/** The module of a link's type. */
export const linkTypeOf = (link: OwnLink): LinkType<OwnLink> =>
  LINK_TYPES.find(({ type }) => type === link.type) as unknown as LinkType<OwnLink>;

/** Whether turning `previous` into `next` takes a new device. */
export const mustRemake = (previous: OwnLink, next: OwnLink): boolean =>
  previous.type !== next.type || linkTypeOf(next).mustRemake(previous, next);

/** A device as the kernel describes it. `lowerName` = name of its lower device, if its type has one. */
function stateOfLink(link: KernelLink, lowerName: string): Link {
  for (const type of LINK_TYPES) {
    const state = type.observe(link, lowerName);
    if (state !== undefined) return state;
  }
  return { kind: "link", name: link.name, type: "foreign", linkKind: link.kind ?? "hardware" };
}

/** Whether the device is of a type that we do not make. */
export const isForeign = (link: KernelLink): boolean => stateOfLink(link, "").type === "foreign";

/** Refuses what has become a foreign device since it was observed. Throws FlannelError EEXIST. */
export function refuseForeign(link: KernelLink): void {
  if (isForeign(link)) throw new FlannelError("EEXIST", `device ${link.name} is not flannel's any more`);
}

/** Key: name. All other objects name their device, and wait for it. */
export const link: ObjectKind<Link> = {
  kind: "link",
  key: ({ name }) => linkKey(name),
  device: ({ name }) => name,
  describe: (object) =>
    object.type === "foreign"
      ? `device ${object.name} (${object.linkKind})`
      : `device ${object.name} ${linkTypeOf(object).describe(object)}`,
  conflict(observed, desired) {
    if (desired.type === "foreign" || observed.type === desired.type) return undefined;
    const kind = observed.type === "foreign" ? observed.linkKind : observed.type;
    const { renameAdvice, takesOver } = linkTypeOf(desired);
    if (observed.type !== "foreign" && takesOver?.(observed, desired) === true) return undefined;
    const orElse = renameAdvice === undefined ? "" : `, or ${renameAdvice}`;
    return `device ${observed.name} exists and is not flannel's (it is a ${kind} device): remove or rename it${orElse}`;
  },
  lostDependents(previous, next) {
    if (next === undefined) return "all";
    if (previous.type === "foreign" || next.type === "foreign") return [];
    if (mustRemake(previous, next)) return "all";
    // net/core/neighbour.c, neigh_changeaddr(): a new MAC costs the device all its neighbours.
    return previous.mac === next.mac ? [] : ["neighbour"];
  },
  removesOthersSilently: true,
  advise({ action, object }, { code }, host) {
    if (action === "remove" || object.type === "foreign") return undefined;
    return linkTypeOf(object).adviseCreation?.(object, code, host);
  },
  netlink: {
    observe: ({ named, nameOf }) => named.map((link) => stateOfLink(link, nameOf(link.vxlan?.lowerIndex))),
    change: { how: "at once", apply },
    readNotice,
  },
};

function apply(operation: Operation<Link>, host: NetlinkBatch): void {
  const { object } = operation;
  if (object.type === "foreign") return;
  const { rtnetlink } = host;
  if (operation.action !== "create") {
    const existing = rtnetlink.link(object.name);
    if (existing === undefined) throw new FlannelError("ENODEV", `device ${object.name} does not exist`);
    refuseForeign(existing);
    const previous = operation.action === "replace" ? operation.previous : undefined;
    if (previous !== undefined && previous.type !== "foreign" && !mustRemake(previous, object)) {
      rtnetlink.connection.request(setLink(existing.index, changedSettings(previous, object)));
      return;
    }
    rtnetlink.connection.request(deleteLink(existing.index));
    if (operation.action === "remove") return;
  }
  linkTypeOf(object).create(host, object);
}

/** Only what differs: setting a MAC, even to what it was, costs the device all its neighbours. */
const changedSettings = (previous: OwnLink, next: OwnLink): LinkSettings => ({
  mtuBytes: previous.mtuBytes === next.mtuBytes ? undefined : next.mtuBytes,
  mac: previous.mac === next.mac ? undefined : next.mac,
  up: previous.up === next.up ? undefined : next.up,
  alias:
    next.type === "tun" && previous.type === "tun" && previous.alias !== next.alias
      ? (next.alias ?? "")
      : undefined,
});

function readNotice(
  notification: ObjectNotification,
  { ownership, ownDevices, nameOf, settings }: NoticeContext,
): Change<ObjectBase>[] {
  if (notification.type !== "link") return [];
  const isNew = notification.change === "new";
  const device = notification.value;
  const formerName = ownDevices.get(device.index);
  if (!ownership.devices.has(device.name)) {
    if (formerName === undefined) return isNew && device.isUp ? [] : [touchedLink(device.name)];
    // Renamed, or removed under its new name.
    return [touched({ ...stateOfLink(device, ""), name: formerName })];
  }
  if (isNew) ownDevices.set(device.index, device.name);
  // The lower device of a removed one cannot always be asked for any more, and does not matter.
  const object = stateOfLink(device, isNew ? nameOf(device.vxlan?.lowerIndex) : "");
  // The kernel reports that an offload has changed, but not which one.
  const settingChanges = settingsOf(settings, device.name).map((object) => ({
    action: "set" as const,
    object,
  }));
  return [{ action: isNew ? "set" : "touched", object }, ...settingChanges];
}

/** A foreign device that goes down, or loses its last address, silently takes our routes through it along. */
export const touchedLink = (name: string): Change<Link> =>
  touched({ kind: "link", name, type: "foreign", linkKind: "" });

const touched = (object: Link): Change<Link> => ({ action: "touched", object });
