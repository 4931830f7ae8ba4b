/** The kernel's own word on when something happened in a namespace: its notifications. */

import { openNotifications } from "../../src/linux/notifications.ts";
import {
  monitor,
  type Notification,
  type NotificationSource,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_NEIGH,
} from "../../src/netlink/monitor.ts";
import { RT_TABLE_MAIN, RTM_NEWROUTE } from "../../src/netlink/route.ts";
import { type Peer, SUBNET_LENGTH } from "./peers.ts";
import { within } from "./wait.ts";

const EVENT_DEADLINE_MS = 15_000;
// Places in a notification of one route: struct nlmsghdr (linux/netlink.h), then struct rtmsg (linux/rtnetlink.h).
const NLMSG_TYPE_AT = 4;
const RTM_DST_LEN_AT = 16 + 1;
const RTM_TABLE_AT = 16 + 4;

/** Counts the routes to peers that appear in a namespace from now on, at next to no cost. */
export class PeerRouteCount implements Disposable {
  /** When the last of them appeared, as performance.now(). */
  readonly complete: Promise<number>;
  readonly #source: NotificationSource;

  constructor(netns: string, count: number) {
    this.#source = openNotifications({ netns, groups: [RTNLGRP_IPV4_ROUTE] });
    this.complete = this.#count(count);
    this.complete.catch(() => {}); // reported where it is awaited
  }

  async #count(total: number): Promise<number> {
    let seen = 0;
    for (let received = await this.#source.next(); received; received = await this.#source.next()) {
      if (received.overrun) throw new Error("kernel notifications were lost");
      for (const datagram of received.datagrams) if (isNewPeerRoute(datagram)) seen++;
      if (seen >= total) return performance.now();
    }
    throw new Error(`${seen} of ${total} routes`);
  }

  [Symbol.dispose](): void {
    this.#source[Symbol.dispose]();
  }
}

const isNewPeerRoute = (datagram: Uint8Array): boolean =>
  datagram[NLMSG_TYPE_AT] === RTM_NEWROUTE &&
  datagram[RTM_DST_LEN_AT] === SUBNET_LENGTH &&
  datagram[RTM_TABLE_AT] === RT_TABLE_MAIN;

/** What can be waited for, as text: the parts of a peer coming and going. */
export const appears = {
  route: (peer: Peer) => `new route ${peer.subnet}`,
  neighbour: (peer: Peer) => `new neighbour ${peer.vtep} ${peer.mac}`,
  fdb: (peer: Peer) => `new fdb ${peer.mac}`,
};
export const disappears = { route: (peer: Peer) => `delete route ${peer.subnet}` };

/** Tells when a certain thing happens. */
export class KernelEvents implements Disposable {
  readonly #source: NotificationSource;
  readonly #expected = new Map<string, (atMs: number) => void>();

  constructor(netns: string) {
    this.#source = openNotifications({ netns, groups: [RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH] });
    void this.#follow();
  }

  /** When the next event of this name ({@link appears}, {@link disappears}) is seen, as performance.now(). */
  next(name: string): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#expected.set(name, resolve);
    return within(EVENT_DEADLINE_MS, name, promise);
  }

  async #follow(): Promise<void> {
    for await (const batch of monitor(this.#source)) {
      const nowMs = performance.now();
      for (const notification of batch) {
        const name = nameOf(notification);
        this.#expected.get(name)?.(nowMs);
        this.#expected.delete(name);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#source[Symbol.dispose]();
  }
}

function nameOf(notification: Notification): string {
  switch (notification.type) {
    case "route":
      return `${notification.change} route ${notification.value.destination}`;
    case "neighbour":
      return `${notification.change} neighbour ${notification.value.address} ${notification.value.mac}`;
    case "fdb":
      return `${notification.change} fdb ${notification.value.mac}`;
    default:
      return notification.type;
  }
}
