/**
 * A cluster whose config has no Backend, which Go flannel runs with udp: what flanneld runs there, and what it and flannelctl
 * say about peers of another type. Real hosts, a real etcd (test/support/underlay.ts).
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type EtcdServer, startEtcd } from "../support/etcd.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { askHealth, startFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const PREFIX = "/coreos.com/network";
const HEALTH = ["--healthz-ip=127.0.0.1", "--healthz-port=18474"];

/** A lease of a host that runs, with the datastore's own lease. */
async function putLease(etcd: EtcdServer, subnet: string, value: object): Promise<void> {
  const granted = await etcd.ctl("lease", "grant", "3600");
  const id = /lease (\w+) granted/.exec(granted)![1]!;
  await etcd.ctl("put", `--lease=${id}`, `${PREFIX}/subnets/${subnet}`, JSON.stringify(value));
}

/** What Go flannel's udp hosts write: no type, no data. */
const GO_UDP = { PublicIP: "192.168.7.77", BackendData: null };
const VXLAN = {
  PublicIP: "192.168.7.78",
  BackendType: "vxlan",
  BackendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:78" },
};

test("F9 without Backend: the type of the living leases is run; a peer of another type is reported everywhere", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
  await putLease(etcd, "10.5.77.0-24", GO_UDP);
  const [host] = await makeHosts(t, etcd, 1);
  const flanneld = startFlanneld(t, host!, { args: HEALTH });
  await flanneld.logged(/flanneld is ready/);
  assert.match(flanneld.log(), /network config has no Backend: using udp/);
  host!.run("ip", "link", "show", "flannel0");

  await putLease(etcd, "10.5.78.0-24", VXLAN);
  await flanneld.logged(/Peer 10\.5\.78\.0-24 runs backend "vxlan" and this host "udp"/);
  const notes = async () => (await askHealth(host!, 18474, "/readyz"))!;
  await until(async () => /Peer 10\.5\.78\.0-24 runs backend "vxlan"/.test((await notes()).body), "a note");
  assert.equal((await notes()).status, 200, "what works is left alone");

  const { code, out, err } = await flannelctl(host!, ["leases", `--etcd-endpoints=${host!.etcdEndpoint}`]);
  assert.equal(code, 0);
  assert.match(out, /^10\.5\.77\.0\/24 /m);
  assert.match(err, /hosts run different backends.*\(udp: 2, vxlan: 1\)/);
});

test("F9 flannelctl leases: a line under the list names a mixed cluster, none an even one", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", `${PREFIX}/config`, '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  await putLease(etcd, "10.5.78.0-24", VXLAN);
  const [host] = await makeHosts(t, etcd, 1);
  const list = async () => {
    const { out, err } = await flannelctl(host!, ["leases", `--etcd-endpoints=${host!.etcdEndpoint}`]);
    return out + err;
  };
  const even = await list();
  assert.match(even, /10\.5\.78\.0\/24/);
  assert.doesNotMatch(even, /different backends/);
  await putLease(etcd, "10.5.77.0-24", GO_UDP);
  assert.match(await list(), /hosts run different backends.*\(vxlan: 1, udp: 1\); set Backend\.Type/);
});
