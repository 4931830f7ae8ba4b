/** A lease store that does what a test says, on the clock of the test. */

import { parsePrefix } from "../address/prefix.ts";
import type { StoreError } from "../base/error.ts";
import type { LeaseAttributes, OwnLease } from "../lease/lease.ts";
import type { AcquireRequest, LeaseStore } from "../lease/lease-store.ts";
import type { FakeTimers } from "./fake-timers.ts";

const LIFE_MS = 24 * 60 * 60_000;

export class ScriptedLeaseStore implements LeaseStore {
  readonly timers: FakeTimers;
  /** How far the wall clock is ahead of the monotonic one. */
  wallOffsetMs = 0;
  /** Third octet of the subnet that the next acquire gives. */
  next = 1;
  /** Life of what it gives out; undefined = reservations. */
  lifeMs: number | undefined = LIFE_MS;
  /** While set, requests fail with it. */
  failure: StoreError | undefined;
  readonly requests: (AcquireRequest | "renew")[] = [];

  constructor(timers: FakeTimers) {
    this.timers = timers;
  }

  #expiry(): number | undefined {
    return this.lifeMs === undefined ? undefined : this.wallClockMs() + this.lifeMs;
  }

  wallClockMs(): number {
    return this.timers.nowMs() + this.wallOffsetMs;
  }

  async acquire(request: AcquireRequest): Promise<OwnLease> {
    this.requests.push(request);
    if (this.failure !== undefined) throw this.failure;
    const ipv4 = parsePrefix(`10.5.${this.next}.0/24`);
    return {
      key: `10.5.${this.next}.0-24`,
      subnets: { ipv4, ipv6: undefined },
      attributes: request.attributes,
      expiresAtMs: this.#expiry(),
    };
  }

  async renew(lease: OwnLease, attributes: LeaseAttributes): Promise<OwnLease> {
    this.requests.push("renew");
    if (this.failure !== undefined) throw this.failure;
    return { ...lease, attributes, expiresAtMs: this.#expiry() };
  }

  get renewals(): number {
    return this.requests.filter((request) => request === "renew").length;
  }

  get acquisitions(): number {
    return this.requests.length - this.renewals;
  }

  readNetworkConfig = unused;
  watchNetworkConfig = unused;
  watchLeases = unused;
  [Symbol.asyncDispose] = unused;
}

function unused(): never {
  throw new Error("the keeper does not ask for this");
}
