/**
 * The extension and alloc backends on whole agents: commands that program real routes, as an operator would write them.
 * Topology: agents.ts, both hosts on link 0.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPrefix } from "../../src/address/prefix.ts";
import { addContainer, expectAnswer, makeCluster, makeFabric } from "./agents.ts";
import { waitFor } from "./support.ts";

const COMMANDS = {
  Type: "extension",
  PreStartupCommand: "ip -o -4 address show dev eth0 | tr -s ' ' | cut -d ' ' -f 4",
  PostStartupCommand:
    'ip link add marker type bridge 2>/dev/null; ip link set marker alias "$NETWORK $SUBNET"',
  SubnetAddCommand: "read data && ip route replace $SUBNET via $(echo $data | cut -d / -f 1)",
  SubnetRemoveCommand: "ip route delete $SUBNET",
};
const config = (backend: object) => ({ Network: "10.5.0.0/16", Backend: backend });

const routesOf = (host: { run(...words: string[]): string }) =>
  host
    .run("ip", "-4", "route", "show")
    .split("\n")
    .filter((line) => /^10\.5\.\d+\.0\/24 via/.test(line))
    .map((line) => line.trim());

test("commands carry packets between containers; a peer that leaves is removed, also while flanneld is stopped", async (t) => {
  const [h1, h2, h3] = makeFabric(t, [0, 0, 0]);
  const cluster = makeCluster(t, config(COMMANDS));
  const first = cluster.start(h1!);
  const agents = [first, cluster.start(h2!), cluster.start(h3!)];
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, h1!, first), addContainer(t, h2!, agents[1]!)];
  await waitFor("both routes", () => routesOf(h1!).length === 2);
  await expectAnswer(a, b.ipv4, 1472); // with the interface's whole MTU
  assert.match(h1!.run("ip", "link", "show", "marker"), /alias 10\.5\.0\.0\/16 10\.5\.\d+\.0\/24/);
  await first.stop();
  assert.equal(routesOf(h1!).length, 2, "what commands made stays");
  const gone = agents[2]!.env()!.subnets!.ipv4!;
  await agents[2]!.stop();
  cluster.data.delete(formatPrefix(gone).replace("/", "-"));
  const again = cluster.start(h1!);
  await again.ready();
  await waitFor("the route of the peer that left is removed", () => routesOf(h1!).length === 1);
  await expectAnswer(a, b.ipv4);
});

test("a failing command leaves the host not ready, with its standard error as the reason", async (t) => {
  const [h1, h2] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, config({ ...COMMANDS, SubnetAddCommand: "echo 'no such way' >&2; exit 7" }));
  const first = cluster.start(h1!);
  await first.ready();
  cluster.start(h2!);
  await first.logged(
    /^E Failed to create extension peer .* at 192\.168\.7\.2: SubnetAddCommand: exit code 7: no such way$/,
  );
  assert.match(first.readiness.reasons.join(), /no such way/);
});

test("PreStartupCommand that keeps failing ends flanneld with the reason", { timeout: 60_000 }, async (t) => {
  const [h1] = makeFabric(t, [0]);
  const cluster = makeCluster(t, config({ ...COMMANDS, PreStartupCommand: "echo broken >&2; exit 1" }));
  const agent = cluster.start(h1!);
  await agent.logged(/^E Failed to run PreStartupCommand; retrying: exit code 1: broken$/);
  assert.match(agent.readiness.reasons.join(), /startup command.*broken/);
  assert.match(String(await agent.ended), /PreStartupCommand failed 5 times; .*exit code 1: broken/);
});

test("alloc: a lease and subnet.env, and no route", async (t) => {
  const [h1, h2] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, config({ Type: "alloc" }));
  const agents = [cluster.start(h1!), cluster.start(h2!)];
  for (const agent of agents) await agent.ready();
  assert.equal(agents[0]!.env()!.mtuBytes, 1500);
  assert.deepEqual(routesOf(h1!), []);
  assert.ok(!agents[0]!.log.some((line) => /^[WE] Peer/.test(line)));
});
