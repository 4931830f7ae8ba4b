/**
 * Keeps this host's lease: acquires it, renews it before it expires and acquires one again after a loss. Whatever the
 * store answers, the keeper continues: failures that may pass are retried and logged.
 *
 *                 acquired                 another host publishes this host's public IP
 *     acquiring ────────────▶ held ────────────────────────────────────────────▶ contested
 *      ▲  │  ▲                │  ▲  │                                             │    │
 *      └──┘  │                │  └──┘ renewed, or failed and retried              │    │
 *     failed │                │  ▲                                               │    │
 *            │                │  └─────────── this host's data is back ──────────┘    │
 *            └────────────────┴── lost: deleted, expired, other subnets or owner ─────┘
 *
 * A contested lease is neither renewed nor written: two hosts that overwrite each other would do so for ever.
 */

import { isDeepStrictEqual } from "node:util";
import { formatIp } from "../address/ip.ts";
import type { Prefix } from "../address/prefix.ts";
import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { RepetitionFilter } from "../base/repetition-filter.ts";
import { retry } from "../base/retry.ts";
import type { Timers } from "../base/timers.ts";
import { WakeSignal } from "../base/wake-signal.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import {
  describeSubnets,
  type Lease,
  type LeaseAttributes,
  type OwnLease,
  type SubnetPair,
  sameSubnets,
} from "../lease/lease.ts";
import type { LeaseStore } from "../lease/lease-store.ts";
import { describeOwner, type HostIdentity, isOwn } from "../lease/ownership.ts";
import type { Contested, Held, LeaseState } from "./lease-state.ts";
import { describeLife, marginWarning, renewalDelayMs } from "./renewal-delay.ts";

const RETRY_MS = 1_000;
const RENEWAL_RETRY_MS = 60_000;

export interface LeaseKeeperOptions {
  readonly store: LeaseStore;
  readonly network: NetworkFamilies;
  readonly attributes: LeaseAttributes;
  /** Subnets of the previous run. */
  readonly previous: SubnetPair | undefined;
  /** Prefixes of these networks that this host uses itself: no subnet is drawn from them. */
  readonly usedPrefixes: (network: NetworkFamilies) => readonly Prefix[];
  /** How to find a lease of this host under an earlier address. */
  readonly identity?: Omit<HostIdentity, "replace">;
  /** Called when another host has the identity of this host's backend; has to {@link LeaseKeeper.update} the attributes. */
  readonly onCopied?: () => void;
  /** How long before its expiry a lease is renewed. */
  readonly renewMarginMs: number;
  readonly logger: Logger;
  readonly timers: Timers;
  /** Wall clock, ms since the epoch: what `expiresAtMs` counts in. */
  readonly wallClockMs: () => number;
  /** Called when the host has acquired a lease of other subnets than before. */
  readonly onSubnets: (own: OwnLease) => void;
  /** Called when the lease was acquired, lost, contested or settled. */
  readonly onChange?: () => void;
}

