/**
 * Keeps this host's lease: takes it, renews it before it ends, and takes one again when it was lost. Whatever the
 * store answers, the daemon goes on: what can pass by itself is tried again, and said once.
 */

import { isDeepStrictEqual } from "node:util";
import { formatIp, sameIp } from "../address/ip.ts";
import { formatPrefix, samePrefix } from "../address/prefix.ts";
import { hasCode, messageOf } from "../base/error.ts";
import type { Logger } from "../base/logger.ts";
import { sleep, type Timers } from "../base/timers.ts";
import type { NetworkFamilies } from "../config/network-config.ts";
import type { Lease, LeaseAttributes, OwnLease, SubnetPair } from "../lease/lease.ts";
import type { LeaseStore } from "../lease/lease-store.ts";

const RETRY_MS = 1_000;
const RENEWAL_RETRY_MS = 60_000;
/** A lease that lives for months is renewed daily all the same: no timer waits that long. */
const LONGEST_WAIT_MS = 24 * 3_600_000;

export interface LeaseKeeperOptions {
  readonly store: LeaseStore;
  readonly network: NetworkFamilies;
  readonly attributes: LeaseAttributes;
  /** Subnets of the previous run. */
  readonly previous: SubnetPair | undefined;
  /** How long before its end a lease is renewed. */
  readonly renewMarginMs: number;
  readonly logger: Logger;
  readonly timers: Timers;
  /** Wall clock, ms since the epoch: what `expiresAtMs` counts in. */
  readonly wallClockMs: () => number;
  /** Called whenever the host holds a lease of other subnets than before. */
  readonly onSubnets: (own: OwnLease) => void;
}

