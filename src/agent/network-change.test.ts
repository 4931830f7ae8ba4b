import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Backend } from "../backend/backend.ts";
import { createBackend, type Network, parseNetwork } from "../backend/backends.ts";
import { ConfigError } from "../base/error.ts";
import { settle } from "../testing/fake-timers.ts";
import { createMemoryLeaseStore, MemoryDatastore } from "../testing/memory-lease-store.ts";
import { followNetwork } from "./network-change.ts";

const CONFIG = { Network: "10.5.0.0/16", Backend: { Type: "vxlan", VNI: 1 } };
const DUAL = { EnableIPv6: true, IPv6Network: "fc00::/48" };

const backendOf = (network: Network): Backend =>
  createBackend(network, { existing: [], randomBytes: (count) => new Uint8Array(count) });

/** A host that follows the config of a datastore, from {@link CONFIG} on, until the test ends. */
async function start(t: TestContext) {
  const data = new MemoryDatastore();
  const store = createMemoryLeaseStore(data);
  const log: string[] = [];
  const note = (level: string) => (message: string) => void log.push(`${level} ${message}`);
  const applied: { network: Network; backend: Backend }[] = [];
  const host: { refusal: string | undefined } = { refusal: undefined };
  const network = parseNetwork(JSON.stringify(CONFIG));
  let current = { network, backend: backendOf(network) };
  const stop = new AbortController();
  data.setConfig(JSON.stringify(CONFIG));
  const following = followNetwork(
    {
      store,
      configPlace: "etcd key /net/config",
      logger: { info: note("I"), warn: note("W"), error: note("E"), debug: note("D") },
      current: () => current,
      createBackend: backendOf,
      apply(network, backend) {
        if (host.refusal !== undefined) throw new ConfigError(host.refusal);
        current = { network, backend };
        applied.push(current);
      },
    },
    stop.signal,
  );
  t.after(async () => {
    stop.abort();
    await following;
    data[Symbol.dispose]();
    await store[Symbol.asyncDispose]();
  });
  const change = async (config: unknown) => {
    data.setConfig(
      typeof config === "string" || config === undefined ? config : JSON.stringify({ ...CONFIG, ...config }),
    );
    await settle();
  };
  await settle();
  return { change, log, applied, host };
}

test("the config of the start and one that means the same change nothing", async (t) => {
  const { change, log, applied } = await start(t);
  await change({ SubnetLen: 24, Unknown: 1 });
  assert.deepEqual(log, []);
  assert.deepEqual(applied, []);
});

for (const [title, config] of [
  ["the range of subnets", { SubnetMin: "10.5.200.0" }],
  ["nftables", { EnableNFTables: true }],
  ["a member of the backend that hosts need not agree on", { Backend: { Type: "vxlan", VNI: 1, MTU: 1400 } }],
] as const) {
  test(`a change of ${title} is applied`, async (t) => {
    const { change, log, applied } = await start(t);
    await change(config);
    assert.equal(applied.length, 1);
    assert.deepEqual(applied[0]!.network, parseNetwork(JSON.stringify({ ...CONFIG, ...config })));
    assert.deepEqual(log, ["I Network config changed and applied"]);
  });
}

for (const [title, config, difference] of [
  ["the network", { Network: "10.6.0.0/16" }, "Network 10.5.0.0/16 → 10.6.0.0/16"],
  ["the length of subnets", { SubnetLen: 25 }, "SubnetLen 24 → 25"],
  ["the families", DUAL, "EnableIPv6 false → true"],
  ["the backend", { Backend: { Type: "host-gw" } }, "Backend.Type vxlan → host-gw"],
  ["the VNI", { Backend: { Type: "vxlan", VNI: 2 } }, "Backend.VNI 1 → 2"],
  [
    "several of these",
    { ...DUAL, SubnetLen: 25, Backend: { Type: "vxlan", VNI: 2 } },
    "SubnetLen 24 → 25, EnableIPv6 false → true, Backend.VNI 1 → 2",
  ],
] as const) {
  test(`a change of ${title} is refused, with the remedy`, async (t) => {
    const { change, log, applied } = await start(t);
    await change(config);
    await change(config);
    assert.deepEqual(applied, []);
    assert.deepEqual(log, [
      `E Keeping the previous network config: ${difference} cannot change while flanneld runs: ` +
        "restore the previous value, or restart flanneld on every host",
    ]);
  });
}

test("a config that is missing or invalid leaves the previous one in effect until it is valid", async (t) => {
  const { change, log, applied } = await start(t);
  for (const config of [undefined, undefined, "{", { Backend: { Type: "vxlam" } }]) await change(config);
  await change({ Backend: { Type: "vxlan", VNI: -1 } });
  assert.deepEqual(
    log.map(
      (line) =>
        /^E Keeping the previous network config: (?:.*)(missing at etcd key|JSON|vxlam|VNI)/.exec(line)?.[1],
    ),
    ["missing at etcd key", "JSON", "vxlam", "VNI"],
  );
  assert.deepEqual(applied, []);
  await change({});
  assert.equal(log.at(-1), "I Network config at etcd key /net/config is in effect");
  assert.deepEqual(applied, [], "it is the one that was in effect all along");
});

test("a config that does not work on this host is refused, and a later one is applied", async (t) => {
  const { change, log, applied, host } = await start(t);
  host.refusal = "an MTU of 80 bytes is too small";
  await change({ EnableNFTables: true });
  assert.deepEqual(log, ["E Keeping the previous network config: an MTU of 80 bytes is too small"]);
  host.refusal = undefined;
  await change({ SubnetMin: "10.5.200.0" });
  assert.equal(applied.length, 1);
  assert.deepEqual(log.slice(1), [
    "I Network config changed and applied",
    "I Network config at etcd key /net/config is in effect",
  ]);
});

test("the notes of an applied config are logged", async (t) => {
  const { change, log } = await start(t);
  await change('{"Network":"10.5.0.0/16","EnableNFTables":true}');
  assert.deepEqual(log, [
    "I network config has no Backend: using vxlan, because this host runs it",
    "I Network config changed and applied",
  ]);
});
