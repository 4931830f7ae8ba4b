/** What a fault of the datastore costs: compares hosts before and after, measures, and prints a table at the end. */

import assert from "node:assert/strict";
import { parsePrefix } from "../../src/address/prefix.ts";
import type { Logger } from "../../src/base/logger.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { formatTable } from "../../src/base/table.ts";
import { parseNetworkConfig } from "../../src/config/network-config.ts";
import type { OwnLease } from "../../src/lease/lease.ts";
import type { LeaseStore } from "../../src/lease/lease-store.ts";
import { attributesOf, type LeaseHost, NETWORK_TEXT } from "./lease-host.ts";
import { until } from "./until.ts";

interface Row {
  readonly store: string;
  readonly fault: string;
  readonly lost: string;
  readonly flowingAfterMs: number;
}

export interface Fault {
  readonly store: string;
  readonly fault: string;
  /** What is lost where leases are deleted on purpose: peers may be missing, subnets not. */
  readonly loses?: string;
}

const DEADLINE_MS = 20_000;

export class FaultTable {
  readonly #rows: Row[] = [];
  #newcomers = 0;

  /**
   * Injects a fault into a datastore on which `hosts` live, and waits until leases flow again: each host renews its lease, a new
   * host gets one, and all see it. The time runs from when `harm` says that it is to (default: from its end). Fails if
   * anything was lost: a subnet, or, for a moment, a peer. Returns the time.
   */
  async measure(
    { loses, ...fault }: Fault,
    hosts: readonly LeaseHost[],
    open: (logger: Logger) => LeaseStore,
    harm: (startTheClock: () => void) => Promise<void>,
  ): Promise<number> {
    const keys = hosts.map((host) => host.keeper.own!.key);
    await until(
      () => hosts.every((host) => keys.every((key) => host.table.get(key))),
      "all to know each other",
    );
    if (loses === undefined) {
      for (const host of hosts) host.expectPeers(keys.filter((key) => key !== host.keeper.own!.key));
    }
    let sinceMs: number | undefined;
    await harm(() => {
      sinceMs = performance.now();
    });
    sinceMs ??= performance.now();
    await this.#untilFlowing(hosts, open);
    const flowingAfterMs = performance.now() - sinceMs;
    const lost = [
      ...hosts.filter(({ keys }) => keys.length > 1).map(({ keys }) => `the subnet ${keys[0]}`),
      ...hosts.flatMap(({ missedPeers }) => [...missedPeers].map((key) => `for a moment the peer ${key}`)),
    ];
    this.#rows.push({ ...fault, lost: lost.join(", ") || (loses ?? "nothing"), flowingAfterMs });
    assert.deepEqual(lost, [], hosts.map(({ log }) => log.join("\n")).join("\n\n"));
    return flowingAfterMs;
  }

  async #untilFlowing(hosts: readonly LeaseHost[], open: (logger: Logger) => LeaseStore): Promise<void> {
    await using newcomer = {
      store: open(silentLogger),
      [Symbol.asyncDispose]: () => newcomer.store[Symbol.asyncDispose](),
    };
    const number = this.#newcomers++;
    const request = {
      network: parseNetworkConfig(NETWORK_TEXT),
      attributes: attributesOf(1_000 + number),
      // Not by lot: a store without data would give it the subnet of one that has not come back yet.
      previous: { ipv4: parsePrefix(`10.5.${200 + (number % 50)}.0/24`), ipv6: undefined },
    };
    let theirs: OwnLease | undefined;
    await until(
      async () => {
        theirs = await newcomer.store.acquire(request).catch(() => undefined);
        return theirs !== undefined;
      },
      "a lease for a new host",
      DEADLINE_MS,
    );
    await until(() => hosts.every((host) => host.table.get(theirs!.key)), "all to see it", DEADLINE_MS);
    const renews = async ({ store, keeper, attributes }: LeaseHost) =>
      keeper.problem === undefined &&
      (await store.renew(keeper.own!, attributes).then(
        () => true,
        () => false,
      ));
    for (const host of hosts) await until(() => renews(host), "a renewal", DEADLINE_MS);
  }

  /** The table as text. */
  format(): string {
    const rows = this.#rows.map(({ store, fault, lost, flowingAfterMs }) => [
      ...[store, fault, lost],
      `${flowingAfterMs.toFixed(0).padStart(5)} ms`,
    ]);
    return formatTable([["store", "fault", "lost", "leases flow again after"], ...rows]).join("\n");
  }
}
