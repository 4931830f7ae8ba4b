/** What every backend planned is planned again from a recording's text, which has no secrets; a planner that differs is found. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import type { Host, NextHop } from "../backend/backend.ts";
import { BACKEND_TYPES, createBackend, parseNetwork } from "../backend/backends.ts";
import { silentLogger } from "../base/logger.ts";
import type { Lease, OwnLease } from "../lease/lease.ts";
import { createLeaseTable } from "../lease/lease-table.ts";
import { redact } from "../operate/bugreport/redact.ts";
import { Recorder } from "../recorder/recorder.ts";
import { changeRecording, formatRecording, parseRecording } from "../recorder/recording-file.ts";
import { replay } from "../recorder/replay.ts";
import { keyOf } from "../state/objects.ts";
import type { Target } from "../state/target.ts";
import { AgentEvents } from "./events.ts";
import { recordAgent } from "./flight-recorder.ts";
import { Planner } from "./planner.ts";
import { Readiness } from "./readiness.ts";
import { type PlanDifference, PlanReplay } from "./replay-plans.ts";

const SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";
const OWN_KEY = "b3duLXB1YmxpYy1rZXktb3duLXB1YmxpYy1rZXktb3c=";
const KEYS = {
  publicKey: () => OWN_KEY,
  registerPresharedKey: () => "sha256:1111",
  registerSecret: () => "sha256:2222",
};
const SECTIONS: Readonly<Record<string, object>> = {
  vxlan: { DirectRouting: true },
  wireguard: { PSK: SECRET },
  ipsec: { PSK: SECRET.repeat(3) },
  ipip: { DirectRouting: true },
  "aws-vpc": { RouteTableID: ["rtb-1", "rtb-2"] },
  "ali-vpc": { RouteTableID: ["vtb-1", "vtb-2", "vtb-3"], AccessKeyID: "LTAI", AccessKeySecret: SECRET },
  "tencent-vpc": { RouteTableID: ["rtb-1", "rtb-2", "rtb-3"], AccessKeyID: "AKID", AccessKeySecret: SECRET },
  extension: { PreStartupCommand: `echo ${SECRET}`, SubnetAddCommand: "true", SubnetRemoveCommand: "true" },
};
const PEER_DATA: Readonly<Record<string, (number: number) => unknown>> = {
  vxlan: (number) => ({ VNI: 1, VtepMAC: `02:00:00:00:00:0${number}`, Token: SECRET }),
  wireguard: (number) => ({ PublicKey: `${String(number).repeat(42)}A=`, psk: SECRET }),
  extension: (number) => `data of ${number}`,
};
const HEADER = {
  host: "h1",
  flannel: "v1",
  startedAt: "2026-01-01T00:00:00Z",
  savedAt: "2026-01-01T00:00:00Z",
};

const hostWith = (mtuBytes: number): Host => ({
  ...{ interfaceName: "eth0", interfaceMtuBytes: mtuBytes, ipv6: undefined, publicIpv6: undefined },
  ...{ ipv4: parseIp("192.168.7.1"), publicIp: parseIp("192.168.7.1") },
  localAddresses: [{ ip: parseIp("192.168.7.1")!, prefixLength: 24 }],
});

/** Planner and recorder of a host, without the rest of the agent. */
function makeHost(type: string, recorder = new Recorder()) {
  const network = parseNetwork(
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: type, ...SECTIONS[type] } }),
  );
  const backend = createBackend(network, {
    ...{ existing: [], keys: KEYS, randomBytes: (count) => new Uint8Array(count).fill(7) },
  });
  const leaseType = backend.published.backendType;
  const lease = (number: number, changes: Partial<Lease> = {}): Lease => ({
    key: `10.5.${number}.0-24`,
    subnets: { ipv4: parsePrefix(`10.5.${number}.0/24`), ipv6: undefined },
    attributes: {
      ...{ publicIp: parseIp(`192.168.7.${number}`), publicIpv6: undefined },
      ...{ backendType: leaseType, backendData: PEER_DATA[type]?.(number), backendV6Data: undefined },
    },
    ...{ establishedAt: BigInt(number), renewedAt: BigInt(number) },
    ...changes,
  });
  const events = new AgentEvents();
  const table = createLeaseTable();
  const world = {
    own: undefined as OwnLease | undefined,
    isKnown: false,
    target: undefined as Target | undefined,
  };
  const hops = new Map<string, NextHop | null>();
  let lookup = lookupOf(hops, events);
  const planner = new Planner(
    { network, backend, host: hostWith(1500) },
    {
      ...{ blackholeRoute: true, logger: silentLogger, own: () => world.own },
      peers: () => (world.isKnown ? table.peers(world.own?.key) : undefined),
      sharedIps: () => table.sharedPublicIps(),
      nextHop: () => lookup,
      setTarget(target) {
        world.target = target;
        events.emit({ type: "planned" });
      },
    },
  );
  const reconciler = {
    get target() {
      return world.target;
    },
    refusals: [],
  };
  const parts = { events, planner, reconciler, keeper: world, follower: world } as never;
  let nowMs = 1_000;
  recordAgent(recorder, parts, {
    ...{ readiness: new Readiness(), wallClockMs: () => nowMs++, keys: KEYS, blackholeRoute: true },
  });
  const pass = () => events.emit({ type: "pass", pass: { tried: [], done: [], tookMs: 1 } as never });
  return {
    ...{ recorder, planner, world, lease, pass },
    plan() {
      planner.replan();
      pass();
    },
    put(...leases: Lease[]) {
      for (const each of leases) table.apply({ type: "put", lease: each });
      world.isKnown = true;
      events.emit({ type: "leases", changes: { changed: leases, renewed: [], gone: [] } });
    },
    renew(each: Lease) {
      table.apply({ type: "put", lease: each });
      events.emit({ type: "leases", changes: { changed: [], renewed: [each], gone: [] } });
    },
    remove(key: string) {
      table.apply({ type: "delete", key });
      events.emit({ type: "leases", changes: { changed: [], renewed: [], gone: [key] } });
    },
    route(address: string, hop: NextHop | null) {
      hops.set(address, hop);
      events.emit({ type: "next-hop", address, hop });
      lookup = lookupOf(hops, events);
    },
  };
}

