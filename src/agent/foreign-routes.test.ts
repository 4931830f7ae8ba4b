import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import { monitor } from "../netlink/monitor.ts";
import { type RouteSpec, RTN_BLACKHOLE, RTN_PROHIBIT, RTPROT_STATIC } from "../netlink/route.ts";
import { RTPROT_FLANNEL } from "../state/objects.ts";
import { FakeHost } from "../testing/fake-host.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import { ForeignRoutes } from "./foreign-routes.ts";

/** A running host in 10.5.1.0/24 with the peer 10.5.2.0/24; flanneld has a route to `planned`. */
async function start(planned: readonly string[] = ["10.5.2.0/24"]) {
  const host = new FakeHost();
  const timers = new FakeTimers();
  const log: string[] = [];
  const note = (message: string) => void log.push(message);
  for (const [index, name] of [
    [2, "eth0"],
    [3, "flannel.1"],
    [4, "br0"],
  ] as const) {
    host.setLink(index, { name, up: true });
  }
  const routes = new ForeignRoutes({
    rtnetlink: host.rtnetlink,
    input: () => ({
      network: parseNetworkConfig('{"Network":"10.5.0.0/16"}'),
      own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined },
      peers: [{ ipv4: parsePrefix("10.5.2.0/24"), ipv6: undefined }],
      devices: new Set(["flannel.1"]),
      isPlanned: (destination) => planned.includes(destination),
      externalInterface: "eth0",
    }),
    logger: { info: note, warn: note, error: note, debug: note },
    timers,
  });
  void (async () => {
    for await (const notices of monitor(host.openNotifications(), { ignorePortId: 1 }))
      routes.observe(notices);
  })();
  routes.check();
  await timers.advance(1_000);
  return { host, timers, routes, log };
}

const captures = (route: string) =>
  `Foreign route ${route} captures traffic to peer subnet 10.5.2.0/24; delete it (ip route del ${route}) or choose another network`;

const CAPTURING: readonly (readonly [text: string, route: RouteSpec])[] = [
  ["blackhole 10.5.2.0/25", { destination: "10.5.2.0/25", type: RTN_BLACKHOLE }],
  ["prohibit 10.5.2.7/32", { destination: "10.5.2.7/32", type: RTN_PROHIBIT }],
  ["10.5.2.128/25 dev br0", { destination: "10.5.2.128/25", oif: 4 }],
  [
    "10.5.2.0/26 via 192.168.7.9 dev eth0",
    { destination: "10.5.2.0/26", oif: 2, gateway: "192.168.7.9", protocol: RTPROT_STATIC },
  ],
];

for (const [text, route] of CAPTURING) {
  test(`F25 a foreign route that captures a part of a peer's subnet is reported while it exists: ${text}`, async () => {
    const { host, timers, routes, log } = await start();
    assert.deepEqual(routes.notes, []);
    host.addRoute(route);
    await timers.advance(1_000);
    assert.deepEqual(routes.notes, [captures(text)]);
    host.addRoute({ destination: "10.5.200.0/24", oif: 3, protocol: RTPROT_FLANNEL });
    await timers.advance(1_000);
    assert.deepEqual(log, [captures(text)], "once");
    host.removeRoute(route.destination);
    await timers.advance(1_000);
    assert.deepEqual(routes.notes, []);
    assert.match(log[1]!, /^Foreign routes that overlap the flannel network: 1 removed, 0 left$/);
  });
}

test("F25 udp, which has one route for all peers: a foreign route to a whole peer subnet captures it", async () => {
  const { host, timers, routes } = await start(["10.5.0.0/16"]);
  host.addRoute({ destination: "10.5.2.0/24", oif: 4 });
  await timers.advance(1_000);
  assert.deepEqual(routes.notes, [captures("10.5.2.0/24 dev br0")]);
});

test("a foreign route in the place of flanneld's own is left to the reconciler", async () => {
  const { host, timers, routes } = await start();
  host.addRoute({ destination: "10.5.2.0/24", type: RTN_BLACKHOLE });
  await timers.advance(1_000);
  assert.deepEqual(routes.notes, []);
});

test("a peer that joins is checked against the existing routes", async () => {
  const { host, timers, routes } = await start();
  host.addRouteSilently({ destination: "10.5.2.0/25", oif: 4 });
  routes.schedule();
  await timers.advance(1_000);
  assert.equal(routes.notes.length, 1);
});
