/**
 * flanneld's restart on the udp backend under a service manager that keeps descriptors: what comes in meanwhile waits in
 * device and socket (test/support/udp-sites.ts, test/support/service-manager.ts).
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { startEtcd } from "../support/etcd.ts";
import { readyFlanneld, startFlanneld } from "../support/flanneld.ts";
import { PingStream, ping } from "../support/ping.ts";
import { TestProcess } from "../support/process.ts";
import { ServiceManager } from "../support/service-manager.ts";
import { CONFIG_KEY, makeManaged, makeSites, type Site } from "../support/udp-sites.ts";
import { makeHosts, type TestHost } from "../support/underlay.ts";
import { until } from "../support/until.ts";

const KEPT = ["flannel-tun", "flannel-udp"];
const configWith = (backend: object) => JSON.stringify({ Network: "10.5.0.0/16", Backend: backend });

/** Starts flanneld again, which has ended. */
async function start(t: TestContext, site: Site, manager: ServiceManager, args: readonly string[] = []) {
  site.flanneld = (await readyFlanneld(t, site.host, { manager, args })).flanneld;
}

const reaches = async (from: Site, to: Site) =>
  (await ping(from.container.path, to.container.address, { count: 1 })) === 1;

const tookOver = ({ flanneld }: Site): string[] =>
  flanneld.lines.flatMap((line) => /Took over (\S+),/.exec(line)?.[1] ?? []).sort();

/** Sends a numbered line over one TCP connection every 5 ms, until ended; the receiver repeats what it got. */
const TCP_SERVER = `require("node:net").createServer((socket) => socket.on("data", (data) => process.stdout.write(data)))
  .listen(7007, () => console.log("listening"));`;
const tcpClient = (address: string) => `let number = 0;
  const socket = require("node:net").connect(7007, "${address}", () =>
    setInterval(() => socket.write("line " + ++number + "\\n"), 5));`;

test("no packet is lost over SIGTERM and SIGKILL, in either direction, and TCP continues", async (t) => {
  await using etcd = await startEtcd();
  const { a, b, manager } = await makeManaged(t, etcd);
  assert.deepEqual(manager.kept, KEPT);
  await using server = new TestProcess(process.execPath, ["-e", TCP_SERVER], { netns: b.container.path });
  await server.brings("a listener", () => server.stdout.includes("listening"));
  const program = tcpClient(b.container.address);
  await using client = new TestProcess(process.execPath, ["-e", program], { netns: a.container.path });
  const lines = () => server.stdout.match(/^line \d+$/gm)?.length ?? 0;
  const moreLines = async () => {
    const wanted = lines() + 20;
    await client.brings("more lines", () => lines() >= wanted);
  };
  await using inward = new PingStream(b.container.path, a.container.address);
  await using outward = new PingStream(a.container.path, b.container.address);
  for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM", "SIGKILL"] as const) {
    await Promise.all([inward.more(10), outward.more(10), moreLines()]);
    const { code } = await a.flanneld.stop(signal);
    if (signal === "SIGTERM") assert.equal(code, 0);
    await start(t, a, manager);
    assert.deepEqual(tookOver(a), KEPT);
  }
  await Promise.all([inward.more(10), outward.more(10), moreLines()]);
  for (const stream of [inward, outward]) {
    const { sent, lost } = await stream.stop();
    assert.deepEqual(lost, [], `of ${sent} packets`);
  }
  const numbers = [...server.stdout.matchAll(/^line (\d+)$/gm)].map((match) => Number(match[1]));
  assert.deepEqual(
    numbers,
    Array.from(numbers, (_, index) => index + 1),
  );
  const stores = manager.messages.filter((message) => message.startsWith("FDSTORE"));
  assert.equal(stores.length, 2, "what is kept already is not sent again");
});

