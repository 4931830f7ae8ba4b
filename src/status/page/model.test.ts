import assert from "node:assert/strict";
import { test } from "node:test";
import { keyOf, makeCluster, overlayDown, reachable } from "../../../test/support/fake-cluster.ts";
import type { PeerReport, RouteReport } from "../api.ts";
import { cellsByPeer, changedAt, joinPeers, lastChanges, summarize } from "./model.ts";
import { language, wordsOf } from "./text.ts";

const answersOf = ({ peers, routes }: ReturnType<typeof makeCluster>) => ({
  peers: [...peers()!] as PeerReport[],
  routes: [...routes()!] as RouteReport[],
});

test("problems come first, then peers in the order of their numbers", () => {
  const cluster = makeCluster(12);
  cluster.byKey.set(keyOf(11), { ...cluster.byKey.get(keyOf(11))!, probes: [overlayDown()] });
  cluster.byKey.set(keyOf(9), { ...cluster.byKey.get(keyOf(9))!, probes: [reachable(1, 0.1)] });
  const views = joinPeers(answersOf(cluster));
  assert.deepEqual(
    views.slice(0, 4).map(({ key, health }) => [key, health]),
    [
      [keyOf(11), "bad"],
      [keyOf(9), "warn"],
      [keyOf(2), "good"],
      [keyOf(3), "good"],
    ],
  );
  assert.equal(views.at(-1)!.key, keyOf(12));
});

test("of two families the worse one is shown", () => {
  const cells = [
    { peer: "a", family: "ipv4", verdict: "reachable", rttMs: 1 },
    { peer: "a", family: "ipv6", verdict: "overlay down" },
  ] as const;
  assert.equal(cellsByPeer({ key: "k", cells }).get("a")!.family, "ipv6");
});

test("a peer's last change is that of its lease or of its reachability, whichever is later", () => {
  const cluster = makeCluster(2);
  const [view] = joinPeers(answersOf(cluster));
  const probed = Date.parse(view!.probe!.overlay.since!);
  assert.equal(changedAt(view!, new Map()), probed);
  const at = new Date(probed + 1_000).toISOString();
  const changes = lastChanges([{ at, type: "peer", message: "m", key: view!.key }]);
  assert.equal(changedAt(view!, changes), probed + 1_000);
});

test("numbers of no peer are unknown, not zero", () => {
  assert.deepEqual(summarize([]), { medianMs: undefined, worstMs: undefined, meanLoss: undefined });
});

test("the language is the browser's first of English and Chinese", () => {
  assert.equal(language(["zh-TW", "en"]), "zh-CN");
  assert.equal(language(["fr", "en-US", "zh"]), "en");
  assert.equal(language([]), "en");
  for (const [word, text] of Object.entries(wordsOf("zh-CN"))) assert.notEqual(text, "", word);
});
