/**
 * A cloud in memory, with one table and any number of hosts. It refuses what real ones refuse: routes that exist, deletions of
 * what does not, calls above its rate; and it notices calls for one table that overlap.
 */

import type { Prefix } from "../address/prefix.ts";
import { type Cloud, CloudError, type CloudHost, type CloudRoute, type RoutePlace } from "../cloud/cloud.ts";
import { isWithin } from "../state/operation.ts";

interface StoredRoute {
  target: string;
  isBlackhole: boolean;
}

export class MemoryCloud {
  table = "rtb-1";
  readonly routes = new Map<string, StoredRoute>();
  /** Names of all calls that arrived. */
  readonly calls: string[] = [];
  /** Errors by the name of a call; each is thrown while it is there. */
  readonly failures = new Map<string, CloudError>();
  /** Warnings of prepare. */
  warnings: readonly string[] = [];
  /** Called before a call is answered. */
  onCall: (name: string) => void | Promise<void> = () => {};
  /** Whether listings are as they were before the last change. */
  isListingStale = false;
  overlaps = 0;
  #stale: CloudRoute[] = [];
  readonly #changing = new Set<string>();

  /** The client of one host, whose routes lead to `target`. */
  client(target: string): Cloud {
    const call = async <T>(name: string, work: () => T): Promise<T> => {
      this.calls.push(name);
      await this.onCall(name);
      await new Promise(setImmediate);
      const failure = this.failures.get(name);
      if (failure !== undefined) throw failure;
      return work();
    };
    const change = async (name: string, host: CloudHost, { table }: RoutePlace, work: () => void) => {
      if (this.#changing.has(host.target)) this.overlaps++;
      this.#changing.add(host.target);
      try {
        await call(name, () => {
          if (table !== this.table) throw new CloudError("NOT_FOUND", `there is no table ${table}`);
          this.#stale = this.#list();
          work();
        });
      } finally {
        this.#changing.delete(host.target);
      }
    };
    return {
      name: "memory cloud",
      identify: () => call("identify", () => ({ instance: `i-${target}`, target, tables: [this.table] })),
      prepare: () => call("prepare", () => this.warnings),
      list: ({ tables }, networks) =>
        call("list", () => {
          if (tables[0] !== this.table) throw new CloudError("CONFLICT", `the table is ${this.table} now`);
          return this.#routesFor(target, networks);
        }),
      create: (host, place) =>
        change("create", host, place, () => {
          if (this.routes.has(place.destination)) throw new CloudError("EXISTS", "the route exists");
          this.routes.set(place.destination, { target, isBlackhole: false });
        }),
      replace: (host, previous) =>
        change("replace", host, previous, () => {
          if (!this.routes.has(previous.destination)) throw new CloudError("NOT_FOUND", "there is no route");
          this.routes.set(previous.destination, { target, isBlackhole: false });
        }),
      delete: (host, route) =>
        change("delete", host, route, () => {
          if (!this.routes.delete(route.destination)) throw new CloudError("NOT_FOUND", "there is no route");
        }),
    };
  }

  #list(): CloudRoute[] {
    return [...this.routes].map(([destination, { target, isBlackhole }]) => ({
      ...{ table: this.table, destination, target, isBlackhole, isOwn: false },
    }));
  }

  #routesFor(target: string, networks: readonly Prefix[]): CloudRoute[] {
    return (this.isListingStale ? this.#stale : this.#list())
      .filter(({ destination }) => isWithin(destination, networks))
      .map((route) => ({ ...route, isOwn: route.target === target && !route.isBlackhole }));
  }
}
