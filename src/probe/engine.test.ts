/** The engine against peers in memory: what it concludes, how soon, and what it spends. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { bytesOf, ProbedPeers } from "../testing/probed-peers.ts";

/** Runs until all peers are reachable. */
async function settle(count: number, intervalMs?: number): Promise<ProbedPeers> {
  const world = new ProbedPeers(count, intervalMs);
  const isSettled = () => world.verdicts().every((verdict) => verdict === "reachable");
  await world.run(1_000_000, isSettled);
  assert.ok(isSettled());
  // Full sizes, and rounds that are spread evenly.
  await world.run(30_000);
  world.changes.length = 0;
  return world;
}

const report = ({ engine }: ProbedPeers, index = 0) => engine.report(index)!;

for (const { peers, withinMs } of [
  { peers: 1, withinMs: 3_000 },
  { peers: 100, withinMs: 3_000 },
  { peers: 5_000, withinMs: 30_000 },
]) {
  test(`a closed port of one of ${peers} peers shows within ${withinMs / 1_000} s, and its end likewise`, async () => {
    const world = await settle(peers);
    for (const index of new Set([0, peers >> 1, peers - 1])) {
      const peer = world.peers[index]!;
      peer.overlay.isUp = false;
      await world.run(index % 700); // at any moment of a round
      const tookMs = await world.run(100_000, () => world.engine.verdict(peer.slot) === "overlay down");
      assert.ok(tookMs + (index % 700) <= withinMs, `${tookMs} ms`);
      assert.match(
        report(world, index).advice!,
        /^UDP port 8472 closed or filtered between 192\.0\.2\.1 and 10\.200\./,
      );
      peer.overlay.isUp = true;
      const recoveryMs = await world.run(100_000, () => world.engine.verdict(peer.slot) === "reachable");
      assert.ok(recoveryMs <= Math.min(withinMs, 3_000), `${recoveryMs} ms`);
    }
    assert.ok(world.changes.every(({ slot }) => [0, peers >> 1, peers - 1].includes(slot)));
  });
}

test("1,000 peers are probed with at most 20 packets a second", async () => {
  const world = await settle(1_000);
  const before = world.sent;
  await world.run(60_000);
  const perSecond = (world.sent - before) / 60;
  assert.ok(perSecond <= 20 && perSecond > 15, String(perSecond));
});

for (const { peers, perSecond } of [
  { peers: 100, perSecond: 4 },
  { peers: 1_000, perSecond: 1 },
  { peers: 5_000, perSecond: 2 },
]) {
  test(`probes of ${peers} healthy peers leave in ${perSecond} batches a second`, async () => {
    const world = await settle(peers);
    const before = world.ticks;
    await world.run(60_000);
    const ticks = world.ticks - before;
    assert.ok(ticks <= 60 * perSecond + 1, String(ticks));
  });
}

test("peers that are unreachable are probed together, in 4 batches a second", async () => {
  const world = await settle(40);
  for (const peer of world.peers.slice(0, 10)) peer.overlay.isUp = peer.underlay.isUp = false;
  const isFound = () =>
    world
      .verdicts()
      .slice(0, 10)
      .every((verdict) => verdict === "underlay down");
  await world.run(30_000, isFound);
  assert.ok(isFound());
  await world.run(5_000);
  const before = world.ticks;
  await world.run(60_000);
  assert.ok(world.ticks - before <= 60 * 4 + 1, String(world.ticks - before));
});

test("a peer is not probed more often than the interval says, and ten times less beside the tunnel", async () => {
  const world = await settle(3, 5_000);
  const before = world.sent;
  await world.run(150_000);
  const sent = world.sent - before;
  assert.ok(sent >= 85 && sent <= 110, String(sent)); // 3 peers, 30 rounds
});

test("packets that are lost at random are no fault, and show as loss", async () => {
  const world = await settle(10);
  for (const { overlay, underlay } of world.peers) overlay.lossRatio = underlay.lossRatio = 0.05;
  await world.run(1_800_000);
  assert.deepEqual(world.changes, []);
  const losses = world.peers.map((_, index) => report(world, index).overlay.lossRatio!);
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  assert.ok(mean > 0.005 && mean < 0.2, String(mean));
});

test("slow answers are no fault, even if they were fast before", async () => {
  const world = await settle(10);
  for (const { overlay, underlay } of world.peers) overlay.rttMs = underlay.rttMs = 800;
  await world.run(60_000);
  assert.deepEqual(world.changes, []);
});

test("a cut underlay is told from a closed port, also where ICMP is filtered on it", async () => {
  const world = await settle(3);
  const [cut, filtered, closed] = world.peers as [
    (typeof world.peers)[0],
    (typeof world.peers)[0],
    (typeof world.peers)[0],
  ];
  cut.underlay.isUp = cut.overlay.isUp = false;
  filtered.underlay.isUp = filtered.overlay.isUp = false;
  filtered.answersTcp = true;
  closed.overlay.isUp = false;
  await world.run(5_000);
  assert.deepEqual(world.verdicts(), ["underlay down", "overlay down", "overlay down"]);
  assert.equal(report(world, 1).underlay.state, "filtered");
  assert.match(report(world, 0).advice!, /answers neither ICMP nor TCP/);
  for (const { underlay, overlay } of world.peers) underlay.isUp = overlay.isUp = true;
  await world.run(5_000);
  assert.deepEqual(new Set(world.verdicts()), new Set(["reachable"]));
  assert.deepEqual(world.changes.map(({ slot }) => slot).sort(), [0, 0, 1, 1, 2, 2]);
});

