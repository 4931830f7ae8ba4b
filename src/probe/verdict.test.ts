import assert from "node:assert/strict";
import { test } from "node:test";
import { adviceFor, isFault, verdictOf } from "./verdict.ts";

const BASE = { isRefused: false, isTooLarge: false, isHeard: false };

test("the verdict for each pair of results", () => {
  for (const [overlay, underlay, verdict] of [
    ["up", "up", "reachable"],
    ["up", "filtered", "reachable"],
    ["up", "unknown", "reachable"],
    ["down", "up", "overlay down"],
    ["down", "filtered", "overlay down"],
    ["down", "down", "underlay down"],
    ["down", "unknown", "unknown"],
    ["filtered", "up", "reachable"],
    ["filtered", "filtered", "reachable"],
    ["filtered", "down", "underlay down"],
    ["unknown", "up", "unknown"],
    ["unknown", "down", "unknown"],
    [undefined, "up", "reachable"],
    [undefined, "filtered", "reachable"],
    [undefined, "down", "underlay down"],
    [undefined, "unknown", "unknown"],
  ] as const)
    assert.equal(verdictOf({ ...BASE, overlay, underlay }), verdict, `${overlay} ${underlay}`);
  for (const underlay of ["up", "filtered", "unknown"] as const)
    assert.equal(verdictOf({ ...BASE, overlay: undefined, underlay, isRefused: true }), "unknown");
  assert.equal(verdictOf({ ...BASE, overlay: "up", underlay: "up", isTooLarge: true }), "packets too large");
  assert.equal(verdictOf({ ...BASE, overlay: "down", underlay: "up", isHeard: true }), "one direction");
  assert.equal(verdictOf({ ...BASE, overlay: "down", underlay: "down", isHeard: true }), "underlay down");
});

test("every fault has advice that names both hosts or the peer, and nothing else has", () => {
  for (const verdict of [
    "unknown",
    "reachable",
    "underlay down",
    "overlay down",
    "packets too large",
    "one direction",
  ] as const) {
    for (const listener of ["UDP port 51820", undefined]) {
      const advice = adviceFor({
        ...{ verdict, listener, own: "192.0.2.1", peer: "192.0.2.2" },
        ...{ overlayBytes: 1_350, underlayBytes: 0, mtuBytes: 1_450 },
      });
      assert.equal(advice !== undefined, isFault(verdict));
      if (verdict === "overlay down" || verdict === "one direction")
        assert.equal(advice!.includes("UDP port 51820"), listener !== undefined);
    }
  }
});
