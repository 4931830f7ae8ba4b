/**
 * Foreign routes and devices that get in the way of ours, as they do in the field. The bed is that of the reconciler
 * (reconciler-bed.ts): one host, eth0 192.168.7.1, peers 10.5.N.0/24 at 192.168.7.N.
 */

import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { test } from "node:test";
import { parseIp } from "../../src/address/ip.ts";
import { withNetns } from "../../src/linux/netns.ts";
import { openUdp } from "../../src/linux/udp-socket.ts";
import { type Bed, freshBed, peer } from "./reconciler-bed.ts";
import { waitFor } from "./support.ts";

const PEERS = [peer(2), peer(3), peer(4)];

const shell = (bed: Bed, command: string): string => bed.run("bash", "-c", command);

const FOREIGN_ROUTES: readonly (readonly [title: string, route: string])[] = [
  ["a blackhole", "blackhole 10.5.3.0/24"],
  ["a prohibit route", "prohibit 10.5.3.0/24"],
  ["a route through a bridge", "10.5.3.0/24 dev br7"],
  ["a route through a router, of a routing daemon", "10.5.3.0/24 via 192.168.7.203 proto bird"],
  ["a route through a router, without a mark", "10.5.3.0/24 via 192.168.7.203"],
  ["a route through our own device", "10.5.3.0/24 dev flannel.1"],
];

for (const [title, route] of FOREIGN_ROUTES) {
  test(`F25 what replaces our route is drift: ${title}`, async (t) => {
    const bed = freshBed(t);
    shell(bed, "ip link add br7 type bridge && ip link set br7 up");
    await using run = bed.start();
    run.hold(PEERS);
    await bed.holds(PEERS);
    await run.converged();
    shell(bed, `ip route replace ${route}`);
    await bed.holds(PEERS);
    await run.converged();
    assert.equal(bed.run("ip", "route", "show", "10.5.3.0/24").trim().split("\n").length, 1);
    assert.ok(run.reconciler.status.repairs > 0);
  });
}

test("F25 a route that is replaced again and again is repaired each time, and reported", async (t) => {
  const bed = freshBed(t);
  await using run = bed.start();
  run.hold(PEERS);
  await bed.holds(PEERS);
  for (let round = 0; round < 4; round++) {
    await run.converged();
    shell(bed, "ip route replace blackhole 10.5.3.0/24");
    await bed.holds(PEERS);
  }
  assert.ok(
    run.log.some((line) => /E Something keeps replacing route 10\.5\.3\.0\/24/.test(line)),
    run.log.join("\n"),
  );
});

test("F25 a foreign route that was there first stays, and is reported with its device", async (t) => {
  const bed = freshBed(t);
  shell(bed, "ip link add cni0 type bridge && ip link set cni0 up && ip address add 10.5.3.1/24 dev cni0");
  await using run = bed.start();
  run.hold(PEERS);
  const problem = () => run.reconciler.status.problems.join("\n");
  await waitFor("the problem", () => /10\.5\.3\.0\/24/.test(problem()));
  assert.match(
    problem(),
    /through device cni0;.*bridge cni0 has an address of that subnet: 'ip link delete cni0'/,
  );
  assert.match(bed.run("ip", "route", "show", "10.5.3.0/24"), /dev cni0/);
  shell(bed, "ip link delete cni0");
  await bed.holds(PEERS);
});

test("F18 a foreign VXLAN device that holds our UDP port is named", async (t) => {
  const bed = freshBed(t);
  shell(bed, "ip link add cilium_vxlan type vxlan external dstport 8472 && ip link set cilium_vxlan up");
  await using run = bed.start();
  run.hold(PEERS);
  const problem = () => run.reconciler.status.problems.join("\n");
  await waitFor("the problem", () => /device flannel\.1/.test(problem()));
  assert.match(problem(), /device cilium_vxlan holds UDP port 8472 .*choose another VNI or Port/);
  shell(bed, "ip link delete cilium_vxlan");
  await bed.holds(PEERS);
});

test("F18 a program that holds our UDP port: the message says how to find it", async (t) => {
  const bed = freshBed(t);
  const { fd } = withNetns(bed.path, () => openUdp(parseIp("192.168.7.1")!, 8472, false));
  t.after(() => closeSync(fd));
  await using run = bed.start();
  run.hold(PEERS);
  const problem = () => run.reconciler.status.problems.join("\n");
  await waitFor("the problem", () => /device flannel\.1/.test(problem()));
  assert.match(problem(), /another program has UDP port 8472 open \(see 'ss -lunp sport = 8472'\)/);
});
