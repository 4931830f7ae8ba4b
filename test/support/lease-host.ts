/**
 * The datastore's side of a host, joined as flanneld joins it but without a kernel: its store, the keeper of its lease,
 * the followers of peers and network config. Missing peers are recorded.
 */

import { parseIp } from "../../src/address/ip.ts";
import { LeaseKeeper } from "../../src/agent/lease-keeper.ts";
import { PeerFollower } from "../../src/agent/peers.ts";
import type { Logger } from "../../src/base/logger.ts";
import { systemTimers } from "../../src/base/timers.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network-config.ts";
import type { LeaseAttributes } from "../../src/lease/lease.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";
import type { LeaseTable } from "../../src/lease/lease-table.ts";

export const NETWORK_TEXT = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const NETWORK = parseNetworkConfig(NETWORK_TEXT);
const MINUTE_MS = 60_000;

/** Host 7 has the public address 192.168.0.7. */
export const attributesOf = (host: number): LeaseAttributes => ({
  publicIp: parseIp(`192.168.${host >> 8}.${host & 255}`),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: `02:00:00:00:${hex(host >> 8)}:${hex(host & 255)}` },
  backendV6Data: undefined,
});

const hex = (byte: number) => byte.toString(16).padStart(2, "0");

export interface LeaseHostOptions {
  readonly network?: NetworkConfig;
  readonly attributes?: LeaseAttributes;
  readonly wallClockMs?: () => number;
  readonly renewMarginMs?: number;
}

export interface LeaseHost extends AsyncDisposable {
  readonly attributes: LeaseAttributes;
  readonly store: LeaseStore;
  readonly keeper: LeaseKeeper;
  /** All leases that it knows of. */
  readonly table: LeaseTable;
  /** The keys that it has held, one after the other. */
  readonly keys: readonly string[];
  /** The network configs that it received. */
  readonly configs: readonly (string | undefined)[];
  readonly log: readonly string[];
  /** Records from now on which of these keys are missing in {@link table} at any time. */
  expectPeers(keys: readonly string[]): void;
  readonly missedPeers: ReadonlySet<string>;
}

/** Starts a host with `number`; resolves once it holds a lease. `open` opens its store, which is then the host's. */
export async function startLeaseHost(
  number: number,
  open: (logger: Logger) => LeaseStore,
  options: LeaseHostOptions = {},
): Promise<LeaseHost> {
  const log: string[] = [];
  const at = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger: Logger = { info: at("info"), warn: at("warn"), error: at("error"), debug: at("debug") };
  const attributes = options.attributes ?? attributesOf(number);
  const store = open(logger);
  const keys: string[] = [];
  const configs: (string | undefined)[] = [];
  const missedPeers = new Set<string>();
  let expected: readonly string[] = [];
  const keeper = new LeaseKeeper({
    store,
    network: options.network ?? NETWORK,
    attributes,
    previous: undefined,
    usedPrefixes: () => [],
    renewMarginMs: options.renewMarginMs ?? 60 * MINUTE_MS,
    logger,
    timers: systemTimers,
    wallClockMs: options.wallClockMs ?? Date.now,
    onSubnets: ({ key }) => void keys.push(key),
  });
  const follower = new PeerFollower({ store, logger, timers: systemTimers }, keeper, () => {
    const known = new Set(follower.peers().map(({ key }) => key));
    for (const key of expected) if (!known.has(key)) missedPeers.add(key);
  });
  const stop = new AbortController();
  await store.readNetworkConfig();
  await keeper.acquire(stop.signal);
  const running = Promise.all([
    keeper.run(stop.signal),
    follower.run(stop.signal),
    (async () => {
      for await (const text of store.watchNetworkConfig(stop.signal)) configs.push(text);
    })(),
  ]);
  return {
    ...{ attributes, store, keeper, keys, configs, log, missedPeers },
    table: follower.table,
    expectPeers(expectedKeys) {
      expected = expectedKeys;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await store[Symbol.asyncDispose]();
      await running;
    },
  };
}

/** Starts hosts 1 to `count`, one after the other. */
export async function startLeaseHosts(
  count: number,
  open: (logger: Logger) => LeaseStore,
  options?: LeaseHostOptions,
): Promise<AsyncDisposable & { readonly hosts: readonly LeaseHost[] }> {
  await using starting = new AsyncDisposableStack();
  const hosts: LeaseHost[] = [];
  for (let number = 1; number <= count; number++) {
    hosts.push(starting.use(await startLeaseHost(number, open, options)));
  }
  const started = starting.move();
  return { hosts, [Symbol.asyncDispose]: () => started.disposeAsync() };
}
