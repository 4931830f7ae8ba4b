/**
 * Kernel notifications as an async iterable of batches. They only say “observe again”: what is lost (ENOBUFS) or cannot be
 * read comes out as `overrun`, and no error ever ends the iteration.
 */

import { decodeAddress, type InterfaceAddress, RTM_DELADDR, RTM_NEWADDR } from "./address.ts";
import { decodeLink, isDeviceMessage, type Link, RTM_DELLINK, RTM_NEWLINK } from "./link.ts";
import { type NetlinkMessage, splitMessages } from "./message.ts";
import {
  decodeFdbEntry,
  decodeNeighbour,
  type FdbEntry,
  isFdbMessage,
  type Neighbour,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
} from "./neighbour.ts";
import { decodeRoute, type Route, RTM_DELROUTE, RTM_NEWROUTE } from "./route.ts";

/** Multicast groups of NETLINK_ROUTE (linux/rtnetlink.h, enum rtnetlink_groups). */
const RTNLGRP_LINK = 1;
export const RTNLGRP_NEIGH = 3;
const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV6_IFADDR = 9;
const RTNLGRP_IPV6_ROUTE = 11;

/** What a reconciler of links, addresses, routes, neighbours and FDB wants to hear of. */
export const ALL_GROUPS: readonly number[] = [
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
];

/** What was received at once. */
export interface ReceivedNotifications {
  readonly datagrams: readonly Uint8Array[];
  /** Some were lost: before, between or after these. */
  readonly overrun: boolean;
}

/** The port through which notifications come; `src/linux` implements it. */
export interface NotificationSource extends Disposable {
  /** Waits for notifications and takes what there is; undefined once the source is closed. Never rejects. */
  next(): Promise<ReceivedNotifications | undefined>;
}

type Changed<Type extends string, Value> = {
  readonly type: Type;
  /** "new" also means changed. */
  readonly change: "new" | "delete";
  readonly value: Value;
  /** The port id of the connection that made the change; 0 = the kernel by itself (also for FDB entries of VXLAN). */
  readonly portId: number;
};

/** What changed in the kernel (RTM_NEW…/RTM_DEL… of rtnetlink(7)), or that notifications were lost. */
export type Notification =
  | Changed<"link", Link>
  | Changed<"address", InterfaceAddress>
  | Changed<"route", Route>
  | Changed<"neighbour", Neighbour>
  | Changed<"fdb", FdbEntry>
  /** Notifications were lost or unreadable: observe everything again. */
  | { readonly type: "overrun" };

/** Which notifications to leave out before they cost anything. */
export interface MonitorOptions {
  /** Changes made through this connection (its `portId`): the own ones. */
  readonly ignorePortId?: number;
}

/** Batches of notifications, never empty, until the source is closed. */
export async function* monitor(
  source: NotificationSource,
  options: MonitorOptions = {},
): AsyncGenerator<readonly Notification[], void, void> {
  for (let received = await source.next(); received !== undefined; received = await source.next()) {
    const batch = decodeNotifications(received, options);
    if (batch.length > 0) yield batch;
  }
}

/** The notifications in what was received; unknown ones are left out, unreadable ones are an overrun. */
export function decodeNotifications(
  received: ReceivedNotifications,
  options: MonitorOptions = {},
): Notification[] {
  const batch: Notification[] = [];
  let overrun = received.overrun;
  for (const datagram of received.datagrams) {
    try {
      for (const message of splitMessages(datagram)) {
        if (message.portId !== 0 && message.portId === options.ignorePortId) continue;
        const notification = decodeNotification(message);
        if (notification !== undefined) batch.push(notification);
      }
    } catch {
      overrun = true; // NetlinkDecodeError: the decoders throw nothing else
    }
  }
  if (overrun) batch.push({ type: "overrun" });
  return batch;
}

function decodeNotification(message: NetlinkMessage): Notification | undefined {
  const { type, portId } = message;
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      if (!isDeviceMessage(message)) return undefined;
      return changed("link", type === RTM_NEWLINK, decodeLink(message), portId);
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return changed("address", type === RTM_NEWADDR, decodeAddress(message), portId);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return changed("route", type === RTM_NEWROUTE, decodeRoute(message), portId);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return isFdbMessage(message)
        ? changed("fdb", type === RTM_NEWNEIGH, decodeFdbEntry(message), portId)
        : changed("neighbour", type === RTM_NEWNEIGH, decodeNeighbour(message), portId);
    default:
      return undefined;
  }
}

/** Undefined stays undefined: an object of a kind that the decoder leaves to others. */
const changed = <Type extends string, Value>(
  type: Type,
  isNew: boolean,
  value: Value | undefined,
  portId: number,
): Changed<Type, Value> | undefined =>
  value === undefined ? undefined : { type, change: isNew ? "new" : "delete", value, portId };
