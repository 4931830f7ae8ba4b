/**
 * VXLAN over IPv6, alone and beside IPv4: whole agents on a real kernel, containers that talk (topology: agents.ts).
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { addContainer, answers, expectAnswer, type FabricHost, makeCluster, makeFabric } from "./agents.ts";
import { waitFor } from "./support.ts";

const DUAL = {
  Network: "10.5.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fc00::/48",
  Backend: { Type: "vxlan", VNI: 7 },
};
const IPV6_ONLY = { ...DUAL, EnableIPv4: false };
/** IP and ICMP in front of the data of a ping. */
const PING_OVERHEAD_BYTES = { 4: 28, 6: 48 };

/** The entries of a device, without those that the kernel adds by itself. */
function entriesOf(host: FabricHost, device: string): string[] {
  if (!host.json("ip", "-json", "link", "show").some((link: { ifname: string }) => link.ifname === device))
    return [];
  const lines = (text: string) =>
    text
      .split("\n")
      .map((line) => line.trim().replaceAll(/ +/g, " "))
      .filter((line) => line !== "");
  return [
    ...lines(host.run("ip", "-6", "route", "show", "dev", device)),
    ...lines(host.run("ip", "-6", "neigh", "show", "dev", device, "nud", "permanent")),
    ...lines(host.run("bridge", "fdb", "show", "dev", device)).filter((line) => line.includes(" dst ")),
  ].sort();
}

test("dual stack: containers reach each other in both families, with packets of the full size", async (t) => {
  const [one, two] = makeFabric(t, [0, 1]); // the tunnels pass a router
  const cluster = makeCluster(t, DUAL);
  const agents = [cluster.start(one!), cluster.start(two!)];
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, one!, agents[0]!), addContainer(t, two!, agents[1]!)];
  for (const family of [4, 6] as const) {
    const address = b[`ipv${family}`];
    await waitFor(`an answer over IPv${family}`, () => answers(a, address));
    await expectAnswer(a, address, 1430 - PING_OVERHEAD_BYTES[family]); // full size over IPv${family}
  }
  const [lease] = cluster.data.entries.values();
  const { BackendType, BackendData, BackendV6Data } = JSON.parse(lease!.value);
  assert.equal(BackendType, "vxlan");
  assert.equal(BackendData.VNI, 7);
  assert.equal(BackendV6Data.VNI, 7);
  assert.notEqual(BackendData.VtepMAC, BackendV6Data.VtepMAC);
});

test("W25 over IPv6 the MTU is 70 bytes smaller, over IPv4 50; containers get the smaller one", async (t) => {
  const [host] = makeFabric(t, [0]);
  const cluster = makeCluster(t, DUAL);
  const agent = cluster.start(host!);
  await agent.ready();
  const mtuOf = (device: string) => host!.json("ip", "-json", "link", "show", device)[0].mtu;
  assert.deepEqual([mtuOf("flannel.7"), mtuOf("flannel-v6.7")], [1450, 1430]);
  assert.equal(agent.env()!.mtuBytes, 1430);
});

test("W9 W19 IPv6 only: two hosts, two leases; deleted objects are restored", async (t) => {
  const [one, two] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, IPV6_ONLY);
  const agents = [cluster.start(one!), cluster.start(two!)];
  for (const agent of agents) await agent.ready();
  const [a, b] = [addContainer(t, one!, agents[0]!), addContainer(t, two!, agents[1]!)];
  await waitFor("an answer", () => answers(a, b.ipv6));
  assert.deepEqual(
    one!.json("ip", "-json", "link", "show", "type", "vxlan").map((link: { ifname: string }) => link.ifname),
    ["flannel-v6.7"],
  );
  await waitFor("the entries", () => entriesOf(one!, "flannel-v6.7").length === 4);
  const before = entriesOf(one!, "flannel-v6.7");
  const vtep = /^(\S+)\/64 via/m.exec(before.join("\n"))![1]!;
  const mac = /lladdr (\S+)/.exec(before.join("\n"))![1]!;
  for (const command of [
    `ip -6 route del ${vtep}/64`,
    `ip -6 route replace ${vtep}/64 dev flannel-v6.7`,
    `ip -6 neigh del ${vtep} dev flannel-v6.7`,
    `bridge fdb del ${mac} dev flannel-v6.7 dst ${two!.ipv6}`,
    "ip link set flannel-v6.7 down",
    "ip link del flannel-v6.7",
    "ip -6 address flush dev flannel-v6.7 scope global",
  ]) {
    await t.test(`after ${command.replaceAll(/[0-9a-f:]{12,}/g, "…")}`, async () => {
      one!.run("sh", "-c", command);
      await new Promise(setImmediate);
      await waitFor("all entries again", () => entriesOf(one!, "flannel-v6.7").join() === before.join());
      await waitFor("an answer", () => answers(a, b.ipv6));
    });
  }
});

