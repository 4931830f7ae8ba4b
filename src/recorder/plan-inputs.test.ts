/** What plans are made from, in the ring and in the file, and the memory that all of it costs. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { parseNetwork } from "../backend/backends.ts";
import type { Lease } from "../lease/lease.ts";
import type { StateObject } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { FDB, LINK, NEIGHBOUR, ROUTE, stateOf } from "../testing/sample-objects.ts";
import type { RecorderEntry } from "./entries.ts";
import { InputChanges } from "./input-changes.ts";
import type { PlanInputs, RecordedConfig } from "./plan-inputs.ts";
import { Recorder } from "./recorder.ts";
import { changeRecording, formatRecording, parseRecording, recordingPieces } from "./recording-file.ts";

const ownership = { devices: new Set(["flannel.1"]), networks: [parsePrefix("10.5.0.0/16")!] };
const targetOf = (objects: readonly StateObject[]): Target => ({
  ...{ state: stateOf(objects), ownership, keepOthers: false },
});
const HEADER = {
  ...{ host: "h1", flannel: "v1" },
  ...{ startedAt: "2026-01-01T00:00:00.000Z", savedAt: "2026-01-02T00:00:00.000Z" },
};
const written = (recorder: Recorder) => formatRecording(HEADER, recorder.entries());

const CONFIG: RecordedConfig = {
  network: {
    ...parseNetwork(
      '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"host-gw"}}',
    ),
  },
  host: {
    ...{ interfaceName: "eth0", interfaceMtuBytes: 1500, ipv4: parseIp("172.16.0.1")! },
    publicIp: parseIp("172.16.0.1")!,
  } as RecordedConfig["host"],
  published: { backendType: "host-gw" } as RecordedConfig["published"],
  blackholeRoute: false,
};

const leaseOf = (number: number, renewedAt: number): Lease => {
  const [high, low] = [number >> 8, number & 255];
  const mac = `02:00:00:00:${high.toString(16).padStart(2, "0")}:${low.toString(16).padStart(2, "0")}`;
  return {
    key: `10.${high}.${low}.0-24`,
    subnets: { ipv4: parsePrefix(`10.${high}.${low}.0/24`), ipv6: undefined },
    attributes: {
      ...{ publicIp: parseIp(`172.16.${high}.${low}`), publicIpv6: undefined, backendType: "vxlan" },
      ...{ backendData: { VNI: 1, VtepMAC: mac }, backendV6Data: undefined },
    },
    ...{ establishedAt: BigInt(number), renewedAt: BigInt(renewedAt) },
  };
};

test("of changes between two plans the last one counts, and a renewal of a lease that came is a lease", () => {
  const changes = new InputChanges();
  const own = { key: "own", subnets: leaseOf(1, 1).subnets };
  const note = (changed: Lease[], renewed: Lease[] = [], gone: string[] = []) =>
    changes.noteLeases({ changed, renewed, gone });
  const plan = () => changes.notePlan({ config: CONFIG, own, isKnown: true });
  const [first, second, third] = [leaseOf(1, 1), leaseOf(2, 1), leaseOf(3, 1)];
  assert.equal(changes.take(), undefined, "nothing was planned");
  note([first, second, third]);
  plan();
  note([leaseOf(4, 1)]); // belongs to the plan after
  assert.deepEqual(changes.take(), { config: CONFIG, own, isKnown: true, leases: [first, second, third] });
  assert.equal(changes.take(), undefined);
  note([], [leaseOf(1, 5), leaseOf(4, 5)]);
  plan();
  note([], [leaseOf(1, 6), leaseOf(4, 6)], [second.key]);
  note([leaseOf(3, 2)], [leaseOf(3, 7)]);
  plan();
  note([second]);
  note([], [], [third.key]);
  plan();
  note([], [leaseOf(2, 9)]);
  plan();
  assert.deepEqual(changes.take(), {
    leases: [leaseOf(4, 6), leaseOf(2, 9)],
    renewals: [{ key: first.key, renewedAt: 6n }],
    goneLeases: [third.key],
  });
});

test("what plans are made from is a difference, too, and is whole where the recording begins", () => {
  const recorder = new Recorder({ entries: 2, bytes: 1_000_000 });
  const hop = { device: "eth0", via: undefined };
  const steps: readonly PlanInputs[] = [
    {
      isKnown: true,
      own: { key: "own", subnets: leaseOf(1, 1).subnets },
      leases: [leaseOf(1, 1), leaseOf(2, 1)],
    },
    { config: CONFIG, leases: [leaseOf(3, 1)], hops: [{ address: "172.16.0.3", hop }] },
    { renewals: [{ key: leaseOf(2, 0).key, renewedAt: 9n }], goneLeases: [leaseOf(3, 0).key] },
    { goneHops: ["172.16.0.3"], hops: [{ address: "172.16.0.2", hop: null }] },
    { own: null, isKnown: false },
  ];
  for (const [index, inputs] of steps.entries()) recorder.addTarget(targetOf([LINK]), index, inputs);
  const text = written(recorder);
  const entries = parseRecording(text).entries.map((entry) => entry.type === "target" && entry.inputs);
  assert.deepEqual(entries, [
    {
      ...{ config: CONFIG, isKnown: true, hops: [{ address: "172.16.0.3", hop }] },
      own: { key: "own", subnets: leaseOf(1, 1).subnets },
      leases: [leaseOf(1, 1), leaseOf(2, 9)],
    },
    { ...steps[3], leases: [] },
    { ...steps[4], leases: [] },
  ]);
  for (const [from, to] of [
    ['"publicIp":"172.16.0.1"', '"publicIp":"172.16.0"'],
    ['"publicIp":"172.16.0.1"', '"publicIp":7'],
    ['"ipv4":"10.0.1.0/24"', '"ipv4":"fc00::/64"'],
    ['"renewedAt":"9"', '"renewedAt":"nine"'],
    ['"device":"eth0"', '"device":{}'],
    ['"goneHops":["172.16.0.3"]', '"goneHops":[1]'],
    ['"isKnown":false', '"isKnown":0'],
    ['{"prefix":"10.5.0.0/16"}', '{"prefix":"all"}'],
    ['"inputs":{', '"inputs":[],"others":{'],
    ['"config":{', `"config":${"[".repeat(50_000)}${"]".repeat(50_000)},"others":{`],
    ['"backendData":{', `"backendData":${"[".repeat(50_000)}${"]".repeat(50_000)},"others":{`],
  ] as const) {
    assert.ok(text.includes(from), `${from} in ${text}`);
    const changed = changeRecording(text, (whole) => whole.replace(from, to));
    assert.throws(() => parseRecording(changed), /it is corrupt: entry \d is none/, to.slice(0, 60));
  }
});

test("the text comes in pieces of at most 100 objects", () => {
  const recorder = new Recorder();
  const routes = Array.from({ length: 1_000 }, (_, number) => ({
    ...ROUTE,
    destination: `10.9.${number}.0/24`,
  }));
  recorder.addTarget(targetOf(routes), 1, { leases: Array.from({ length: 1_000 }, (_, n) => leaseOf(n, 1)) });
  const pieces = [...recordingPieces(HEADER, recorder.entries())];
  assert.ok(Math.max(...pieces.map(({ length }) => length)) < 30_000);
  assert.equal(pieces.join(""), written(recorder));
});

test("memory: 5,000 peers with their leases, and ten thousand changes, cost at most 3 MB", async () => {
  const gc = (globalThis as { gc?: () => void }).gc;
  if (gc === undefined) {
    const { setFlagsFromString } = await import("node:v8");
    setFlagsFromString("--expose-gc");
  }
  const collect = gc ?? ((await import("node:vm")).runInNewContext("gc") as () => void);
  const peer = (number: number, turn: number): StateObject[] => {
    const mac = `02:00:00:00:${(number >> 8).toString(16).padStart(2, "0")}:${(number & 255).toString(16).padStart(2, "0")}`;
    const via = `10.${number >> 8}.${number & 255}.${turn % 200}`;
    return [
      { ...FDB, mac, destination: via },
      { ...NEIGHBOUR, address: via, mac },
      { ...ROUTE, destination: `${via}/32`, via },
    ];
  };
  const peers = Array.from({ length: 5_000 }, (_, number) => peer(number, 0));
  const all = () => targetOf(peers.flat());
  const recorder = new Recorder();
  let current = all();
  const entries: RecorderEntry[] = [];
  // As the lease table and the planner have them.
  const leases = Array.from({ length: 5_000 }, (_, number) => leaseOf(number, 1));
  const changes = new InputChanges();
  const own = { key: "own", subnets: leases[0]!.subnets };
  const plan = (changed: readonly Lease[]) => {
    changes.noteLeases({ changed, renewed: [], gone: [] });
    changes.notePlan({ config: CONFIG, own, isKnown: true });
    recorder.addTarget(current, 0, changes.take());
  };
  collect();
  const before = process.memoryUsage().heapUsed;
  plan(leases);
  for (let turn = 1; turn <= 10_000; turn++) {
    if (turn % 100 === 0) {
      peers[turn % 5_000] = peer(turn % 5_000, turn);
      current = all();
      leases[turn % 5_000] = leaseOf(turn % 5_000, turn);
      plan([leases[turn % 5_000]!]);
    }
    recorder.add({ atMs: turn, type: "peer", message: `Peer joined: 10.5.${turn}.0/24 at 192.168.7.2` });
  }
  const assertSmall = (when: string) => {
    collect();
    const megabytes = (process.memoryUsage().heapUsed - before) / 1e6;
    assert.ok(megabytes < 3, `${when}: ${megabytes.toFixed(2)} MB`);
  };
  assertSmall("after the changes");
  // A day later every lease was written again: the table has other objects, and so has the plan.
  for (const [number, lease] of leases.entries()) {
    const again = { ...leaseOf(number, 1e6), attributes: { ...lease.attributes } };
    leases[number] = again;
    peers[number] = peers[number]!.map((object) => ({ ...object }));
    changes.noteLeases({ changed: [], renewed: [again], gone: [] });
    recorder.shareLease(again);
  }
  current = all();
  plan([]);
  assertSmall("after the renewals");
  entries.push(...recorder.entries());
  assert.ok(entries.length > 1_000 && current.state.size > 14_000);
});
