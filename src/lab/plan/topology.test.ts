import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../address/prefix.ts";
import { ConfigError } from "../../base/error.ts";
import { type LabShape, nodesOf, planOneMore, planTopology, underlayNetworks } from "./topology.ts";

const IPV4 = ["192.168.64.0/24"];
const IPV6 = ["fd00:64::/64"];
const BOTH = [...IPV4, ...IPV6];

const shape = (changes: Partial<LabShape> & { nets?: string[] } = {}): LabShape => ({
  name: "lab",
  hosts: 2,
  segments: 1,
  underlays: (changes.nets ?? IPV4).map((text) => parsePrefix(text)!),
  cni: false,
  ...changes,
});

test("plans names and addresses", () => {
  assert.deepEqual(planTopology(shape({ name: "try-1", hosts: 1 })), {
    name: "try-1",
    cni: false,
    segments: [
      {
        bridge: "underlay1",
        networks: ["192.168.64.0/24"],
        gateways: [{ family: 4, address: "192.168.64.1", prefix: "192.168.64.1/24" }],
      },
    ],
    hub: {
      name: "hub",
      netns: "flannel-try-1-hub",
      addresses: [{ family: 4, address: "192.168.64.1", prefix: "192.168.64.1/24" }],
    },
    hosts: [
      {
        name: "h1",
        netns: "flannel-try-1-h1",
        number: 1,
        segment: 0,
        addresses: [{ family: 4, address: "192.168.64.11", prefix: "192.168.64.11/24" }],
        directory: "/run/flannel-lab/try-1/h1",
        subnetFile: "/run/flannel-lab/try-1/h1/subnet.env",
        logFile: "/run/flannel-lab/try-1/h1/flanneld.log",
        containers: [
          {
            name: "h1-c1",
            netns: "flannel-try-1-h1-c1",
            attachment: { kind: "veth", hostPort: "veth-c1", addressOffset: 2 },
          },
        ],
      },
    ],
  });
});

const addressesOf = (hosts: readonly { addresses: readonly { prefix: string }[] }[]) =>
  hosts.map(({ addresses }) => addresses.map(({ prefix }) => prefix).join(" "));

test("families: the same number ends the addresses of a host in both", () => {
  const plans: [string[], string, string[]][] = [
    [IPV4, "192.168.64.1/24", ["192.168.64.11/24", "192.168.64.12/24"]],
    [IPV6, "fd00:64::1/64", ["fd00:64::11/64", "fd00:64::12/64"]],
    [
      BOTH,
      "192.168.64.1/24 fd00:64::1/64",
      ["192.168.64.11/24 fd00:64::11/64", "192.168.64.12/24 fd00:64::12/64"],
    ],
  ];
  for (const [nets, hub, hosts] of plans) {
    const topology = planTopology(shape({ nets }));
    assert.deepEqual(addressesOf([topology.hub]), [hub]);
    assert.deepEqual(addressesOf(topology.hosts), hosts);
  }
});

test("with CNI the containers are joined by plugins, which keep their files with the host's", () => {
  const [host] = planTopology(shape({ cni: true })).hosts;
  assert.deepEqual(host!.containers[0]!.attachment, {
    kind: "cni",
    resultFile: "/run/flannel-lab/lab/h1/h1-c1.json",
    stateDirectory: "/run/flannel-lab/lab/h1/cni",
  });
});

test("one more host is as if it had been planned from the start, in the lowest place that is free", () => {
  const whole = planTopology(shape({ nets: BOTH, hosts: 5, segments: 2, cni: true }));
  for (const missing of whole.hosts) {
    const hosts = whole.hosts.filter((host) => host !== missing);
    assert.deepEqual(planOneMore({ ...whole, hosts }), missing);
  }
  const { hosts } = planTopology(shape({ nets: BOTH, hosts: 6, segments: 2, cni: true }));
  assert.deepEqual(planOneMore(whole), hosts[5]);
  const full = planTopology(shape({ nets: ["192.168.64.0/28"], hosts: 4 }));
  assert.throws(() => planOneMore(full), /the underlay is full: it has room for 4 hosts; remove one first/);
});

test("several segments: each the next network, the hosts take turns, the hub is on all", () => {
  const wanted = shape({ nets: BOTH, hosts: 5, segments: 2 });
  const { hub, segments, hosts } = planTopology(wanted);
  assert.deepEqual(
    segments.map(({ bridge, networks }) => [bridge, ...networks]),
    [
      ["underlay1", "192.168.64.0/24", "fd00:64::/64"],
      ["underlay2", "192.168.65.0/24", "fd00:64:0:1::/64"],
    ],
  );
  assert.equal(underlayNetworks(wanted).length, 4);
  assert.deepEqual(addressesOf([hub]), ["192.168.64.1/24 fd00:64::1/64 192.168.65.1/24 fd00:64:0:1::1/64"]);
  assert.deepEqual(
    hosts.map(({ segment }) => segment),
    [0, 1, 0, 1, 0],
  );
  assert.deepEqual(addressesOf(hosts).slice(1, 3), [
    "192.168.65.12/24 fd00:64:0:1::12/64",
    "192.168.64.13/24 fd00:64::13/64",
  ]);
});

test("a plan is plain data: the state file gives it back as it was", () => {
  const topology = planTopology(shape({ nets: BOTH, segments: 2 }));
  assert.deepEqual(JSON.parse(JSON.stringify(topology)), topology);
});

test("as many hosts as the underlay has addresses for, all different, none the network's or the broadcast address", () => {
  for (const [nets, most, last] of [
    [IPV4, 244, "192.168.64.254"],
    [BOTH, 244, "192.168.64.254"],
    [IPV6, 1000, "fd00:64::1010"],
    [["10.64.0.0/16"], 1000, "10.64.3.242"],
  ] as const) {
    const topology = planTopology(shape({ nets: [...nets], hosts: most }));
    const addresses = [topology.hub, ...topology.hosts].map((node) => node.addresses[0]!.address);
    assert.equal(new Set(addresses).size, most + 1);
    assert.equal(addresses.at(-1), last);
    assert.equal(new Set(nodesOf(topology).map(({ netns }) => netns)).size, 1 + most + most);
    assert.ok(topology.hosts.every(({ name }) => name.length <= 15)); // they name devices: IFNAMSIZ
    const tooMany = shape({ nets: [...nets], hosts: most + 1 });
    assert.throws(() => planTopology(tooMany), new RegExp(`--hosts: must be within 1…${most} `));
  }
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
    [{ hosts: 1.5 }, /--hosts: must be within 1…/],
    [{ nets: ["192.168.64.0/28"] }, /--hosts: must be within 1…4 /],
    [{ nets: ["192.168.64.0/29"] }, /--underlay: .* is too small, use a \/24/],
    [{ nets: ["fd00:64::/96"] }, /--underlay-ipv6: .* is too small, use a \/64/],
    [{ segments: 0 }, /--subnets: must be within 1…9, .* but is 0/],
    [{ segments: 10 }, /--subnets: must be within 1…9, .* but is 10/],
    [{ nets: ["255.255.255.0/24"], segments: 2 }, /--underlay: after 255.* no room for further --subnets/],
    [{ nets: ["ffff:ffff:ffff:ffff::/64"], segments: 2 }, /--underlay-ipv6: after .* no room/],
    ...["", "Lab", "a/b", "..", "-a", "a-", "a".repeat(33), "a b"].map(
      (name): [Parameters<typeof shape>[0], RegExp] => [{ name }, /--name: .* is not a valid name/],
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
