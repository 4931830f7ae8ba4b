import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { formatIp, type Ip, parseIp } from "../address/ip.ts";
import { ConfigError, FlannelError } from "../base/error.ts";
import { silentLogger } from "../base/logger.ts";
import { newAddress } from "../netlink/address.ts";
import { setLink } from "../netlink/link.ts";
import { newFdbEntry, newNeighbour } from "../netlink/neighbour.ts";
import { newRoute } from "../netlink/route.ts";
import { FakeHost } from "../testing/fake-host.ts";
import { FakeTimers } from "../testing/fake-timers.ts";
import type { ExternalInterface } from "./external-interface.ts";
import { HostWatch } from "./host-watch.ts";
import { NextHops } from "./next-hops.ts";

const PEER = parseIp("192.168.8.2")!;
const OWN_PORT_ID = 4711;
const ENOBUFS = 105; // asm-generic/errno.h

function interfaceAt(address: string): ExternalInterface {
  const ip = parseIp(address);
  return {
    ...{ name: "eth0", index: 2, mtuBytes: 1500 },
    ...{ ipv4: ip, ipv6: undefined, publicIp: ip, publicIpv6: undefined },
  };
}

/** A watch on a host with one interface, and a peer behind its router, until the test ends. */
async function start(
  t: TestContext,
  { reach, sourceFailures = [] }: { readonly reach?: Ip; readonly sourceFailures?: FlannelError[] } = {},
) {
  const host = new FakeHost();
  host.setLink(2, { name: "eth0", mtuBytes: 1500, up: true });
  host.addAddress({ ifindex: 2, prefix: "192.168.7.1/24" });
  host.addRoute({ destination: "0.0.0.0/0", oif: 2, gateway: "192.168.7.254" });
  const timers = new FakeTimers();
  const nextHops = new NextHops(host.rtnetlink);
  nextHops.lookup(PEER);
  const world: { choice: () => ExternalInterface; peers: Ip[] } = {
    choice: () => interfaceAt("192.168.7.1"),
    peers: [PEER],
  };
  const events: string[] = [];
  const log: string[] = [];
  const counts = { choices: 0, opened: 0 };
  const watch = new HostWatch(
    {
      openNotifications() {
        counts.opened++;
        const failure = sourceFailures.shift();
        if (failure !== undefined) throw failure;
        return host.openNotifications();
      },
      ownPortId: OWN_PORT_ID,
      reach,
      choose() {
        counts.choices++;
        return world.choice();
      },
      onInterface: ({ ipv4 }) => events.push(`interface ${formatIp(ipv4!)}`),
      isPresent: () => true,
      onHostChange: () => {},
      onNotices: () => {},
      nextHops,
      peerAddresses: () => world.peers,
      onNextHops: () => events.push("next hops"),
      onProblem: (problem) => events.push(`problem ${problem}`),
      logger: {
        ...silentLogger,
        info: (message) => log.push(`I ${message}`),
        warn: (message) => log.push(`W ${message}`),
      },
      timers,
    },
    interfaceAt("192.168.7.1"),
  );
  const stop = new AbortController();
  const running = watch.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await running;
  });
  await timers.advance(100);
  return { host, timers, nextHops, world, events, log, counts, stop, running };
}

test("the interface is chosen again once the watch has begun: changes before it were not notified", async (t) => {
  const { counts, events } = await start(t);
  assert.equal(counts.choices, 1);
  assert.deepEqual(events, [], "nothing changed");
});

test("W45 a changed choice is reported once", async (t) => {
  const { host, timers, world, events } = await start(t);
  world.choice = () => interfaceAt("192.168.7.51");
  host.addAddress({ ifindex: 2, prefix: "192.168.7.51/24" });
  await timers.advance(100);
  host.overrun();
  await timers.advance(100);
  assert.deepEqual(events, ["interface 192.168.7.51"]);
});

test("a burst of notices costs one choice", async (t) => {
  const { host, timers, counts } = await start(t);
  const before = counts.choices;
  for (let number = 10; number < 20; number++) {
    host.addAddress({ ifindex: 2, prefix: `192.168.7.${number}/24` });
    await timers.advance(0);
  }
  await timers.advance(100);
  assert.equal(counts.choices, before + 1);
});

const NOTICES = [
  { title: "a link", request: setLink(2, { name: "eth0", up: false }), isChoice: true },
  { title: "an address", request: newAddress({ ifindex: 2, prefix: "192.168.7.9/24" }), isChoice: true },
  { title: "a default route", request: newRoute({ destination: "0.0.0.0/0", oif: 2 }), isChoice: true },
  { title: "another route", request: newRoute({ destination: "10.9.0.0/16", oif: 2 }), isChoice: false },
  {
    title: "a neighbour",
    request: newNeighbour({ ifindex: 2, address: "192.168.7.9", mac: "02:00:00:00:00:09" }),
    isChoice: false,
  },
  {
    title: "an FDB entry",
    request: newFdbEntry({ ifindex: 2, destination: "192.168.7.9", mac: "02:00:00:00:00:09" }),
    isChoice: false,
  },
] as const;

