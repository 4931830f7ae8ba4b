import assert from "node:assert/strict";
import { test } from "node:test";
import { createWireguardCrypto } from "../../linux/wireguard-crypto.ts";
import { createPacketMemory } from "../../packet/packet-memory.ts";
import { Chance } from "../../testing/random-packets.ts";
import { WireguardDevice } from "./device.ts";
import {
  COOKIE_REPLY_BYTES,
  INITIATION_BYTES,
  RESPONSE_BYTES,
  TYPE_COOKIE_REPLY,
  TYPE_INITIATION,
  u32,
} from "./messages.ts";
import type { Peer, Session } from "./peer.ts";
import { ReplayWindow } from "./replay-window.ts";
import { isLater, tai64n } from "./tai64n.ts";

const memory = createPacketMemory(64 * 1024);
const crypto = createWireguardCrypto(memory);
const place = memory.reserve(4096);
const hex = (text: string): Uint8Array => Uint8Array.fromHex(text);

/** A device whose messages to its only peer are collected. */
class Side {
  readonly key = crypto.randomBytes(32);
  readonly publicKey = crypto.importKey(this.key).publicKey;
  readonly sent: Uint8Array[] = [];
  readonly replies: Uint8Array[] = [];
  flushes = 0;
  wallMs = 1_700_000_000_000;
  readonly source: Uint8Array;
  readonly device = new WireguardDevice({
    primitives: crypto,
    wallClockMs: () => this.wallMs,
    timestampMs: () => this.wallMs,
    sendToPeer: (_, message) => void this.sent.push(message),
    reply: (message) => void this.replies.push(message),
    roam: (peer) => {
      peer.hasEndpoint = true;
    },
    sendStaged: (peer) => {
      this.flushes++;
      const session = this.device.sessionFor(peer);
      if (session !== undefined) this.device.noteSentData(session, 32, peer.staged.splice(0).length > 0);
    },
  });
  peer: Peer | undefined;

  constructor(last: number) {
    this.source = Uint8Array.of(2, 0, 0xca, 0x6c, 192, 168, 7, last, ...new Uint8Array(20));
    this.device.setPrivateKey(this.key);
  }

  connect(other: Side, presharedKey?: Uint8Array): void {
    this.peer = this.device.addPeer(other.publicKey, 0);
    this.peer.presharedKey = presharedKey;
    this.peer.hasEndpoint = true;
  }
}

function pair(presharedKey?: Uint8Array, others = presharedKey): [Side, Side] {
  const [a, b] = [new Side(1), new Side(2)];
  a.connect(b, presharedKey);
  b.connect(a, others);
  return [a, b];
}

const at = (sides: readonly Side[], nowMs: number): void => {
  for (const { device } of sides) device.nowMs = nowMs;
};

/** The initiator's session, and the responder's. */
function shakeHands(a: Side, b: Side): [Session, Session] {
  a.wallMs += 100;
  a.device.initiate(a.peer!);
  b.device.receiveHandshake(a.sent.at(-1)!, a.source);
  a.device.receiveHandshake(b.sent.at(-1)!, b.source);
  const [ours, theirs] = [a.peer!.current!, b.peer!.next!];
  b.device.noteReceived(theirs, 32, false);
  return [ours, theirs];
}

/** Sends bytes over a session; whether they arrive as they were. */
function carries(from: Session, to: Session): boolean {
  const text = crypto.randomBytes(100);
  memory.bytes.set(text, place);
  from.sending.seal(from.nextCounter, place, place, text.length);
  return (
    to.receiving.open(from.nextCounter++, place, text.length + 16) &&
    Buffer.from(text).equals(memory.bytes.subarray(place, place + text.length))
  );
}

