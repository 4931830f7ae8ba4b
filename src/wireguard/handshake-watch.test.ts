import assert from "node:assert/strict";
import { test } from "node:test";
import { HandshakeWatch, type PeerTraffic } from "./handshake-watch.ts";

const POLL_MS = 5_000;
/** An initiation of a handshake (WireGuard's paper, §5.4.2). */
const INITIATION_BYTES = 148n;

/** A watch that is given `peers` at every poll; those without a handshake send an initiation each time. */
function watch() {
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
  let nowMs = 1_000_000;
  const handshakes = new HandshakeWatch({ logger, nowMs: () => nowMs });
  return {
    log,
    handshakes,
    poll(...peers: readonly PeerTraffic[]) {
      nowMs += POLL_MS;
      handshakes.note(peers);
    },
    later(ms: number) {
      nowMs += ms;
    },
  };
}

const peer = (number: number, changes: Partial<PeerTraffic> = {}): PeerTraffic => ({
  device: "flannel-wg",
  publicKey: `${number}=`,
  endpoint: `192.168.7.${number}:51820`,
  allowedIps: [`10.5.${number}.0/24`],
  lastHandshakeSeconds: 0,
  sentBytes: 0n,
  receivedBytes: 0n,
  ...changes,
});
const sent = (number: number, initiations: number, changes: Partial<PeerTraffic> = {}) =>
  peer(number, { sentBytes: BigInt(initiations) * INITIATION_BYTES, ...changes });

test("a peer that is sent packets without a handshake is logged once, after 15 s, and noted until it works", () => {
  const { poll, log, handshakes, later } = watch();
  for (let count = 1; count <= 3; count++) poll(sent(2, count));
  assert.deepEqual(log, []);
  for (let count = 4; count <= 20; count++) poll(sent(2, count));
  assert.deepEqual(log, [
    "W No handshake with peer 192.168.7.2:51820 (10.5.2.0/24, PublicKey 2=) on flannel-wg after 15 s of sending; " +
      "retrying: check that its host is up, that both hosts have the same PSK, and that UDP reaches 192.168.7.2:51820",
  ]);
  later(5_000);
  assert.deepEqual(handshakes.notes, [
    "no handshake with peer 192.168.7.2:51820 (10.5.2.0/24, PublicKey 2=) on flannel-wg for 100 s: check its host, the PSK and firewalls",
  ]);
  poll(sent(2, 21, { lastHandshakeSeconds: 77 }));
  assert.deepEqual(handshakes.notes, []);
  assert.deepEqual(log.slice(1), [
    "I Handshake with peer 192.168.7.2:51820 (10.5.2.0/24, PublicKey 2=) on flannel-wg",
  ]);
});

test("idle peers are no alarm: never sent to, one packet long ago, a session that ended, the start of the process", () => {
  const { poll, log, handshakes } = watch();
  const old = peer(4, { lastHandshakeSeconds: 12, sentBytes: 5_000n });
  for (let count = 0; count < 100; count++) poll(peer(2), sent(3, 18), old);
  assert.deepEqual(log, []);
  // The first packet after a long pause, seen before its handshake is complete.
  poll(peer(2), sent(3, 19), { ...old, sentBytes: 5_148n });
  poll(peer(2), sent(3, 19, { lastHandshakeSeconds: 80 }), {
    ...{ ...old, sentBytes: 5_300n, lastHandshakeSeconds: 80 },
  });
  assert.deepEqual([...log, ...handshakes.notes], []);
});

test("traffic within a session is no alarm, whatever the clock says; without a new handshake it is one after three minutes", () => {
  const { poll, log } = watch();
  let bytes = 0n;
  const traffic = (lastHandshakeSeconds: number) => {
    bytes += 100_000n;
    poll(peer(2, { sentBytes: bytes, lastHandshakeSeconds }));
  };
  // Every two minutes a handshake; the clock is set back in between.
  for (let minute = 0; minute < 20; minute++)
    for (let count = 0; count < 24; count++) traffic(minute < 10 ? 5_000 + minute * 120 : 10 + minute * 120);
  assert.deepEqual(log, []);
  for (let count = 0; count < 180 / 5 + 15 / 5 - 25; count++) traffic(10 + 19 * 120);
  assert.deepEqual(log, []);
  for (let count = 0; count < 3; count++) traffic(10 + 19 * 120);
  assert.equal(log.length, 1);
});

test("a note ends when nothing is sent for three minutes, when the peer leaves, and when it comes again", () => {
  const { poll, log, handshakes } = watch();
  for (let count = 1; count <= 6; count++) poll(sent(2, count), sent(3, count), sent(4, count));
  assert.equal(handshakes.notes.length, 3);
  poll(sent(2, 7), sent(4, 1));
  assert.equal(handshakes.notes.length, 1);
  for (let count = 0; count < 36; count++) poll(sent(2, 7));
  assert.deepEqual(handshakes.notes, []);
  assert.ok(!log.some((line) => line.startsWith("I")), "none of them had a handshake");
});

test("thousands of peers cost four lines of log and eleven notes", () => {
  const { poll, log, handshakes } = watch();
  const all = (count: number) => Array.from({ length: 5_000 }, (_, number) => sent(number, count));
  for (let count = 1; count <= 10; count++) poll(...all(count));
  assert.equal(log.length, 4);
  assert.match(log[3]!, /^W No handshake with 4997 more peers$/);
  assert.equal(handshakes.notes.length, 11);
  assert.equal(handshakes.notes[10], "no handshake with 4990 more peers");
});
