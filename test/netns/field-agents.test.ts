/** Whole agents while the field happens to their host: virtual addresses, other flannels' devices (topology: agents.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { PingStream } from "../support/ping.ts";
import { addContainer, answers, type FabricHost, makeCluster, makeFabric } from "./agents.ts";
import { waitFor } from "./support.ts";

const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };
const DUAL = { ...CONFIG, EnableIPv6: true, IPv6Network: "fc00::/48" };

test("F5 virtual addresses that move between two hosts change no lease and lose no packet", async (t) => {
  const hosts = makeFabric(t, [0, 0]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, DUAL);
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, hosts[0], agents[0]!), addContainer(t, hosts[1], agents[1]!)];
  await waitFor("an answer", () => answers(a, b.ipv6));
  const leases = () => JSON.stringify([...cluster.data.entries]);
  const before = leases();
  await using stream = new PingStream(a.path, b.ipv6);
  await stream.more(5);
  for (const [to, from] of [
    [hosts[0], hosts[1]],
    [hosts[1], hosts[0]],
    [hosts[0], hosts[1]],
  ] as const) {
    for (const prefix of ["192.168.7.100/32", "fd00:7::100/128"]) {
      const noDad = prefix.includes(":") ? ["nodad"] : [];
      if (from.run("ip", "address", "show", "dev", "eth0").includes(prefix))
        from.run("ip", "address", "del", prefix, "dev", "eth0");
      to.run("ip", "address", "add", prefix, "dev", "eth0", ...noDad);
    }
    await stream.more(5);
  }
  assert.deepEqual((await stream.stop()).lost, []);
  assert.equal(leases(), before);
});

test("F5 DHCP binds the host's address again beside a virtual one: the lease returns to it", async (t) => {
  const [host] = makeFabric(t, [0]);
  const cluster = makeCluster(t, CONFIG);
  const agent = cluster.start(host!);
  await agent.ready();
  const publicIp = () => JSON.parse([...cluster.data.entries.values()][0]!.value).PublicIP;
  host!.run("ip", "address", "add", "192.168.7.100/32", "dev", "eth0");
  host!.run("ip", "address", "del", "192.168.7.1/24", "dev", "eth0");
  await waitFor("the virtual address, as the only one", () => publicIp() === "192.168.7.100");
  host!.run("ip", "address", "add", "192.168.7.1/24", "dev", "eth0");
  await waitFor("the host's own", () => publicIp() === "192.168.7.1");
  await agent.ready();
});

test("F7 while eth0 has no address, flannel's own devices do not become the external interface", async (t) => {
  const hosts = makeFabric(t, [0, 0]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, CONFIG);
  const agents = hosts.map((host) => cluster.start(host, "--iface-regex=^(10\\.|192\\.168\\.7)"));
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, hosts[0], agents[0]!), addContainer(t, hosts[1], agents[1]!)];
  await waitFor("an answer", () => answers(a, b.ipv4));
  const device = () => hosts[0].run("ip", "-d", "link", "show", "flannel.1");
  const before = [device(), JSON.stringify([...cluster.data.entries])];
  hosts[0].run("ip", "address", "del", "192.168.7.1/24", "dev", "eth0");
  await agents[0]!.logged(/Keeping the previous external interface: .*flannel\.1 is a device of flannel's/);
  assert.deepEqual([device(), JSON.stringify([...cluster.data.entries])], before);
  hosts[0].run("ip", "address", "add", "192.168.7.1/24", "dev", "eth0");
  await waitFor("an answer", () => answers(a, b.ipv4));
  await agents[0]!.ready();
});
