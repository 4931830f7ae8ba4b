/** Random traffic through the data path, compared with the slow reference packet by packet (testing/slow-ip.ts). */

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildForwardingTable, lookUpPeer } from "../packet/forwarding-table.ts";
import { type Arrival, FakePacketIo } from "../testing/fake-packet-io.ts";
import {
  Chance,
  type Ends,
  mutate,
  RandomFlow,
  rubbish,
  superPacket,
  withVirtio,
} from "../testing/random-packets.ts";
import {
  encodeVirtio,
  flowOf,
  hop,
  isWholeIpv4,
  NO_OFFLOAD,
  segment,
  tcp,
  type Virtio,
  viewOf,
} from "../testing/slow-ip.ts";
import { createCounters, readCounters } from "./counters.ts";
import type { Forwarding } from "./forwarding.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { Incoming } from "./incoming.ts";
import { Outgoing } from "./outgoing.ts";

const OWN = 0x0a050100;
const PEERS = [1, 2, 3].map((number) => ({
  base: 0x0a050100 + (number << 8),
  length: 24,
  peer: 0xc0a80000 + number,
}));
const FORWARDING: Forwarding = {
  table: buildForwardingTable(PEERS),
  ownBase: OWN,
  ownMask: 0xffffff00,
  strictSource: true,
};

function makeDatapath(io: FakePacketIo) {
  const counters = createCounters();
  const icmp = new IcmpErrors(io, counters);
  return {
    outgoing: new Outgoing(io, counters, icmp, FORWARDING, () => {}),
    incoming: new Incoming(io, counters, icmp, FORWARDING),
    counters: () => readCounters(counters),
  };
}

/** Packets by flow, each flow in order. */
function byFlow(packets: readonly Uint8Array[]): Map<string, string[]> {
  const flows = new Map<string, string[]>();
  for (const packet of packets) {
    const flow = flowOf(packet);
    const list = flows.get(flow) ?? [];
    list.push(Buffer.from(packet).toString("latin1"));
    flows.set(flow, list);
  }
  return flows;
}

function assertSamePackets(
  actual: readonly Uint8Array[],
  expected: readonly Uint8Array[],
  what: string,
): void {
  const [got, wanted] = [byFlow(actual), byFlow(expected)];
  for (const flow of new Set([...got.keys(), ...wanted.keys()])) {
    const [a, b] = [got.get(flow) ?? [], wanted.get(flow) ?? []];
    const at = b.findIndex((packet, index) => packet !== a[index]);
    if (a.length === b.length && at < 0) continue;
    const hex = (text: string | undefined) => text && Buffer.from(text, "latin1").toString("hex");
    assert.fail(
      `${what}: flow ${flow}: ${a.length} packets, expected ${b.length}, first difference at ${at}:\n got      ${hex(a[at])}\n expected ${hex(b[at])}`,
    );
  }
}

/** Errors that the data path itself sent (source: the tunnel's own address). */
const isOwnIcmp = (packet: Uint8Array): boolean => packet[9] === 1 && viewOf(packet).getUint32(12) === OWN;

/** As the kernel: consecutive datagrams of one sender and one size may come as one, the last of them shorter. */
function arrivalsOf(chance: Chance, datagrams: readonly { sender: number; bytes: Uint8Array }[]): Arrival[] {
  const arrivals: Arrival[] = [];
  for (let first = 0; first < datagrams.length; ) {
    const { sender, bytes } = datagrams[first]!;
    const parts = [bytes];
    let total = bytes.length;
    let end = first + 1;
    for (; end < datagrams.length && parts.at(-1)!.length === bytes.length && bytes.length > 0; end++) {
      const next = datagrams[end]!;
      const fits = next.sender === sender && next.bytes.length <= bytes.length && next.bytes.length > 0;
      if (!fits || total + next.bytes.length > 65507 || parts.length === 64 || chance.oneIn(30)) break;
      parts.push(next.bytes);
      total += next.bytes.length;
    }
    const whole = new Uint8Array(total);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    arrivals.push({ sender, datagramBytes: bytes.length, bytes: whole });
    first = end;
  }
  return arrivals;
}

const peerEnds = (chance: Chance): { readonly ends: Ends; readonly sender: number } => {
  const { base, peer } = chance.pick(PEERS);
  return {
    sender: chance.oneIn(60) ? chance.pick([peer ^ 3, 0x01020304]) : peer,
    ends: {
      source: chance.oneIn(60) ? OWN + 7 : base + chance.below(3),
      destination: chance.oneIn(60) ? 0x0a060101 : OWN + chance.below(3),
    },
  };
};