const lookupOf =
  (hops: Map<string, NextHop | null>, events: AgentEvents) => (ip: Parameters<typeof formatIp>[0]) => {
    const address = formatIp(ip);
    if (!hops.has(address)) {
      const isBehindRouter = /[45]$/.test(address);
      const hop = { device: "eth0", via: isBehindRouter ? "192.168.7.254" : undefined };
      hops.set(address, hop);
      events.emit({ type: "next-hop", address, hop });
    }
    return hops.get(address) ?? undefined;
  };

/** All that a planner depends on changes, one after the other. */
function run(type: string, recorder?: Recorder) {
  const host = makeHost(type, recorder);
  const { lease, world } = host;
  host.plan();
  world.own = { ...lease(1), expiresAtMs: undefined };
  host.put(lease(1), lease(2), lease(3));
  host.plan();
  host.put(lease(4));
  host.plan();
  // A clone of 4, established later; then it is renewed, and then 4 is.
  const clone = lease(5, {
    attributes: { ...lease(5).attributes, backendData: lease(4).attributes.backendData },
  });
  host.put(clone);
  host.plan();
  host.renew({ ...clone, renewedAt: 50n });
  host.plan();
  host.renew(lease(4, { renewedAt: 60n }));
  host.renew(lease(2, { renewedAt: 61n }));
  host.plan();
  host.route("192.168.7.3", { device: "eth0", via: "192.168.7.254" });
  host.route("192.168.7.2", null);
  host.plan();
  host.planner.change({ host: hostWith(1400) });
  host.pass();
  host.remove("10.5.3.0-24");
  // Two plans before the kernel is programmed; the second is recorded.
  host.planner.replan();
  host.put(lease(6));
  host.planner.replan();
  host.put(lease(7)); // not planned yet
  host.pass();
  host.plan();
  return host;
}

async function planAgain(text: string) {
  const { entries } = parseRecording(text);
  const plans = new PlanReplay();
  const differences: PlanDifference[] = [];
  const { desired, problems } = await replay(entries, {
    onStep({ entry, desired: recorded }) {
      if (entry.type === "target") differences.push(...plans.step(entry, recorded));
    },
  });
  return { plans, differences, entries, desired, problems };
}

