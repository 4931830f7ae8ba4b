/**
 * What this host knows about the routes in the cloud: those that it claims, those of the last listing that concern it, and what
 * passes of the reconciler see. Its own routes, foreign ones in the places that it claims, and blackholes within the network
 * concern it; the routes of other hosts do not.
 */

import type { Prefix } from "../address/prefix.ts";
import type { CloudRouteEntry } from "../state/kinds/cloud-route.ts";
import { keyOf, type StateChange, type StateOperation, sameObject } from "../state/objects.ts";
import { isWithin } from "../state/operation.ts";
import type { CloudHost, CloudRoute, CloudSettings } from "./cloud.ts";

/** A route of a listing, or one that this host created since. */
export type KnownRoute = CloudRoute | "created";

export class RouteView {
  /** What passes see, by key. */
  readonly observed = new Map<string, CloudRouteEntry>();
  /** What this host desires, by key. */
  readonly #claims = new Map<string, CloudRouteEntry>();
  readonly #known = new Map<string, KnownRoute>();
  /** Outcomes of operations that a listing may not show yet. */
  readonly #recent = new Map<string, RecentOutcome>();

  get claims(): readonly CloudRouteEntry[] {
    return [...this.#claims.values()];
  }

  /** Takes note of what a pass desires. */
  claim({ action, object }: StateOperation): void {
    if (action === "remove") this.#claims.delete(keyOf(object));
    else this.#claims.set(keyOf(object), object as CloudRouteEntry);
  }

  /** The route in the place of an entry, as far as known. */
  routeAt(entry: CloudRouteEntry): KnownRoute | undefined {
    return this.#known.get(keyOf(entry));
  }

  /**
   * Takes note of an operation that the cloud has done; passes see it once they {@link commit} it. Until then a listing may still
   * show what was there before: APIs are eventually consistent.
   */
  done({ action, object }: StateOperation, untilMs: number): void {
    const key = keyOf(object);
    const isThere = action !== "remove";
    const before = this.#known.get(key);
    const previousTarget = before === undefined || before === "created" ? undefined : before.target;
    if (isThere) this.#known.set(key, "created");
    else this.#known.delete(key);
    this.#recent.set(key, { untilMs, isThere, previousTarget });
  }

  /** Shows the outcome of an operation to passes. */
  commit({ action, object }: StateOperation): void {
    const key = keyOf(object);
    if (action === "remove") this.observed.delete(key);
    else this.observed.set(key, object as CloudRouteEntry);
  }

  /** Takes over a listing; gives back what changed for passes, except for keys that are busy with an operation. */
  compare(
    routes: readonly CloudRoute[],
    { tables }: Pick<CloudSettings, "tables">,
    { networks, nowMs, isBusy }: ListingContext,
  ): StateChange[] {
    const entries = new Map<string, CloudRouteEntry>();
    const sample = this.#claims.values().next().value ?? this.observed.values().next().value;
    this.#known.clear();
    for (const route of sample === undefined ? [] : routes) {
      if (!isWithin(route.destination, networks)) continue;
      // A table is known by its id if the config names it.
      const table = tables.includes(route.table) ? route.table : "";
      const place = { ...sample!, table, destination: route.destination };
      const key = keyOf(place);
      const entry = entryOf(route, this.#claims.get(key), place);
      if (entry === undefined) continue;
      entries.set(key, entry);
      this.#known.set(key, route);
    }
    this.#correct(entries, nowMs);
    return this.#show(entries, isBusy);
  }

  /** Applies what was done recently to a listing that may not show it yet. */
  #correct(entries: Map<string, CloudRouteEntry>, nowMs: number): void {
    for (const [key, { untilMs, isThere, previousTarget }] of this.#recent) {
      const claim = this.#claims.get(key);
      const listed = this.#known.get(key);
      const isNew = listed !== undefined && listed !== "created" && listed.target !== previousTarget;
      if (nowMs >= untilMs || isThere !== (claim !== undefined) || isNew) {
        this.#recent.delete(key);
      } else if (claim !== undefined) {
        entries.set(key, claim);
        this.#known.set(key, "created");
      } else {
        entries.delete(key);
        this.#known.delete(key);
      }
    }
  }

  #show(entries: ReadonlyMap<string, CloudRouteEntry>, isBusy: (key: string) => boolean): StateChange[] {
    const changes: StateChange[] = [];
    for (const [key, entry] of this.observed) {
      if (entries.has(key) || isBusy(key)) continue;
      this.observed.delete(key);
      changes.push({ action: "gone", object: entry });
    }
    for (const [key, entry] of entries) {
      const before = this.observed.get(key);
      if (isBusy(key) || (before !== undefined && sameObject(before, entry))) continue;
      this.observed.set(key, entry);
      changes.push({ action: "set", object: entry });
    }
    return changes;
  }
}

interface RecentOutcome {
  readonly untilMs: number;
  readonly isThere: boolean;
  /** What the route led to before; a listing that shows anything else is newer than the operation. */
  readonly previousTarget: string | undefined;
}

/** What a listing is compared in. */
interface ListingContext {
  readonly networks: readonly Prefix[];
  readonly nowMs: number;
  readonly isBusy: (key: string) => boolean;
}

/** Settings of the cloud's client that these claims ask for, without the access key. */
export const settingsOf = (
  claims: readonly CloudRouteEntry[],
): Pick<CloudSettings, "addresses" | "tables"> => ({
  addresses: [...new Set(claims.map(({ target }) => target))].sort(),
  tables: [...new Set(claims.flatMap(({ table }) => (table === "" ? [] : [table])))].sort(),
});

/** The place of an entry in the cloud's words. */
export const placeOf = ({ table, destination }: CloudRouteEntry, { tables }: CloudHost) => ({
  table: table === "" ? tables[0]! : table,
  destination,
});

/** The entry of a route that exists, in `place`; undefined = it is another host's. */
export function entryOf(
  route: CloudRoute,
  claim: CloudRouteEntry | undefined,
  place: CloudRouteEntry,
): CloudRouteEntry | undefined {
  if (claim !== undefined && route.isOwn) return claim;
  if (claim === undefined && !route.isOwn && !route.isBlackhole) return undefined;
  return { ...place, target: route.isBlackhole ? `${route.target} (blackhole)` : route.target };
}
