/** The host-gw backend: whole agents on a real kernel, containers that talk (topology: agents.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addContainer,
  addDefaultRoutes,
  answers,
  configure,
  type FabricHost,
  makeCluster,
  makeFabric,
} from "./agents.ts";
import { waitFor } from "./support.ts";

const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "host-gw" } };
const DUAL = { ...CONFIG, EnableIPv6: true, IPv6Network: "fc00::/48" };

const lease = (publicIp: string, publicIpv6: string | null = null) =>
  JSON.stringify({ PublicIP: publicIp, PublicIPv6: publicIpv6, BackendType: "host-gw" });
const routesOf = (host: FabricHost) =>
  [4, 6]
    .flatMap((family) => host.run("ip", "-N", `-${family}`, "route", "show", "proto", "70").split("\n"))
    .map((line) => line.replace(/ metric.*/, "").trim())
    .filter((line) => line !== "");

test("host-gw: containers reach each other in both families, at the full MTU, without any device of ours", async (t) => {
  const [one, two] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, DUAL);
  const agents = [cluster.start(one!), cluster.start(two!)];
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, one!, agents[0]!), addContainer(t, two!, agents[1]!)];
  await waitFor("an answer over IPv4", () => answers(a, b.ipv4, 1500 - 28));
  await waitFor("an answer over IPv6", () => answers(a, b.ipv6, 1500 - 48));
  assert.equal(agents[0]!.env()!.mtuBytes, 1500);
  assert.equal(routesOf(one!).length, 2);
  assert.doesNotMatch(one!.run("ip", "link", "show"), /flannel/);
  const values = [...cluster.data.entries.values()].map(({ value }) => JSON.parse(value));
  assert.ok(values.every((value) => value.BackendType === "host-gw" && !("BackendData" in value)));
});

test("host-gw, IPv6 only", async (t) => {
  const [one, two] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, { ...DUAL, EnableIPv4: false });
  const agents = [cluster.start(one!), cluster.start(two!)];
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, one!, agents[0]!), addContainer(t, two!, agents[1]!)];
  await waitFor("an answer", () => answers(a, b.ipv6));
});

test("W27 routes go with their peers, come back when deleted, and follow a new network card", async (t) => {
  const [one] = makeFabric(t, [0]);
  const cluster = makeCluster(t, DUAL);
  cluster.data.put("10.5.200.0-24&fc00:0:0:c8::-64", lease("192.168.7.77", "fd00:7::77"));
  cluster.data.put("10.5.201.0-24&fc00:0:0:c9::-64", lease("192.168.7.78", "fd00:7::78"));
  const agent = cluster.start(one!);
  const both = [
    "10.5.200.0/24 via 192.168.7.77 dev eth0",
    "10.5.201.0/24 via 192.168.7.78 dev eth0",
    "fc00:0:0:c8::/64 via fd00:7::77 dev eth0",
    "fc00:0:0:c9::/64 via fd00:7::78 dev eth0",
  ];
  const until = (wanted: readonly string[]) =>
    waitFor(`${wanted.length} routes`, () => routesOf(one!).sort().join() === wanted.join()).catch(
      (error) => {
        throw new Error(`${error}\n${routesOf(one!).join("\n")}\n${agent.log.join("\n")}`);
      },
    );
  await agent.ready();
  await until(both);

  for (const command of [
    "ip route del 10.5.200.0/24",
    "ip -6 route del fc00:0:0:c8::/64",
    "ip route flush proto 70",
    "ip -6 route flush proto 70",
    "ip link set eth0 down; ip link set eth0 up; ip -6 address add fd00:7::1/64 dev eth0 nodad",
  ]) {
    await t.test(command, async () => {
      one!.run("sh", "-c", command);
      await waitFor("the change to be noticed", () => routesOf(one!).length > 2);
      await until(both);
    });
  }
  await t.test("the card is taken out and another put in", async () => {
    const index = one!.json("ip", "-json", "link", "show", "eth0")[0].ifindex;
    one!.run("ip", "link", "del", "eth0");
    await waitFor("the routes to go", () => routesOf(one!).length === 0);
    one!.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other");
    one!.run("ip", "link", "set", "other", "up");
    configure(one!, "eth0", 0, 1);
    addDefaultRoutes(one!, 0);
    assert.notEqual(one!.json("ip", "-json", "link", "show", "eth0")[0].ifindex, index);
    await until(both);
    await agent.ready();
  });
  cluster.data.delete("10.5.200.0-24&fc00:0:0:c8::-64");
  await until(both.filter((route) => !/200|c8/.test(route)));
});

