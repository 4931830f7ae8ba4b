/** The ipsec backend on whole agents with real charons: policies, tunnels, repair, removal, no key anywhere. Topology: agents.ts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPrefix } from "../../src/address/prefix.ts";
import { makeCluster, makeFabric } from "./agents.ts";
import { waitFor } from "./support.ts";

const PSK = "0123456789abcdef".repeat(6);
const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "ipsec", PSK, UDPEncap: true } };

test("policies for each peer are made, repaired and removed; tunnels come up; the key is in no log", {
  timeout: 60_000,
}, async (t) => {
  const [h1, h2] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, CONFIG);
  const [first, second] = [cluster.start(h1!), cluster.start(h2!)];
  await Promise.all([first.ready(), second.ready()]);
  assert.equal(first.env()!.mtuBytes, 1415);
  const subnetOf = (agent: typeof first) => formatPrefix(agent.env()!.subnets!.ipv4!);
  const policies = () => h1!.run("ip", "xfrm", "policy", "show").match(/^src .*\n\tdir \w+/gm) ?? [];
  await waitFor("three policies", () => policies().length === 3);
  await first.logged(/^D charon: .*CHILD_SA .* established .*TS/);

  const [own, remote] = [subnetOf(first), subnetOf(second)];
  h1!.run("ip", "xfrm", "policy", "delete", "src", own, "dst", remote, "dir", "out");
  await waitFor("the policy again", () => policies().length === 3);

  await second.stop();
  cluster.data.delete(remote.replace("/", "-"));
  await waitFor("no policy of a peer that left", () => policies().length === 0);
  for (const { log } of [first, second]) assert.ok(!log.join("\n").includes(PSK));
});
