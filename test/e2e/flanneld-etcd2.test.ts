/**
 * The whole way on the v2 API of a real etcd: config and leases there, packets between containers.
 *
 *     container ── br0 ── host 1 ══ VXLAN ══ host 2 ── br0 ── container        (test/support/underlay.ts)
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { startEtcd2 } from "../support/etcd2.ts";
import { readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { ping } from "../support/ping.ts";
import { makeContainer, makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const DATASTORE = "--datastore=etcd2";

test("two hosts on etcd v2 reach each other, and come back to their subnets", async (t) => {
  await using etcd = await startEtcd2();
  const hosts = await makeHosts(t, etcd, 2);
  const waiting = startFlanneld(t, hosts[0]!, { args: [DATASTORE] });
  await waiting.logged(/no network config at etcd \(v2\) key \/coreos\.com\/network\/config/);
  await etcd.ctl2("mk", "/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  await waiting.logged(/flanneld is ready/, { deadlineMs: 20_000 });
  await waiting.stop();

  const running = await Promise.all(hosts.map((host) => readyFlanneld(t, host, { args: [DATASTORE] })));
  const [from, to] = hosts.map((host, index) => makeContainer(t, host, running[index]!));
  await until(async () => (await ping(from!.path, to!.address, { count: 1 })) === 1, "an answer");
  assert.equal(await ping(from!.path, to!.address), 5);
  const keys = (await etcd.ctl2("ls", "/coreos.com/network/subnets")).trim().split("\n");
  assert.equal(keys.length, 2);

  await running[0]!.flanneld.stop("SIGKILL");
  const again = await readyFlanneld(t, hosts[0]!, { args: [DATASTORE] });
  assert.equal(again.subnet, running[0]!.subnet);
});
