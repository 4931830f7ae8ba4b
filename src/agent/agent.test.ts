/** Whole agents in memory: a datastore, a kernel and a host without a system. */

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { formatIp, parseIp } from "../address/ip.ts";
import { NO_KEYS } from "../backend/backend.ts";
import { ConfigError, FlannelError } from "../base/error.ts";
import { parseFlags } from "../config/flags.ts";
import { readOptions } from "../config/options.ts";
import { FLANNELD_FLAGS } from "../config/options-table.ts";
import { encodeLeaseValue } from "../lease/lease-codec.ts";
import { RT_SCOPE_HOST } from "../netlink/route.ts";
import { MemoryKernel } from "../recorder/memory-kernel.ts";
import { Recorder } from "../recorder/recorder.ts";
import { formatRecording, parseRecording } from "../recorder/recording-file.ts";
import { replay } from "../recorder/replay.ts";
import { Outages } from "../status/outages.ts";
import { FakeHost } from "../testing/fake-host.ts";
import { FakeTimers, settle } from "../testing/fake-timers.ts";
import { createMemoryLeaseStore, MemoryDatastore } from "../testing/memory-lease-store.ts";
import { runAgent } from "./agent.ts";
import { AgentStatus } from "./agent-status.ts";
import { DriftLedger } from "./drift.ts";
import { recordAgent } from "./flight-recorder.ts";
import { build } from "./parts.ts";
import type { AgentPorts } from "./ports.ts";
import { Readiness } from "./readiness.ts";
import { type PlanDifference, PlanReplay } from "./replay-plans.ts";
import { resolve } from "./resolve.ts";

const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "vxlan", VNI: 1 } };
const ENV_PATH = "/run/flannel/subnet.env";