test("ICMP that is filtered beside a working tunnel is no fault", async () => {
  const world = await settle(2);
  world.peers[0]!.underlay.isUp = false;
  await world.run(60_000);
  assert.deepEqual(world.changes, []);
  assert.equal(report(world).underlay.state, "filtered");
});

test("a bridge that never answered is no fault; one that did, is", async () => {
  const world = new ProbedPeers(2);
  world.hasDeviceAddress = false;
  world.peers[0]!.overlay.isUp = false;
  await world.run(60_000);
  assert.deepEqual(world.verdicts(), ["reachable", "reachable"]);
  assert.equal(report(world).overlay.state, "filtered");
  world.peers[0]!.overlay.isUp = true;
  await world.run(10_000);
  assert.equal(report(world).overlay.state, "up");
  world.peers[0]!.overlay.isUp = false;
  await world.run(10_000);
  assert.equal(world.engine.verdict(0), "overlay down");
});

test("the largest packet is found on both paths when large ones vanish without a word", async () => {
  const world = await settle(2);
  const [peer] = world.peers;
  peer!.underlay.mostBytes = 1_400;
  peer!.overlay.mostBytes = 1_350;
  const tookMs = await world.run(60_000, () => report(world).underlay.largestPacketBytes === 1_400);
  assert.equal(world.engine.verdict(0), "packets too large");
  assert.equal(report(world).overlay.largestPacketBytes, 1_350);
  assert.ok(tookMs <= 30_000, `${tookMs} ms`);
  assert.match(
    report(world).advice!,
    /packets of 1350 bytes, .* 1400 bytes, but containers use an MTU of 1450/,
  );
  peer!.underlay.mostBytes = peer!.overlay.mostBytes = 1_500;
  await world.run(10_000, () => world.engine.verdict(0) === "reachable");
  assert.equal(world.engine.verdict(0), "reachable");
  assert.equal(report(world).overlay.largestPacketBytes, 1_450);
});

test("a peer whose packets arrive while ours do not is a fault of one direction", async () => {
  const world = await settle(1);
  world.peers[0]!.overlay.isUp = false;
  await world.run(4_000);
  assert.equal(world.engine.verdict(0), "overlay down");
  world.engine.onRequest(bytesOf(parseIp("10.64.0.0")!), world.nowMs);
  assert.equal(world.engine.verdict(0), "one direction");
  world.engine.onRequest(bytesOf(parseIp("10.99.0.0")!), world.nowMs); // a stranger
  await world.run(15_000);
  assert.equal(world.engine.verdict(0), "overlay down");
});

test("answers of another host, with another nonce, or a second time count for nothing; late ones do", async () => {
  const world = await settle(1);
  world.peers[0]!.overlay.isUp = false;
  await world.run(4_000);
  assert.equal(world.engine.verdict(0), "overlay down");
  const overlay = parseIp("10.64.0.0")!.value;
  const nextProbe = async () => {
    world.latest.clear();
    await world.run(2_000, () => world.latest.has(overlay));
    return world.latest.get(overlay)!;
  };
  for (let round = 0; round < 3; round++) {
    const { source, sequence, nonce } = await nextProbe();
    world.engine.onReply(bytesOf(parseIp("10.64.1.0")!), sequence, nonce, world.nowMs);
    world.engine.onReply(bytesOf(source), sequence, nonce ^ 1, world.nowMs);
    world.engine.onReply(bytesOf(source), sequence ^ 1, nonce, world.nowMs);
  }
  assert.equal(report(world).overlay.state, "down");
  const { source, sequence, nonce } = await nextProbe();
  for (let copy = 0; copy < 5; copy++) world.engine.onReply(bytesOf(source), sequence, nonce, world.nowMs);
  assert.equal(world.engine.verdict(0), "overlay down", "one answer does not end a fault");
  for (let count = 0; count < 2; count++) {
    const late = await nextProbe();
    world.nowMs += 900;
    world.engine.onReply(bytesOf(late.source), late.sequence, late.nonce, world.nowMs);
  }
  assert.equal(world.engine.verdict(0), "reachable");
});

test("a peer that leaves is forgotten, and its slot is another's", async () => {
  const world = await settle(2);
  world.peers[0]!.overlay.isUp = false;
  await world.run(4_000);
  world.engine.remove(0);
  assert.deepEqual(
    world.changes.map(({ before, verdict }) => [before, verdict]),
    [
      ["reachable", "overlay down"],
      ["overlay down", "unknown"],
    ],
  );
  assert.equal(world.engine.report(0), undefined);
  const next = world.add();
  assert.equal(next.slot, 0);
  assert.equal(world.engine.verdict(0), "unknown");
  assert.equal(report(world).overlay.rttMs, undefined);
  await world.run(4_000);
  assert.equal(world.engine.verdict(0), "reachable");
});

test("when all of 1,000 peers vanish the budget holds, and all of them come back", async () => {
  const world = await settle(1_000);
  for (const { overlay, underlay } of world.peers) overlay.isUp = underlay.isUp = false;
  const before = world.sent;
  await world.run(120_000);
  assert.ok((world.sent - before) / 120 <= 21, String((world.sent - before) / 120));
  for (const { overlay, underlay } of world.peers) overlay.isUp = underlay.isUp = true;
  const isWell = () => world.verdicts().every((verdict) => verdict === "reachable");
  await world.run(300_000, isWell);
  assert.ok(isWell());
});