export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  #network: NetworkFamilies;
  #attributes: LeaseAttributes;
  /** What the key may still hold, until the watch has shown the attributes that took their place. */
  #formerAttributes: LeaseAttributes | undefined;
  #isOutdated = false;
  #own: OwnLease | undefined;
  /** When the lease is to be renewed, and when it ends: monotonic, so that a step of the wall clock moves neither. */
  #dueAtMs = 0;
  #endsAtMs = 0;
  #problem: string | undefined = "no lease yet";
  #rival: string | undefined;
  #wake: (() => void) | undefined;
  #isLost = false;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#network = options.network;
    this.#attributes = options.attributes;
  }

  /** What stands between this host and a lease that is its own; undefined = nothing. */
  get problem(): string | undefined {
    return this.#problem ?? this.#rival;
  }

  get own(): OwnLease | undefined {
    return this.#own;
  }

  /** From now on publishes these attributes, at once if there is a lease (W45), and takes leases by this config. */
  update(network: NetworkFamilies, attributes: LeaseAttributes): void {
    this.#network = network;
    if (isDeepStrictEqual(attributes, this.#attributes)) return;
    this.#formerAttributes = this.#attributes;
    this.#attributes = attributes;
    this.#isOutdated = true;
    if (this.#rival !== undefined)
      this.#lose("it is the other host's, now that this one has another address");
    this.#wake?.();
  }

  /** Takes a lease, however long that takes; undefined if aborted before. */
  async acquire(signal: AbortSignal): Promise<OwnLease | undefined> {
    const { store, logger, timers } = this.#options;
    const previous = this.#own?.subnets ?? this.#options.previous;
    let said = "";
    while (!signal.aborted) {
      try {
        const attributes = this.#attributes;
        const own = await store.acquire({
          ...{ network: this.#network, attributes, previous, signal },
          onWait: (reason) => {
            this.#problem = `no lease yet: ${reason}`;
          },
        });
        this.#isOutdated = attributes !== this.#attributes;
        this.#take(own);
        return own;
      } catch (error) {
        if (signal.aborted) break;
        this.#problem = `no lease: ${messageOf(error)}`;
        if (said !== this.#problem) logger.error(`Cannot take a lease, trying on: ${messageOf(error)}`);
        said = this.#problem;
        await sleep(timers, RETRY_MS, signal);
      }
    }
    return undefined;
  }

  /** Renews until aborted. To be called once a lease is held. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#waitUntilDue(signal);
      if (signal.aborted) return;
      if (this.#isLost) await this.acquire(signal);
      else if (this.#rival !== undefined) await this.#rest(RENEWAL_RETRY_MS, signal);
      else await this.#renew(signal);
    }
  }

  /** Tells what the watch says of the key that this host holds; undefined = it is gone. */
  observe(lease: Lease | undefined): void {
    const own = this.#own;
    if (own === undefined) return;
    if (lease === undefined) {
      this.#lose("it was deleted or has expired");
      return;
    }
    if (!sameSubnets(lease.subnets, own.subnets)) {
      this.#lose(`this host's subnets are now ${describeSubnets(lease.subnets)}`);
      return;
    }
    const theirs = lease.attributes;
    const mine = [
      this.#attributes,
      ...(this.#formerAttributes === undefined ? [] : [this.#formerAttributes]),
    ];
    const isSameHost = mine.some(
      ({ publicIp, publicIpv6 }) =>
        sameAddress(theirs.publicIp, publicIp) && sameAddress(theirs.publicIpv6, publicIpv6),
    );
    const isSameData = mine.some(
      ({ backendData, backendV6Data }) =>
        isDeepStrictEqual(theirs.backendData, backendData) &&
        isDeepStrictEqual(theirs.backendV6Data, backendV6Data),
    );
    if (isDeepStrictEqual(theirs, this.#attributes)) this.#formerAttributes = undefined;
    if (!isSameHost) {
      const holder = theirs.publicIp ?? theirs.publicIpv6;
      this.#lose(`it is now held by ${holder === undefined ? "another host" : formatIp(holder)}`);
    } else if (!isSameData) {
      this.#reportRival(own);
    } else if (this.#rival !== undefined) {
      this.#rival = undefined;
      this.#options.logger.info(`Lease ${describeSubnets(own.subnets)} is this host's alone again`);
    }
  }

  #reportRival(own: OwnLease): void {
    // Taking it back would only start a contest: two hosts that overwrite each other for ever.
    const ip = this.#attributes.publicIp ?? this.#attributes.publicIpv6;
    const text = `another host uses this host's public IP ${ip === undefined ? "" : formatIp(ip)} and with it the lease ${describeSubnets(own.subnets)}: give one of the two another address with --public-ip or --iface`;
    if (this.#rival !== text) this.#options.logger.error(`Two hosts, one lease: ${text}`);
    this.#rival = text;
  }

  #lose(reason: string): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#problem = `lease lost: ${reason}`;
    this.#options.logger.warn(
      `Lost the lease on ${describeSubnets(this.#own!.subnets)}: ${reason}; taking one again`,
    );
    this.#wake?.();
  }

  #take(own: OwnLease): void {
    const before = this.#own;
    this.#hold(own);
    this.#isLost = false;
    this.#problem = undefined;
    this.#rival = undefined;
    const life = own.expiresAtMs === undefined ? "does not expire" : "renewed before it ends";
    this.#options.logger.info(`Holding lease ${describeSubnets(own.subnets)} (${life})`);
    if (before === undefined || !sameSubnets(before.subnets, own.subnets)) this.#options.onSubnets(own);
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { store, logger } = this.#options;
    const own = this.#own!;
    const attributes = this.#attributes;
    try {
      this.#hold(await store.renew(own, attributes));
      if (!this.#isLost) this.#problem = undefined;
      logger.info(`${this.#isOutdated ? "Updated" : "Renewed"} lease ${describeSubnets(own.subnets)}`);
      this.#isOutdated = attributes !== this.#attributes;
    } catch (error) {
      if (signal.aborted) return;
      if (hasCode(error, "LEASE_LOST")) {
        this.#lose(messageOf(error));
        return;
      }
      const leftMs = this.#endsAtMs - this.#options.timers.nowMs();
      if (leftMs <= 0) this.#problem = `the lease has expired and cannot be renewed: ${messageOf(error)}`;
      logger.error(
        `Cannot renew lease ${describeSubnets(own.subnets)}, trying again: ${messageOf(error)}; it ${leftMs > 0 ? `ends in ${Math.round(leftMs / 1000)} s` : "has expired"}`,
      );
      const longestMs = this.#isOutdated ? RETRY_MS : RENEWAL_RETRY_MS;
      await this.#rest(Math.min(longestMs, Math.max(RETRY_MS, leftMs / 10)), signal);
    }
  }

  async #waitUntilDue(signal: AbortSignal): Promise<void> {
    if (this.#isOutdated) return;
    const delayMs = this.#dueAtMs - this.#options.timers.nowMs();
    if (delayMs > 0) await this.#rest(delayMs === Number.POSITIVE_INFINITY ? undefined : delayMs, signal);
  }

  /** Notes a lease just taken or renewed. Its end is told on the wall clock, which counts at this moment only. */
  #hold(own: OwnLease): void {
    const { timers, wallClockMs, renewMarginMs } = this.#options;
    const nowMs = timers.nowMs();
    const lifeMs = (own.expiresAtMs ?? Number.POSITIVE_INFINITY) - wallClockMs();
    this.#own = own;
    this.#endsAtMs = nowMs + lifeMs;
    // A lease shorter than the margin (a test's, or somebody's choice) is renewed after a third of its life.
    const delayMs = Math.max(lifeMs - renewMarginMs, lifeMs / 3);
    this.#dueAtMs =
      own.expiresAtMs === undefined ? this.#endsAtMs : nowMs + Math.min(delayMs, LONGEST_WAIT_MS);
  }

  /** Waits for so long (undefined = for ever), but not once the lease is lost, its attributes are new, or all ends. */
  #rest(delayMs: number | undefined, signal: AbortSignal): Promise<void> {
    if (this.#isLost || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = () => {
        cancel?.();
        signal.removeEventListener("abort", finish);
        this.#wake = undefined;
        resolve();
      };
      const cancel = delayMs === undefined ? undefined : this.#options.timers.after(delayMs, finish);
      signal.addEventListener("abort", finish, { once: true });
      this.#wake = finish;
    });
  }
}

/** "10.5.1.0/24", "10.5.1.0/24, fc00:0:0:1::/64". */
export const describeSubnets = (subnets: SubnetPair): string =>
  [subnets.ipv4, subnets.ipv6]
    .flatMap((subnet) => (subnet === undefined ? [] : [formatPrefix(subnet)]))
    .join(", ");

const sameAddress = (a: LeaseAttributes["publicIp"], b: LeaseAttributes["publicIp"]): boolean =>
  a === undefined || b === undefined ? a === b : sameIp(a, b);

function sameSubnets(a: SubnetPair, b: SubnetPair): boolean {
  const same = (x: SubnetPair["ipv4"], y: SubnetPair["ipv4"]) =>
    x === undefined || y === undefined ? x === y : samePrefix(x, y);
  return same(a.ipv4, b.ipv4) && same(a.ipv6, b.ipv6);
}
