import assert from "node:assert/strict";
import { test } from "node:test";
import type { PeerTraffic } from "./handshake-watch.ts";
import { TrafficTotals } from "./traffic-totals.ts";

const peer = (
  publicKey: string,
  sent: number,
  received: number,
  lastHandshakeSeconds: number,
): PeerTraffic => ({
  ...{ device: "flannel-wg", publicKey, endpoint: undefined, allowedIps: [], lastHandshakeSeconds },
  ...{ sentBytes: BigInt(sent), receivedBytes: BigInt(received) },
});

test("totals only grow: a peer that leaves, or returns with counters at zero, takes nothing away", () => {
  const totals = new TrafficTotals();
  const of = (...peers: readonly PeerTraffic[]) => {
    totals.note(["flannel-wg"], peers);
    const [{ device: _, ...rest }] = totals.devices as [(typeof totals.devices)[number]];
    return rest;
  };
  assert.deepEqual(of(), { peers: 0, handshakes: 0, sentBytes: 0, receivedBytes: 0 });
  assert.deepEqual(of(peer("a", 100, 50, 7)), { peers: 1, handshakes: 1, sentBytes: 100, receivedBytes: 50 });
  assert.deepEqual(of(peer("a", 150, 50, 7), peer("b", 1, 0, 0)), {
    ...{ peers: 2, handshakes: 1, sentBytes: 151, receivedBytes: 50 },
  });
  assert.deepEqual(of(peer("b", 1, 0, 0)), { peers: 1, handshakes: 1, sentBytes: 151, receivedBytes: 50 });
  assert.deepEqual(of(peer("a", 10, 5, 9), peer("b", 1, 0, 0)), {
    ...{ peers: 2, handshakes: 2, sentBytes: 161, receivedBytes: 55 },
  });
  assert.deepEqual(of(peer("a", 10, 5, 130), peer("b", 0, 0, 0)), {
    ...{ peers: 2, handshakes: 3, sentBytes: 161, receivedBytes: 55 },
  });
});

test("a device without peers, or one that is gone, has none", () => {
  const totals = new TrafficTotals();
  totals.note(["flannel-wg"], [peer("a", 1, 1, 1)]);
  totals.note(["flannel-wg"], []);
  assert.deepEqual(
    totals.devices.map(({ peers, sentBytes }) => [peers, sentBytes]),
    [[0, 1]],
  );
});