export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #wake = new WakeSignal();
  readonly #renewalProblems: RepetitionFilter;
  #isMarginReported = false;
  #network: NetworkFamilies;
  /** What this host publishes, and before it, latest first, what the datastore may still contain. */
  #attributes: readonly [LeaseAttributes, ...LeaseAttributes[]];
  #state: LeaseState = { name: "acquiring", own: undefined, problem: "no lease yet" };

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#network = options.network;
    this.#attributes = [options.attributes];
    this.#renewalProblems = new RepetitionFilter(options.timers);
  }

  /** Why this host has no lease of its own; undefined = it has one. */
  get problem(): string | undefined {
    return this.#state.problem;
  }

  /** The current lease, or the lost one until another is acquired. */
  get own(): OwnLease | undefined {
    return this.#state.own;
  }

  /** Publishes these attributes from now on, at once if there is a lease (W45), and acquires leases by this config. */
  update(network: NetworkFamilies, attributes: LeaseAttributes): void {
    this.#network = network;
    if (isDeepStrictEqual(attributes, this.#attributes[0])) return;
    const former = this.#attributes.filter((other) => !isDeepStrictEqual(other, attributes));
    this.#attributes = [attributes, ...former];
    const state = this.#state;
    if (state.name === "contested") {
      this.#lose(state, "this host has another address now and leaves it to the other host");
    } else if (state.name === "held") {
      this.#state = { ...state, dueAtMs: this.#options.timers.nowMs() };
    }
    this.#wake.wake();
  }

  /** Acquires a lease, however long that takes; undefined if aborted before. */
  acquire(signal: AbortSignal): Promise<OwnLease | undefined> {
    const previous = this.#state.own?.subnets ?? this.#options.previous;
    const attempt = async () => {
      const [attributes] = this.#attributes;
      const own = await this.#options.store.acquire({
        ...{ network: this.#network, attributes, previous, signal, identity: this.#identity() },
        avoid: this.#options.usedPrefixes(this.#network),
        onWait: (reason) => this.#fail(`no lease yet: ${reason}`),
      });
      // The identity may have been replaced meanwhile.
      this.#take(
        own,
        isDeepStrictEqual(own.attributes, this.#attributes[0]) ? this.#attributes[0] : attributes,
      );
      return own;
    };
    const onProblem = (problem: string | undefined) => {
      if (problem !== undefined) this.#fail(`no lease: ${problem}`);
    };
    return retry(
      { failure: "Failed to acquire lease", attempt, pauseMs: RETRY_MS, signal, onProblem },
      this.#options,
    );
  }

  /** For the first lease only: later, what this host had before may be another host's. */
  #identity(): HostIdentity | undefined {
    if (this.#state.own !== undefined) return undefined;
    const { identity, onCopied } = this.#options;
    const replace = () => {
      onCopied?.();
      return this.#attributes[0];
    };
    return identity && { ...identity, replace };
  }

  /** Keeps the lease until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers } = this.#options;
    while (!signal.aborted) {
      const state = this.#state;
      if (state.name === "acquiring") {
        await this.acquire(signal);
      } else if (state.name === "contested") {
        await this.#wake.wait({ signal });
      } else {
        const waitMs = state.dueAtMs - timers.nowMs();
        if (waitMs > 0) await this.#wake.wait({ timers, timeoutMs: waitMs, signal });
        else await this.#renew(state, signal);
      }
    }
  }

  /** Takes what the watch reports about the key of this host's lease; undefined = it was removed. */
  observe(lease: Lease | undefined): void {
    const state = this.#state;
    if (state.name === "acquiring") return;
    const { own } = state;
    if (lease === undefined) {
      this.#lose(state, "it was deleted or has expired");
    } else if (!sameSubnets(lease.subnets, own.subnets)) {
      this.#lose(state, `this host's subnets are now ${describeSubnets(lease.subnets)}`);
    } else if (this.#isPublished(lease.attributes)) {
      if (state.name === "contested") this.#settle(state);
    } else if (isOwn(lease.attributes, { published: this.#attributes })) {
      if (state.name === "held") this.#contest(state);
    } else {
      this.#lose(state, `it is now held by ${describeOwner(lease.attributes)}`);
    }
  }

  /** Whether this host published these attributes. A watch reports in order: older ones do not return after this. */
  #isPublished(attributes: LeaseAttributes): boolean {
    const index = this.#attributes.findIndex((own) => isSameData(own, attributes));
    if (index < 0) return false;
    const [latest, ...former] = this.#attributes;
    this.#attributes = [latest, ...former.slice(0, index)];
    return true;
  }

  #fail(problem: string): void {
    this.#state = { name: "acquiring", own: this.#state.own, problem };
  }

  #take(own: OwnLease, published: LeaseAttributes): void {
    const before = this.#state.own;
    this.#state = this.#hold(own, published);
    this.#options.logger.info(
      `Acquired lease ${describeSubnets(own.subnets)}; ${describeLife(own, this.#options.wallClockMs())}`,
    );
    if (before === undefined || !sameSubnets(before.subnets, own.subnets)) this.#options.onSubnets(own);
    this.#options.onChange?.();
  }

  #lose({ own }: Held | Contested, reason: string): void {
    this.#fail(`lease lost: ${reason}`);
    this.#options.logger.warn(`Lost lease ${describeSubnets(own.subnets)}; acquiring one again: ${reason}`);
    this.#options.onChange?.();
    this.#wake.wake();
  }

  #contest(held: Held): void {
    const { own } = held;
    const ip = this.#attributes[0].publicIp ?? this.#attributes[0].publicIpv6;
    const problem = `another host uses this host's public IP${ip === undefined ? "" : ` ${formatIp(ip)}`} and with it the lease ${describeSubnets(own.subnets)}; give one of the two another address with --public-ip or --iface`;
    this.#options.logger.error(`Lease conflict: ${problem}`);
    this.#state = { name: "contested", own, problem, held };
    this.#options.onChange?.();
  }

  #settle({ own, held }: Contested): void {
    this.#state = held;
    this.#options.logger.info(`Lease conflict over ${describeSubnets(own.subnets)} is resolved`);
    this.#options.onChange?.();
    this.#wake.wake();
  }

  async #renew(state: Held, signal: AbortSignal): Promise<void> {
    const { store, logger } = this.#options;
    const [attributes] = this.#attributes;
    const subnets = describeSubnets(state.own.subnets);
    const isUpdate = state.published !== attributes;
    try {
      const held = this.#hold(await store.renew(state.own, attributes), attributes);
      logger.info(`${isUpdate ? "Updated" : "Renewed"} lease ${subnets}`);
      this.#renewalProblems.reset();
      // A loss or conflict observed meanwhile is later news than the renewal.
      if (this.#state.name === "held") this.#state = held;
      else if (this.#state.name === "contested") this.#state = { ...this.#state, own: held.own, held };
    } catch (error) {
      if (signal.aborted) return;
      const now = this.#state;
      if (hasCode(error, "LEASE_LOST")) {
        if (now.name !== "acquiring") this.#lose(now, messageOf(error));
        return;
      }
      this.#postpone(state, isUpdate, messageOf(error));
    }
  }

  /** Takes note of a renewal that failed: when to retry, and whether the lease has expired meanwhile. */
  #postpone(state: Held, isUpdate: boolean, cause: string): void {
    const { logger, timers } = this.#options;
    const nowMs = timers.nowMs();
    const leftMs = state.endsAtMs - nowMs;
    const subnets = describeSubnets(state.own.subnets);
    const line =
      leftMs <= 0
        ? `Failed to renew lease ${subnets}, which has expired; retrying: ${cause}`
        : isUpdate
          ? `Failed to update lease ${subnets}; retrying: ${cause}`
          : `Failed to renew lease ${subnets}, which expires in ${Math.round(leftMs / 1000)} s; retrying: ${cause}`;
    const nature = leftMs <= 0 ? `expired: ${cause}` : cause; // without the seconds left, which differ each time
    if (this.#renewalProblems.isDue(nature)) logger.error(line);
    if (this.#state !== state) return; // changed while the renewal was under way: that decides what comes next
    const pauseMs = Math.min(isUpdate ? RETRY_MS : RENEWAL_RETRY_MS, Math.max(RETRY_MS, leftMs / 10));
    const problem = leftMs <= 0 ? `the lease has expired and failed to be renewed: ${cause}` : state.problem;
    this.#state = { ...state, dueAtMs: nowMs + pauseMs, problem };
  }

  /** The state after an acquisition or a renewal. Expiry is given by the wall clock, which counts at this moment only. */
  #hold(own: OwnLease, published: LeaseAttributes): Held {
    const { logger, timers, wallClockMs, renewMarginMs } = this.#options;
    const nowMs = timers.nowMs();
    const lifeMs = (own.expiresAtMs ?? Number.POSITIVE_INFINITY) - wallClockMs();
    const endsAtMs = nowMs + lifeMs;
    const warning = marginWarning(lifeMs, renewMarginMs);
    if (warning !== undefined && !this.#isMarginReported) logger.warn(warning);
    this.#isMarginReported ||= warning !== undefined;
    const renewAtMs =
      own.expiresAtMs === undefined ? endsAtMs : nowMs + renewalDelayMs(lifeMs, renewMarginMs);
    const isOutdated = published !== this.#attributes[0];
    const dueAtMs = isOutdated ? nowMs : renewAtMs;
    return { name: "held", own, published, dueAtMs, endsAtMs, problem: undefined };
  }
}

/** Whether peers would do the same with both. */
const isSameData = (a: LeaseAttributes, b: LeaseAttributes): boolean =>
  isDeepStrictEqual(
    [a.publicIp, a.publicIpv6, a.backendData, a.backendV6Data],
    [b.publicIp, b.publicIpv6, b.backendData, b.backendV6Data],
  );
