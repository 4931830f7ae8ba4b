/**
 * The udp backend between real flannelds: traffic of every size, errors, refusals, repair.
 *
 *     container ── br0 ── host 1 ══ UDP 8285 ══ host 2 ── br0 ── container        (test/support/underlay.ts)
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { exec } from "../../src/linux/exec.ts";
import { Chance, mutate } from "../../src/testing/random-packets.ts";
import { udp } from "../../src/testing/slow-ip.ts";
import { freshNetns, type TestNetns } from "../netns/support.ts";
import { startEtcd } from "../support/etcd.ts";
import { askHealth, readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { PingStream, ping } from "../support/ping.ts";
import { TestProcess } from "../support/process.ts";
import { sendBytes } from "../support/tcp-bytes.ts";
import { CONFIG, CONFIG_KEY, makeSites, PORT } from "../support/udp-sites.ts";
import { makeContainer, makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const HEALTH_PORT = 8471;
const root = import.meta.dirname;

/** How far pings of this size come with DF set (`size`: of the IP packet). */
const pingSize = (from: TestNetns, address: string, size: number, args: readonly string[] = []) =>
  ping(from.path, address, { count: 3, args: ["-W", "5", "-M", "do", "-s", String(size - 28), ...args] });

for (const offloads of [true, false]) {
  test(`containers of two hosts talk, offloads ${offloads ? "on" : "off"}: sizes, streams, subnet.env`, async (t) => {
    await using etcd = await startEtcd();
    const args = offloads ? [] : ["--udp-offloads=false"];
    const [a, b] = await makeSites(t, etcd, () => ({ args }));
    const pattern = offloads ? /offloads TCP, .*UDP_SEGMENT, UDP_GRO/ : /one packet at a time/;
    await a.flanneld.logged(pattern);
    assert.equal(a.mtuBytes, 1472);
    const leases = await etcd.ctl("get", "--prefix", "--print-value-only", "/coreos.com/network/subnets");
    assert.match(leases, /^\{"PublicIP":"192\.168\.7\.\d","PublicIPv6":null\}$/m);

    for (const size of [28, 29, 100, 1471, 1472])
      assert.equal(await pingSize(a.container, b.container.address, size), 3, `${size} bytes`);
    assert.equal(
      await ping(a.container.path, b.container.address, { count: 3, args: ["-s", "20001"] }),
      3,
      "fragments",
    );
    const [gateway] = b.subnet.split("/") as [string];
    assert.equal(
      await ping(a.host.path, gateway, { count: 3, args: ["-W", "5"] }),
      3,
      "from the host itself",
    );
    const bytes = offloads ? 60_000_000 : 10_000_000;
    await sendBytes(a.container, b.container, b.container.address, bytes);
    await sendBytes(b.container, a.container, a.container.address, bytes);
    await sendBytes(a.host, b.container, b.container.address, 1_000_000);
  });
}

test("a peer without offloads, like Go flannel's: one packet per datagram, valid checksums", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, CONFIG);
  const [host, other] = (await makeHosts(t, etcd, 2)) as [TestHost, TestHost];
  await etcd.ctl(
    "put",
    "/coreos.com/network/subnets/10.5.200.0-24",
    JSON.stringify({ PublicIP: other.address, PublicIPv6: null }),
  );
  const { subnet, mtuBytes } = await readyFlanneld(t, host);
  const container = makeContainer(t, host, { subnet, mtuBytes });
  await using peer = new TestProcess(
    process.execPath,
    [`${root}/../support/plain-udp-peer.ts`, "flannel0", other.address, String(PORT), host.address],
    { netns: other.path },
  );
  await peer.brings("the plain peer", () => peer.stdout.includes("ready"));
  other.run("ip", "link", "set", "flannel0", "mtu", "1472", "up");
  other.run("ip", "address", "add", "10.5.200.0/32", "dev", "flannel0");
  other.run("ip", "route", "add", "10.5.0.0/16", "dev", "flannel0");
  const theirs = makeContainer(t, other, { subnet: "10.5.200.1/24", mtuBytes: 1472 });
  await until(async () => (await ping(container.path, theirs.address, { count: 1 })) === 1, "a first ping");
  assert.equal(await pingSize(container, theirs.address, 1472), 3);
  await sendBytes(container, theirs, theirs.address, 3_000_000);
  await sendBytes(theirs, container, container.address, 3_000_000);
  assert.equal(peer.stdout, "ready\n", "what it had to complain of");
});

