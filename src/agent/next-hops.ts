/**
 * The ways to the peers' public addresses, as the kernel's routing decides them, remembered until something happens
 * that may have changed them. Only what a kernel notice concerns is asked again: a host where containers come and go
 * has many notices, and thousands of peers.
 */

import { formatIp, type Ip } from "../address/ip.ts";
import { containsIp, type Prefix, parsePrefix } from "../address/prefix.ts";
import type { NextHop, NextHopLookup } from "../backend/backend.ts";
import type { Notification } from "../netlink/monitor.ts";
import { RTN_UNICAST } from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { RTPROT_FLANNEL } from "../state/objects.ts";

interface Way {
  readonly ip: Ip;
  /** Undefined = no way. */
  readonly ifindex: number | undefined;
  readonly hop: NextHop | undefined;
}

export class NextHops {
  readonly #rtnetlink: Pick<Rtnetlink, "link" | "lookupRoute">;
  readonly #ways = new Map<string, Way>();
  readonly #names = new Map<number, string | undefined>();
  #lookup: NextHopLookup = this.#newLookup();

  constructor(rtnetlink: Pick<Rtnetlink, "link" | "lookupRoute">) {
    this.#rtnetlink = rtnetlink;
  }

  /** Another function after an answer that it gave has changed. Throws NetlinkError. */
  get lookup(): NextHopLookup {
    return this.#lookup;
  }

  /** Takes note of what happened on the host; true = a way has changed, and with it {@link lookup}. Throws NetlinkError. */
  heed(notices: readonly Notification[]): boolean {
    const concerns: ((way: Way) => boolean)[] = [];
    for (const notice of notices) {
      const isConcerned = concernOf(notice);
      if (isConcerned !== undefined) concerns.push(isConcerned);
    }
    if (concerns.length === 0) return false;
    this.#names.clear(); // a device may bear another name now
    return this.#askAgain((way) => concerns.some((isConcerned) => isConcerned(way)));
  }

  /** Asks for all of `addresses` again and forgets the others; true as for {@link heed}. */
  refresh(addresses: Iterable<Ip>): boolean {
    const wanted = new Set(Array.from(addresses, formatIp));
    for (const key of this.#ways.keys()) if (!wanted.has(key)) this.#ways.delete(key);
    this.#names.clear();
    return this.#askAgain(() => true);
  }

  #askAgain(isConcerned: (way: Way) => boolean): boolean {
    let isChanged = false;
    for (const [key, way] of this.#ways) {
      if (!isConcerned(way)) continue;
      const now = this.#ask(way.ip);
      isChanged ||= !isSameHop(now.hop, way.hop);
      this.#ways.set(key, now);
    }
    if (isChanged) this.#lookup = this.#newLookup();
    return isChanged;
  }

  #newLookup(): NextHopLookup {
    return (ip) => {
      const key = formatIp(ip);
      let way = this.#ways.get(key);
      if (way === undefined) {
        way = this.#ask(ip);
        this.#ways.set(key, way);
      }
      return way.hop;
    };
  }

  #ask(ip: Ip): Way {
    const route = this.#rtnetlink.lookupRoute(formatIp(ip));
    const ifindex = route?.type === RTN_UNICAST ? route.oif : undefined;
    const device = ifindex === undefined ? undefined : this.#nameOf(ifindex);
    return { ip, ifindex, hop: device === undefined ? undefined : { device, via: route!.gateway } };
  }

  #nameOf(ifindex: number): string | undefined {
    if (!this.#names.has(ifindex)) this.#names.set(ifindex, this.#rtnetlink.link(ifindex)?.name);
    return this.#names.get(ifindex);
  }
}

/** Which ways may be others after a notice; undefined = none. */
function concernOf(notice: Notification): ((way: Way) => boolean) | undefined {
  switch (notice.type) {
    case "overrun":
      return () => true;
    case "link":
      // What comes up brings routes, of which there are notices of their own; what goes down takes them in silence.
      return ({ ifindex }) => ifindex === notice.value.index;
    case "address":
      return ({ ifindex }) => ifindex === notice.value.ifindex;
    case "route": {
      if (notice.value.protocol === RTPROT_FLANNEL) return undefined;
      const prefix: Prefix | undefined = parsePrefix(notice.value.destination);
      return prefix && (({ ip }) => containsIp(prefix, ip));
    }
    case "neighbour":
    case "fdb":
      return undefined;
  }
}

const isSameHop = (a: NextHop | undefined, b: NextHop | undefined): boolean =>
  a?.device === b?.device && a?.via === b?.via;
