/** The ports of a cloud's client in tests: real HTTP on loopback, and a clock on which pauses are short. */

import type { Timers } from "../base/timers.ts";
import type { CloudPorts } from "../cloud/cloud-ports.ts";
import { createDirectHttp, createHttp } from "../cloud/http.ts";

/** How much faster than the real clock. */
const FACTOR = 50;

/** Milliseconds pass 50 times as fast as they do, and `skipMs` more at once. */
export interface FastTimers extends Timers {
  skipMs: number;
}

/** Ports with this environment; proxies in it are used. */
export function cloudTestPorts(
  environment: Readonly<Record<string, string>>,
): CloudPorts & { readonly timers: FastTimers } {
  const timers: FastTimers = {
    skipMs: 0,
    nowMs: () => performance.now() * FACTOR + timers.skipMs,
    after(delayMs, callback) {
      const timer = setTimeout(callback, delayMs / FACTOR);
      return () => clearTimeout(timer);
    },
  };
  return {
    ...{ http: createHttp(environment), direct: createDirectHttp(), environment, timers },
    wallClockMs: Date.now,
  };
}

/** A signal that is never aborted. */
export const neverAborted = new AbortController().signal;
