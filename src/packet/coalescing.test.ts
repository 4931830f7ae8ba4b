/** Packets of IPv6, beside those of IPv4, joined and split again; more of IPv4 is in src/datapath/random-traffic.test.ts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chance, RandomFlow } from "../testing/random-packets.ts";
import {
  checksum,
  decodeVirtio,
  flowOf,
  isWholeIpv4,
  segment,
  type Virtio,
  viewOf,
} from "../testing/slow-ip.ts";
import { fixChecksum6, flowOf6, ipv6Address, RandomFlow6, segment6, tcp6 } from "../testing/slow-ipv6.ts";
import { COALESCER_BYTES, Coalescer } from "./coalescing.ts";
import { createPacketMemory } from "./packet-memory.ts";

interface Written {
  readonly virtio: Virtio;
  readonly packet: Uint8Array;
}

/** A coalescer on memory of its own, and what it wrote. */
function coalescer() {
  const memory = createPacketMemory(1024 * 1024);
  const room = memory.reserve(900 * 1024);
  const written: Written[] = [];
  const joined = new Coalescer(memory, memory.reserve(COALESCER_BYTES), (list, first, count) => {
    const pieces: number[] = [];
    for (let piece = first; piece < first + count; piece++) {
      const offset = list.pieceOffset[piece]!;
      pieces.push(...memory.bytes.subarray(offset, offset + list.pieceBytes[piece]!));
    }
    const whole = Uint8Array.from(pieces);
    written.push({ virtio: decodeVirtio(whole), packet: whole.subarray(10) });
  });
  return {
    joined,
    written,
    addAll(packets: readonly Uint8Array[]): void {
      let at = room;
      for (const packet of packets) {
        memory.bytes.set(packet, at);
        joined.add(at, packet.length);
        at += packet.length;
      }
      joined.flush();
    },
  };
}

const isIpv6 = (packet: Uint8Array): boolean => packet[0]! >> 4 === 6;

/** As the kernel does with a super-packet's checksum; it must be that of the packet. */
function assertChecksumCompletes({ virtio, packet }: Written): void {
  assert.ok(virtio.needsChecksum);
  assert.deepEqual([virtio.checksumStart, virtio.checksumOffset], [40, packet[6] === 6 ? 16 : 6]);
  const field = virtio.checksumStart + virtio.checksumOffset;
  const completed = checksum(packet.subarray(virtio.checksumStart));
  const expected = packet.slice();
  fixChecksum6(expected);
  assert.equal(completed % 0xffff, viewOf(expected).getUint16(field) % 0xffff);
}

function byFlow(packets: readonly Uint8Array[]): Record<string, string[]> {
  const flows: Record<string, string[]> = {};
  for (const packet of packets) {
    const flow = isIpv6(packet) ? flowOf6(packet) : flowOf(packet);
    flows[flow] ??= [];
    flows[flow].push(Buffer.from(packet).toString("hex"));
  }
  return flows;
}

/** Of both families, in bursts. */
function randomPackets(chance: Chance): Uint8Array[] {
  const flows = Array.from({ length: 1 + chance.below(20) }, () => {
    // Few addresses, so that some flows differ in one part of their key alone.
    const ends = {
      source: ipv6Address(chance.below(2), chance.below(2)),
      destination: ipv6Address(2 + chance.below(2), chance.below(2)),
    };
    return chance.oneIn(4)
      ? new RandomFlow(chance, { source: 0x0a050202, destination: 0x0a050102 }, 60)
      : new RandomFlow6(chance, ends, chance.oneIn(2) ? 7 : chance.below(2 ** 31));
  });
  const packets: Uint8Array[] = [];
  while (packets.length < 400) {
    const flow = chance.pick(flows);
    for (let burst = chance.below(20); burst >= 0; burst--) {
      const packet = flow.next();
      if (isIpv6(packet) || isWholeIpv4(packet)) packets.push(packet);
    }
  }
  return packets;
}

test("packets of IPv6 and IPv4 are joined such that splitting gives the same packets, each flow in order", () => {
  const chance = new Chance(66);
  let [packetsOfSix, writesOfSix] = [0, 0];
  for (let round = 0; round < 200; round++) {
    const { written, addAll } = coalescer();
    const packets = randomPackets(chance);
    addAll(packets);
    for (const each of written)
      if (isIpv6(each.packet) && each.virtio.type !== "none") assertChecksumCompletes(each);
    const split = written.flatMap(({ packet, virtio }) =>
      isIpv6(packet) ? segment6(packet, virtio) : segment(packet, virtio),
    );
    assert.deepEqual(byFlow(split), byFlow(packets));
    packetsOfSix += packets.filter(isIpv6).length;
    writesOfSix += written.filter(({ packet }) => isIpv6(packet)).length;
  }
  assert.ok(packetsOfSix / writesOfSix > 1.3, `${packetsOfSix} packets in ${writesOfSix} writes`);
});

test("a long flow of TCP over IPv6 becomes super-packets below 64 KB, and nothing is joined where the kernel takes none", () => {
  const ends = { source: ipv6Address(1, 1), destination: ipv6Address(2, 1) };
  const packets = Array.from({ length: 100 }, (_, index) =>
    tcp6({ ...ends, ports: 7, sequence: index * 1340 }, new Uint8Array(1340).fill(index)),
  );
  const { joined, written, addAll } = coalescer();
  addAll(packets);
  assert.deepEqual(
    written.map(({ packet, virtio }) => [packet.length, virtio.type, virtio.segmentBytes]),
    [
      [60 + 48 * 1340, "tcp6", 1340],
      [60 + 48 * 1340, "tcp6", 1340],
      [60 + 4 * 1340, "tcp6", 1340],
    ],
  );
  written.length = 0;
  joined.joinsTcp = false;
  addAll(packets);
  assert.deepEqual(
    written.map(({ packet }) => packet),
    packets,
  );
});

test("a packet behind extension headers is not overtaken by the flow it may belong to", () => {
  const ends = { source: ipv6Address(1, 1), destination: ipv6Address(2, 1) };
  const [first, second] = [0, 10].map((sequence) =>
    tcp6({ ...ends, ports: 7, sequence }, new Uint8Array(10)),
  ) as [Uint8Array, Uint8Array];
  const fragment = first.slice();
  fragment[6] = 44;
  const { written, addAll } = coalescer();
  addAll([first, fragment, second]);
  assert.deepEqual(
    written.map(({ packet }) => packet),
    [first, fragment, second],
  );
});
