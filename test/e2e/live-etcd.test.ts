/** What changes while flanneld runs, with a real etcd: the host's address (W45), the network config, one family of a peer. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { EtcdServer } from "../support/etcd.ts";
import { startEtcd } from "../support/etcd.ts";
import { readSubnetFile, readyFlanneld } from "../support/flanneld.ts";
import { PingStream, ping } from "../support/ping.ts";
import { makeContainer, makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } };

const putConfig = (etcd: EtcdServer, config: object) =>
  etcd.ctl("put", `${PREFIX}/config`, JSON.stringify(config));

async function leases(etcd: EtcdServer) {
  const { kvs = [] } = JSON.parse(await etcd.ctl("get", "--prefix", `${PREFIX}/subnets/`, "-w", "json"));
  const decode = (text: string) => Buffer.from(text, "base64").toString();
  return (kvs as { key: string; value: string; lease?: number }[]).map(({ key, value, lease }) => ({
    key: decode(key),
    value: JSON.parse(decode(value)),
    etcdLease: lease,
  }));
}

function readdress(host: TestHost, after: string): void {
  host.run("ip", "address", "flush", "dev", "eth0", "scope", "global");
  host.run("ip", "address", "add", `${after}/24`, "dev", "eth0");
  host.run("ip", "route", "replace", "default", "via", "192.168.7.254");
}

test("W45 another address: the same key on the same etcd lease, peers follow, a restart finds it again", async (t) => {
  await using etcd = await startEtcd();
  await putConfig(etcd, CONFIG);
  const hosts = await makeHosts(t, etcd, 2);
  const running = await Promise.all(hosts.map((host) => readyFlanneld(t, host)));
  const [from, to] = hosts.map((host, index) => makeContainer(t, host, running[index]!));
  const before = (await leases(etcd)).find(({ value }) => value.PublicIP === "192.168.7.1")!;
  readdress(hosts[0]!, "192.168.7.51");
  await until(async () => (await ping(from!.path, to!.address, { count: 1 })) === 1, "an answer");
  const after = (await leases(etcd)).find(({ value }) => value.PublicIP === "192.168.7.51")!;
  assert.deepEqual(after, { ...before, value: { ...before.value, PublicIP: "192.168.7.51" } });
  assert.equal((await leases(etcd)).length, 2);
  await running[0]!.flanneld.stop();
  const again = await readyFlanneld(t, hosts[0]!);
  assert.equal(again.subnet, running[0]!.subnet);
});

test("W45 while etcd is away, and with a reservation: updated when etcd is back, and still without an expiry", async (t) => {
  await using etcd = await startEtcd();
  await putConfig(etcd, CONFIG);
  const reserved = `${PREFIX}/subnets/10.5.77.0-24`;
  await etcd.ctl("put", reserved, '{"PublicIP":"192.168.7.1","PublicIPv6":null,"BackendType":"vxlan"}');
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld, subnet } = await readyFlanneld(t, host!);
  assert.equal(subnet, "10.5.77.1/24");
  await host!.line.cut();
  await flanneld.logged(/Watch on .* lost/);
  readdress(host!, "192.168.7.51");
  await flanneld.logged(/External interface eth0: 192\.168\.7\.51/);
  await host!.line.restore();
  await until(async () => (await leases(etcd))[0]?.value.PublicIP === "192.168.7.51", "the lease");
  const [lease, ...others] = await leases(etcd);
  assert.deepEqual(others, []);
  assert.equal(lease!.key, reserved);
  assert.equal(lease!.etcdLease, undefined);
});

test("W26 another MTU in the config reaches device and subnet.env, and no packet is lost", async (t) => {
  await using etcd = await startEtcd();
  await putConfig(etcd, CONFIG);
  const hosts = await makeHosts(t, etcd, 2);
  const running = await Promise.all(hosts.map((host) => readyFlanneld(t, host)));
  const [from, to] = hosts.map((host, index) => makeContainer(t, host, running[index]!));
  await until(async () => (await ping(from!.path, to!.address, { count: 1 })) === 1, "an answer");
  await using stream = new PingStream(from!.path, to!.address);
  await stream.more(20);
  await putConfig(etcd, { ...CONFIG, Backend: { Type: "vxlan", MTU: 1400 } });
  for (const host of hosts) {
    await until(() => readSubnetFile(host).mtuBytes === 1350, "subnet.env");
    await until(() => host.run("ip", "link", "show", "flannel.1").includes("mtu 1350"), "the device");
  }
  await stream.more(20);
  await putConfig(etcd, { ...CONFIG, Network: "10.6.0.0/16" });
  await running[0]!.flanneld.logged(
    /Network 10\.5\.0\.0\/16 → 10\.6\.0\.0\/16 cannot change while flanneld runs/,
  );
  await stream.more(20);
  assert.deepEqual((await stream.stop()).lost, []);
});

test("W13 a peer in etcd that changes in IPv6 only is followed", async (t) => {
  await using etcd = await startEtcd();
  await putConfig(etcd, { ...CONFIG, EnableIPv6: true, IPv6Network: "fc00::/48" });
  const [host] = await makeHosts(t, etcd, 1);
  host!.run("ip", "address", "add", "fd00:7::1/64", "dev", "eth0", "nodad");
  await readyFlanneld(t, host!, { args: ["--iface=eth0"] });
  const put = (publicIpv6: string, mac: string) =>
    etcd.ctl(
      "put",
      `${PREFIX}/subnets/10.5.200.0-24&fc00:0:0:c8::-64`,
      JSON.stringify({
        ...{ PublicIP: "192.168.7.77", PublicIPv6: publicIpv6, BackendType: "vxlan" },
        BackendData: { VNI: 1, VtepMAC: "02:00:00:00:00:04" },
        BackendV6Data: { VNI: 1, VtepMAC: mac },
      }),
    );
  const fdb = (device: string) =>
    host!
      .run("bridge", "fdb", "show", "dev", device)
      .split("\n")
      .flatMap((line) => /^(\S+) dst (\S+)/.exec(line)?.slice(1).join(" ") ?? []);
  for (const [publicIpv6, mac] of [
    ["fd00:7::77", "02:00:00:00:00:06"],
    ["fd00:7::78", "02:00:00:00:00:06"],
    ["fd00:7::78", "02:00:00:00:00:66"],
  ] as const) {
    await put(publicIpv6, mac);
    await until(() => fdb("flannel-v6.1").join() === `${mac} ${publicIpv6}`, `${mac} at ${publicIpv6}`);
    assert.deepEqual(fdb("flannel.1"), ["02:00:00:00:00:04 192.168.7.77"]);
  }
});
