/** Changes while flanneld runs: the host's interfaces and addresses, and the network config (topology: agents.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { PingStream } from "../support/ping.ts";
import {
  type Agent,
  addContainer,
  addDefaultRoutes,
  answers,
  type Cluster,
  type Container,
  configure,
  expectAnswer,
  type FabricHost,
  makeCluster,
  makeFabric,
} from "./agents.ts";
import { waitFor } from "./support.ts";

const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };
const DUAL = { ...CONFIG, EnableIPv6: true, IPv6Network: "fc00::/48" };

type Scope = Parameters<typeof makeFabric>[0];

/** Two hosts on one link, each with a container. */
async function makePair(t: Scope, config: Readonly<Record<string, unknown>>) {
  const hosts = makeFabric(t, [0, 0]) as [FabricHost, FabricHost];
  const cluster = makeCluster(t, config);
  const agents = hosts.map((host) => cluster.start(host)) as [Agent, Agent];
  for (const agent of agents) await agent.ready();
  const containers = hosts.map((host, index) => addContainer(t, host, agents[index]!)) as [
    Container,
    Container,
  ];
  await waitFor("an answer", () => answers(containers[0], containers[1].ipv4));
  return { hosts, cluster, agents, containers };
}

const leaseAt = ({ data }: Cluster, publicIp: string) =>
  [...data.entries].find(([, { value }]) => JSON.parse(value).PublicIP === publicIp)?.[0];
const linkOf = (host: FabricHost, name: string) =>
  host.json("ip", "-json", "-d", "link", "show").find(({ ifname }: { ifname: string }) => ifname === name);

/** A new address in place of the old one, and the routes that the old one took along. */
function readdress(host: FabricHost, before: number, after: number): void {
  host.run("ip", "address", "del", `192.168.7.${before}/24`, "dev", "eth0");
  host.run("ip", "-6", "address", "del", `fd00:7::${before}/64`, "dev", "eth0");
  configure(host, "eth0", 0, after);
  addDefaultRoutes(host, 0);
}

for (const backend of [
  { Type: "vxlan" },
  { Type: "vxlan", DirectRouting: true },
  { Type: "host-gw" },
] as const) {
  test(`W45 a host gets another address: same subnet, same lease, peers follow (${JSON.stringify(backend)})`, async (t) => {
    const { hosts, cluster, agents, containers } = await makePair(t, { ...DUAL, Backend: backend });
    const key = leaseAt(cluster, "192.168.7.1");
    assert.ok(key);
    readdress(hosts[0], 1, 51);
    await waitFor("the lease", () => {
      const value = JSON.parse(cluster.data.entries.get(key)?.value ?? "{}");
      return value.PublicIP === "192.168.7.51" && value.PublicIPv6 === "fd00:7::51";
    });
    assert.equal(cluster.data.entries.size, 2);
    for (const [from, to] of [containers, [...containers].reverse()] as const) {
      await waitFor("an answer over IPv4", () => answers(from!, to!.ipv4));
      await waitFor("an answer over IPv6", () => answers(from!, to!.ipv6));
    }
    assert.ok(agents[0].log.some((line) => /External interface eth0: 192\.168\.7\.51/.test(line)));
    for (const agent of agents) await agent.ready();
  });
}

test("W45 of another pair of hosts no packet is lost meanwhile", async (t) => {
  const hosts = makeFabric(t, [0, 0, 0]);
  const cluster = makeCluster(t, CONFIG);
  const agents = hosts.map((host) => cluster.start(host));
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, hosts[0]!, agents[0]!), addContainer(t, hosts[1]!, agents[1]!)];
  await waitFor("an answer", () => answers(a, b.ipv4));
  await using stream = new PingStream(a.path, b.ipv4);
  await stream.more(20);
  readdress(hosts[2]!, 3, 53);
  await waitFor("the peers to follow", () =>
    hosts[0]!.run("bridge", "fdb", "show").includes("dst 192.168.7.53"),
  );
  await stream.more(20);
  assert.deepEqual((await stream.stop()).lost, []);
});

interface Disturbance {
  readonly title: string;
  readonly disturb: string;
  readonly undo: string;
  /** Whether there is no usable interface in between. */
  readonly isUnusable: boolean;
}

const RESTORE_ADDRESSES =
  "ip address add 192.168.7.1/24 dev eth0; ip -6 address replace fd00:7::1/64 dev eth0 nodad";
