/**
 * Several flanneld on one host: with networks of their own they do not touch each other; of two with the same network
 * the second waits; and what an earlier run with another network left is removed.
 *
 *     host 1 ── bridge ── host 2        (test/support/underlay.ts), on each: network a with VNI 1, network b with VNI 2
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { startEtcd } from "../support/etcd.ts";
import { askHealth, readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { makeHosts } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const configOf = (network: string, vni: number) =>
  JSON.stringify({ Network: network, Backend: { Type: "vxlan", VNI: vni } });
const PORTS = { a: 8481, b: 8482 } as const;

test("F3 two networks on one host: neither flanneld touches what the other one programs", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/a/config", configOf("10.5.0.0/16", 1));
  await etcd.ctl("put", "/b/config", configOf("10.6.0.0/16", 2));
  const hosts = await makeHosts(t, etcd, 2);
  for (const host of hosts) {
    for (const name of ["a", "b"] as const) {
      const subnetFile = join(host.directory, `${name}.env`);
      const args = [`--etcd-prefix=/${name}`, `--subnet-file=${subnetFile}`, `--healthz-port=${PORTS[name]}`];
      await readyFlanneld(t, { ...host, subnetFile }, { args });
    }
  }
  const [host] = hosts;
  const routes = () => host!.run("ip", "route", "show", "proto", "70");
  await until(
    () => /10\.5\.\S+ .*flannel\.1/.test(routes()) && /10\.6\.\S+ .*flannel\.2/.test(routes()),
    "both",
  );
  const before = routes();
  const repairs = async () => {
    const drifts = [];
    for (const port of Object.values(PORTS))
      drifts.push(JSON.parse((await askHealth(host!, port, "/drift"))!.body).counts.route ?? 0);
    return drifts;
  };
  assert.deepEqual(await repairs(), [0, 0]);
  // Each resyncs when the other one changes something.
  for (const network of [/^10\.5\.\S+/m, /^10\.6\.\S+/m]) {
    host!.run("ip", "route", "del", network.exec(before)![0]);
    await until(() => routes() === before, "the route to be repaired");
  }
  assert.deepEqual(await repairs(), [1, 1]);
});

test("F3 of two flanneld with one network the second waits, names the first, and takes over when it ends", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", configOf("10.5.0.0/16", 1));
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld: first } = await readyFlanneld(t, host!);
  const before = host!.run("ip", "-d", "link", "show", "flannel.1");
  const second = startFlanneld(t, host!, { args: [`--healthz-port=${PORTS.b}`] });
  await second.logged(
    /W.*Another flanneld runs in this network namespace; retrying: process \d+ programs network 10\.5\.0\.0\/16: stop it, or give/,
  );
  assert.match(second.log(), new RegExp(`process ${first.pid} programs`));
  const { status, body } = (await askHealth(host!, PORTS.b, "/readyz"))!;
  assert.equal(status, 503);
  assert.match(body, new RegExp(`^network: process ${first.pid} programs network 10\\.5\\.0\\.0/16`, "m"));
  await first.stop();
  await second.logged(/The other flanneld has ended; taking over its network/);
  await second.logged(/flanneld is ready/);
  assert.equal(second.log().match(/Another flanneld runs/g)!.length, 1);
  assert.equal(host!.run("ip", "-d", "link", "show", "flannel.1"), before, "the device was kept");
});

test("F3 another network with the same device waits as well", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/a/config", configOf("10.5.0.0/16", 1));
  await etcd.ctl("put", "/b/config", configOf("10.6.0.0/16", 1));
  const [host] = await makeHosts(t, etcd, 1);
  await readyFlanneld(t, host!, { args: ["--etcd-prefix=/a"] });
  const second = startFlanneld(t, host!, { args: ["--etcd-prefix=/b"] });
  await second.logged(/process \d+ programs device flannel\.1: .*a VNI and a --subnet-file of its own/);
});

test("F3 a network inside that of another flanneld, or around it, waits as well, and takes no route", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/a/config", configOf("10.5.0.0/16", 1));
  await etcd.ctl("put", "/b/config", configOf("10.5.128.0/17", 2));
  await etcd.ctl("put", "/c/config", configOf("10.0.0.0/8", 3));
  const peer = `{"PublicIP":"192.168.7.9","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:09"}}`;
  await etcd.ctl("put", "/a/subnets/10.5.200.0-24", peer);
  const [host] = await makeHosts(t, etcd, 1);
  const { flanneld: first } = await readyFlanneld(t, host!, {
    args: ["--etcd-prefix=/a", `--healthz-port=${PORTS.a}`],
  });
  for (const prefix of ["/b", "/c"]) {
    const file = `${host!.subnetFile}${prefix.replace("/", ".")}`;
    const second = startFlanneld(t, host!, { args: [`--etcd-prefix=${prefix}`, `--subnet-file=${file}`] });
    await second.logged(
      new RegExp(`process ${first.pid} programs network 10\\.5\\.0\\.0/16, which overlaps 10\\..*: stop it`),
    );
    await second.stop();
  }
  assert.match(host!.run("ip", "route"), /10\.5\.200\.0\/24 via 10\.5\.200\.0 dev flannel\.1/);
  assert.doesNotMatch(first.log(), /repaired/);
});

test("F3 a name that an unprivileged process holds keeps no flanneld from working", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", "/coreos.com/network/config", configOf("10.5.0.0/16", 1));
  const [host] = await makeHosts(t, etcd, 1);
  const script =
    'require("net").createServer().listen("\\0flanneld/network/10.5.0.0/16", () => console.log("listening"))';
  const squatter = spawn(
    "nsenter",
    [`--net=${host!.path}`, "setpriv", "--reuid=65534", process.execPath, "-e", script],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  t.after(() => squatter.kill());
  await once(squatter.stdout!, "data");
  const { flanneld } = await readyFlanneld(t, host!);
  assert.match(
    flanneld.log(),
    /W.*Ignoring the abstract socket "@flanneld\/network\/10\.5\.0\.0\/16" of user 65534/,
  );
});

test("F3 routes of the network that an earlier run had are removed, others stay", async (t) => {
  await using etcd = await startEtcd();
  const [host, peer] = await makeHosts(t, etcd, 2);
  const routes = () => host!.run("ip", "route", "show", "proto", "70");
  await etcd.ctl("put", "/coreos.com/network/config", configOf("10.6.0.0/16", 1));
  const { flanneld } = await readyFlanneld(t, host!);
  await readyFlanneld(t, peer!);
  await until(() => routes().includes("10.6."), "the route to the peer");
  await flanneld.stop();
  host!.run("ip", "route", "add", "10.99.1.0/24", "via", "192.168.7.254", "proto", "70");
  await etcd.ctl("put", "/next/config", configOf("10.5.0.0/16", 1));
  const next = await readyFlanneld(t, host!, { args: ["--etcd-prefix=/next"] });
  await next.flanneld.until(() => !routes().includes("10.6."), "the former network's routes to go");
  assert.match(routes(), /10\.99\.1\.0\/24/);
  host!.run("ip", "route", "add", "10.6.77.0/24", "via", "192.168.7.254", "proto", "70");
  host!.run("ip", "link", "set", "flannel.1", "mtu", "1300");
  await until(() => /mtu 1450/.test(host!.run("ip", "link", "show", "flannel.1")), "a resync");
  assert.match(routes(), /10\.6\.77\.0\/24/, "no longer owned");
});
