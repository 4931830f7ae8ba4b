/** Packets that cannot be forwarded: ICMP errors, limits, refusals of the kernel. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildForwardingTable } from "../packet/forwarding-table.ts";
import { FakePacketIo, type FakePacketIoOptions } from "../testing/fake-packet-io.ts";
import { withVirtio } from "../testing/random-packets.ts";
import {
  checksum,
  hop,
  ipv4,
  isWholeIpv4,
  NO_OFFLOAD,
  segment,
  tcp,
  udp,
  type Virtio,
  viewOf,
} from "../testing/slow-ip.ts";
import { createCounters, readCounters } from "./counters.ts";
import type { Forwarding } from "./forwarding.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { Incoming } from "./incoming.ts";
import { Outgoing } from "./outgoing.ts";

const EIO = 5;
const EINVAL = 22;
const OWN = 0x0a050100;
const THEIRS = 0x0a050200;
const PEER = 0xc0a80002;
const STRANGER = 0xc0a80009;
const FORWARDING: Forwarding = {
  table: buildForwardingTable([{ base: THEIRS, length: 24, peer: PEER }]),
  ownBase: OWN,
  ownMask: 0xffffff00,
  strictSource: true,
};
const OUT = { source: OWN + 2, destination: THEIRS + 2 };
const BACK = { source: THEIRS + 2, destination: OWN + 2 };
const NOWHERE = { source: OWN + 2, destination: 0x0a050302 };
const PAYLOAD = new Uint8Array(30).fill(7);
const ECHO = Uint8Array.of(8, 0, 0, 0, 0, 1, 0, 1, 5, 5, 5);

function make(options: FakePacketIoOptions & { strictSource?: boolean } = {}) {
  const io = new FakePacketIo(options);
  const counters = createCounters();
  const icmp = new IcmpErrors(io, counters);
  const forwarding = { ...FORWARDING, strictSource: options.strictSource ?? true };
  let refusals = 0;
  const outgoing = new Outgoing(io, counters, icmp, forwarding, () => refusals++);
  const incoming = new Incoming(io, counters, icmp, forwarding);
  return {
    io,
    get refusals() {
      return refusals;
    },
    /** The counters that are not zero. */
    get counters() {
      return Object.fromEntries(Object.entries(readCounters(counters)).filter(([, value]) => value > 0));
    },
    send(packet: Uint8Array, virtio: Virtio = NO_OFFLOAD) {
      io.tunReads.push(io.hasVirtioHeader ? withVirtio(virtio, packet) : packet);
      return outgoing.turn();
    },
    receive(bytes: Uint8Array, sender = PEER) {
      io.arrivals.push({ sender, datagramBytes: bytes.length, bytes });
      return incoming.turn();
    },
  };
}

/** Asserts that it is this ICMP error, whole, from the tunnel's address, about `about`. */
function assertIcmp(packet: Uint8Array | undefined, type: number, code: number, about: Uint8Array): void {
  assert.ok(packet !== undefined, "no ICMP error");
  assert.ok(isWholeIpv4(packet));
  const view = viewOf(packet);
  assert.equal(packet[9], 1);
  assert.equal(view.getUint32(12), OWN, "from the tunnel's own address");
  assert.equal(view.getUint32(16), viewOf(about).getUint32(12), "to the sender");
  assert.equal(checksum(packet.subarray(20)), 0);
  assert.deepEqual([packet[20], packet[21]], [type, code]);
  const quoted = packet.subarray(28);
  assert.ok(quoted.length >= 28);
  assert.deepEqual(quoted, about.subarray(0, quoted.length));
}

test("a packet without a route is dropped, and the sender gets network unreachable", () => {
  for (const offloads of [true, false]) {
    const path = make({ offloads });
    const packet = udp({ ...NOWHERE, ports: 5 }, PAYLOAD);
    path.send(packet);
    assertIcmp(path.io.own[0], 3, 0, packet);
    assert.deepEqual(path.io.sent, []);
    assert.deepEqual(path.counters, { droppedNoRoute: 1, icmpErrors: 1 });
  }
});

test("no error for ICMP, later fragments, or addresses that are no single host", () => {
  const silent = [
    ipv4({ ...NOWHERE, protocol: 1 }, ECHO),
    ipv4({ ...NOWHERE, protocol: 17, fragment: 5 }, PAYLOAD),
    udp({ ...NOWHERE, source: 0, ports: 5 }, PAYLOAD),
    udp({ ...NOWHERE, source: 0x7f000001, ports: 5 }, PAYLOAD),
    udp({ ...NOWHERE, destination: 0xe0000001, ports: 5 }, PAYLOAD),
    udp({ ...NOWHERE, destination: 0xffffffff, ports: 5 }, PAYLOAD),
    ipv4({ ...OUT, protocol: 1, ttl: 1 }, Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0)),
    ipv4({ ...OUT, protocol: 1, ttl: 1 }, Uint8Array.of(11, 0, 0)),
    ipv4({ ...OUT, protocol: 1, ttl: 1, fragment: 9 }, ECHO),
  ];
  const path = make();
  for (const packet of silent) path.send(packet);
  assert.deepEqual(path.io.own, []);
  assert.deepEqual(path.io.sent, []);
  assert.deepEqual(path.counters, { droppedNoRoute: 6, droppedTtl: 3 });
});

