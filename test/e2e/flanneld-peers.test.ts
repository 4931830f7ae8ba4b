/**
 * How flanneld follows the leases in a real etcd: peers that come, go and change, invalid values, gaps in the watch, and the
 * loss of its own lease. Peers are leases written with etcdctl; what they come to is read with ip(8) and bridge(8).
 */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { lookAt } from "../netns/reconciler-bed.ts";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { type Flanneld, readSubnetFile, readyFlanneld } from "../support/flanneld.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.5.0.0/16","SubnetMin":"10.5.128.0","Backend":{"Type":"vxlan"}}';

interface Bench {
  readonly etcd: EtcdServer;
  readonly host: TestHost;
  readonly flanneld: Flanneld;
  /** FLANNEL_SUBNET. */
  readonly subnet: string;
  /** The key of its lease. */
  readonly ownKey: string;
}

/** One host that is ready, alone in its network; its own subnet lies above 10.5.128.0. */
async function startBench(t: TestContext, etcd: EtcdServer): Promise<Bench> {
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld, subnet } = await readyFlanneld(t, host!);
  return { etcd, host: host!, flanneld, subnet, ownKey: keyOf(subnet) };
}

const keyOf = (subnet: string): string => `${PREFIX}/subnets/${subnet.replace(/\.1\/24$/, ".0-24")}`;

/** A peer by number: 10.5.N.0/24 at 192.168.7.(100+N). */
interface Peer {
  readonly number: number;
  readonly mac: string;
  readonly publicIp: string;
}

const peer = (number: number, changes: Partial<Peer> = {}): Peer => ({
  number,
  mac: `0a:00:00:00:01:0${number}`,
  publicIp: `192.168.7.${100 + number}`,
  ...changes,
});

const peerKey = (number: number) => `${PREFIX}/subnets/10.5.${number}.0-24`;

const putPeer = (etcd: EtcdServer, { number, mac, publicIp }: Peer) =>
  etcd.ctl(
    "put",
    peerKey(number),
    `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`,
  );

/** Waits until the kernel holds exactly these peers. */
async function holds({ host, flanneld }: Bench, peers: readonly Peer[]): Promise<void> {
  const wanted = peers
    .flatMap(({ number, mac, publicIp }) => [
      `fdb ${mac} dst ${publicIp} permanent`,
      `neighbour 10.5.${number}.0 lladdr ${mac} PERMANENT`,
      `route 10.5.${number}.0/24 via 10.5.${number}.0 onlink protocol 70`,
    ])
    .sort()
    .join("\n");
  let seen = "";
  await flanneld.until(
    () => {
      seen = lookAt(host, "flannel.1")
        .filter((line) => /^(?:fdb|neighbour|route)/.test(line))
        .join("\n");
      return seen === wanted;
    },
    `exactly the peers ${peers.map(({ number }) => number)}; the last look found\n${seen}`,
  );
}

test("W22 peers join, change MAC and address, and leave", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  for (const number of [2, 3, 4]) await putPeer(etcd, peer(number));
  await holds(bench, [peer(2), peer(3), peer(4)]);
  const moved = [peer(2, { mac: "0a:00:00:00:02:02" }), peer(3, { publicIp: "192.168.7.203" }), peer(4)];
  for (const each of moved) await putPeer(etcd, each);
  await holds(bench, moved);
  await etcd.ctl("del", peerKey(2));
  await holds(bench, moved.slice(1));
  await etcd.ctl("del", "--prefix", `${PREFIX}/subnets/10.5.4.`);
  await holds(bench, [moved[1]!]);
  assert.match(bench.flanneld.log(), /Peer joined: 10\.5\.2\.0\/24 at 192\.168\.7\.102 \(vxlan\)/);
  assert.match(bench.flanneld.log(), /Peer left: 10\.5\.2\.0\/24 at 192\.168\.7\.102/);
});