test("X25519 gives the results of RFC 7748 §6.1", () => {
  const alice = crypto.importKey(hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
  const bob = crypto.importKey(hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
  assert.equal(alice.publicKey.toHex(), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  const shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
  assert.equal(Buffer.from(alice.agree(bob.publicKey)!).toString("hex"), shared);
  assert.equal(alice.agree(new Uint8Array(32)), undefined, "a point of low order");
});

test("XChaCha20-Poly1305 gives the result of draft-irtf-cfrg-xchacha-03, A.3.1", () => {
  const key = hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
  const nonce = hex("404142434445464748494a4b4c4d4e4f5051525354555657");
  const associated = hex("50515253c0c1c2c3c4c5c6c7");
  const text = new TextEncoder().encode(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  );
  const sealed = crypto.sealX(key, nonce, text, associated);
  assert.equal(Buffer.from(sealed.subarray(-16)).toString("hex"), "c0875924c1c7987947deafd8780acf49");
  assert.deepEqual(Uint8Array.from(crypto.openX(key, nonce, sealed, associated)!), text);
});

test("keyed BLAKE2s with 16 bytes gives the result of Python's hashlib", () => {
  const key = Uint8Array.from({ length: 32 }, (_, index) => index);
  assert.equal(crypto.mac(key, new Uint8Array(0)).toHex(), "9536f9b267655743dee97b8a670f9f53");
});

test("packets in place are sealed as createCipheriv seals them, with any counter and length", () => {
  const key = crypto.randomBytes(32);
  const [sealing, opening] = [crypto.createCipher(key, true), crypto.createCipher(key, false)];
  for (const length of [0, 1, 15, 16, 64, 1420]) {
    const text = crypto.randomBytes(length);
    memory.bytes.set(text, place);
    sealing.seal(0, place, place, length);
    const sealed = memory.bytes.slice(place, place + length + 16);
    assert.deepEqual(sealed, Uint8Array.from(crypto.seal(key, text, new Uint8Array(0))));
    assert.ok(!opening.open(1, place, length + 16), "another counter");
    for (const counter of [1, 2 ** 32, 2 ** 40 + 5]) {
      memory.bytes.set(text, place);
      sealing.seal(counter, place, place, length);
      assert.ok(opening.open(counter, place, length + 16));
      assert.deepEqual(memory.bytes.slice(place, place + length), text);
    }
  }
  sealing.destroy();
  opening.destroy();
});

for (const [name, key] of [
  ["without a preshared key", undefined],
  ["with one", crypto.randomBytes(32)],
] as const) {
  test(`a handshake ${name} gives both sides the keys of one session`, () => {
    const [a, b] = pair(key);
    const [ours, theirs] = shakeHands(a, b);
    assert.ok(carries(ours, theirs) && carries(theirs, ours));
    assert.equal(b.peer!.current, theirs, "the responder uses it after the first packet");
    assert.equal(a.peer!.handshake, undefined);
  });
}

test("a handshake fails if the preshared keys differ, and is repeated after 5 s for 90 s", () => {
  const [a, b] = pair(crypto.randomBytes(32), crypto.randomBytes(32));
  a.device.stage(a.peer!, new Uint8Array(20));
  a.device.initiate(a.peer!);
  for (let now = 0; now < 200_000; now += 50) {
    at([a, b], now);
    a.wallMs += 50;
    const before = a.sent.length;
    a.device.tick();
    if (a.sent.length === before) continue;
    b.device.receiveHandshake(a.sent.at(-1)!, a.source);
    a.device.receiveHandshake(b.sent.at(-1)!, b.source);
  }
  assert.equal(a.peer!.current, undefined);
  assert.equal(a.sent.length, 19, "the first one and 18 more");
  assert.equal(a.peer!.staged.length, 0);
});

test("replayed, older, truncated and changed handshake messages have no effect", () => {
  const [a, b] = pair();
  a.device.initiate(a.peer!);
  const initiation = a.sent[0]!;
  for (let length = 0; length < initiation.length; length++)
    b.device.receiveHandshake(initiation.slice(0, length), a.source);
  for (let index = 0; index < initiation.length - 16; index++) {
    const changed = initiation.slice();
    changed[index]! ^= 1;
    b.device.receiveHandshake(changed, a.source);
  }
  assert.equal(b.sent.length, 0);
  b.device.receiveHandshake(initiation, a.source);
  assert.equal(b.sent.length, 1);
  at([a, b], 1000);
  b.device.receiveHandshake(initiation, a.source);
  assert.equal(b.sent.length, 1, "a replay");
  const response = b.sent[0]!;
  for (let index = 0; index < response.length - 16; index++) {
    const changed = response.slice();
    changed[index]! ^= 1;
    a.device.receiveHandshake(changed, b.source);
  }
  assert.equal(a.peer!.current, undefined);
  a.device.receiveHandshake(response, b.source);
  const session = a.peer!.current;
  assert.ok(session);
  a.device.receiveHandshake(response, b.source);
  assert.equal(a.peer!.current, session, "a replay");
});

test("packets that wait for a session: as many as the TUN device holds after a start, 128 later, the newest ones", () => {
  const [a] = pair();
  const stage = (count: number) => {
    for (let number = 0; number < count; number++) a.device.stage(a.peer!, Uint8Array.of(number & 255));
  };
  stage(600);
  assert.equal(a.peer!.staged.length, 512);
  a.device.nowMs = 30_000;
  stage(1);
  assert.deepEqual([a.peer!.staged.length, a.peer!.staged.at(-1)![0]], [128, 0]);
});

test("a stranger's initiation is not answered", () => {
  const [a, b] = pair();
  const stranger = new Side(3);
  stranger.connect(b);
  stranger.device.initiate(stranger.peer!);
  b.device.receiveHandshake(stranger.sent[0]!, stranger.source);
  assert.equal(b.sent.length + b.replies.length, 0);
  assert.equal(a.sent.length, 0);
});

test("the initiator renews a session after 120 s, and none is used after 180 s", () => {
  const [a, b] = pair();
  const [session] = shakeHands(a, b);
  const sent = a.sent.length;
  at([a, b], 119_000);
  a.device.noteSentData(session, 100, true);
  assert.equal(a.sent.length, sent);
  at([a, b], 121_000);
  a.device.noteSentData(session, 100, true);
  assert.equal(u32(a.sent.at(-1)!, 0), TYPE_INITIATION);
  assert.equal(a.sent.length, sent + 1);
  assert.ok(a.device.sessionFor(a.peer!));
  at([a, b], 180_000);
  assert.equal(a.device.sessionFor(a.peer!), undefined);
  assert.equal(b.device.sessionAt(b.peer!.current!.localIndex), undefined);
});

test("the responder of a session does not renew it; without data for 540 s the keys are overwritten", () => {
  const [a, b] = pair();
  shakeHands(a, b);
  const sent = b.sent.length;
  at([a, b], 121_000);
  b.device.noteSentData(b.peer!.current!, 100, true);
  assert.equal(b.sent.length, sent);
  at([a, b], 541_000);
  a.device.tick();
  assert.equal(a.peer!.current, undefined);
});

test("data without an answer is confirmed after 10 s, and brings a new handshake after 15 s", () => {
  const [a, b] = pair();
  const [ours, theirs] = shakeHands(a, b);
  const [flushes, sent] = [b.flushes, a.sent.length];
  at([a, b], 6_000);
  a.device.noteSentData(ours, 100, true);
  b.device.noteReceived(theirs, 100, true);
  at([a, b], 15_900);
  b.device.tick();
  assert.equal(b.flushes, flushes);
  at([a, b], 16_001);
  b.device.tick();
  assert.equal(b.flushes, flushes + 1, "a keepalive");
  at([a, b], 20_900);
  a.device.tick();
  assert.equal(a.sent.length, sent);
  at([a, b], 21_400);
  a.device.tick();
  assert.equal(a.sent.length, sent + 1, "a handshake");
});

test("under load, a cookie is needed, and with it the handshake succeeds", () => {
  const [a, b] = pair();
  const stranger = new Side(3);
  stranger.connect(b);
  stranger.device.initiate(stranger.peer!);
  for (let times = 0; times < 2600; times++) b.device.receiveHandshake(stranger.sent[0]!, stranger.source);
  const replies = b.replies.length;
  assert.ok(replies > 0);
  a.device.initiate(a.peer!);
  b.device.receiveHandshake(a.sent[0]!, a.source);
  assert.equal(b.sent.length, 0);
  assert.equal(b.replies.length, replies + 1);
  const reply = b.replies.at(-1)!;
  assert.equal(reply.length, COOKIE_REPLY_BYTES);
  assert.equal(u32(reply, 0), TYPE_COOKIE_REPLY);
  const changed = reply.slice();
  changed[40]! ^= 1;
  a.device.receiveHandshake(changed, b.source);
  a.device.receiveHandshake(reply, b.source);
  at([a, b], 5_500);
  a.wallMs += 5_500;
  for (let times = 0; times < 2600; times++) b.device.receiveHandshake(stranger.sent[0]!, stranger.source);
  a.device.tick();
  b.device.receiveHandshake(
    a.sent.at(-1)!,
    Uint8Array.from(a.source, (byte, index) => byte ^ Number(index === 7)),
  );
  assert.equal(b.sent.length, 0, "the cookie is of another address");
  b.device.receiveHandshake(a.sent.at(-1)!, a.source);
  assert.equal(b.sent.length, 1);
});

test("a flood costs a few cookie replies: so many to each address, so many in all, and peers elsewhere still get theirs", () => {
  const [a, b] = pair();
  const stranger = new Side(3);
  stranger.connect(b);
  stranger.device.initiate(stranger.peer!);
  const flood = (count: number, sourceOf: (index: number) => Uint8Array) => {
    const before = b.replies.length;
    for (let index = 0; index < count; index++) b.device.receiveHandshake(stranger.sent[0]!, sourceOf(index));
    return b.replies.length - before;
  };
  const at = (address: number, port: number) =>
    Uint8Array.of(
      2,
      0,
      port >> 8,
      port,
      ...[24, 16, 8, 0].map((shift) => address >> shift),
      ...new Uint8Array(20),
    );
  flood(2600, (index) => at(1, index));
  b.device.nowMs = 1;
  assert.equal(
    flood(10_000, (index) => at(1, index)),
    0,
    "one address, many ports",
  );
  a.device.initiate(a.peer!);
  b.device.receiveHandshake(a.sent[0]!, a.source);
  assert.equal(u32(b.replies.at(-1)!, 0), TYPE_COOKIE_REPLY, "the peer's");
  b.device.nowMs = 500;
  const replies = flood(10_000, (index) => at(0x0a000000 + index, 51820));
  assert.ok(replies > 100 && replies <= 200, `${replies} to forged addresses at once`);
  assert.equal(b.sent.length, 0);
});

test("random messages of every type and length change nothing and throw nothing", () => {
  const [a, b] = pair();
  const [ours, theirs] = shakeHands(a, b);
  const chance = new Chance(7);
  const lengths = [INITIATION_BYTES, RESPONSE_BYTES, COOKIE_REPLY_BYTES, 0, 3, 4, 31, 200];
  for (let times = 0; times < 100_000; times++) {
    const length = lengths[chance.below(lengths.length)]!;
    const message = chance.bytes(length);
    if (length > 3) message.set([[0, 1, 2, 3, 4, 255][chance.below(6)]!, 0, 0, 0]);
    b.device.receiveHandshake(message, a.source);
  }
  assert.equal(b.peer!.current, theirs);
  assert.ok(carries(ours, theirs) && carries(theirs, ours));
});

test("the replay window accepts what a set of all counters accepts", () => {
  const chance = new Chance(3);
  for (let round = 0; round < 20; round++) {
    const window = new ReplayWindow();
    const seen = new Set<number>();
    let highest = -1;
    let base = 0;
    for (let times = 0; times < 20_000; times++) {
      if (chance.below(50) === 0) base += chance.below([10, 300, 9000, 100_000][chance.below(4)]!);
      const counter = Math.max(0, base + chance.below(9000) - 8500 * chance.below(2));
      const isExpected = !seen.has(counter) && counter > highest - 8192;
      assert.equal(window.accept(counter), isExpected, `${counter} after ${highest}`);
      if (isExpected) seen.add(counter);
      highest = Math.max(highest, isExpected ? counter : -1);
    }
  }
});

test("timestamps are later when the clock is", () => {
  assert.ok(isLater(tai64n(1_700_000_000_100), tai64n(1_700_000_000_000)));
  assert.ok(!isLater(tai64n(1_700_000_000_000), tai64n(1_700_000_000_000)));
  assert.equal(tai64n(0).toHex().slice(0, 16), "400000000000000a");
});