test("the TTL expires on the way out: the container gets time exceeded, also for an echo request", () => {
  for (const packet of [
    udp({ ...OUT, ttl: 1, ports: 5 }, PAYLOAD),
    ipv4({ ...OUT, protocol: 1, ttl: 1 }, ECHO),
  ]) {
    const path = make();
    path.send(packet);
    assertIcmp(path.io.own[0], 11, 0, packet);
    assert.deepEqual(path.io.sent, []);
  }
});

test("the TTL expires on the way in: the peer gets time exceeded, and nothing is written", () => {
  const path = make();
  const packet = tcp({ ...BACK, ttl: 1, ports: 5, sequence: 1 }, PAYLOAD);
  path.receive(packet);
  assert.deepEqual(path.io.written, []);
  assert.equal(path.io.sent[0]?.peer, PEER);
  assertIcmp(path.io.sent[0]?.bytes, 11, 0, packet);
  path.receive(tcp({ ...BACK, ttl: 0, ports: 5, sequence: 1 }, PAYLOAD));
  assert.deepEqual(path.counters, { droppedTtl: 2, icmpErrors: 2, receivedBatches: 2 });
});

test("the TTL goes down by one on each side", () => {
  const path = make();
  const packet = udp({ ...OUT, ports: 5 }, PAYLOAD);
  path.send(packet);
  assert.deepEqual(path.io.sent, [{ peer: PEER, bytes: hop(packet) }]);
  const reply = udp({ ...BACK, ports: 5 }, PAYLOAD);
  path.receive(reply);
  assert.deepEqual(path.io.written[0]?.bytes, hop(reply));
});

test("errors are limited: a burst of 50, then 1,000 a second", () => {
  const path = make();
  const flood = (count: number) => {
    const before = path.io.own.length;
    for (let index = 0; index < count; index++) path.send(udp({ ...NOWHERE, ports: index }, PAYLOAD));
    return path.io.own.length - before;
  };
  assert.equal(flood(500), 50);
  path.io.timeMs += 20;
  assert.equal(flood(100), 20);
  path.io.timeMs += 60_000;
  assert.equal(flood(100), 50);
  assert.equal(path.counters.icmpErrorsWithheld, 700 - 120);
});

test("larger than the path MTU: with DF the sender learns the MTU, without it the datagram is fragmented", () => {
  const path = make({ pathMtuBytes: 1000 });
  const big = new Uint8Array(1200).fill(3);
  const whole = udp({ ...OUT, ports: 5 }, big);
  path.send(whole);
  assert.deepEqual(path.io.sent, []);
  assertIcmp(path.io.own[0], 3, 4, hop(whole)!);
  assert.equal(viewOf(path.io.own[0]!).getUint16(26), 1000 - 28);
  const mayBreak = udp({ ...OUT, ports: 5, fragment: 0 }, big);
  path.send(mayBreak);
  assert.deepEqual(path.io.fragmented, [{ peer: PEER, bytes: hop(mayBreak) }]);
  assert.equal(path.counters.droppedTooBig, 1);
});

test("a message with datagrams above and below the path MTU: those that fit arrive", () => {
  const path = make({ pathMtuBytes: 1000 });
  const virtio: Virtio = {
    needsChecksum: true,
    type: "tcp",
    segmentBytes: 1100,
    checksumStart: 20,
    checksumOffset: 16,
  };
  const packet = tcp({ ...OUT, ports: 5, sequence: 100 }, new Uint8Array(2500));
  path.send(packet, virtio);
  const parts = segment(hop(packet)!, virtio);
  assert.deepEqual(
    path.io.sent.map(({ bytes }) => bytes),
    [parts[2]],
  );
  assert.equal(path.counters.droppedTooBig, 2);
  assertIcmp(path.io.own[0], 3, 4, parts[0]!);
});

