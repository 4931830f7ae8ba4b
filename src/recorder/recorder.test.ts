import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { keyOf, type StateObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { ADDRESS, FDB, LINK, NEIGHBOUR, ROUTE, stateOf } from "../testing/sample-objects.ts";
import { Recorder } from "./recorder.ts";
import { changeRecording, formatRecording, parseRecording, recordingPathOf } from "./recording-file.ts";
import { type ReplayStep, replay } from "./replay.ts";

const ownership = { devices: new Set(["flannel.1"]), networks: [parsePrefix("10.5.0.0/16")!] };
const targetOf = (objects: readonly StateObject[]): Target => ({
  ...{ state: stateOf(objects), ownership, keepOthers: false },
});
const PEER = [FDB, NEIGHBOUR, ROUTE];
const HEADER = {
  host: "h1",
  flannel: "v1",
  startedAt: "2026-01-01T00:00:00.000Z",
  savedAt: "2026-01-02T00:00:00.000Z",
};

/** A host that gets a peer, loses its route to something else, and loses the peer. */
function sampleRun(recorder = new Recorder()): Recorder {
  recorder.addTarget(targetOf([LINK, ADDRESS]), 1_000);
  recorder.add({ atMs: 1_500, type: "lease", message: "Lease 10.5.1.0/24 is held" });
  recorder.addTarget(targetOf([LINK, ADDRESS, ...PEER]), 2_000);
  recorder.addTarget(targetOf([LINK, ADDRESS, ...PEER]), 2_500);
  recorder.add({ atMs: 3_000, type: "drift", operations: [{ action: "create", object: ROUTE }] });
  recorder.addTarget(targetOf([LINK, ADDRESS]), 4_000);
  return recorder;
}

const written = (recorder: Recorder) => formatRecording(HEADER, recorder.entries());
const textOf = ({ operations }: ReplayStep) =>
  operations.map(({ action, object }) => `${action} ${object.kind}`);

test("a recording has differences only, and is read back as it was written", () => {
  const recorder = sampleRun();
  const { header, entries } = parseRecording(written(recorder));
  assert.deepEqual(header, HEADER);
  assert.deepEqual(entries, JSON.parse(JSON.stringify([...recorder.entries()])));
  const sizes = entries.map((entry) =>
    entry.type === "target" ? `+${entry.set.length} -${entry.gone.length}` : entry.type,
  );
  assert.deepEqual(sizes, ["+2 -0", "lease", "+3 -0", "drift", "+0 -3"]);
});

test("a replay makes the same changes, repairs the same drift, and can stop at any moment", async () => {
  const { entries } = parseRecording(written(sampleRun()));
  const steps: string[][] = [];
  const end = await replay(entries, { onStep: (step) => steps.push(textOf(step)) });
  assert.deepEqual(steps, [
    ["create link", "create address"],
    [],
    ["create fdb", "create neighbour", "create route"],
    ["create route"],
    ["remove route", "remove neighbour", "remove fdb"],
  ]);
  assert.deepEqual(end.state.map(keyOf), [LINK, ADDRESS].map(keyOf));
  const middle = await replay(entries, { untilMs: 2_000, onStep: () => {} });
  assert.deepEqual(middle.state.map(keyOf), [LINK, ADDRESS, ...PEER].map(keyOf));
  assert.deepEqual(middle.problems, []);
});

test("a replay refuses what the host refused, until it succeeded there", async () => {
  const recorder = new Recorder();
  const tried = { action: "create", key: keyOf(ROUTE), object: "route" } as const;
  recorder.addTarget(targetOf([LINK, ADDRESS, ...PEER]), 1_000);
  recorder.add({
    atMs: 1_001,
    type: "pass",
    tookMs: 1,
    tried: 1,
    operations: [{ ...tried, problem: "EPERM" }],
  });
  recorder.add({ atMs: 2_000, type: "pass", tookMs: 1, tried: 1, operations: [tried] });
  const { entries } = parseRecording(written(recorder));
  const early = await replay(entries, { untilMs: 1_500, onStep: () => {} });
  assert.match(early.problems.join(), /10\.5\.2\.0\/24.*EPERM/);
  const late = await replay(entries, { onStep: () => {} });
  assert.deepEqual([late.problems, late.state.length], [[], 5]);
});

test("the ring is bounded, and what leaves it becomes the state that the recording begins with", async () => {
  const recorder = new Recorder({ entries: 3, bytes: 1_000_000 });
  sampleRun(recorder);
  for (let number = 0; number < 50; number++)
    recorder.add({ atMs: 5_000 + number, type: "peer", message: `peer ${number}` });
  const entries = [...recorder.entries()];
  assert.equal(entries.length, 4);
  assert.deepEqual(entries[0]!.type === "target" && entries[0]!.set.map(keyOf), [LINK, ADDRESS].map(keyOf));
  const end = await replay(parseRecording(written(recorder)).entries, { onStep: () => {} });
  assert.deepEqual(end.state.map(keyOf), [LINK, ADDRESS].map(keyOf));

  const small = new Recorder({ entries: 100, bytes: 600 });
  sampleRun(small);
  assert.ok([...small.entries()].length < 4, "bounded by memory");
});

test("a file that is foreign, truncated, corrupt or of another version is refused with the reason", () => {
  const text = written(sampleRun());
  const lines = text.split("\n");
  for (const [bad, reason] of [
    ["", /no recording of flanneld/],
    ["\u0000\u0001\u0002", /no recording of flanneld/],
    ['{"a":1}\n', /no recording of flanneld/],
    ["null\nnull\n", /no recording of flanneld/],
    [text.replace('"version":1', '"version":2'), /version 2 of the format, this program reads 1/],
    [text.slice(0, -1), /truncated/],
    [text.slice(0, text.length >> 1), /truncated/],
    [lines[0]!, /no recording|truncated/],
    [`${lines[0]}\n`, /truncated/],
    [text.replace("10.5.1.0/24", "10.5.9.0/24"), /checksum/],
    [[lines[0], ...lines.slice(2)].join("\n"), /checksum/],
    [formatRecording(HEADER, [{ type: "target", atMs: 1, set: [{ kind: "rocket" }] } as never]), /entry 1/],
    [
      formatRecording(HEADER, [{ type: "drift", atMs: 1, operations: [{ action: "replace" }] } as never]),
      /entry 1/,
    ],
    [formatRecording({} as never, []), /first line is incomplete/],
  ] as const)
    assert.throws(() => parseRecording(bad), reason, JSON.stringify(bad.slice(0, 60)));
});

test("the file is beside subnet.env or the socket", () => {
  assert.equal(recordingPathOf("/run/flannel/subnet.env"), "/run/flannel/recorder");
  assert.equal(recordingPathOf("/run/flannel/flanneld.sock"), "/run/flannel/recorder");
  assert.equal(recordingPathOf("/run/flannel/blue.env"), "/run/flannel/blue.recorder");
  assert.equal(recordingPathOf("/run/flannel/blue.sock"), "/run/flannel/blue.recorder");
});

test("a changed recording has a checksum that matches, one that was corrupt stays so", () => {
  const text = written(sampleRun());
  const change = (whole: string) => whole.replaceAll("10.5.1.0/24", "***");
  assert.match(JSON.stringify(parseRecording(changeRecording(text, change)).entries), /Lease \*\*\* is held/);
  const corrupt = text.replace("10.5.1.0/24", "10.5.1.0/25");
  assert.throws(() => parseRecording(changeRecording(corrupt, change)), /checksum/);
  assert.equal(
    changeRecording("no recording", () => "x"),
    "x",
  );
});
