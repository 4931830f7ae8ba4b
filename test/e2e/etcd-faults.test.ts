/**
 * Every fault of a datastore that hosts must survive, on each of the stores: what is lost (nothing), and how long until
 * leases are exchanged again. The table is printed at the end.
 *
 *     three hosts ──▶ line ──▶ server          a new host and an operator come when it is over
 *
 * Long outages last until the pauses between attempts have reached their limit (1 s here, 10 s in production): an outage
 * of a minute or an hour is no different. Leases expire after a day.
 */

import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import type { Logger } from "../../src/base/logger.ts";
import { encodeLeaseValue } from "../../src/lease/lease-codec.ts";
import { makeCertificates } from "../support/certificates.ts";
import { startEtcd } from "../support/etcd.ts";
import { startEtcdCluster } from "../support/etcd-cluster.ts";
import { openEtcdStore } from "../support/etcd-store.ts";
import { type FaultBed, STORES } from "../support/fault-bed.ts";
import { FaultTable } from "../support/fault-table.ts";
import { attributesOf, type LeaseHost, NETWORK_TEXT, startLeaseHosts } from "../support/lease-host.ts";
import { until } from "../support/until.ts";

const HOSTS = 3;
const LIMIT_MS = 1_000;
const TIMINGS = {
  retryMaxMs: LIMIT_MS,
  keepaliveIntervalMs: 400,
  keepaliveTimeoutMs: 400,
  requestTimeoutMs: 1_000,
  dialTimeoutMs: 500,
};

const CONFIG_KEY = "/coreos.com/network/config";
const DAY_MS = 86_400_000;
/** For leases that have to be renewed in a test; etcd grants no shorter ones. */
const TTL_SECONDS = 2;

const table = new FaultTable();
after(() => console.log(`\n${table.format()}\n`));

for (const [store, start] of Object.entries(STORES)) {
  describe(`faults of ${store}`, () => {
    type Harm = (bed: FaultBed, hosts: readonly LeaseHost[], startTheClock: () => void) => Promise<void>;
    const fault = (title: string, harm: Harm, more: { loses?: string; check?: Harm } = {}) =>
      it(title, async () => {
        await using bed = await start();
        await bed.put("config", NETWORK_TEXT);
        const open = (logger: Logger) => bed.open(logger, { timings: TIMINGS });
        await using started = await startLeaseHosts(HOSTS, open);
        const { hosts } = started;
        const { loses, check } = more;
        const row = { store, fault: title, ...(loses && { loses }) };
        await table.measure(row, hosts, open, (go) => harm(bed, hosts, go));
        await check?.(bed, hosts, () => {});
      });

    fault("killed and restarted", async (bed, hosts) => {
      await bed.kill();
      await outageNoticed(hosts);
      await bed.start();
    });
    fault("a long outage, connections reset", async (bed, hosts) => {
      await bed.line.cut();
      await outageNoticed(hosts);
      await atLimit();
      await bed.line.restore();
    });
    fault("a long outage, packets dropped", async (bed, hosts) => {
      bed.line.silence();
      await outageNoticed(hosts);
      await atLimit();
      await bed.line.restore();
    });
    fault("an outage, history compacted meanwhile", async (bed, hosts) => {
      await bed.line.cut();
      await outageNoticed(hosts);
      await bed.put("subnets/10.5.240.0-24", encodeLeaseValue(attributesOf(240)));
      await bed.remove("subnets/10.5.240.0-24");
      await bed.forget();
      await bed.line.restore();
    });
    fault(
      "data lost",
      async (bed, hosts) => {
        await bed.kill();
        await outageNoticed(hosts);
        await bed.startEmpty();
      },
      { check: usesConfigAgain },
    );
    fault(
      "data lost, and other writers first",
      async (bed, hosts) => {
        await bed.line.cut();
        await outageNoticed(hosts);
        await bed.kill();
        await bed.startEmpty();
        // Beyond the revision that the hosts have seen: the number alone does not show the loss.
        for (let write = 0; write < 30; write++) await bed.put("elsewhere", `${write}`);
        await bed.line.restore();
      },
      { check: usesConfigAgain },
    );
    const loses = "that lease, until then";
    const deleted = removing((bed, key) => bed.remove(key));
    fault("W8 a lease deleted", deleted, { loses });
    const revoked = removing((bed, key) => bed.revoke(key));
    if (store !== "etcd2") fault("W8 a lease revoked", revoked, { loses }); // v2 has keys only
  });
}