test("ICMP errors for senders: no route, TTL on either side, a smaller path MTU to the peer", async (t) => {
  await using etcd = await startEtcd();
  const [a, b] = await makeSites(t, etcd);
  const errorOf = (...args: string[]) => a.container.run("sh", "-c", 'ping -n "$@" || true', "sh", ...args);
  const own = a.subnet.replace(/1\/24$/, "0");
  const theirs = b.subnet.replace(/1\/24$/, "0");
  // The container's host takes one off, then the tunnel, then the tunnel's other end.
  assert.match(
    errorOf("-c1", "-W2", "-t2", b.container.address),
    new RegExp(`From ${own} .*Time to live exceeded`),
  );
  assert.match(
    errorOf("-c1", "-W2", "-t3", b.container.address),
    new RegExp(`From ${theirs} .*Time to live exceeded`),
  );
  const refused = a.container.run("bash", "-c", "exec 2>&1; exec 3<>/dev/tcp/10.5.255.7/80 || true");
  assert.match(refused, /Network is unreachable|No route to host/);

  a.host.run("ip", "route", "add", `${b.host.address}/32`, "dev", "eth0", "mtu", "1200");
  assert.match(
    errorOf("-c1", "-W2", "-M", "do", "-s", "1400", b.container.address),
    new RegExp(`From ${own} .*mtu = 1172`),
  );
  assert.equal(await pingSize(a.container, b.container.address, 1172), 3);
  await sendBytes(a.container, b.container, b.container.address, 5_000_000);
  // What may be fragmented is, outside of the tunnel.
  assert.equal(
    await ping(a.container.path, b.container.address, { count: 3, args: ["-M", "dont", "-s", "1400"] }),
    3,
  );
});

