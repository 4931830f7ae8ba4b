/** Super-packets of IPv6, compared with the slow reference; those of IPv4 are in src/datapath/random-traffic.test.ts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chance } from "../testing/random-packets.ts";
import { tcp } from "../testing/slow-ip.ts";
import { ipv6, ipv6Address, segment6, superPacket6, tcp6, udp6 } from "../testing/slow-ipv6.ts";
import { createPacketMemory } from "./packet-memory.ts";
import {
  beginSegmentation,
  createSegmentation,
  MOST_HEADER_BYTES,
  payloadBytesOf,
  writeSegmentHeaders,
} from "./segmentation.ts";
import {
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from "./virtio-net-header.ts";

const ENDS = { source: ipv6Address(1, 2), destination: ipv6Address(2, 0xfffe) };
const memory = createPacketMemory(256 * 1024);
const offset = memory.reserve(0x10000);
const header = memory.reserve(MOST_HEADER_BYTES);
const segmentation = createSegmentation();

const begin = (packet: Uint8Array, gsoType: number, gsoSize: number): boolean => {
  memory.bytes.set(packet, offset);
  return beginSegmentation(segmentation, memory, offset, packet.length, gsoType, gsoSize);
};

/** Of the super-packet that is begun. */
const parts = (): Uint8Array[] =>
  Array.from({ length: segmentation.count }, (_, index) => {
    const { headerBytes, segmentBytes } = segmentation;
    writeSegmentHeaders(segmentation, memory, index, header);
    const payload = offset + headerBytes + index * segmentBytes;
    return Uint8Array.of(
      ...memory.bytes.subarray(header, header + headerBytes),
      ...memory.bytes.subarray(payload, payload + payloadBytesOf(segmentation, index)),
    );
  });

test("TCP and UDP over IPv6 are split as in the slow reference, whatever the checksum field held", () => {
  const chance = new Chance(61);
  for (let times = 0; times < 2_000; times++) {
    const { virtio, packet } = superPacket6(chance, ENDS);
    const ecn = chance.oneIn(4) ? VIRTIO_NET_HDR_GSO_ECN : 0;
    const type = virtio.type === "udp" ? VIRTIO_NET_HDR_GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_TCPV6 | ecn;
    const expected = segment6(packet, virtio);
    packet.set(chance.bytes(2), 40 + virtio.checksumOffset);
    assert.ok(begin(packet, type, virtio.segmentBytes));
    assert.deepEqual(parts(), expected);
  }
});

test("the largest super-packet of IPv6", () => {
  const packet = tcp6({ ...ENDS, ports: 7, sequence: 5 }, new Chance(62).bytes(65_535 - 60));
  const expected = segment6(packet, {
    ...{ needsChecksum: true, type: "tcp6", segmentBytes: 1400, checksumStart: 40, checksumOffset: 16 },
  });
  assert.ok(begin(packet, VIRTIO_NET_HDR_GSO_TCPV6, 1400));
  assert.deepEqual(parts(), expected);
});

test("refused: extension headers, another family or protocol than the virtio type's, lengths that do not fit", () => {
  const good = tcp6({ ...ENDS, ports: 7, sequence: 5 }, new Uint8Array(100));
  const datagram = udp6({ ...ENDS, ports: 7 }, new Uint8Array(100));
  const four = tcp({ source: 1, destination: 2, ports: 7, sequence: 5 }, new Uint8Array(100));
  assert.ok(begin(good, VIRTIO_NET_HDR_GSO_TCPV6, 50));
  assert.ok(!begin(good, VIRTIO_NET_HDR_GSO_TCPV4, 50));
  assert.ok(!begin(good, VIRTIO_NET_HDR_GSO_UDP_L4, 50));
  assert.ok(!begin(datagram, VIRTIO_NET_HDR_GSO_TCPV6, 50));
  assert.ok(!begin(four, VIRTIO_NET_HDR_GSO_TCPV6, 50));
  assert.ok(!begin(good, VIRTIO_NET_HDR_GSO_TCPV6, 0));
  assert.ok(!begin(good.subarray(0, 150), VIRTIO_NET_HDR_GSO_TCPV6, 50), "cut off");
  assert.ok(!begin(good.subarray(0, 30), VIRTIO_NET_HDR_GSO_TCPV6, 50), "less than a header");
  const jumbo = good.slice();
  jumbo.fill(0, 4, 6);
  assert.ok(!begin(jumbo, VIRTIO_NET_HDR_GSO_TCPV6, 50), "payload length 0: a jumbogram");
  const hopByHop = Uint8Array.of(6, 0, 1, 4, 0, 0, 0, 0);
  const extended = ipv6({ ...ENDS, nextHeader: 0 }, Uint8Array.of(...hopByHop, ...good.subarray(40)));
  assert.ok(!begin(extended, VIRTIO_NET_HDR_GSO_TCPV6, 50), "extension header");
  const long = good.slice();
  long[52] = 0xf0;
  assert.ok(begin(long, VIRTIO_NET_HDR_GSO_TCPV6, 50), "60 bytes of TCP header");
  const longer = ipv6({ ...ENDS, nextHeader: 6 }, long.subarray(40, 90));
  assert.ok(!begin(longer, VIRTIO_NET_HDR_GSO_TCPV6, 50), "a TCP header longer than the packet");
});