for (const { title, request, isChoice } of NOTICES) {
  test(`a notice of ${title} ${isChoice ? "causes" : "does not cause"} a choice`, async (t) => {
    const { host, timers, counts } = await start(t);
    const before = counts.choices;
    host.notify([request]);
    await timers.advance(100);
    assert.equal(counts.choices - before, isChoice ? 1 : 0);
  });
}

test("with --iface-can-reach a route to that address causes a choice", async (t) => {
  const { host, timers, counts } = await start(t, { reach: parseIp("10.9.0.1")! });
  const before = counts.choices;
  host.addRoute({ destination: "10.8.0.0/16", oif: 2, gateway: "192.168.7.254" });
  await timers.advance(100);
  assert.equal(counts.choices, before);
  host.addRoute({ destination: "10.9.0.0/16", oif: 2, gateway: "192.168.7.254" });
  await timers.advance(100);
  assert.equal(counts.choices, before + 1);
});

test("changes made through our own connection are ignored", async (t) => {
  const { host, timers, counts } = await start(t);
  const before = counts.choices;
  host.notify([setLink(2, { name: "eth0", up: true })], OWN_PORT_ID);
  await timers.advance(100);
  assert.equal(counts.choices, before);
});

test("without a usable interface the previous one stays, is logged once, and is applied again", async (t) => {
  const { host, timers, world, events, log } = await start(t);
  world.choice = () => {
    throw new ConfigError("no usable external interface");
  };
  for (const up of [false, true]) {
    host.setLink(2, { name: "eth0", up });
    await timers.advance(2_000);
  }
  assert.deepEqual(events, ["problem no usable external interface"]);
  assert.deepEqual(log, ["W Keeping the previous external interface: no usable external interface"]);
  world.choice = () => interfaceAt("192.168.7.1");
  host.setLink(2, { name: "eth0", up: true });
  await timers.advance(100);
  assert.deepEqual(events.slice(1), ["interface 192.168.7.1", "problem undefined"]);
  assert.equal(log.at(-1), "I External interface is usable again");
});

test("a kernel that fails to answer is asked again without a notice", async (t) => {
  const { host, timers, world, events, counts } = await start(t);
  world.choice = () => {
    throw new FlannelError("ENOBUFS", "RTM_GETLINK: ENOBUFS");
  };
  host.setLink(2, { name: "eth0", up: true });
  await timers.advance(100);
  assert.deepEqual(events, ["problem RTM_GETLINK: ENOBUFS"]);
  const before = counts.choices;
  world.choice = () => interfaceAt("192.168.7.1");
  await timers.advance(2_000);
  assert.ok(counts.choices > before);
  assert.equal(events.at(-1), "problem undefined");
});

test("W23 W27 a changed route to a peer is reported", async (t) => {
  const { host, timers, nextHops, events } = await start(t);
  host.addRoute({ destination: "192.168.8.0/24", oif: 2, gateway: "192.168.7.253" });
  await timers.advance(100);
  assert.deepEqual(events, ["next hops"]);
  assert.deepEqual(nextHops.lookup(PEER), { device: "eth0", via: "192.168.7.253" });
});

test("next hops are refreshed each minute: changes of policy rules are not notified", async (t) => {
  const { host, timers, nextHops, events } = await start(t);
  host.addRouteSilently({ destination: "192.168.8.0/24", oif: 2, gateway: "192.168.7.253" });
  await timers.advance(1_000);
  assert.deepEqual(events, []);
  host.errno = ENOBUFS;
  await timers.advance(60_000);
  assert.deepEqual(events, [], "a refresh that fails changes nothing");
  host.errno = 0;
  await timers.advance(60_000);
  assert.deepEqual(events, ["next hops"]);
  assert.deepEqual(nextHops.lookup(PEER), { device: "eth0", via: "192.168.7.253" });
});

test("a refresh forgets addresses of former peers", async (t) => {
  const { host, timers, world, events } = await start(t);
  world.peers = [];
  await timers.advance(60_000);
  host.addRoute({ destination: "192.168.8.0/24", oif: 2, gateway: "192.168.7.253" });
  await timers.advance(100);
  assert.deepEqual(events, []);
});

test("a subscription that fails is logged and retried each second", async (t) => {
  const { host, timers, log, counts } = await start(t, {
    sourceFailures: [new FlannelError("EMFILE", "socket: EMFILE")],
  });
  assert.deepEqual(log, ["W Failed to watch the interfaces of this host; retrying: socket: EMFILE"]);
  assert.equal(counts.choices, 0);
  await timers.advance(1_000);
  assert.equal(counts.opened, 2);
  assert.equal(host.sources, 1);
  assert.equal(counts.choices, 1);
});

test("an abort closes the subscription", async (t) => {
  const { host, stop, running } = await start(t);
  assert.equal(host.sources, 1);
  stop.abort();
  await running;
  assert.equal(host.sources, 0);
});