describe("faults of the access to etcd3", () => {
  const store = "etcd3";

  it("all sessions of its users end", async () => {
    await using etcd = await startEtcd();
    await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    await etcd.enableAuth("flannel", "sehr-geheim", "/coreos.com/network");
    const user = { username: "flannel", password: "sehr-geheim" };
    const open = (logger: Logger) => openEtcdStore(etcd.endpoint, user, logger).store;
    await using started = await startLeaseHosts(HOSTS, open);
    const fault = "with users: killed and restarted, all sessions lost";
    await table.measure({ store, fault }, started.hosts, open, async () => {
      await etcd.kill();
      await outageNoticed(started.hosts);
      await etcd.start();
    });
  });

  it("all certificates are replaced, in the same files", async () => {
    using inUse = makeCertificates();
    using next = makeCertificates();
    await using etcd = await startEtcd({ tls: { certificates: inUse, clientCertificates: true } });
    await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    const files = { caFile: inUse.ca, certFile: inUse.client.cert, keyFile: inUse.client.key };
    const open = (logger: Logger) => openEtcdStore(etcd.endpoint, files, logger).store;
    await using started = await startLeaseHosts(HOSTS, open);
    const fault = "with TLS: certificates and their authority replaced";
    await table.measure({ store, fault }, started.hosts, open, async () => {
      copyFileSync(next.ca, inUse.ca);
      for (const name of ["server", "client"] as const) {
        copyFileSync(next[name].cert, inUse[name].cert);
        copyFileSync(next[name].key, inUse[name].key);
      }
      await etcd.kill();
      await outageNoticed(started.hosts);
      await etcd.start();
    });
  });

  for (const [title, stepMs] of [
    ["forward", DAY_MS],
    ["back", -DAY_MS],
  ] as const) {
    it(`the hosts' clocks step ${title} by a day`, async () => {
      await using etcd = await startEtcd();
      await etcd.ctl("put", CONFIG_KEY, NETWORK_TEXT);
      let aheadMs = 0;
      const wallClockMs = () => Date.now() + aheadMs;
      const timings = { leaseTtlSeconds: TTL_SECONDS };
      const open = (logger: Logger) =>
        openEtcdStore(etcd.endpoint, { timings }, logger, { wallClockMs }).store;
      await using started = await startLeaseHosts(HOSTS, open, { wallClockMs });
      const fault = `the hosts' clocks step ${title} by a day`;
      await table.measure({ store, fault }, started.hosts, open, async (startTheClock) => {
        aheadMs = stepMs;
        const sinceMs = performance.now();
        await until(() => performance.now() - sinceMs > 2 * TTL_SECONDS * 1000, "two lives of a lease");
        startTheClock();
      });
    });
  }
});

describe("faults of an etcd3 cluster", () => {
  const store = "etcd3 × 3";

  it("one of three members fails, in every way", async (t) => {
    await using cluster = await startEtcdCluster({ flags: ["--grpc-keepalive-min-time", "100ms"] });
    await cluster.members[0]!.ctl("put", CONFIG_KEY, NETWORK_TEXT);
    let first = await cluster.leader();
    /** Pauses and timeouts as in production, except pings; all hosts connect to member `first`. */
    const open = (logger: Logger) => {
      const endpoints = [...cluster.endpoints.slice(first), ...cluster.endpoints.slice(0, first)];
      const { keepaliveIntervalMs, keepaliveTimeoutMs } = TIMINGS;
      let drawn = 0;
      const random = () => (drawn++ === 0 ? 0 : Math.random());
      return openEtcdStore(endpoints, { timings: { keepaliveIntervalMs, keepaliveTimeoutMs } }, logger, {
        random,
      }).store;
    };
    const fault = (
      title: string,
      limitMs: number,
      harm: (go: () => void) => Promise<void>,
      restore: () => Promise<void>,
    ) =>
      t.test(title, async () => {
        // New hosts for each fault, connected to the member that will fail.
        await using started = await startLeaseHosts(HOSTS, open);
        const tookMs = await table.measure({ store, fault: title }, started.hosts, open, harm);
        await restore();
        assert.ok(tookMs < limitMs, `${tookMs} ms`);
      });

    const others = () => [0, 1, 2].filter((member) => member !== first);
    const victim = () => cluster.members[first]!;
    await fault(
      "the leadership moves to another member",
      1_000,
      async (go) => {
        go();
        await cluster.moveLeader(others()[0]!);
      },
      async () => {},
    );
    // Member `first` is a follower now.
    await fault(
      "the member of all hosts dies",
      1_000,
      async (go) => {
        go();
        await victim().kill();
      },
      () => victim().start(),
    );
    first = await cluster.leader();
    await fault(
      "the leader dies, with all hosts connected to it",
      4_000, // one of them for the election
      async (go) => {
        go();
        await victim().kill();
      },
      () => victim().start(),
    );
    first = (await cluster.leader()) === 0 ? 1 : 0;
    await fault(
      "the member of all hosts hangs",
      10_000, // TIMINGS, and 5 s for requests in progress
      async (go) => {
        go();
        victim().freeze();
      },
      async () => victim().thaw(),
    );
    await cluster.leader();
    await fault(
      "two of three members die, and come back",
      10_000,
      async () => {
        const dying = others().map((member) => cluster.members[member]!);
        for (const member of dying) await member.kill();
        await atLimit();
        await Promise.all(dying.map((member) => member.start()));
      },
      async () => {},
    );
  });
});

function removing(remove: (bed: FaultBed, key: string) => Promise<void>) {
  return async (bed: FaultBed, hosts: readonly LeaseHost[], startTheClock: () => void) => {
    const [host] = hosts;
    startTheClock();
    await remove(bed, `subnets/${host!.keeper.own!.key}`);
    await until(() => host!.log.some((line) => /Lost lease/.test(line)), "the loss to be logged");
  };
}

/** The hosts notice that the network config is missing, and use it when an operator writes it again. */
async function usesConfigAgain(bed: FaultBed, hosts: readonly LeaseHost[]): Promise<void> {
  await until(() => hosts.every(({ configs }) => configs.at(-1) === undefined), "no config");
  await bed.put("config", NETWORK_TEXT);
  await until(() => hosts.every(({ configs }) => configs.at(-1) === NETWORK_TEXT), "the config");
}

/** Waits until all hosts have noticed the outage. */
const outageNoticed = (hosts: readonly LeaseHost[]) =>
  until(
    () => hosts.every(({ log }) => log.some((line) => /Watch on the leases .*lost/.test(line))),
    "all to notice",
  );

/** Waits until the pauses between attempts have reached their limit: after 0.1 + 0.2 + 0.4 + 0.8 s. */
async function atLimit(): Promise<void> {
  const sinceMs = performance.now();
  await until(() => performance.now() - sinceMs > 2.5 * LIMIT_MS, "pauses at their limit");
}