const DISTURBANCES: readonly Disturbance[] = [
  {
    title: "down and up",
    disturb: "ip link set eth0 down",
    undo: "ip link set eth0 up; ip -6 address replace fd00:7::1/64 dev eth0 nodad",
    isUnusable: true,
  },
  {
    title: "its addresses flushed and restored",
    disturb: "ip address flush dev eth0 scope global",
    undo: RESTORE_ADDRESSES,
    isUnusable: true,
  },
  {
    title: "its name changed and changed back",
    disturb: "ip link set eth0 down; ip link set eth0 name lan0",
    undo: "ip link set lan0 name eth0; ip link set eth0 up; ip -6 address replace fd00:7::1/64 dev eth0 nodad",
    isUnusable: true,
  },
  {
    title: "the network manager removes all routes and neighbours that it does not know",
    disturb: "ip route flush proto 70; ip -6 route flush proto 70; ip neigh flush all nud permanent",
    undo: "true",
    isUnusable: false,
  },
];

for (const backend of [{ Type: "vxlan" }, { Type: "host-gw" }] as const) {
  test(`the external interface is down for a while, and everything is restored with it (${backend.Type})`, async (t) => {
    const { hosts, agents, containers } = await makePair(t, { ...DUAL, Backend: backend });
    const run = (command: string) => hosts[0].run("bash", "-ec", command);
    const restored = async () => {
      addDefaultRoutes(hosts[0], 0);
      for (const [from, to] of [containers, [...containers].reverse()] as const) {
        await waitFor("an answer over IPv4", () => answers(from!, to!.ipv4));
        await waitFor("an answer over IPv6", () => answers(from!, to!.ipv6));
      }
      await agents[0].ready();
    };
    const complaints = () =>
      agents[0].log.filter((line) => /Keeping the previous external interface/.test(line)).length;
    for (const { title, disturb, undo, isUnusable } of DISTURBANCES) {
      await t.test(title, async () => {
        run(`${disturb}; ${undo}`);
        await restored();
      });
      if (!isUnusable) continue;
      await t.test(`${title}, after flanneld has noticed`, async () => {
        const before = complaints();
        run(disturb);
        await waitFor("it to be noticed", () => complaints() > before);
        assert.match(agents[0].readiness.reasons.join(), /external interface: no usable external interface/);
        run(undo);
        await restored();
      });
    }
  });
}

test("W27 the network card is replaced under VXLAN: the device is recreated on the new one", async (t) => {
  const { hosts, agents, containers } = await makePair(t, CONFIG);
  const before = linkOf(hosts[0], "flannel.1");
  // The other end is a port of the hub; a new pair takes the place of the old one.
  hosts[0].run("ip", "link", "del", "eth0");
  await waitFor("the device to go with its lower one", () => linkOf(hosts[0], "flannel.1") === undefined);
  await agents[0].logged(/Keeping the previous external interface/);
  plugIn(hosts[0], hosts[1]);
  configure(hosts[0], "eth0", 0, 1);
  addDefaultRoutes(hosts[0], 0);
  await waitFor("an answer", () => answers(containers[0], containers[1].ipv4));
  const after = linkOf(hosts[0], "flannel.1");
  assert.notEqual(after.ifindex, before.ifindex);
  assert.equal(after.address, before.address);
  await agents[0].ready();
});

/** A new eth0, bridged with the other host's, which does not change. */
function plugIn(host: FabricHost, other: FabricHost): void {
  other.run("ip", "link", "add", "plug", "type", "veth", "peer", "name", "eth0", "netns", host.name);
  other.run("ip", "link", "set", "plug", "up");
  other.run("ip", "address", "add", "192.168.7.2/32", "dev", "plug");
  other.run("ip", "route", "add", "192.168.7.1/32", "dev", "plug");
}

test("W20 W26 the MTU of the interface changes: device, subnet.env and full-size packets follow, none is lost", async (t) => {
  const { hosts, agents, containers } = await makePair(t, CONFIG);
  await using stream = new PingStream(containers[0].path, containers[1].ipv4);
  await stream.more(20);
  for (const mtu of [1400, 1450, 1500]) {
    for (const host of hosts) host.run("ip", "link", "set", "eth0", "mtu", String(mtu));
    for (const [index, host] of hosts.entries()) {
      await waitFor(`the device's MTU for ${mtu}`, () => linkOf(host, "flannel.1").mtu === mtu - 50);
      await waitFor(`subnet.env for ${mtu}`, () => agents[index]!.env()!.mtuBytes === mtu - 50);
    }
    await stream.more(5);
  }
  await expectAnswer(containers[0], containers[1].ipv4, 1450 - 28);
  assert.deepEqual((await stream.stop()).lost, []);
});

