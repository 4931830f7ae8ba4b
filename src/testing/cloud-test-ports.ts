/** The ports of a cloud's client in tests: real HTTP on loopback, and a clock on which pauses are short. */

import assert from "node:assert/strict";
import type { Timers } from "../base/timers.ts";
import { CloudError, type CloudErrorCode } from "../cloud/cloud.ts";
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
): CloudPorts & { readonly timers: FastTimers; wallClockMs: () => number } {
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
    wallClockMs: () => Date.now(),
  };
}

/** A signal that is never aborted. */
export const neverAborted = new AbortController().signal;

/** The error that a call was refused with. */
export async function refusalOf(attempt: Promise<unknown>): Promise<CloudError> {
  const error = await attempt.then(
    () => assert.fail("it succeeded"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CloudError, String(error));
  return error;
}

/** Asserts that a call is refused with this code, and that the message matches. */
export async function rejects(
  attempt: Promise<unknown>,
  code: CloudErrorCode,
  message: RegExp,
): Promise<void> {
  const error = await refusalOf(attempt);
  assert.match(error.message, message);
  assert.equal(error.code, code);
}
