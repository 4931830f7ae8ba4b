/**
 * Which host a lease belongs to and which of two claims counts, with real hosts and a real etcd: hosts that move to
 * another address, clones, overlapping subnets.
 *
 *     container ── br0 ── host 1 ══ VXLAN ══ host 2 ── br0 ── container        (test/support/underlay.ts)
 */

import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { askHealth, type Flanneld, readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { makeContainer, makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const PREFIX = "/coreos.com/network";
const HEALTH_PORT = 18_471;

/** Hosts with flanneld, each ready. */
async function startHosts(t: TestContext, etcd: EtcdServer, count: number, backend = "vxlan") {
  const config = `{"Network":"10.5.0.0/16","Backend":{"Type":"${backend}"}}`;
  await etcd.ctl("put", `${PREFIX}/config`, config);
  const hosts = await makeHosts(t, etcd, count);
  return Promise.all(hosts.map(async (host) => ({ host, ...(await readyFlanneld(t, host)) })));
}

const leaseKeys = async (etcd: EtcdServer) =>
  (await etcd.ctl("get", "--prefix", "--keys-only", `${PREFIX}/subnets/`)).trim().split(/\s+/).sort();

const storedValue = (etcd: EtcdServer, subnet: string) =>
  etcd.ctl("get", "--print-value-only", `${PREFIX}/subnets/${subnet.replace(/\.1\/24$/, ".0-24")}`);

const macOf = (host: TestHost): string =>
  (host.json("ip", "-json", "link", "show", "flannel.1") as { address: string }[])[0]!.address;

function moveHost(host: TestHost, from: string, to: string): void {
  host.run("ip", "address", "del", `${from}/24`, "dev", "eth0");
  host.run("ip", "address", "add", `${to}/24`, "dev", "eth0");
  host.run("ip", "route", "replace", "default", "via", "192.168.7.254");
}

const reaches = (from: { run(...command: string[]): string }, address: string): boolean => {
  try {
    from.run("ping", "-c", "1", "-W", "1", address);
    return true;
  } catch {
    return false;
  }
};

for (const backend of ["vxlan", "host-gw", "udp"]) {
  test(`F1 a host that moves to another address while flanneld is stopped keeps its lease and its containers (${backend})`, async (t) => {
    await using etcd = await startEtcd();
    const [one, two] = await startHosts(t, etcd, 2, backend);
    const from = makeContainer(t, one!.host, one!);
    const to = makeContainer(t, two!.host, two!);
    await until(() => reaches(from, to.address), "a ping before the move");
    const keys = await leaseKeys(etcd);
    await two!.flanneld.stop();
    moveHost(two!.host, "192.168.7.2", "192.168.7.21");
    const moved = await readyFlanneld(t, two!.host);
    assert.equal(moved.subnet, two!.subnet);
    assert.deepEqual(await leaseKeys(etcd), keys);
    assert.match(await storedValue(etcd, moved.subnet), /"PublicIP":"192\.168\.7\.21"/);
    await until(() => reaches(from, to.address), "a ping after the move");
    assert.doesNotMatch(one!.flanneld.log(), /cannot be reached/);
  });
}

test("F1 two hosts that swap their addresses while flanneld is stopped reach each other again", async (t) => {
  await using etcd = await startEtcd();
  const [one, two] = await startHosts(t, etcd, 2);
  const from = makeContainer(t, one!.host, one!);
  const to = makeContainer(t, two!.host, two!);
  for (const { flanneld } of [one!, two!]) await flanneld.stop();
  moveHost(one!.host, "192.168.7.1", "192.168.7.9");
  moveHost(two!.host, "192.168.7.2", "192.168.7.1");
  moveHost(one!.host, "192.168.7.9", "192.168.7.2");
  const first = await readyFlanneld(t, one!.host);
  const second = await readyFlanneld(t, two!.host);
  assert.deepEqual([first.subnet, second.subnet], [one!.subnet, two!.subnet]);
  await until(() => reaches(from, to.address), "a ping after the swap");
});

test("F1 a clone of a living host takes a MAC and a subnet of its own, and the original loses nothing", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const [watcher, original, clone] = await makeHosts(t, etcd, 3);
  const first = await readyFlanneld(t, watcher!);
  const second = await readyFlanneld(t, original!);
  const mac = macOf(original!);
  copyFileSync(original!.subnetFile, clone!.subnetFile);
  clone!.run(
    ...["ip", "link", "add", "flannel.1", "address", mac, "type", "vxlan", "id", "1", "dev", "eth0"],
    ...["local", clone!.address, "dstport", "8472", "nolearning"],
  );
  const third = await readyFlanneld(t, clone!);
  assert.notEqual(third.subnet, second.subnet);
  assert.notEqual(macOf(clone!), mac);
  assert.match(third.flanneld.log(), /one of the two is a clone; taking a fresh MAC and another subnet/);
  assert.match(await storedValue(etcd, third.subnet), new RegExp(`"VtepMAC":"${macOf(clone!)}"`));
  assert.match(
    await storedValue(etcd, second.subnet),
    new RegExp(`"PublicIP":"192.168.7.2".*"VtepMAC":"${mac}"`),
  );
  const [from, to, other] = [
    makeContainer(t, watcher!, first),
    makeContainer(t, original!, second),
    makeContainer(t, clone!, third),
  ];
  await until(() => reaches(from, to.address) && reaches(from, other.address), "pings to both");
  assert.doesNotMatch(first.flanneld.log(), /cannot be reached/);
});

test("F2 a reservation over a living host's subnet is refused, and both sides say so", async (t) => {
  await using etcd = await startEtcd();
  const [one, two] = await startHosts(t, etcd, 2);
  const ping = [makeContainer(t, one!.host, one!), makeContainer(t, two!.host, two!)] as const;
  const [, third] = /^10\.5\.(\d+)\.1\/24$/.exec(two!.subnet)!;
  await one!.flanneld.stop();
  const args = ["--healthz-ip=127.0.0.1", `--healthz-port=${HEALTH_PORT}`];
  const again: Flanneld = startFlanneld(t, one!.host, { args });
  await again.logged(/flanneld is ready/);
  const wide = `10.5.${Number(third) & ~3}.0-22`;
  await etcd.ctl(
    "put",
    `${PREFIX}/subnets/${wide}`,
    '{"PublicIP":"192.168.7.99","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:99"}}',
  );
  const line = await again.logged(
    new RegExp(`Peer ${wide.replaceAll(".", "\\.")} cannot be reached: .*overlaps`),
  );
  assert.match(line, /which is that of|this host's own subnet/);
  await until(() => reaches(ping[0], ping[1].address), "a ping beside the reservation");
  const health = await askHealth(one!.host, HEALTH_PORT, "/readyz");
  assert.equal(health?.status, 200);
  assert.match(health!.body, new RegExp(`Peer ${wide.replaceAll(".", "\\.")} cannot be reached`));
});

test("F24 a peer at an address of this host is refused as long as the host has it", async (t) => {
  await using etcd = await startEtcd();
  const [one] = await startHosts(t, etcd, 1);
  const { host, flanneld } = one!;
  const put = (third: number, publicIp: string) =>
    etcd.ctl(
      "put",
      `${PREFIX}/subnets/10.5.${third}.0-24`,
      `{"PublicIP":"${publicIp}","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:${third}"}}`,
    );
  const free = [71, 72, 73, 74].filter((third) => one!.subnet !== `10.5.${third}.1/24`);
  const [second, broadcast, inside] = free as [number, number, number];
  await put(second, "192.168.7.200");
  const isRouted = () => host.run("ip", "route", "show", `10.5.${second}.0/24`) !== "";
  await until(isRouted, "the route to the peer");
  await put(broadcast, "192.168.7.255");
  await put(inside, "10.5.250.9");
  await flanneld.logged(
    /cannot be reached: its public IP 192\.168\.7\.255 is the broadcast address of 192\.168\.7\.0\/24/,
  );
  await flanneld.logged(/cannot be reached: its public IP 10\.5\.250\.9 is inside the flannel network/);
  host.run("ip", "address", "add", "192.168.7.200/32", "dev", "eth0");
  await flanneld.logged(/cannot be reached: its public IP 192\.168\.7\.200 is an address of this host/);
  await until(() => !isRouted(), "the route to go");
  host.run("ip", "address", "del", "192.168.7.200/32", "dev", "eth0");
  await until(isRouted, "the route again");
  assert.match(host.run("ip", "route", "show", "proto", "70").trim(), /^10\.5\.\d+\.0\/24 [^\n]*$/);
});
