/** The kernel's own word on when something happened in a namespace: its notifications. */

import { openNotifications } from "../../src/linux/notifications.ts";
import { AF_BRIDGE } from "../../src/netlink/family.ts";
import {
  monitor,
  type Notification,
  type NotificationSource,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_NEIGH,
} from "../../src/netlink/monitor.ts";
import { NUD_PERMANENT, RTM_NEWNEIGH } from "../../src/netlink/neighbour.ts";
import { RT_TABLE_MAIN, RTM_NEWROUTE } from "../../src/netlink/route.ts";
import { type Peer, SUBNET_LENGTH } from "./peers.ts";
import { within } from "./wait.ts";

const EVENT_DEADLINE_MS = 15_000;
// Places in a notification: struct nlmsghdr (linux/netlink.h), then struct rtmsg (linux/rtnetlink.h) or ndmsg
// (linux/neighbour.h).
const NLMSG_TYPE_AT = 4;
const NDM_FAMILY_AT = 16;
const NDM_STATE_AT = 16 + 8;
const RTM_DST_LEN_AT = 16 + 1;
const RTM_TABLE_AT = 16 + 4;

/** Counts what appears for peers in a namespace from now on, at next to no cost: routes, neighbours, FDB entries. */
export class PeerEntryCount implements Disposable {
  /** When there had been so many routes, as performance.now(). */
  readonly routes: Promise<number>;
  /** When there had been so many of each, as performance.now(). */
  readonly all: Promise<number>;
  readonly #source: NotificationSource;

  constructor(netns: string, peers: number) {
    this.#source = openNotifications({ netns, groups: [RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH] });
    const routes = Promise.withResolvers<number>();
    const all = Promise.withResolvers<number>();
    this.routes = routes.promise;
    this.all = all.promise;
    this.#count(peers, routes.resolve, all.resolve).catch((error) => {
      routes.reject(error);
      all.reject(error);
    });
    for (const promise of [this.routes, this.all]) promise.catch(() => {}); // reported where it is awaited
  }

  async #count(
    peers: number,
    onRoutes: (atMs: number) => void,
    onAll: (atMs: number) => void,
  ): Promise<void> {
    const seen = { route: 0, neighbour: 0, fdb: 0 };
    for (let received = await this.#source.next(); received; received = await this.#source.next()) {
      if (received.overrun) throw new Error("kernel notifications were lost");
      for (const datagram of received.datagrams) {
        const kind = kindOf(datagram);
        if (kind !== undefined) seen[kind]++;
      }
      if (seen.route < peers) continue;
      onRoutes(performance.now());
      if (seen.neighbour < peers || seen.fdb < peers) continue;
      onAll(performance.now());
      return;
    }
    throw new Error(`${seen.route} routes, ${seen.neighbour} neighbours, ${seen.fdb} FDB entries`);
  }

  [Symbol.dispose](): void {
    this.#source[Symbol.dispose]();
  }
}

/** Which part of a peer a notification concerns, read at fixed offsets. */
function kindOf(datagram: Uint8Array): "route" | "neighbour" | "fdb" | undefined {
  switch (datagram[NLMSG_TYPE_AT]) {
    case RTM_NEWROUTE:
      return datagram[RTM_DST_LEN_AT] === SUBNET_LENGTH && datagram[RTM_TABLE_AT] === RT_TABLE_MAIN
        ? "route"
        : undefined;
    case RTM_NEWNEIGH:
      if ((datagram[NDM_STATE_AT]! & NUD_PERMANENT) === 0) return undefined;
      return datagram[NDM_FAMILY_AT] === AF_BRIDGE ? "fdb" : "neighbour";
    default:
      return undefined;
  }
}

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