/** One round of packets from peers; how many were passed on, and in how many writes. */
function receiveRound(chance: Chance, offloads: boolean, mostBytes: number): readonly [number, number] {
  const io = new FakePacketIo({ offloads });
  const { incoming, counters } = makeDatapath(io);
  const flows = Array.from({ length: 1 + chance.below(20) }, () => {
    const { ends, sender } = peerEnds(chance);
    return { flow: new RandomFlow(chance, ends, mostBytes), sender, ends };
  });
  const datagrams: { sender: number; bytes: Uint8Array }[] = [];
  while (datagrams.length < 400) {
    const { flow, sender, ends } = chance.pick(flows);
    for (let burst = chance.below(20); burst >= 0; burst--) {
      const bytes = chance.oneIn(50) ? rubbish(chance, ends) : flow.next();
      datagrams.push({ sender, bytes });
    }
  }
  io.arrivals.push(...arrivalsOf(chance, datagrams));
  while (io.arrivals.length > 0) assert.equal(incoming.turn(), 0);

  const expected = datagrams.flatMap(({ sender, bytes }) => {
    if (!isWholeIpv4(bytes)) return [];
    const view = viewOf(bytes);
    const isTrusted = lookUpPeer(FORWARDING.table, view.getUint32(12)) === sender;
    const isOurs = (view.getUint32(16) & 0xffffff00) >>> 0 === OWN;
    return isTrusted && isOurs ? (hop(bytes) ?? []) : [];
  });
  const received = io.written.flatMap(({ bytes, virtio }) => segment(bytes, virtio));
  assertSamePackets(received, expected, `received, offloads ${offloads}`);
  assertSamePackets(
    io.sent.map(({ bytes }) => bytes).filter((bytes) => !isOwnIcmp(bytes)),
    [],
    "sent back",
  );
  const values = counters();
  assert.equal(values.receivedPackets, expected.length);
  assert.equal(values.tunWrites, io.written.length);
  const dropped = values.droppedMalformed + values.droppedNotIpv4 + values.droppedTtl;
  const refused = values.droppedStranger + values.droppedSpoofed + values.droppedMisdirected;
  assert.equal(values.receivedPackets + dropped + refused, datagrams.length);
  return [expected.length, io.written.length];
}

/** One round of packets from the TUN device; how many were sent, and in how many messages. */
function sendRound(chance: Chance, offloads: boolean): readonly [number, number] {
  const io = new FakePacketIo({ offloads, pathMtuBytes: 9000 });
  const { outgoing, counters } = makeDatapath(io);
  const reads: { packet: Uint8Array; virtio: Virtio }[] = [];
  const flows = Array.from({ length: 1 + chance.below(8) }, () => {
    const ends = {
      source: OWN + 2,
      destination: chance.oneIn(10) ? 0x0a06_0101 : chance.pick(PEERS).base + 9,
    };
    return { ends, flow: new RandomFlow(chance, ends, 200) };
  });
  while (reads.length < 150) {
    const { ends, flow } = chance.pick(flows);
    if (offloads && chance.oneIn(6)) reads.push(superPacket(chance, ends));
    else if (chance.oneIn(30)) reads.push({ packet: rubbish(chance, ends), virtio: NO_OFFLOAD });
    else reads.push({ packet: flow.next(), virtio: NO_OFFLOAD });
  }
  for (const read of reads) io.tunReads.push(offloads ? withVirtio(read.virtio, read.packet) : read.packet);
  while (io.tunReads.length > 0) outgoing.turn();

  const expected = reads.flatMap(({ packet, virtio }) => {
    if (!isWholeIpv4(packet)) return [];
    const peer = lookUpPeer(FORWARDING.table, viewOf(packet).getUint32(16));
    const next = peer === 0 ? undefined : hop(packet);
    return next === undefined ? [] : segment(next, virtio).map((bytes) => ({ peer, bytes }));
  });
  for (const { peer } of [...PEERS, { peer: 0 }]) {
    const bytesTo = (list: readonly { peer: number; bytes: Uint8Array }[]) =>
      list.filter((each) => each.peer === peer).map(({ bytes }) => bytes);
    assertSamePackets(bytesTo(io.sent), bytesTo(expected), `sent, offloads ${offloads}`);
  }
  assert.deepEqual(io.written, []);
  assert.equal(counters().sentPackets, expected.length);
  return [expected.length, io.messages];
}

/** How many went with each on average. */
function ratioOf(rounds: number, run: () => readonly [number, number]): number {
  let [packets, units] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    const [morePackets, moreUnits] = run();
    packets += morePackets;
    units += moreUnits;
  }
  return packets / units;
}

test("packets from peers leave as in the slow reference, joined and split again", () => {
  const chance = new Chance(1);
  const ratio = ratioOf(200, () => receiveRound(chance, true, chance.oneIn(3) ? 1440 : 60));
  assert.ok(ratio > 1.3, `${ratio} packets a write`);
  assert.equal(
    ratioOf(20, () => receiveRound(chance, false, 60)),
    1,
  );
});