test("W1 invalid keys and values under subnets/ cost no peer, nor do impossible leases", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  await putPeer(etcd, peer(2));
  await holds(bench, [peer(2)]);
  const vxlan = (ip: string, data: string, type = "vxlan") =>
    `{"PublicIP":"${ip}","PublicIPv6":null,"BackendType":"${type}","BackendData":${data}}`;
  const junk: readonly (readonly [key: string, value: string])[] = [
    ["junk", "junk"],
    ["10.5.99.0-24x", "{}"],
    ["999.5.1.0-24", "{}"],
    ["10.5.20.5-24", vxlan("192.168.7.120", "{}")],
    ["10.5.21.0-24", "not json"],
    ["10.5.22.0-24", '{"PublicIP":"nonsense"}'],
    ["10.5.23.0-24", "[]"],
    ["10.5.24.0-24", vxlan("192.168.7.124", '{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}')],
    ["10.5.25.0-24", vxlan("192.168.7.125", '{"VNI":1,"VtepMAC":"zz"}')],
    ["10.5.26.0-24", vxlan("192.168.7.126", "null")],
    ["10.5.27.0-24", vxlan("192.168.7.127", '{"VNI":2,"VtepMAC":"0a:00:00:00:01:27"}')],
    ["10.5.28.0-24", vxlan("192.168.7.128", '{"PublicKey":"x"}', "wireguard")], // another type: not our business
    ["0.0.0.0-0", vxlan("192.168.7.129", '{"VNI":1,"VtepMAC":"0a:00:00:00:01:29"}')],
    ["192.168.7.0-24", vxlan("192.168.7.130", '{"VNI":1,"VtepMAC":"0a:00:00:00:01:30"}')],
    ["10.5.128.0-17", vxlan("192.168.7.131", '{"VNI":1,"VtepMAC":"0a:00:00:00:01:31"}')],
    ["10.5.32.0-24", vxlan("127.0.0.1", '{"VNI":1,"VtepMAC":"0a:00:00:00:01:32"}')],
    ["10.5.33.0-24", vxlan("192.168.7.133", '{"VNI":1,"VtepMAC":"0a:00:00:00:01:02"}')], // peer 2's MAC
    ["10.5.34.0-24", `{"PublicIP":"192.168.7.134","BackendData":${"[".repeat(500)}${"]".repeat(500)}}`],
  ];
  for (const [key, value] of junk) await etcd.ctl("put", `${PREFIX}/subnets/${key}`, value);
  await putPeer(etcd, peer(3)); // events come in order: when this is there, all invalid values have been processed
  await holds(bench, [peer(2), peer(3)]);
  const log = bench.flanneld.log();
  for (const expected of [
    /Skipped "junk" in etcd under \/coreos\.com\/network\/subnets\/: the key is not a subnet/,
    /Skipped "10\.5\.21\.0-24" in etcd under .*: the value is not JSON/,
    /Peer 10\.5\.24\.0-24 cannot be reached: its VtepMAC 01:00:5e:00:00:01 is not the address of one station/,
    /Peer 10\.5\.25\.0-24 cannot be reached: its VtepMAC "zz" is not a MAC address/,
    /Peer 10\.5\.27\.0-24 cannot be reached: its VNI is 2, this host's 1/,
    /Peer 0\.0\.0\.0-0 cannot be reached: subnet 0\.0\.0\.0\/0 is not inside the network 10\.5\.0\.0\/16/,
    /Peer 192\.168\.7\.0-24 cannot be reached: subnet 192\.168\.7\.0\/24 is not inside/,
    /Peer 10\.5\.128\.0-17 cannot be reached: .*overlaps this host's own subnet/,
    /Peer 10\.5\.32\.0-24 cannot be reached: its public IP 127\.0\.0\.1 is not a unicast address/,
    /Peer 10\.5\.33\.0-24 cannot be reached: its VtepMAC 0a:00:00:00:01:02 on flannel\.1 is already that of 10\.5\.2\.0-24/,
  ]) {
    assert.match(log, expected);
    assert.equal(bench.flanneld.lines.filter((line) => expected.test(line)).length, 1, "said once");
  }
  assert.doesNotMatch(log, /10\.5\.28\.0-24 cannot/);
  await putPeer(etcd, peer(3, { mac: "0a:00:00:00:03:03" })); // and again, with all that junk around
  await holds(bench, [peer(2), peer(3, { mac: "0a:00:00:00:03:03" })]);
  assert.equal(bench.flanneld.lines.filter((line) => line.includes('"junk"')).length, 1);

  // A restart meets the junk in its first listing.
  await bench.flanneld.stop();
  const again = await readyFlanneld(t, bench.host);
  assert.equal(again.subnet, bench.subnet);
  await holds({ ...bench, flanneld: again.flanneld }, [peer(2), peer(3, { mac: "0a:00:00:00:03:03" })]);
});

test("W2 W3 a gap in the watch, compacted away: all changes are caught up, the own lease stays", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  for (const number of [2, 3, 4]) await putPeer(etcd, peer(number));
  await holds(bench, [peer(2), peer(3), peer(4)]);
  await bench.host.line.cut();
  await bench.flanneld.logged(/Watch on the leases .*lost/);
  await etcd.ctl("del", peerKey(2));
  const changed = [peer(3, { mac: "0a:00:00:00:03:33" }), peer(4, { publicIp: "192.168.7.204" }), peer(5)];
  for (const each of changed) await putPeer(etcd, each);
  await compact(etcd);
  await bench.host.line.restore();
  await holds(bench, changed);
  await bench.flanneld.logged(/Resyncing the leases/);
  assert.doesNotMatch(bench.flanneld.log(), /Lost lease/);
  assert.equal((await etcd.ctl("get", "--keys-only", bench.ownKey)).trim(), bench.ownKey);
});

test("etcd is killed and restarted: changes are caught up, programmed objects stay meanwhile", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  await putPeer(etcd, peer(2));
  await holds(bench, [peer(2)]);
  await etcd.kill();
  await bench.flanneld.logged(/Watch on .* lost/);
  bench.host.run("ip", "route", "del", "10.5.2.0/24"); // repairs go on without etcd
  await holds(bench, [peer(2)]);
  await etcd.start();
  await putPeer(etcd, peer(3));
  await holds(bench, [peer(2), peer(3)]);
});

