import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { createWireguardCrypto } from "../../linux/wireguard-crypto.ts";
import { createPacketMemory } from "../../packet/packet-memory.ts";
import { Chance } from "../../testing/random-packets.ts";
import { checksum } from "../../testing/slow-ip.ts";
import { WireguardDevice } from "../protocol/device.ts";
import { setU32, TRANSPORT_HEADER_BYTES, TYPE_TRANSPORT, u32 } from "../protocol/messages.ts";
import { AllowedIps } from "./allowed-ips.ts";
import { Incoming } from "./incoming.ts";
import { type DatagramBatch, IPV4_READY, type WireguardIo } from "./wireguard-io.ts";

const EMPTY = new Uint8Array(0);

/** A receiver with one session, what it wrote to its TUN device, and the key of its peer. */
function receiver() {
  const memory = createPacketMemory(512 * 1024);
  const room = memory.reserve(64 * 1024);
  const source = memory.reserve(32);
  const primitives = createWireguardCrypto(memory);
  const written: Uint8Array[] = [];
  let pending: Uint8Array = EMPTY;
  const io: WireguardIo = {
    ...{ memory, hasVirtioHeader: false, joinsTcp: false, joinsUdp: false, mostDatagrams: 64, mostPeers: 1 },
    wait: () => 0,
    pause: () => {},
    readTun: () => -11,
    writeTun(list, first, count) {
      for (let piece = first; piece < first + count; piece++) {
        const offset = list.pieceOffset[piece]!;
        written.push(memory.bytes.slice(offset, offset + list.pieceBytes[piece]!));
      }
      return 0;
    },
    receive(_, batch: DatagramBatch) {
      memory.bytes.set(pending, room);
      batch.count = 1;
      [batch.offset[0], batch.bytes[0], batch.datagramBytes[0], batch.source[0]] = [
        ...[room, pending.length, pending.length, source],
      ] as [number, number, number, number];
      return 1;
    },
    send: () => 1,
    sendTo: () => {},
    endpointOf: () => source,
    nowMs: () => 0,
    wallClockMs: () => 1,
  };
  const sent: Uint8Array[] = [];
  const makeDevice = () =>
    new WireguardDevice({
      ...{ timestampMs: () => 1_700_000_000_000 },
      ...{ primitives, wallClockMs: () => 1_700_000_000_000, reply: () => {}, roam: () => {} },
      ...{ sendToPeer: (_, message) => void sent.push(message), sendStaged: () => {} },
    });
  const [device, other] = [makeDevice(), makeDevice()];
  const [ownKey, otherKey] = [primitives.randomBytes(32), primitives.randomBytes(32)];
  device.setPrivateKey(ownKey);
  other.setPrivateKey(otherKey);
  const peer = device.addPeer(primitives.importKey(otherKey).publicKey, 0);
  const back = other.addPeer(primitives.importKey(ownKey).publicKey, 0);
  back.hasEndpoint = true;
  other.initiate(back);
  device.receiveHandshake(sent[0]!, EMPTY);
  other.receiveHandshake(sent[1]!, EMPTY);
  const allowedIps = new AllowedIps();
  allowedIps.set(0, [parsePrefix("10.5.2.0/24")!]);
  const unknown = { count: 0 };
  const incoming = new Incoming({
    ...{ io, device: () => device, allowedIps },
    noteUnknownSession: () => {
      unknown.count++;
    },
  });
  const session = back.current!;
  return {
    written,
    unknown,
    peer,
    take(datagram: Uint8Array): void {
      pending = datagram;
      incoming.turn(IPV4_READY);
    },
    /** The datagram with this packet, as the peer seals it. */
    seal(packet: Uint8Array, counter: number): Uint8Array {
      const place = room + 32 * 1024;
      memory.bytes.set(packet, place);
      session.sending.seal(counter, place, place, packet.length);
      const datagram = new Uint8Array(TRANSPORT_HEADER_BYTES + packet.length + 16);
      setU32(datagram, 0, TYPE_TRANSPORT);
      setU32(datagram, 4, session.remoteIndex);
      setU32(datagram, 8, counter);
      datagram.set(memory.bytes.subarray(place, place + packet.length + 16), TRANSPORT_HEADER_BYTES);
      return datagram;
    },
  };
}

/** An IPv4 packet with some payload, padded to 16 bytes. */
function packetFrom(source: number, payload: Uint8Array): { whole: Uint8Array; padded: Uint8Array } {
  const whole = new Uint8Array(20 + payload.length);
  const view = new DataView(whole.buffer);
  whole.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 253]);
  view.setUint16(2, whole.length);
  view.setUint32(12, source);
  view.setUint32(16, 0x0a050102);
  whole.set(payload, 20);
  view.setUint16(10, checksum(whole.subarray(0, 20)));
  const padded = new Uint8Array(Math.ceil(whole.length / 16) * 16);
  padded.set(whole);
  return { whole, padded };
}

test("only authentic, new packets from the peer's own addresses pass, in any order within the window; a million others change nothing", () => {
  const chance = new Chance(5);
  const { take, seal, written, peer } = receiver();
  let counter = 0;
  let expected = 0;
  const good: Uint8Array[] = [];
  for (let times = 0; times < 1_000_000; times++) {
    const payload = chance.bytes(chance.below(60));
    const choice = times % 200 === 0 ? 0 : 1 + chance.below(6);
    if (choice === 0) {
      const { whole, padded } = packetFrom(0x0a050200 + chance.below(256), payload);
      const datagram = seal(padded, counter++);
      if (chance.below(4) === 0) {
        // A later one arrives first, by as much as the window allows.
        counter += chance.below(8191);
        const later = packetFrom(0x0a0502ff, payload);
        take(seal(later.padded, counter++));
        assert.deepEqual(written.pop(), later.whole);
      }
      take(datagram);
      good.push(datagram);
      if (good.length > 50) good.shift();
      expected++;
      assert.deepEqual(written.pop(), whole);
    } else if (choice === 1 && good.length > 0) take(good[chance.below(good.length)]!);
    else if (choice === 2 && good.length > 0) {
      const datagram = good[chance.below(good.length)]!;
      take(datagram.slice(0, chance.below(datagram.length)));
    } else if (choice === 3 && good.length > 0) {
      const forged = good[chance.below(good.length)]!.slice();
      // Above all counters so far, so that only the tag tells.
      setU32(forged, 8, counter + 1 + chance.below(1000));
      take(forged);
    } else if (choice === 4 && times % 50 === 0)
      take(seal(packetFrom(0x0a050300, payload).padded, counter++));
    else {
      const datagram = chance.bytes(chance.below(200));
      if (datagram.length > 0) datagram[0] = [0, 1, 2, 3, 4, 255][chance.below(6)]!;
      if (datagram.length > 8 && chance.below(2) === 0 && good.length > 0)
        setU32(datagram, 4, u32(good[0]!, 4));
      take(datagram);
    }
    assert.equal(written.length, 0);
  }
  take(new Uint8Array(60_000).fill(4));
  assert.equal(written.length, 0);
  assert.ok(expected === 5000 && peer.current !== undefined);
});

test("data of a session that this process does not have is reported, and nothing else is", () => {
  const { take, seal, unknown } = receiver();
  const datagram = seal(packetFrom(0x0a050201, EMPTY).padded, 0);
  take(datagram);
  take(datagram);
  take(new Uint8Array(148));
  assert.equal(unknown.count, 0);
  setU32(datagram, 4, u32(datagram, 4) ^ 1);
  take(datagram);
  assert.equal(unknown.count, 1);
});