test("W13 a peer that changes in one family only is followed", async (t) => {
  const [one] = makeFabric(t, [0]);
  const cluster = makeCluster(t, DUAL);
  const agent = cluster.start(one!);
  await agent.ready();
  const key = "10.5.200.0-24&fc00:0:0:c8::-64";
  const peer = (publicIpv6: string, mac6: string) =>
    cluster.data.put(
      key,
      JSON.stringify({
        PublicIP: "192.168.7.77",
        PublicIPv6: publicIpv6,
        BackendType: "vxlan",
        BackendData: { VNI: 7, VtepMAC: "02:00:00:00:00:04" },
        BackendV6Data: { VNI: 7, VtepMAC: mac6 },
      }),
    );
  const until = (publicIpv6: string, mac6: string) =>
    waitFor(`${mac6} at ${publicIpv6}`, () => {
      const text = entriesOf(one!, "flannel-v6.7").join("\n");
      return (
        text.includes(`${mac6} dst ${publicIpv6} self permanent`) &&
        text.includes(`fc00:0:0:c8:: lladdr ${mac6} PERMANENT`) &&
        text.match(/ dst /g)!.length === 1
      );
    });
  peer("fd00:7::77", "02:00:00:00:00:06");
  await until("fd00:7::77", "02:00:00:00:00:06");
  const other = entriesOf(one!, "flannel.7");
  peer("fd00:7::78", "02:00:00:00:00:06");
  await until("fd00:7::78", "02:00:00:00:00:06");
  peer("fd00:7::78", "02:00:00:00:00:66");
  await until("fd00:7::78", "02:00:00:00:00:66");
  assert.deepEqual(entriesOf(one!, "flannel.7"), other);
  cluster.data.delete(key);
  await waitFor("nothing of it", () => !entriesOf(one!, "flannel-v6.7").join().includes("fc00:0:0:c8::"));
});

test("a peer without IPv6 is still reached over IPv4, and the log says what is missing", async (t) => {
  const [one, two] = makeFabric(t, [0, 0]);
  const cluster = makeCluster(t, DUAL);
  const agent = cluster.start(one!);
  await agent.ready();
  cluster.data.put(
    "10.5.200.0-24",
    JSON.stringify({
      PublicIP: two!.ipv4,
      PublicIPv6: null,
      BackendType: "vxlan",
      BackendData: { VNI: 7, VtepMAC: "02:00:00:00:00:04" },
    }),
  );
  await waitFor("its route", () => one!.run("ip", "route", "show", "10.5.200.0/24") !== "");
  assert.match(
    await agent.logged(/cannot be reached/),
    /10\.5\.200\.0-24 cannot be reached: IPv6: it has no IPv6 subnet/,
  );
});

test("our devices ignore router advertisements, and have IPv6 although the host's default disables it", async (t) => {
  const [host] = makeFabric(t, [0]);
  host!.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  const cluster = makeCluster(t, DUAL);
  await cluster.start(host!).ready();
  const sysctl = (device: string, name: string) =>
    host!.run("cat", `/proc/sys/net/ipv6/conf/${device}/${name}`).trim();
  assert.equal(sysctl("flannel.7", "accept_ra"), "0");
  assert.equal(sysctl("flannel-v6.7", "accept_ra"), "0");
  assert.equal(sysctl("flannel-v6.7", "disable_ipv6"), "0");
});

test("IPv6 switched off by sysctl: the error says what to do", async (t) => {
  const [off] = makeFabric(t, [0]);
  off!.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
  const cluster = makeCluster(t, IPV6_ONLY);
  const error = await cluster.start(off!).ended;
  assert.match(
    String(error),
    /No interface has an IPv6 address.*sysctl -w net\.ipv6\.conf\.all\.disable_ipv6=0/,
  );
});
