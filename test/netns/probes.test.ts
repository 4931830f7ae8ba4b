/**
 * Probes of real flanneld processes: faults that an operator would search at night are named, and end.
 *
 *        etcd ── h1 ── h2        eth0 of each on one bridge; no container bridge unless the test makes it
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { PeerReport } from "../../src/status/api.ts";
import { askDaemon } from "../../src/status/status-client.ts";
import { startEtcd } from "../support/etcd.ts";
import { readyFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const VXLAN = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

const probeOf = async ({ directory }: TestHost) => {
  const [peer] = await askDaemon<PeerReport[]>(join(directory, "flanneld.sock"), "/v1/peers");
  return peer?.probes?.[0];
};

/** Two hosts with flanneld, once each finds the other reachable. */
async function startPair(t: TestContext, etcd: Awaited<ReturnType<typeof startEtcd>>, config: string) {
  await etcd.ctl("put", CONFIG_KEY, config);
  const hosts = await makeHosts(t, etcd, 2);
  const sides = [];
  for (const host of hosts) sides.push({ host, ...(await readyFlanneld(t, host)) });
  const [a, b] = sides as [(typeof sides)[0], (typeof sides)[0]];
  for (const { host, flanneld } of sides)
    await flanneld.until(async () => (await probeOf(host))?.verdict === "reachable", "a reachable peer");
  return { a, b };
}

test("a closed VXLAN port is named, and its end is logged", async (t) => {
  await using etcd = await startEtcd();
  const { a, b } = await startPair(t, etcd, VXLAN);
  assert.equal((await probeOf(a.host))?.overlay.state, "up");
  b.host.run(
    "nft",
    "add table inet t; add chain inet t i { type filter hook input priority 0; }; add rule inet t i udp dport 8472 drop",
  );
  await a.flanneld.logged(/unreachable: (one direction|overlay down): UDP port 8472 closed or filtered/);
  assert.equal((await probeOf(a.host))?.underlay.state, "up");
  b.host.run("nft", "delete", "table", "inet", "t");
  await a.flanneld.logged(/is reachable again after \d+ s/);
  assert.equal((await probeOf(a.host))?.verdict, "reachable");
});
