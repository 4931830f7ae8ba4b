/**
 * Next hops to the peers' public addresses, as the kernel routes them, cached until a notification says that they may
 * have changed. Only those that the notification concerns are looked up again: a host where containers come and go has
 * many notifications, and thousands of peers.
 */

import { formatIp, type Ip } from "../address/ip.ts";
import { containsIp, type Prefix, parsePrefix } from "../address/prefix.ts";
import type { NextHop, NextHopLookup } from "../backend/backend.ts";
import type { Notification } from "../netlink/monitor.ts";
import { RTN_UNICAST } from "../netlink/route.ts";
import type { Rtnetlink } from "../netlink/rtnetlink.ts";
import { RTPROT_FLANNEL } from "../state/objects.ts";

interface CachedHop {
  readonly ip: Ip;
  /** Undefined = unreachable. */
  readonly ifindex: number | undefined;
  readonly hop: NextHop | undefined;
}

export class NextHops {
  readonly #rtnetlink: Pick<Rtnetlink, "link" | "lookupRoute">;
  readonly #cache = new Map<string, CachedHop>();
  readonly #names = new Map<number, string | undefined>();
  readonly #onAnswer: (address: string, hop: NextHop | null | undefined) => void;
  #lookup: NextHopLookup = this.#newLookup();

  /** `onAnswer` receives each new result (null = no route), and undefined for an address that is forgotten. */
  constructor(
    rtnetlink: Pick<Rtnetlink, "link" | "lookupRoute">,
    onAnswer: (address: string, hop: NextHop | null | undefined) => void = () => {},
  ) {
    this.#rtnetlink = rtnetlink;
    this.#onAnswer = onAnswer;
  }

  /** Looks up next hops. A new function whenever a result that it returned has changed. Throws NetlinkError. */
  get lookup(): NextHopLookup {
    return this.#lookup;
  }

  /** Whether any peer is reachable, as far as it was looked up. */
  get hasAny(): boolean {
    return this.#cache.values().some(({ hop }) => hop !== undefined);
  }

  /** Updates what the notifications concern; true = a next hop has changed, and with it {@link lookup}. Throws NetlinkError. */
  update(notices: readonly Notification[]): boolean {
    const concerns: ((cached: CachedHop) => boolean)[] = [];
    for (const notice of notices) {
      const isConcerned = concernOf(notice);
      if (isConcerned !== undefined) concerns.push(isConcerned);
    }
    if (concerns.length === 0) return false;
    this.#names.clear(); // a device may have been renamed
    return this.#lookUpAgain((cached) => concerns.some((isConcerned) => isConcerned(cached)));
  }

  /** Looks all of `addresses` up again and forgets the others; true as for {@link update}. */
  refresh(addresses: Iterable<Ip>): boolean {
    const keep = new Set(Array.from(addresses, formatIp));
    for (const key of this.#cache.keys()) {
      if (keep.has(key)) continue;
      this.#cache.delete(key);
      this.#onAnswer(key, undefined);
    }
    this.#names.clear();
    return this.#lookUpAgain(() => true);
  }

  #lookUpAgain(isConcerned: (cached: CachedHop) => boolean): boolean {
    let isChanged = false;
    for (const [key, cached] of this.#cache) {
      if (!isConcerned(cached)) continue;
      const now = this.#lookUp(cached.ip);
      this.#cache.set(key, now);
      if (isSameHop(now.hop, cached.hop)) continue;
      isChanged = true;
      this.#onAnswer(key, now.hop ?? null);
    }
    if (isChanged) this.#lookup = this.#newLookup();
    return isChanged;
  }

  #newLookup(): NextHopLookup {
    return (ip) => {
      const key = formatIp(ip);
      let cached = this.#cache.get(key);
      if (cached === undefined) {
        cached = this.#lookUp(ip);
        this.#cache.set(key, cached);
        this.#onAnswer(key, cached.hop ?? null);
      }
      return cached.hop;
    };
  }

  #lookUp(ip: Ip): CachedHop {
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

/** Which next hops a notification may have changed; undefined = none. */
function concernOf(notice: Notification): ((cached: CachedHop) => boolean) | undefined {
  switch (notice.type) {
    case "overrun":
      return () => true;
    case "link":
      // A device that goes up brings routes, which are notified; one that goes down takes its routes without a notification.
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