test("host-gw: a peer that is not on a link is reported, and gets a route once it is", async (t) => {
  const [one] = makeFabric(t, [0]);
  const cluster = makeCluster(t, CONFIG);
  cluster.data.put("10.5.200.0-24", lease("192.168.8.77"));
  cluster.data.put("10.5.201.0-24", lease("192.168.7.78"));
  const agent = cluster.start(one!);
  await agent.ready();
  assert.deepEqual(routesOf(one!), ["10.5.201.0/24 via 192.168.7.78 dev eth0"]);
  assert.match(
    await agent.logged(/cannot be reached/),
    /its public IP 192\.168\.8\.77 is on no link of this host \(the way there is via 192\.168\.7\.254 on eth0\): host-gw needs all hosts on one link; use vxlan/,
  );
  one!.run("ip", "address", "add", "192.168.8.1/24", "dev", "eth0");
  await waitFor("its route", () => routesOf(one!).includes("10.5.200.0/24 via 192.168.8.77 dev eth0"));
  one!.run("ip", "address", "del", "192.168.8.1/24", "dev", "eth0");
  await waitFor("no route", () => routesOf(one!).length === 1);
});

test("host-gw: a public IP that is not the interface's is refused", async (t) => {
  const [one] = makeFabric(t, [0]);
  const cluster = makeCluster(t, CONFIG);
  const error = await cluster.start(one!, "--public-ip=203.0.113.7").ended;
  assert.match(
    String(error),
    /ConfigError: host-gw needs the public IP to be the address of the external interface.*it is 203\.0\.113\.7, and eth0 has 192\.168\.7\.1\. Leave --public-ip out/,
  );
  assert.equal(cluster.data.entries.size, 0);
});

test("host-gw: the routes of Go's flannel are taken over, those of others are not", async (t) => {
  const [one] = makeFabric(t, [0]);
  const cluster = makeCluster(t, CONFIG);
  for (const number of [200, 201]) cluster.data.put(`10.5.${number}.0-24`, lease(`192.168.7.${number}`));
  one!.run("ip", "route", "add", "10.5.200.0/24", "via", "192.168.7.200"); // as Go's flannel marks it: not at all
  one!.run("ip", "route", "add", "10.5.201.0/24", "via", "192.168.7.99"); // an operator's
  one!.run("ip", "route", "add", "10.5.202.0/24", "via", "192.168.7.99");
  const agent = cluster.start(one!);
  await waitFor("its mark", () => routesOf(one!).join() === "10.5.200.0/24 via 192.168.7.200 dev eth0");
  assert.match(
    await agent.logged(/Failed to create route/),
    /a route to 10\.5\.201\.0\/24 that is not flannel's is there.*remove it/,
  );
  assert.match(one!.run("ip", "route", "show", "10.5.201.0/24"), /via 192\.168\.7\.99 dev eth0 \n/);
  assert.match(one!.run("ip", "route", "show", "10.5.202.0/24"), /via 192\.168\.7\.99/);
  one!.run("ip", "route", "del", "10.5.201.0/24");
  await agent.ready();
  assert.equal(routesOf(one!).length, 2);
});

test("W43 many routes are created at once in interior scopes, and repaired, kept and removed like any other", async (t) => {
  const [one] = makeFabric(t, [0]);
  const cluster = makeCluster(t, { Network: "10.0.0.0/8", SubnetLen: 24, Backend: { Type: "host-gw" } });
  const numbers = Array.from({ length: 600 }, (_, index) => index);
  const keyOf = (number: number) => `10.${100 + (number >> 8)}.${number & 255}.0-24`;
  for (const number of numbers) cluster.data.put(keyOf(number), lease(`192.168.7.${2 + (number % 250)}`));
  const agent = cluster.start(one!);
  await agent.ready();
  const lines = () => routesOf(one!).filter((line) => line.startsWith("10."));
  assert.equal(lines().length, 600);
  const scopes = Map.groupBy(lines(), (line) => /scope (\d+)/.exec(line)?.[1] ?? "none");
  assert.ok(scopes.size >= 190 && Math.max(...[...scopes.values()].map(({ length }) => length)) < 10);
  assert.match(one!.run("ip", "route", "get", "10.100.7.9"), /via 192\.168\.7\.9 dev eth0/);

  one!.run("ip", "route", "del", "10.100.7.0/24", "via", "192.168.7.9", "dev", "eth0");
  await waitFor("the route again", () => lines().length === 600);
  await agent.stop();
  const before = lines().sort();
  const again = cluster.start(one!);
  await again.ready();
  assert.deepEqual(lines().sort(), before);
  for (const number of numbers.slice(1)) cluster.data.delete(keyOf(number));
  await waitFor("one route", () => lines().length === 1);
});
