/** Whole agents on hosts as the field has them: virtual addresses, stale bridges, a missing interface (topology: agents.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp } from "../../src/address/ip.ts";
import { formatPrefix } from "../../src/address/prefix.ts";
import { PingStream } from "../support/ping.ts";
import { addContainer, answers, expectAnswer, type FabricHost, makeCluster, makeFabric } from "./agents.ts";
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

const STALE = "ip link add cni0 type bridge; ip address add 10.244.9.1/24 dev cni0; ip link set cni0 up";
const lines = (agent: { readonly log: readonly string[] }, pattern: RegExp) =>
  agent.log.filter((line) => pattern.test(line));

test("F10 a bridge with another subnet's address is reported with address, expected subnet and remedy until it goes", async (t) => {
  const [host] = makeFabric(t, [0]);
  const agent = makeCluster(t, CONFIG).start(host!);
  await agent.ready();
  host!.run("bash", "-ec", STALE);
  await agent.logged(
    /^W Bridge "cni0" has 10\.244\.9\.1\/24, but this host's subnet is 10\.5\.\d+\.0\/24: .*\(it has no port\); delete it: ip link delete cni0$/,
  );
  assert.deepEqual(agent.readiness.reasons, [], "the host is ready");
  assert.match(agent.readiness.notes.join(), /bridge "cni0" has 10\.244\.9\.1\/24/);
  host!.run("ip", "link", "set", "dev", "cni0", "mtu", "1400");
  host!.run("ip", "link", "delete", "cni0");
  await agent.logged(/^I Bridge "cni0" no longer has an address of another subnet$/);
  assert.deepEqual(agent.readiness.notes, []);
  assert.equal(lines(agent, /^W Bridge/).length, 1, "once");
});

test("F10 a bridge that blocks a peer's route is named by the route's problem only, and the route is there when it goes", async (t) => {
  const hosts = makeFabric(t, [0, 0]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, CONFIG);
  const second = cluster.start(hosts[1]);
  await second.ready();
  const peer = second.env()!.subnets!.ipv4!;
  const gateway = formatIp({ family: 4, value: peer.base + 1n });
  hosts[0].run("bash", "-ec", STALE.replace("10.244.9.1", gateway));
  const first = cluster.start(hosts[0]);
  await first.logged(/bridge cni0 has an address of that subnet: 'ip link delete cni0'/);
  assert.match(first.readiness.reasons.join(), /bridge cni0 has an address of that subnet/);
  assert.deepEqual(first.readiness.notes, []);
  await waitFor("the watch of the host", () => first.readiness.reasons.length === 1);
  hosts[0].run("ip", "link", "delete", "cni0");
  await first.ready();
  assert.match(hosts[0].run("ip", "route", "show", formatPrefix(peer)), /dev flannel\.1/);
});

test("F10 --remove-stale-bridge deletes a bridge without ports, and no other", async (t) => {
  const [host] = makeFabric(t, [0]);
  host!.run(
    "bash",
    "-ec",
    `${STALE}; ip link add p0 type veth peer name p1; ip link set p0 master cni0; ip link add br0 type bridge; ip address add 172.30.0.1/24 dev br0`,
  );
  const agent = makeCluster(t, CONFIG).start(host!, "--remove-stale-bridge");
  await agent.ready();
  await agent.logged(/^W Bridge "cni0" has .*\(it has 1 port: stop those containers first\)/);
  host!.run("ip", "link", "delete", "p0");
  await agent.logged(/^W Deleted bridge "cni0", which had 10\.244\.9\.1\/24 of another subnet and no port$/);
  const names = host!.json("ip", "-json", "link", "show", "type", "bridge");
  assert.deepEqual(
    names.map(({ ifname }: { ifname: string }) => ifname),
    ["br0"],
  );
  const container = addContainer(t, host!, agent);
  await expectAnswer(host!, container.ipv4); // the bridge of the own subnet stays
});

for (const Backend of [{ Type: "vxlan" }, { Type: "vxlan", DirectRouting: true }, { Type: "host-gw" }]) {
  for (const config of [CONFIG, DUAL]) {
    const families = config === DUAL ? "dual stack" : "IPv4";
    test(`F25 eth0 is deleted: one line in the log (${JSON.stringify(Backend)}, ${families})`, async (t) => {
      const hosts = makeFabric(t, [0, 0, 0]);
      const cluster = makeCluster(t, { ...config, Backend });
      const agents = hosts.map((host) => cluster.start(host));
      for (const agent of agents) await agent.ready();
      const agent = agents[0]!;
      const from = agent.log.length;
      hosts[0]!.run("ip", "link", "del", "eth0");
      await agent.logged(/Keeping the previous external interface/);
      // Every change on the host retries what was refused; the second failure is the one that is logged.
      for (let round = 1; round <= 4; round++) {
        hosts[0]!.run("ip", "address", "add", `10.99.0.${round}/32`, "dev", "lo");
        await waitFor("the change to be noticed", () =>
          agent.readiness.reasons.join().includes(`10.99.0.${round}/32`),
        );
      }
      const problems = agent.log.slice(from).filter((line) => /^[WE]/.test(line));
      assert.equal(problems.length, 1, problems.join("\n"));
    });
  }
}