for (const type of BACKEND_TYPES) {
  test(`${type}: a recording is planned again as it was, and has no secrets`, async () => {
    const { recorder, world } = run(type);
    const text = formatRecording(HEADER, recorder.entries());
    assert.ok(!text.includes(SECRET), text.slice(Math.max(0, text.indexOf(SECRET) - 200)));
    const { plans, differences, entries, desired, problems } = await planAgain(text);
    assert.deepEqual([differences, problems], [[], []]);
    assert.ok(plans.hasInputs);
    assert.ok(entries.length >= 8, String(entries.length));
    assert.deepEqual([...desired.keys()].toSorted(), [...world.target!.state.keys()].toSorted());
    // Each route of gce is in the one table that a network has.
    const least = type === "alloc" ? 0 : type === "gce" ? 2 : 3;
    assert.ok(desired.size >= least, String(desired.size));
  });

  test(`${type}: the same from a bug report, which has no fingerprints either`, async () => {
    const text = formatRecording(HEADER, run(type).recorder.entries());
    const report = changeRecording(text, (whole) => redact(whole));
    assert.ok(!report.includes("sha256:"));
    assert.deepEqual((await planAgain(report)).differences, []);
  });

  test(`${type}: the same after most of it has left the ring`, async () => {
    for (const entries of [1, 2, 3, 5]) {
      const { recorder } = run(type, new Recorder({ entries, bytes: 1_000_000 }));
      const again = await planAgain(formatRecording(HEADER, recorder.entries()));
      assert.deepEqual([again.differences, again.entries.length], [[], entries + 1]);
    }
  });
}

test("the problems of the latest plan are known again", async () => {
  const { recorder, planner } = run("vxlan");
  const { plans } = await planAgain(formatRecording(HEADER, recorder.entries()));
  assert.match(planner.problems.join(), /10\.5\.5\.0-24 cannot be reached: its VtepMAC/);
  assert.deepEqual(plans.problems, planner.problems);
});

test("a planner that plans something else is found: missing, added and changed objects, and one that fails", async () => {
  const { recorder } = run("host-gw");
  const entries = [...recorder.entries()];
  const wrong = (change: (entry: Extract<(typeof entries)[number], { type: "target" }>) => object) =>
    formatRecording(
      HEADER,
      entries.map((entry, index) =>
        index === 1 && entry.type === "target" ? { ...entry, ...change(entry) } : entry,
      ),
    );
  const isPeer = (key: string) => key.includes("10.5.2.0");
  const { differences: added } = await planAgain(
    wrong(({ set }) => ({ set: set.filter((object) => !isPeer(keyOf(object))) })),
  );
  assert.deepEqual(added[0], { what: "added", object: "route 10.5.2.0/24 via 192.168.7.2 dev eth0" });
  const { differences: changed } = await planAgain(
    wrong(({ set }) => ({
      set: set.map((object) => (isPeer(keyOf(object)) ? { ...object, via: "192.168.7.9" } : object)),
    })),
  );
  assert.deepEqual(changed[0], {
    ...{ what: "changed", object: "route 10.5.2.0/24 via 192.168.7.2 dev eth0" },
    recorded: "route 10.5.2.0/24 via 192.168.7.9 dev eth0",
  });
  const { differences: missing } = await planAgain(
    wrong(({ inputs }) => ({ inputs: { ...inputs, leases: inputs!.leases!.slice(0, 2) } })),
  );
  assert.equal(missing[0]?.what, "missing");
  const { differences: kept } = await planAgain(wrong(() => ({ keepOthers: true })));
  assert.deepEqual(kept, [
    { what: "changed", object: "stale objects are removed", recorded: "stale objects are kept" },
  ]);
  const { differences: failed } = await planAgain(
    formatRecording(
      HEADER,
      entries.map((entry) =>
        entry.type === "target" && entry.inputs?.config !== undefined
          ? {
              ...entry,
              inputs: {
                ...entry.inputs,
                config: { ...entry.inputs.config, network: { backend: { type: "rocket" } } as never },
              },
            }
          : entry,
      ),
    ),
  );
  assert.equal(failed[0]?.what, "failed");
  assert.match(failed[0].object, /"rocket" is not known/);
});