test("a flood of invalid packets from foreign hosts and with a peer's address: nothing passes, memory stays flat", async (t) => {
  await using etcd = await startEtcd();
  const [a, b] = await makeSites(t, etcd, () => ({ args: [`--healthz-port=${HEALTH_PORT}`] }));
  const address = (text: string) => text.split(".").reduce((value, octet) => value * 256 + Number(octet), 0);
  const inner = udp(
    { source: address(b.container.address), destination: address(a.container.address), ports: 0x10001000 },
    new Uint8Array(40),
  );
  const chance = new Chance(11);
  const memoryKb = () =>
    Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${a.flanneld.pid}/status`, "utf8"))![1]);
  const counters = async (): Promise<Record<string, number>> =>
    JSON.parse((await askHealth(a.host, HEALTH_PORT, "/data-path"))!.body);
  const flood = async (netns: TestNetns, count: number) => {
    const datagrams = Array.from({ length: count }, () =>
      chance.oneIn(3) ? chance.bytes(chance.below(1400)) : mutate(chance, inner),
    );
    const lines = datagrams.map((bytes) => Buffer.from(bytes).toString("base64"));
    const program = `
      const socket = require("node:dgram").createSocket("udp4"); let sent = 0;
      const lines = require("node:fs").readFileSync(0, "utf8").split("\\n");
      const next = () => sent === lines.length ? socket.close()
        : socket.send(Buffer.from(lines[sent++], "base64"), ${PORT}, "${a.host.address}", next);
      next();`;
    await exec(process.execPath, ["-e", program], { netns: netns.path, input: lines.join("\n") });
  };
  const stranger = freshNetns(t, "stranger");
  a.host.run("ip", "link", "add", "toward", "type", "veth", "peer", "name", "eth0", "netns", stranger.name);
  a.host.run("ip", "address", "add", "192.168.99.1/24", "dev", "toward");
  a.host.run("ip", "link", "set", "toward", "up");
  stranger.run("ip", "address", "add", "192.168.99.2/24", "dev", "eth0");
  stranger.run("ip", "link", "set", "eth0", "up");
  stranger.run("ip", "route", "add", "default", "via", "192.168.99.1");
  // The peer's first packets may come before its lease.
  const { droppedStranger } = await counters();
  await flood(b.host, 4000); // in the peer's name: from its address
  assert.equal((await counters()).droppedStranger, droppedStranger);
  const beforeKb = memoryKb();
  await flood(b.host, 8000);
  await flood(stranger, 8000);
  assert.ok(memoryKb() < beforeKb + 8_000, `${beforeKb} KB, then ${memoryKb()} KB`);
  const after = await counters();
  for (const reason of ["Stranger", "Spoofed", "Misdirected", "Malformed", "NotIpv4"])
    assert.ok(after[`dropped${reason}`]! > 10, `${reason}: ${JSON.stringify(after)}`);
  assert.ok(after.sentPackets! > 0 && after.sentBytes! > 0 && after.receivedBatches! > 0);
  assert.equal(await ping(a.container.path, b.container.address), 5);
  assert.doesNotMatch(a.flanneld.log(), /has failed/);
});

test("W18 the device, its address and its route are restored after removal, and the traffic with them", async (t) => {
  await using etcd = await startEtcd();
  const [a, b] = await makeSites(t, etcd);
  await using stream = new PingStream(a.container.path, b.container.address);
  await stream.more(10);
  for (const removal of [
    "link delete flannel0",
    "route delete 10.5.0.0/16",
    "link set flannel0 down",
    "address flush dev flannel0",
  ]) {
    a.host.run("ip", ...removal.split(" "));
    await stream.more(10);
  }
  const { lost } = await stream.stop();
  assert.ok(lost.length < 100, `${lost.length} packets of 10 ms lost`);
  a.host.run("ip", "link", "set", "flannel0", "mtu", "1000");
  await until(() => /mtu 1472/.test(a.host.run("ip", "link", "show", "flannel0")), "the MTU");
});

test("F13 a restart: flanneld stops at once, without its device unless it was killed, and packets flow again", async (t) => {
  await using etcd = await startEtcd();
  const [a, b] = await makeSites(t, etcd);
  const indexOf = () => a.host.json("ip", "-json", "link", "show", "flannel0")[0].ifindex as number;
  const exists = () => /flannel0/.test(a.host.run("ip", "link") + a.host.run("ip", "route"));
  await using stream = new PingStream(b.container.path, a.container.address);
  await stream.more(10);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const { code, tookMs } = await a.flanneld.stop(signal);
    if (signal === "SIGTERM") assert.equal(code, 0);
    assert.equal(exists(), signal === "SIGKILL", "what Go's flanneld would not open, but route past");
    assert.ok(tookMs < 1000, `${signal}: ${tookMs} ms`);
    const before = signal === "SIGKILL" ? indexOf() : undefined;
    a.flanneld = (await readyFlanneld(t, a.host)).flanneld;
    if (before !== undefined) assert.equal(indexOf(), before);
    await stream.more(10);
  }
  const { lost } = await stream.stop();
  t.diagnostic(`${lost.length} packets of 10 ms lost over two restarts`);
  assert.ok(lost.length < 300);
});

test("a used port and a device of another type are reported, and flanneld continues once they are gone", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, CONFIG);
  const [host] = (await makeHosts(t, etcd, 1)) as [TestHost];
  const squat = `require("node:dgram").createSocket("udp4").bind(${PORT}, "${host.address}", () => console.log("bound"))`;
  await using squatter = new TestProcess(process.execPath, ["-e", squat], { netns: host.path });
  await squatter.brings("a taken port", () => squatter.stdout.includes("bound"));
  host.run("ip", "link", "add", "flannel0", "type", "bridge");
  const flanneld = startFlanneld(t, host);
  await flanneld.logged(
    /Device flannel0 exists and is not flannel's \(it is a bridge device\): remove or rename it$/,
  );
  host.run("ip", "link", "delete", "flannel0");
  await flanneld.logged(/Failed to create tunnel flannel0 .*EADDRINUSE/);
  await squatter.stop();
  await flanneld.logged(/flanneld is ready/);
});

test("network configs that the udp backend refuses", async (t) => {
  await using etcd = await startEtcd();
  const [host] = (await makeHosts(t, etcd, 1)) as [TestHost];
  const cases: readonly [backend: object, network: object, message: RegExp][] = [
    [{ Port: 0 }, {}, /Backend\.Port must be a whole number from 1 to 65535, not 0/],
    [{ StrictSource: "yes" }, {}, /Backend\.StrictSource must be true or false, not "yes"/],
    [{}, { EnableIPv6: true, IPv6Network: "fc00::/48" }, /the udp backend carries IPv4 only/],
  ];
  const put = (backend: object, network: object) =>
    etcd.ctl(
      "put",
      CONFIG_KEY,
      JSON.stringify({ Network: "10.5.0.0/16", ...network, Backend: { Type: "udp", ...backend } }),
    );
  for (const [backend, network, message] of cases) {
    await put(backend, network);
    const flanneld = startFlanneld(t, host);
    await flanneld.logged(message);
    await flanneld.stop();
  }
});

test("F13 from Go's flanneld: its state is adopted, after a stop and after a kill", async (t) => {
  await using etcd = await startEtcd();
  const [a, b] = await makeSites(t, etcd);
  const subnet = a.subnet.replace(/\.1\/24$/, ".0");
  // Go's device is not persistent: it goes with the process, and with it address and route. A flannel0 that another program
  // made persistent, with Go's address and route, is what a crash of ours leaves, too.
  for (const leftovers of [
    [],
    [
      "tuntap add dev flannel0 mode tun",
      "link set dev flannel0 mtu 1472 up",
      `address add ${subnet}/32 dev flannel0`,
      "route add 10.5.0.0/16 dev flannel0 proto kernel scope link",
    ],
  ]) {
    await a.flanneld.stop();
    for (const command of leftovers) a.host.run("ip", ...command.split(" "));
    a.flanneld = (await readyFlanneld(t, a.host)).flanneld;
    await until(
      () => ping(b.container.path, a.container.address, { count: 1 }).then((n) => n === 1),
      "a ping",
    );
    assert.equal(a.host.run("ip", "route", "show", "10.5.0.0/16").trim().split("\n").length, 1);
  }
});
