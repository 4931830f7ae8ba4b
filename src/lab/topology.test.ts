import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import { type LabShape, nodesOf, planTopology } from "./topology.ts";

const shape = (changes: Partial<LabShape> & { net?: string } = {}): LabShape => ({
  name: "lab",
  hosts: 2,
  underlay: parsePrefix(changes.net ?? "192.168.64.0/24")!,
  ...changes,
});

test("plans names and addresses", () => {
  assert.deepEqual(planTopology(shape({ name: "try-1", hosts: 1 })), {
    name: "try-1",
    underlay: "192.168.64.0/24",
    hub: {
      name: "hub",
      netns: "flannel-try-1-hub",
      address: "192.168.64.1",
      prefix: "192.168.64.1/24",
    },
    hosts: [
      {
        name: "h1",
        netns: "flannel-try-1-h1",
        address: "192.168.64.11",
        prefix: "192.168.64.11/24",
        subnetFile: "/run/flannel-lab/try-1/h1/subnet.env",
        logFile: "/run/flannel-lab/try-1/h1/flanneld.log",
        containers: [{ name: "h1-c1", netns: "flannel-try-1-h1-c1", hostPort: "veth-c1", addressOffset: 2 }],
      },
    ],
  });
});

test("a plan is plain data: the state file gives it back as it was", () => {
  const topology = planTopology(shape());
  assert.deepEqual(JSON.parse(JSON.stringify(topology)), topology);
});

test("as many hosts as the underlay has addresses for, all different, none the network's or the broadcast address", () => {
  const topology = planTopology(shape({ hosts: 244 }));
  const addresses = [topology.hub, ...topology.hosts].map(({ address }) => address);
  assert.equal(new Set(addresses).size, 245);
  assert.equal(addresses.at(-1), "192.168.64.254");
  assert.equal(new Set(nodesOf(topology).map(({ netns }) => netns)).size, 1 + 244 + 244);
  assert.ok(topology.hosts.every(({ name }) => name.length <= 15)); // they name devices: IFNAMSIZ
  assert.throws(() => planTopology(shape({ hosts: 245 })), /--hosts: must be within 1…244/);
});

test("names of two labs never meet", () => {
  const names = ["a", "a-h1", "a-h1-c1", "a-hub"].flatMap((name) =>
    nodesOf(planTopology(shape({ name, hosts: 5 }))).map(({ netns }) => netns),
  );
  assert.equal(new Set(names).size, names.length);
});

test("refuses what cannot be, and says what to do", () => {
  const refused: [Parameters<typeof shape>[0], RegExp][] = [
    [{ hosts: 0 }, /--hosts: must be within 1…/],
    [{ net: "192.168.64.0/28" }, /--hosts: must be within 1…4 /],
    [{ net: "192.168.64.0/29" }, /--underlay: .* is too small, use a \/24/],
    [{ net: "fd00::/64" }, /--underlay: must be an IPv4 network/],
    ...["", "Lab", "a/b", "..", "-a", "a-", "a".repeat(33), "a b"].map(
      (name): [Parameters<typeof shape>[0], RegExp] => [{ name }, /--name: .* cannot name a lab/],
    ),
  ];
  for (const [changes, message] of refused) {
    assert.throws(
      () => planTopology(shape({ hosts: 9, ...changes })),
      (error) => error instanceof ConfigError && message.test(error.message),
      JSON.stringify(changes),
    );
  }
});