test("W26 the network config changes: applied at once, in place where the kernel can", async (t) => {
  const { hosts, cluster, agents, containers } = await makePair(t, CONFIG);
  const index = linkOf(hosts[0], "flannel.1").ifindex;
  const mac = linkOf(hosts[0], "flannel.1").address;
  const set = (backend: object, rest: object = {}) =>
    cluster.data.setConfig(JSON.stringify({ ...CONFIG, ...rest, Backend: { Type: "vxlan", ...backend } }));
  const becomes = async (what: string, isSo: (link: ReturnType<typeof linkOf>) => boolean) => {
    for (const host of hosts) {
      await waitFor(what, () => {
        const link = linkOf(host, "flannel.1");
        return link !== undefined && isSo(link);
      });
    }
    await waitFor(`an answer after ${what}`, () => answers(containers[0], containers[1].ipv4));
  };
  set({ MTU: 1400 });
  await becomes("MTU 1400", ({ mtu }) => mtu === 1350);
  await waitFor("subnet.env", () => agents.every((agent) => agent.env()!.mtuBytes === 1350));
  assert.equal(linkOf(hosts[0], "flannel.1").ifindex, index);
  set({ Learning: true });
  await becomes("Learning", ({ linkinfo, mtu }) => linkinfo.info_data.learning === true && mtu === 1450);
  set({ GBP: true });
  await becomes("GBP", ({ linkinfo }) => linkinfo.info_data.gbp === true);
  set({ Port: 4789 });
  await becomes("Port", ({ linkinfo }) => linkinfo.info_data.port === 4789);
  assert.equal(linkOf(hosts[0], "flannel.1").address, mac);
  const leases = [...cluster.data.entries.keys()];
  set({}, { SubnetMin: "10.5.240.0", SubnetMax: "10.5.250.0" });
  await becomes("the old port", ({ linkinfo }) => linkinfo.info_data.port === 8472);
  assert.deepEqual([...cluster.data.entries.keys()], leases, "the leases stay");
  cluster.data.delete(leases[0]!);
  await waitFor("a new lease in the new range", () =>
    [...cluster.data.entries.keys()].some((key) => /^10\.5\.2[45]\d\.0-24$/.test(key)),
  );
});

const REFUSED = [
  {
    config: { ...CONFIG, Network: "10.6.0.0/16" },
    says: /Network 10\.5\.0\.0\/16 → 10\.6\.0\.0\/16 cannot change while/,
  },
  { config: { ...CONFIG, SubnetLen: 25 }, says: /SubnetLen 24 → 25 cannot change/ },
  { config: { ...CONFIG, Backend: { Type: "vxlan", VNI: 9 } }, says: /Backend\.VNI 1 → 9 cannot change/ },
  {
    config: { ...CONFIG, Backend: { Type: "host-gw" } },
    says: /Backend\.Type vxlan → host-gw cannot change.*restart/,
  },
  { config: DUAL, says: /EnableIPv6 false → true cannot change/ },
  {
    config: { ...CONFIG, Backend: { Type: "vxlan", MTU: 80 } },
    says: /an MTU of 80 bytes leaves 30 inside VXLAN/,
  },
  {
    config: { ...CONFIG, Backend: { Type: "vxlan", Port: 99999 } },
    says: /Backend\.Port must be a whole number/,
  },
  { config: { ...CONFIG, Network: "nonsense" }, says: /Network "nonsense" is not an IPv4 network/ },
  { config: undefined, says: /it is missing at the test/ },
];

test("a network config that cannot be followed is refused once, with what to do, and changes nothing", async (t) => {
  const [host] = makeFabric(t, [0]);
  const cluster = makeCluster(t, CONFIG);
  const agent = cluster.start(host!);
  await agent.ready();
  const device = JSON.stringify(linkOf(host!, "flannel.1"));
  for (const { config, says } of REFUSED) {
    const complaints = () => agent.log.filter((line) => line.startsWith("E") && says.test(line));
    cluster.data.setConfig(config && JSON.stringify(config));
    cluster.data.setConfig(config && JSON.stringify(config));
    await agent.logged(says);
    assert.deepEqual(agent.readiness.reasons, []);
    cluster.data.setConfig(JSON.stringify(CONFIG));
    await waitFor("it to be in effect again", () => /is in effect$/.test(agent.log.at(-1)!));
    assert.equal(complaints().length, 1);
  }
  assert.equal(JSON.stringify(linkOf(host!, "flannel.1")), device);
});

