/** A lease store whose requests are counted, for metrics. */

import { FlannelError } from "../base/error.ts";
import type { Timers } from "../base/timers.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import type { RequestMetrics } from "../status/request-metrics.ts";

/** What can fail, by the name in metrics. */
const OPERATIONS = {
  readNetworkConfig: "read_config",
  acquire: "acquire_lease",
  renew: "renew_lease",
  readHost: "read_host",
} as const;

/** The same store; each request is counted when it has ended, with "success" or the code of its error as the result. */
export function countRequests(store: LeaseStore, requests: RequestMetrics, timers: Timers): LeaseStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      const operation = Object.hasOwn(OPERATIONS, name)
        ? OPERATIONS[name as keyof typeof OPERATIONS]
        : undefined;
      if (operation === undefined) return value.bind(target);
      return async (...args: unknown[]) => {
        const startedMs = timers.nowMs();
        let result = "success";
        try {
          return await value.apply(target, args);
        } catch (error) {
          result = error instanceof FlannelError ? error.code.toLowerCase() : "error";
          throw error;
        } finally {
          requests.count(operation, result, timers.nowMs() - startedMs);
        }
      };
    },
  });
}