test("descriptors kept with other settings are closed, also at the service manager, and opened anew", async (t) => {
  await using etcd = await startEtcd();
  const { a, b, manager } = await makeManaged(t, etcd);
  await a.flanneld.stop();
  await start(t, a, manager, ["--udp-offloads=false"]);
  assert.deepEqual(tookOver(a), []);
  await until(() => reaches(b, a), "a ping without offloads");
  await a.flanneld.stop();
  await start(t, a, manager);
  // A socket without offloads can have them; a device that was opened without them cannot.
  assert.deepEqual(tookOver(a), ["flannel-udp"]);
  await a.flanneld.logged(/offloads TCP.*UDP_GRO/);
  await until(() => reaches(b, a), "a ping with offloads");

  await a.flanneld.stop();
  a.host.run("ip", "link", "delete", "flannel0");
  await start(t, a, manager);
  assert.deepEqual(tookOver(a), ["flannel-udp"]);
  await until(() => reaches(b, a), "a ping through a new device");
  assert.deepEqual(manager.kept, KEPT);
});

test("a changed config: unused descriptors are not kept", async (t) => {
  await using etcd = await startEtcd();
  const { a, b, manager } = await makeManaged(t, etcd);
  const port = () => a.host.run("ss", "-Huln", "src", a.host.address).match(/:(\d+) /)?.[1];
  assert.equal(port(), "8285");
  await Promise.all([a.flanneld.stop(), b.flanneld.stop("SIGKILL")]);
  await etcd.ctl("put", CONFIG_KEY, configWith({ Type: "udp", Port: 9000 }));
  await start(t, a, manager);
  b.flanneld = (await readyFlanneld(t, b.host)).flanneld;
  assert.deepEqual([tookOver(a), manager.kept, port()], [["flannel-tun"], KEPT, "9000"]);
  await until(() => reaches(b, a), "a ping on the other port");

  await a.flanneld.stop("SIGKILL");
  await etcd.ctl("put", CONFIG_KEY, configWith({ Type: "vxlan" }));
  await start(t, a, manager);
  assert.deepEqual(tookOver(a), []);
  await until(() => manager.kept.length === 0 && port() === undefined, "the end of what vxlan does not need");
});

test("a new address while flanneld runs, a deleted device: their replacements are kept", async (t) => {
  await using etcd = await startEtcd();
  const { a, b, manager } = await makeManaged(t, etcd);
  a.host.run("ip", "address", "flush", "dev", "eth0");
  a.host.run("ip", "address", "add", "192.168.7.77/24", "dev", "eth0");
  a.host.run("ip", "route", "add", "default", "via", "192.168.7.254");
  await until(() => a.host.run("ss", "-Huln").includes("192.168.7.77:8285"), "a socket on the new address");
  await until(() => reaches(b, a), "a ping to the new address");
  a.host.run("ip", "link", "delete", "flannel0");
  await until(() => reaches(b, a), "a ping through the new device");
  await a.flanneld.stop("SIGKILL");
  await start(t, a, manager);
  assert.deepEqual(tookOver(a), KEPT);
});

test("without a lease device and socket are open, and flanneld stops at once", async (t) => {
  await using etcd = await startEtcd();
  await etcd.ctl("put", CONFIG_KEY, '{"Network":"10.5.0.0/22","Backend":{"Type":"udp"}}');
  for (const third of [0, 1, 2, 3]) {
    const lease = JSON.stringify({ PublicIP: `192.168.7.${100 + third}`, PublicIPv6: null });
    await etcd.ctl("put", `/coreos.com/network/subnets/10.5.${third}.0-24`, lease);
  }
  const [host] = (await makeHosts(t, etcd, 1)) as [TestHost];
  using manager = new ServiceManager(join(host.directory, "notify"));
  for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
    const flanneld = startFlanneld(t, host, { manager });
    await flanneld.logged(/Failed to acquire lease/);
    assert.deepEqual(manager.kept, KEPT);
    const { code, tookMs } = await flanneld.stop(signal);
    assert.equal(code, signal === "SIGTERM" ? 0 : null);
    assert.ok(tookMs < 700, `${tookMs} ms`);
  }
  await etcd.ctl("del", "/coreos.com/network/subnets/10.5.2.0-24");
  await readyFlanneld(t, host, { manager });
});

test("a service manager without its socket: everything works, the loss at a restart is reported", async (t) => {
  await using etcd = await startEtcd();
  const env = { NOTIFY_SOCKET: "/nonexistent/notify" };
  const [a] = await makeSites(t, etcd, () => ({ env }));
  const warnings = a.flanneld.lines.filter((line) => /Failed to store descriptors/.test(line));
  assert.equal(warnings.length, 1);
});