/** A host with eth0 at 192.168.7.1 and the datastore of its cluster. */
function makeHost(t: TestContext, config: unknown = CONFIG) {
  const data = new MemoryDatastore();
  data.setConfig(JSON.stringify(config));
  const host = new FakeHost();
  host.setLink(1, { name: "lo", up: true });
  host.addAddress({ ifindex: 1, prefix: "127.0.0.1/8", scope: RT_SCOPE_HOST });
  host.setLink(2, { name: "eth0", up: true, mtuBytes: 1500 });
  host.addAddress({ ifindex: 2, prefix: "192.168.7.1/24" });
  host.addRoute({ destination: "0.0.0.0/0", oif: 2, gateway: "192.168.7.254" });
  const kernel = new MemoryKernel();
  const timers = new FakeTimers();
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const logger = { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") };
  const files = new Map([["/proc/sys/net/bridge/bridge-nf-call-iptables", "1"]]);
  const counts = { ready: 0 };
  /** Addresses at which other hosts answer. */
  const answering = new Set<string>();
  const store = createMemoryLeaseStore(data, { random: () => 0 });
  const drift = new DriftLedger({ logger, timers, wallClockMs: Date.now });
  const ports: AgentPorts = {
    store,
    configPlace: "the test",
    providers: [kernel],
    rtnetlink: host.rtnetlink,
    hostAnswers: async (ip) => answering.has(formatIp(ip)),
    openNotifications: () => host.openNotifications(),
    firewall: {
      exec: { run: async () => ({ code: 0, stdout: '{"nftables":[]}', stderr: "" }) },
      openNftNotifications: () => new FakeHost().openNotifications(),
      digestXtables: () => "",
    },
    drift,
    socketOwner: () => "NetworkManager (pid 812)",
    logger,
    timers,
    wallClockMs: Date.now,
    randomBytes: (count) => new Uint8Array(count).fill(7),
    readFile: (path) => files.get(path),
    writeFile: async (path, text) => void files.set(path, text),
    claims: { claim: () => undefined, othersNames: () => [], release: () => {} },
    notifyReady: () => counts.ready++,
    memory: { residentBytes: () => 0, release() {}, trim() {}, unmap() {} },
    limitMemory() {},
  };
  t.after(async () => {
    drift[Symbol.dispose]();
    data[Symbol.dispose]();
    await store[Symbol.asyncDispose]();
  });
  return { data, host, kernel, timers, log, files, counts, answering, ports };
}

const optionsOf = (...args: string[]) => {
  const all = ["--ip-masq=false", "--iptables-forward-rules=false", ...args];
  const parsed = parseFlags(FLANNELD_FLAGS, {
    args: all,
    environment: { variables: {}, prefix: "FLANNELD_" },
  });
  assert.equal(parsed.type, "ok");
  return readOptions(parsed.flags, {});
};

/** Starts an agent on that host; it is stopped after the test. */
function start(t: TestContext, config?: unknown, ...args: string[]) {
  const world = makeHost(t, config);
  const readiness = new Readiness();
  const stop = new AbortController();
  const status = new AgentStatus({
    ...{
      version: "v1",
      revision: "abc",
      wireguardTraffic: () => [],
      hostName: "h1",
      configPlace: "the test",
      readiness,
      drift: world.ports.drift,
    },
    ...{ outages: new Outages(world.timers), udpCounters: () => ({}), wallClockMs: () => 0 },
  });
  const recorder = new Recorder();
  const attach: Parameters<typeof runAgent>[4] = (parts) => {
    recordAgent(recorder, parts, {
      ...{ readiness, wallClockMs: () => world.timers.nowMs(), keys: NO_KEYS, blackholeRoute: false },
    });
    status.attach(parts);
  };
  const ended = runAgent(optionsOf(...args), world.ports, readiness, stop.signal, attach).then(
    () => undefined,
    (error: unknown) => error,
  );
  t.after(async () => {
    stop.abort();
    await ended;
  });
  /** Advances the clock until the condition is true, by at most 20 s. */
  const until = async (what: string, condition: () => boolean) => {
    for (let step = 0; step < 200 && !condition(); step++) await world.timers.advance(100);
    assert.ok(condition(), `${what}: ${readiness.reasons.join()}\n${world.log.join("\n")}`);
  };
  const ready = () => until("ready", () => readiness.reasons.length === 0 && world.counts.ready > 0);
  const env = () => world.files.get(ENV_PATH) ?? "";
  return { ...world, readiness, status, recorder, stop, ended, until, ready, env };
}

const PEER = encodeLeaseValue({
  publicIp: parseIp("192.168.7.2"),
  publicIpv6: undefined,
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:02" },
  backendV6Data: undefined,
});

const ownKey = ({ data }: { data: MemoryDatastore }) =>
  [...data.entries].find(([, { value }]) => value.includes("192.168.7.1"))?.[0];

test("an agent gets ready: device, lease, subnet.env and routes to the peers", async (t) => {
  const agent = start(t);
  agent.data.put("10.5.99.0-24", PEER);
  await agent.ready();
  const keys = [...agent.kernel.objects.values()];
  assert.ok(keys.some((object) => object.kind === "link" && object.name === "flannel.1"));
  assert.ok(keys.some((object) => object.kind === "route" && object.destination === "10.5.99.0/24"));
  assert.match(
    agent.env(),
    /^FLANNEL_NETWORK=10\.5\.0\.0\/16\nFLANNEL_SUBNET=10\.5\.\d+\.1\/24\nFLANNEL_MTU=1450/,
  );
  assert.ok(ownKey(agent) !== undefined);
  assert.equal(agent.counts.ready, 1);
});

test("an agent that is stopped before its routes could be programmed ends at once", async (t) => {
  const agent = start(t);
  agent.data.put("10.5.99.0-24", PEER);
  agent.kernel.refuse = ({ object }) =>
    object.kind === "address" ? new FlannelError("EPERM", "not permitted") : undefined;
  await agent.until("a refused address", () => agent.readiness.reasons.join().includes("not permitted"));
  agent.stop.abort();
  const isPending = Symbol("pending");
  const turns = (async () => {
    for (let turn = 0; turn < 1_000; turn++) await new Promise(setImmediate);
    return isPending;
  })();
  assert.notEqual(await Promise.race([agent.ended, turns]), isPending);
});

test("a start without a network config waits for one", async (t) => {
  const agent = start(t);
  agent.data.setConfig(undefined);
  await agent.timers.advance(3_000);
  assert.match(agent.readiness.reasons.join(), /network config: there is no network config at the test/);
  agent.data.setConfig(JSON.stringify(CONFIG));
  await agent.ready();
});

test("a changed MTU reaches device and subnet.env, and a changed VNI is refused", async (t) => {
  const agent = start(t);
  await agent.ready();
  const mtu = () =>
    [...agent.kernel.objects.values()].flatMap((object) =>
      object.kind === "link" && object.type === "vxlan" ? [object.mtuBytes] : [],
    )[0];
  agent.data.setConfig(JSON.stringify({ ...CONFIG, Backend: { Type: "vxlan", VNI: 1, MTU: 1400 } }));
  await agent.until("the new MTU", () => mtu() === 1350 && /FLANNEL_MTU=1350/.test(agent.env()));
  agent.data.setConfig(JSON.stringify({ ...CONFIG, Backend: { Type: "vxlan", VNI: 2 } }));
  await agent.until("the refusal", () => agent.log.some((line) => /Backend\.VNI 1 → 2/.test(line)));
  assert.equal(mtu(), 1350);
  assert.deepEqual(agent.readiness.reasons, []);
});

test("W8 a deleted lease is acquired again", async (t) => {
  const agent = start(t);
  await agent.ready();
  const key = ownKey(agent)!;
  agent.data.delete(key);
  await agent.until("the lease", () => agent.data.entries.has(key));
  assert.ok(agent.log.some((line) => line.startsWith("W Lost lease")));
  await agent.ready();
});

test("a recorded run is planned again as it was: peers that come, return, move and leave, another config", async (t) => {
  for (const backend of [{ Type: "vxlan", VNI: 1 }, { Type: "host-gw" }]) {
    const agent = start(t, { ...CONFIG, Backend: backend });
    const { data, until } = agent;
    const value = PEER.replace('"vxlan"', JSON.stringify(backend.Type));
    const has = (subnet: string) =>
      agent.kernel.objects
        .values()
        .some((object) => object.kind === "route" && object.destination === subnet);
    data.put("10.5.99.0-24", value);
    await agent.ready();
    await until("the route", () => has("10.5.99.0/24"));
    // It returns within the second in which its lease still counts; then it has another subnet.
    data.delete("10.5.99.0-24");
    await agent.timers.advance(300);
    data.put("10.5.99.0-24", value);
    data.put("10.5.98.0-24", value.replace("192.168.7.2", "192.168.7.3").replace(":02", ":03"));
    await until("the second peer", () => has("10.5.98.0/24"));
    data.delete("10.5.98.0-24");
    await agent.timers.advance(100);
    data.put("10.5.97.0-24", value.replace("192.168.7.2", "192.168.7.3").replace(":02", ":03"));
    await until("its other subnet", () => has("10.5.97.0/24") && !has("10.5.98.0/24"));
    data.delete(ownKey(agent)!);
    data.setConfig(JSON.stringify({ ...CONFIG, Backend: { ...backend, MTU: 1400 } }));
    data.cut();
    await agent.timers.advance(2_000);
    data.delete("10.5.99.0-24");
    data.reconnect();
    await until("the first peer to be gone", () => !has("10.5.99.0/24"));
    await agent.ready();

    const header = { host: "h1", flannel: "v1", startedAt: "2026-01-01", savedAt: "2026-01-01" };
    const { entries } = parseRecording(formatRecording(header, agent.recorder.entries()));
    const plans = new PlanReplay();
    const differences: PlanDifference[] = [];
    let planned = 0;
    const { desired } = await replay(entries, {
      onStep({ entry, desired: recorded }) {
        if (entry.type !== "target") return;
        differences.push(...plans.step(entry, recorded));
        if (entry.inputs !== undefined) planned++;
      },
    });
    assert.deepEqual(differences, []);
    assert.ok(planned >= 6, String(planned));
    const isPeer = (key: string) => key.includes("10.5.97.0/24");
    assert.ok([...desired.keys()].some(isPeer), [...desired.keys()].join());
  }
});

test("a peer that leaves loses its route", async (t) => {
  const agent = start(t);
  agent.data.put("10.5.99.0-24", PEER);
  await agent.ready();
  const hasRoute = () =>
    [...agent.kernel.objects.values()].some(
      (object) => object.kind === "route" && object.destination === "10.5.99.0/24",
    );
  assert.ok(hasRoute());
  agent.data.delete("10.5.99.0-24");
  await agent.until("the removal", () => !hasRoute());
});

test("W45 another address of the host is programmed and published", async (t) => {
  const agent = start(t);
  await agent.ready();
  await agent.until("the watch", () => agent.host.sources > 0);
  agent.host.removeAddress("192.168.7.1/24");
  agent.host.addAddress({ ifindex: 2, prefix: "192.168.7.51/24" });
  agent.host.addRoute({ destination: "0.0.0.0/0", oif: 2, gateway: "192.168.7.254" });
  const published = () =>
    [...agent.data.entries.values()].some(({ value }) => value.includes("192.168.7.51"));
  await agent.until("the new address", published);
  assert.ok(agent.log.some((line) => /External interface eth0: 192\.168\.7\.51/.test(line)));
});

test("drift is repaired and recorded", async (t) => {
  const agent = start(t);
  agent.data.put("10.5.99.0-24", PEER);
  await agent.ready();
  await settle();
  const route = [...agent.kernel.objects.values()].find(
    (object) => object.kind === "route" && object.destination === "10.5.99.0/24",
  )!;
  agent.kernel.delete(route);
  await agent.until("the repair", () => agent.ports.drift.entries.length > 0);
  assert.match(agent.ports.drift.entries[0]!.what, /route 10\.5\.99\.0\/24.*\(missing\)/);
});

test("the status shows this host, its peers, and what happened", async (t) => {
  const agent = start(t);
  const { status } = agent;
  assert.equal(status.status().isReady, false);
  assert.deepEqual([status.lease(), status.routes(), status.peers()], [undefined, undefined, undefined]);
  agent.data.put("10.5.99.0-24", PEER);
  await agent.ready();
  const { isReady, backend, networks, lease, peers, kernel } = status.status();
  assert.deepEqual([isReady, backend, networks, peers], [true, "vxlan", ["10.5.0.0/16"], 1]);
  assert.deepEqual(lease?.publicIps, ["192.168.7.1"]);
  assert.ok(kernel.objects >= 5 && kernel.failures === 0);
  assert.deepEqual(JSON.parse(JSON.stringify([...status.routes()!])), [
    {
      ...{ subnet: "10.5.99.0/24", peer: "10.5.99.0-24", publicIp: "192.168.7.2", backend: "vxlan" },
      ...{ via: "10.5.99.0", device: "flannel.1", state: "programmed" },
    },
  ]);
  assert.deepEqual(
    [...status.peers()!].map(({ key }) => key),
    ["10.5.99.0-24"],
  );
  const sample = (name: string, labels = {}) =>
    status
      .metrics()
      .find((metric) => metric.name === name)
      ?.samples.find((each) => isDeepStrictEqual(each.labels ?? {}, labels))?.value;
  assert.equal(sample("flannel_ready"), 1);
  assert.equal(sample("flannel_peers"), 1);
  assert.equal(
    sample("flannel_kernel_operations_total", { kind: "route", action: "create", result: "success" }),
    1,
  );
  agent.data.put("10.5.99.0-24", PEER.replace("02:00:00:00:00:02", "junk"));
  await agent.until("the refusal", () => sample("flannel_peer_problems") === 1);
  assert.match([...status.routes()!][0]!.reason!, /its VtepMAC "junk" is not a MAC address/);
  agent.data.delete("10.5.99.0-24");
  agent.data.delete(ownKey(agent)!);
  await agent.until("another lease", () => agent.log.some((line) => line.startsWith("W Lost lease")));
  await agent.ready();
  const messages = () =>
    Array.from(
      { length: status.events.next },
      (_, number) => status.events.frame(number)!.split('"message":')[1]!,
    );
  await agent.until("the departure", () =>
    messages().some((text) => text.startsWith('"Peer left: 10.5.99.0/24')),
  );
  for (const text of ['"Peer changed: ', '"lease lost: it was deleted', '"ready"', '"Lease 10.5.'])
    assert.ok(
      messages().some((message) => message.startsWith(text)),
      `${text} in ${messages().join()}`,
    );
});

test("a host without a usable interface ends the start", async (t) => {
  const world = makeHost(t);
  world.host.setLink(2, { name: "eth0", up: false });
  const running = runAgent(optionsOf(), world.ports, new Readiness(), new AbortController().signal);
  await assert.rejects(
    running,
    (error) => error instanceof ConfigError && /eth0 is down/.test(error.message),
  );
});

test("an abort ends it and leaves the kernel as it is", async (t) => {
  const agent = start(t);
  await agent.ready();
  const before = agent.kernel.objects.size;
  agent.stop.abort();
  assert.equal(await agent.ended, undefined);
  assert.equal(agent.kernel.objects.size, before);
  assert.equal(agent.host.sources, 0);
});

test("resolving and building program nothing, and another network can be resolved beside a running one", async (t) => {
  const world = makeHost(t);
  const signal = new AbortController().signal;
  const resolved = (await resolve(optionsOf(), world.ports, new Readiness(), signal))!;
  assert.equal(resolved.config.host.interfaceName, "eth0");
  const { network } = resolved.config;
  const other = resolved.resolver.createBackend({ ...network, backend: { type: "host-gw" } }, []);
  assert.equal(other.type, "host-gw");
  const parts = build(resolved, optionsOf(), world.ports, new Readiness());
  assert.equal(parts.planner.config, resolved.config);
  assert.equal(parts.keeper.own, undefined);
  assert.deepEqual(world.kernel.operations, []);
});

test("F11 a host whose LAN is inside the network is not leased its own LAN", async (t) => {
  const agent = start(t);
  agent.host.addAddress({ ifindex: 2, prefix: "10.5.1.9/24" });
  await agent.ready();
  assert.equal(ownKey(agent), "10.5.2.0-24");
});

test("F11 a host that is given its own LAN by a reservation says so", async (t) => {
  const agent = start(t);
  agent.host.addAddress({ ifindex: 2, prefix: "10.5.1.9/24" });
  agent.data.put("10.5.1.0-24", PEER.replace("192.168.7.2", "192.168.7.1"), undefined);
  await agent.ready();
  assert.match(
    agent.log.join("\n"),
    /W Subnet 10\.5\.1\.0\/24 of this host overlaps its own route 10\.5\.1\.0\/24 dev eth0/,
  );
});

test("F9 a mixed cluster: without Backend the agent runs what the peers run; another type is reported", async (t) => {
  const agent = start(t, { Network: "10.5.0.0/16" });
  const lease = (host: number, backendType: string) =>
    PEER.replace("192.168.7.2", `192.168.7.${host}`).replace(
      '"BackendType":"vxlan"',
      `"BackendType":"${backendType}"`,
    );
  agent.data.put("10.5.98.0-24", lease(8, "host-gw"), 60_000);
  agent.data.put("10.5.99.0-24", lease(9, "host-gw"), 60_000);
  await agent.ready();
  assert.ok([...agent.kernel.objects.values()].some(({ kind }) => kind === "route"));
  assert.match(agent.data.entries.get(ownKey(agent)!)!.value, /"BackendType":"host-gw"/);
  agent.data.put("10.5.97.0-24", lease(7, "vxlan"), 60_000);
  await agent.until("conflict", () => agent.readiness.notes.some((note) => /10\.5\.97/.test(note)));
  assert.match(
    agent.readiness.notes.join(),
    /^Peer 10\.5\.97\.0-24 runs backend "vxlan" and this host "host-gw", so there is no route/,
  );
  assert.equal(agent.log.filter((line) => line.startsWith("W Peer 10.5.97.0-24 runs")).length, 1);
  assert.deepEqual(agent.readiness.reasons, [], "the host stays ready");
  assert.ok(!agent.log.some((line) => /changed and applied/.test(line)), "the config has not changed");
});

test("F20 a wrong --iface is reported before the datastore has answered", async (t) => {
  for (const [arg, problem] of [
    ["--iface=eth9", /Tried --iface=eth9: there is no such interface/],
    ["--iface=192.168.7.77", /Tried --iface=192\.168\.7\.77: no interface has this address/],
    ["--iface-regex=^wlan", /Tried --iface-regex=\^wlan: matches no address and no name/],
  ] as const) {
    const agent = start(t, undefined, arg);
    agent.data.setConfig(undefined);
    await settle();
    assert.match(agent.log[0]!, /^W Waiting for the network config; no usable external interface/);
    assert.match(agent.log[0]!, problem);
    assert.match(agent.readiness.reasons.join(), problem);
    agent.data.setConfig(JSON.stringify(CONFIG));
    await agent.timers.advance(2_000);
    assert.ok((await agent.ended) instanceof ConfigError);
  }
  const right = start(t, undefined, "--iface=eth0");
  await right.ready();
  assert.ok(!right.log.some((line) => /external interface; |no usable/.test(line)));
});