for (const errno of [EIO, EINVAL])
  test(`a kernel that cannot cut messages up after all (${errno}): said once, then one by one, nothing lost`, () => {
    const path = make();
    path.io.segmentationFailure = -errno;
    const virtio: Virtio = {
      needsChecksum: true,
      type: "tcp",
      segmentBytes: 100,
      checksumStart: 20,
      checksumOffset: 16,
    };
    const packet = tcp({ ...OUT, ports: 5, sequence: 100 }, new Uint8Array(2500));
    for (const _ of [1, 2, 3]) path.send(packet, virtio);
    const parts = segment(hop(packet)!, virtio);
    assert.deepEqual(
      path.io.sent.map(({ bytes }) => bytes),
      [...parts, ...parts, ...parts],
    );
    assert.equal(path.refusals, 1);
    assert.equal(path.counters.sentPackets, 75);
  });

test("EINVAL for datagrams above the path MTU, as before Linux 6.14, is no refusal of segmentation", () => {
  const path = make({ pathMtuBytes: 1000 });
  path.io.segmentationFailure = -EINVAL;
  const virtio: Virtio = {
    needsChecksum: true,
    type: "tcp",
    segmentBytes: 1100,
    checksumStart: 20,
    checksumOffset: 16,
  };
  path.send(tcp({ ...OUT, ports: 5, sequence: 100 }, new Uint8Array(2500)), virtio);
  assert.equal(path.refusals, 0);
  assert.deepEqual([path.counters.droppedTooBig, path.counters.sentPackets], [2, 1]);
});

test("sends and writes that the kernel refuses are counted, and those after them go through", () => {
  const path = make();
  path.io.sendFailure = -113; // EHOSTUNREACH
  path.send(udp({ ...OUT, ports: 5 }, PAYLOAD));
  path.io.sendFailure = 0;
  path.send(udp({ ...OUT, ports: 6 }, PAYLOAD));
  path.io.writeFailure = -5; // EIO: the device is down
  assert.equal(path.receive(udp({ ...BACK, ports: 5 }, PAYLOAD)), -5);
  path.io.writeFailure = 0;
  path.receive(udp({ ...BACK, ports: 6 }, PAYLOAD));
  const { droppedSend, droppedWrite, sentPackets } = path.counters;
  assert.deepEqual(
    { droppedSend, droppedWrite, sentPackets },
    { droppedSend: 1, droppedWrite: 1, sentPackets: 1 },
  );
  assert.equal(path.io.written.length, 1);
});

test("dropped: unknown senders, forged sources, packets for other hosts, our own packets sent back", () => {
  const path = make();
  path.receive(udp({ ...BACK, ports: 1 }, PAYLOAD), STRANGER);
  path.receive(udp({ ...BACK, source: 0x0a050302, ports: 1 }, PAYLOAD)); // no peer's
  path.receive(udp({ ...OUT, ports: 1 }, PAYLOAD)); // a loop
  path.receive(udp({ ...BACK, destination: 0x0a050302, ports: 1 }, PAYLOAD));
  assert.deepEqual(path.io.written, []);
  assert.deepEqual(path.counters, {
    receivedBatches: 4,
    droppedStranger: 1,
    droppedSpoofed: 2,
    droppedMisdirected: 1,
  });
  const lax = make({ strictSource: false });
  lax.receive(udp({ ...BACK, ports: 1 }, PAYLOAD), STRANGER); // a peer behind NAT
  lax.receive(udp({ ...OUT, ports: 1 }, PAYLOAD)); // a loop
  assert.equal(lax.io.written.length, 1);
  assert.equal(lax.counters.droppedMisdirected, 1);
});

test("runts, zero-length datagrams, IPv6 and malformed headers", () => {
  const path = make();
  const good = udp({ ...BACK, ports: 1 }, PAYLOAD);
  const longer = Uint8Array.of(...good, 0);
  const badSum = good.slice();
  badSum[10]! ^= 1;
  for (const bytes of [new Uint8Array(), good.subarray(0, 19), good.subarray(0, 40), longer, badSum])
    path.receive(bytes);
  const shortHeader = good.slice();
  shortHeader[0] = 0x44;
  path.receive(shortHeader);
  path.receive(Uint8Array.of(0x60, ...new Uint8Array(60)));
  assert.deepEqual(path.io.written, []);
  assert.deepEqual(path.counters, { receivedBatches: 7, droppedMalformed: 6, droppedNotIpv4: 1 });
});

test("packets for this host itself have no peer, and jumbo datagrams pass whole", () => {
  const path = make();
  const packet = udp({ source: OWN + 2, destination: OWN + 3, ports: 1 }, PAYLOAD);
  path.send(packet);
  assert.deepEqual(path.io.sent, []);
  assertIcmp(path.io.own[0], 3, 0, packet);
  assert.equal(path.counters.droppedNoRoute, 1);
  const jumbo = udp({ ...BACK, ports: 1 }, new Uint8Array(65_507 - 28).fill(9));
  path.receive(jumbo);
  assert.deepEqual(path.io.written[0]?.bytes, hop(jumbo));
});