test("W8 the deleted lease is taken again, the same subnet, by the same process", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  await putPeer(etcd, peer(2));
  await holds(bench, [peer(2)]);
  await etcd.ctl("del", bench.ownKey);
  await bench.flanneld.logged(/Lost lease .*; acquiring one again: it was deleted or has expired/);
  await bench.flanneld.until(
    async () => (await etcd.ctl("get", "--keys-only", bench.ownKey)).trim() === bench.ownKey,
    "the lease",
  );
  assert.equal(readSubnetFile(bench.host).subnet, bench.subnet);
  assert.ok(existsSync(`/proc/${bench.flanneld.pid}`));
  await holds(bench, [peer(2)]);
});

test("W8 the revoked etcd lease is the same loss", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  const leaseId = (await etcd.ctl("lease", "list")).split("\n").find((line) => /^[\da-f]+$/.test(line))!;
  await etcd.ctl("lease", "revoke", leaseId);
  await bench.flanneld.logged(/Lost lease/);
  await bench.flanneld.until(
    async () => (await etcd.ctl("get", "--keys-only", bench.ownKey)).trim() === bench.ownKey,
    "the lease",
  );
});

test("W6 a subnet that another host holds now is given up: a new one is taken and programmed", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  await etcd.ctl(
    "put",
    bench.ownKey,
    '{"PublicIP":"192.168.7.150","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:01:50"}}',
  );
  await bench.flanneld.logged(/Lost lease .*it is now held by 192\.168\.7\.150/);
  await bench.flanneld.until(() => readSubnetFile(bench.host).subnet !== bench.subnet, "a new subnet");
  const { subnet } = readSubnetFile(bench.host);
  const theirs = bench.subnet.replace(/\.1\/24$/, ".0");
  const wanted = [
    `address ${subnet.replace(/\.1\/24$/, ".0")}/32`,
    `route ${theirs}/24 via ${theirs} onlink protocol 70`,
  ];
  await bench.flanneld.until(() => {
    const seen = lookAt(bench.host, "flannel.1").filter((line) => /^(?:address|route)/.test(line));
    return seen.join() === wanted.join();
  }, `only ${wanted}`);
  assert.match(await etcd.ctl("get", "--print-value-only", keyOf(subnet)), /"PublicIP":"192\.168\.7\.1"/);
  assert.match(await etcd.ctl("get", "--print-value-only", bench.ownKey), /192\.168\.7\.150/);
});

test("an etcd that lost its data gets the lease again, the config need not be there for that, and no peer is cut off meanwhile", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  await putPeer(etcd, peer(2));
  await holds(bench, [peer(2)]);
  await etcd.kill();
  await etcd.startEmpty();
  await bench.flanneld.logged(/Lost lease/);
  await bench.flanneld.until(
    async () => (await etcd.ctl("get", "--keys-only", bench.ownKey)).trim() === bench.ownKey,
    "the lease",
  );
  await putPeer(etcd, peer(3));
  await holds(bench, [peer(2), peer(3)]); // 2 has time to come back
});

test("W7 a reservation is used and stays one", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, CONFIG);
  await etcd.ctl("put", `${PREFIX}/subnets/10.5.200.0-24`, '{"PublicIP":"192.168.7.1","PublicIPv6":null}');
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld, subnet } = await readyFlanneld(t, host!);
  assert.equal(subnet, "10.5.200.1/24");
  assert.match(flanneld.log(), /Acquired lease 10\.5\.200\.0\/24; does not expire/);
  const { kvs } = JSON.parse(await etcd.ctl("get", "-w", "json", `${PREFIX}/subnets/10.5.200.0-24`));
  assert.equal(kvs[0].lease ?? 0, 0);
});

test("two hosts with one public IP: the first says so and is not ready, and is again when the other is gone", async (t) => {
  await using etcd = await startEtcd();
  const bench = await startBench(t, etcd);
  const [duplicate] = await makeHosts(t, etcd, 1); // on an underlay of its own: the same address, another MAC
  const second = await readyFlanneld(t, duplicate!);
  assert.equal(second.subnet, bench.subnet);
  await bench.flanneld.logged(
    /Lease conflict: another host uses this host's public IP 192\.168\.7\.1 .*--public-ip or --iface/,
  );
  await second.flanneld.stop();
  await etcd.ctl("del", bench.ownKey);
  await bench.flanneld.until(
    async () => (await etcd.ctl("get", "--keys-only", bench.ownKey)).trim() === bench.ownKey,
    "the lease",
  );
});

async function compact(etcd: EtcdServer): Promise<void> {
  const { header } = JSON.parse(await etcd.ctl("get", "none", "-w", "json"));
  await etcd.ctl("compact", String(header.revision));
}