test("packets from the TUN device leave as in the slow reference, super-packets split", () => {
  const chance = new Chance(2);
  const ratio = ratioOf(200, () => sendRound(chance, true));
  assert.ok(ratio > 3, `${ratio} packets a message`);
  assert.equal(
    ratioOf(20, () => sendRound(chance, false)),
    1,
  );
});

test("super-packets of 64 KB, far more than fit at once, in two and in a thousand segments", () => {
  const chance = new Chance(4);
  const io = new FakePacketIo({ pathMtuBytes: 40_000 });
  const { outgoing } = makeDatapath(io);
  const fields = { source: OWN + 2, destination: PEERS[0]!.base + 2, ports: 7 };
  const reads = Array.from({ length: 40 }, (_, index) => ({
    packet: tcp(
      { ...fields, id: index * 1000, sequence: index << 16 },
      chance.bytes(60_000 + chance.below(5_000)),
    ),
    virtio: {
      needsChecksum: true,
      type: "tcp",
      segmentBytes: chance.pick([48, 1400, 1448, 33_000]),
      checksumStart: 20,
      checksumOffset: 16,
    } as const,
  }));
  for (const { packet, virtio } of reads) io.tunReads.push(withVirtio(virtio, packet));
  while (io.tunReads.length > 0) outgoing.turn();
  const expected = reads.flatMap(({ packet, virtio }) => segment(hop(packet)!, virtio));
  assertSamePackets(
    io.sent.map(({ bytes }) => bytes),
    expected,
    "sent",
  );
});

test("a million random and mutated packets: no exception, no invalid packet forwarded, memory flat", () => {
  const chance = new Chance(3);
  const io = new FakePacketIo();
  const { outgoing, incoming, counters } = makeDatapath(io);
  const seeds = Array.from({ length: 200 }, () => {
    const { ends, sender } = peerEnds(chance);
    const flow = new RandomFlow(chance, ends, 40);
    return { ends, sender, bytes: chance.oneIn(10) ? rubbish(chance, ends) : flow.next() };
  });
  const swapped = (bytes: Uint8Array): Uint8Array => {
    const copy = bytes.slice();
    if (copy.length >= 20) {
      copy.set(bytes.subarray(12, 16), 16);
      copy.set(bytes.subarray(16, 20), 12);
    }
    return copy;
  };
  const outward = seeds.map(({ bytes }) => swapped(bytes));
  let passed = 0;
  let total = 0;
  let heapAfterWarmUp = 0;
  while (total < 1_000_000) {
    for (let count = 0; count < 500; count++) {
      const { bytes, sender } = chance.pick(seeds);
      const datagram = mutate(chance, bytes);
      io.arrivals.push({ sender, datagramBytes: datagram.length, bytes: datagram });
      const packet = mutate(chance, chance.pick(outward));
      const virtio = chance.oneIn(3) ? chance.bytes(10) : encodeVirtio(NO_OFFLOAD);
      if (chance.oneIn(4)) virtio[1] = chance.pick([1, 5, 0x81]);
      const read = new Uint8Array(10 + packet.length);
      read.set(virtio);
      read.set(packet, 10);
      io.tunReads.push(read);
    }
    total += 1000;
    while (io.arrivals.length > 0) incoming.turn();
    while (io.tunReads.length > 0) outgoing.turn();
    for (const { bytes } of io.written) {
      assert.ok(isWholeIpv4(bytes));
      const view = viewOf(bytes);
      assert.notEqual(lookUpPeer(FORWARDING.table, view.getUint32(12)), 0, "from a stranger");
      assert.equal((view.getUint32(16) & 0xffffff00) >>> 0, OWN, "for another host");
    }
    for (const { bytes } of io.sent) assert.ok(isWholeIpv4(bytes));
    passed += io.written.length + io.sent.length;
    for (const bytes of io.own) assert.ok(isWholeIpv4(bytes) && isOwnIcmp(bytes));
    io.own.length = 0;
    io.written.length = 0;
    io.sent.length = 0;
    if (total === 200_000) heapAfterWarmUp = process.memoryUsage().heapTotal;
  }
  assert.ok(passed > 100_000, `only ${passed} packets passed`);
  assert.ok(process.memoryUsage().heapTotal < heapAfterWarmUp + 64 * 1024 * 1024, "memory grows");
  const values = counters();
  for (const reason of ["droppedMalformed", "droppedNotIpv4", "droppedNoRoute", "droppedTtl"] as const)
    assert.ok(values[reason] > 0, reason);
  for (const reason of ["droppedStranger", "droppedSpoofed", "droppedMisdirected"] as const)
    assert.ok(values[reason] > 0, reason);
});
