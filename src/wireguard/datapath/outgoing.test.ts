import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { createWireguardCrypto } from "../../linux/wireguard-crypto.ts";
import { createPacketMemory } from "../../packet/packet-memory.ts";
import type { SendQueue } from "../../packet/send-queue.ts";
import { Chance, superPacket, withVirtio } from "../../testing/random-packets.ts";
import { segment } from "../../testing/slow-ip.ts";
import { ipv6Address, segment6, superPacket6 } from "../../testing/slow-ipv6.ts";
import { WireguardDevice } from "../protocol/device.ts";
import { COUNTER, TRANSPORT_HEADER_BYTES, u32 } from "../protocol/messages.ts";
import { AllowedIps } from "./allowed-ips.ts";
import { Outgoing } from "./outgoing.ts";
import type { WireguardIo } from "./wireguard-io.ts";

const EIO = 5;
const EAGAIN = 11;
const ENDS = { source: 0x0a050102, destination: 0x0a050202 };
const ENDS6 = { source: ipv6Address(1, 2), destination: ipv6Address(2, 2) };

/** A sender with one session, and the packets that its peer decrypts. */
function sender(splits: boolean) {
  const memory = createPacketMemory(2 * 1024 * 1024);
  const room = memory.reserve(64 * 1024);
  const primitives = createWireguardCrypto(memory);
  const pending: Uint8Array[] = [];
  const received: Uint8Array[] = [];
  const messages: number[] = [];
  const io: WireguardIo = {
    ...{ memory, hasVirtioHeader: true, joinsTcp: true, joinsUdp: true, mostDatagrams: 64, mostPeers: 1 },
    ...{ wait: () => 0, pause: () => {}, writeTun: () => 0, receive: () => 0, sendTo: () => {} },
    ...{ endpointOf: () => room, nowMs: () => 0, wallClockMs: () => 1 },
    readTun(offset) {
      const packet = pending.shift();
      if (packet === undefined) return -EAGAIN;
      memory.bytes.set(packet, offset);
      return packet.length;
    },
    send(queue, first) {
      messages.push(queue.datagrams[first]!);
      if (!splits && queue.datagrams[first]! > 1) return -EIO;
      receive(queue, first);
      return 1;
    },
  };
  const sent: Uint8Array[] = [];
  const makeDevice = () =>
    new WireguardDevice({
      ...{ primitives, wallClockMs: () => 1, timestampMs: () => 1, reply: () => {}, roam: () => {} },
      ...{ sendToPeer: (_, message) => void sent.push(message), sendStaged: () => {} },
    });
  const [device, other] = [makeDevice(), makeDevice()];
  const [ownKey, otherKey] = [primitives.randomBytes(32), primitives.randomBytes(32)];
  device.setPrivateKey(ownKey);
  other.setPrivateKey(otherKey);
  const peer = device.addPeer(primitives.importKey(otherKey).publicKey, 0);
  const back = other.addPeer(primitives.importKey(ownKey).publicKey, 0);
  peer.hasEndpoint = true;
  device.initiate(peer);
  other.receiveHandshake(sent[0]!, new Uint8Array(0));
  device.receiveHandshake(sent[1]!, new Uint8Array(0));
  const session = back.next!;
  const allowedIps = new AllowedIps();
  allowedIps.set(0, [parsePrefix("10.5.2.0/24")!, parsePrefix("fc00:0:0:2::/64")!]);
  const outgoing = new Outgoing({ io, device: () => device, allowedIps, peers: [peer] });

  function receive(queue: SendQueue, message: number): void {
    for (let piece = queue.firstPiece[message]!; piece < queue.firstPiece[message + 1]!; piece++) {
      const offset = queue.pieceOffset[piece]!;
      const datagram = memory.bytes.slice(offset, offset + queue.pieceBytes[piece]!);
      memory.bytes.set(datagram, room);
      const length = datagram.length - TRANSPORT_HEADER_BYTES;
      const inner = room + TRANSPORT_HEADER_BYTES;
      assert.ok(session.receiving.open(u32(datagram, COUNTER), inner, length));
      const packet = memory.bytes.slice(inner, inner + length - 16);
      const isIpv6 = packet[0]! >> 4 === 6;
      const totalBytes = isIpv6 ? 40 + ((packet[4]! << 8) | packet[5]!) : (packet[2]! << 8) | packet[3]!;
      assert.ok(packet.subarray(totalBytes).every((byte) => byte === 0));
      received.push(packet.subarray(0, totalBytes));
    }
  }

  return { outgoing, pending, received, messages };
}

test("super-packets arrive as the packets that the kernel would send, with and without room for padding", () => {
  const chance = new Chance(8);
  const { outgoing, pending, received } = sender(true);
  for (let times = 0; times < 2_000; times++) {
    // Segments as long as the MTU are not padded.
    outgoing.mtuBytes = chance.oneIn(2) ? 100 : 1420;
    const isIpv6 = chance.oneIn(2);
    const { virtio, packet } = isIpv6 ? superPacket6(chance, ENDS6) : superPacket(chance, ENDS);
    const expected = isIpv6 ? segment6(packet, virtio) : segment(packet, virtio);
    pending.push(withVirtio(virtio, packet));
    outgoing.turn();
    outgoing.flush();
    assert.deepEqual(received.splice(0), expected);
  }
});

test("where the kernel does not split messages, datagrams are sent one by one, and later ones are not joined", () => {
  const { outgoing, pending, received, messages } = sender(false);
  const chance = new Chance(9);
  for (let times = 0; times < 5; times++) {
    const { virtio, packet } = superPacket(chance, ENDS);
    const expected = segment(packet, virtio);
    pending.push(withVirtio(virtio, packet));
    outgoing.turn();
    outgoing.flush();
    assert.deepEqual(received.splice(0), expected);
  }
  assert.ok(messages[0]! > 1);
  assert.equal(messages.at(-1), 1);
});