test("the firewall changes its mode with the config, and no packet is lost", async (t) => {
  const { hosts, cluster, containers } = await makePair(t, CONFIG);
  await using stream = new PingStream(containers[0].path, containers[1].ipv4);
  const rules = (tool: string) => hosts[0].run("sh", "-c", tool);
  const become = (what: string, isSo: () => boolean) => waitFor(what, isSo);
  await stream.more(20);
  cluster.data.setConfig(JSON.stringify({ ...CONFIG, EnableNFTables: true }));
  await become(
    "nftables only",
    () => /flannel-ipv4/.test(rules("nft list ruleset")) && !/FLANNEL-FWD/.test(rules("iptables-save")),
  );
  await stream.more(20);
  cluster.data.setConfig(JSON.stringify(CONFIG));
  await become(
    "iptables only",
    () => !/flannel-ipv4/.test(rules("nft list tables")) && /FLANNEL-FWD/.test(rules("iptables-save")),
  );
  await stream.more(20);
  assert.deepEqual((await stream.stop()).lost, []);
});

test("W42 DisableTxChecksum disables the device's checksum offload and keeps it disabled; false enables it", async (t) => {
  const [host] = makeFabric(t, [0]);
  const withOption = (value: boolean | undefined) =>
    JSON.stringify({ ...CONFIG, Backend: { Type: "vxlan", DisableTxChecksum: value } });
  const cluster = makeCluster(t, CONFIG);
  cluster.data.setConfig(withOption(true));
  const agent = cluster.start(host!);
  await agent.ready();
  const isOff = () => /tx-checksum-ip-generic: off/.test(host!.run("ethtool", "-k", "flannel.1"));
  await waitFor("off", isOff);
  host!.run("ethtool", "-K", "flannel.1", "tx-checksum-ip-generic", "on");
  await waitFor("off again", isOff);
  host!.run("ip", "link", "del", "flannel.1");
  await waitFor("off on the new device", () => linkOf(host!, "flannel.1") !== undefined && isOff());
  cluster.data.setConfig(withOption(undefined));
  await agent.logged(/Network config changed and applied/);
  assert.ok(isOff(), "not wanted either way: left alone");
  cluster.data.setConfig(withOption(false));
  await waitFor("on", () => !isOff());
});

test("--ip-blackhole-route: packets for containers that do not exist end here; a bridge's own route goes first", async (t) => {
  const [host] = makeFabric(t, [0]);
  const cluster = makeCluster(t, DUAL);
  const agent = cluster.start(host!, "--ip-blackhole-route");
  await agent.ready();
  const blackholes = () =>
    host!.run("ip", "route", "show", "type", "blackhole") +
    host!.run("ip", "-6", "route", "show", "type", "blackhole");
  await waitFor("two", () => blackholes().match(/blackhole/g)?.length === 2);
  host!.run("ip", "route", "flush", "type", "blackhole");
  await waitFor("two again", () => blackholes().match(/blackhole/g)?.length === 2);
  const container = addContainer(t, host!, agent);
  await expectAnswer(container, container.ipv4.replace(/2$/, "1")); // the bridge has its route
  await expectAnswer(host!, container.ipv4);
  await expectAnswer(host!, container.ipv6);
  await agent.stop();
  await cluster.start(host!).ready();
  await waitFor("none without the flag", () => blackholes() === "");
});

test("advice: no forwarding, and routes of the host's own in the flannel network, named", async (t) => {
  const [host] = makeFabric(t, [0]);
  host!.run("sysctl", "-qw", "net.ipv4.ip_forward=0");
  host!.run("ip", "route", "add", "10.5.64.0/20", "via", "192.168.7.9");
  host!.run("ip", "route", "add", "10.0.0.0/8", "via", "192.168.7.8", "proto", "static");
  host!.run("ip", "route", "add", "10.6.0.0/16", "via", "192.168.7.7");
  const cluster = makeCluster(t, CONFIG);
  const agent = cluster.start(host!);
  await agent.ready();
  await agent.logged(/flanneld is ready/);
  const advice = agent.log.filter((line) => line.startsWith("W"));
  assert.ok(
    advice.some((line) => /does not forward IPv4.*sysctl -w net\.ipv4\.ip_forward=1/.test(line)),
    advice.join("\n"),
  );
  assert.deepEqual(
    advice
      .flatMap((line) => /overlaps this host's route (\S+ via \S+ dev \S+):/.exec(line)?.[1] ?? [])
      .sort(),
    ["10.0.0.0/8 via 192.168.7.8 dev eth0", "10.5.64.0/20 via 192.168.7.9 dev eth0"],
  );
});
