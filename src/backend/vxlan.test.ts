import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Lease } from "../lease/lease.ts";
import { decodeLease, isProblem } from "../lease/lease-codec.ts";
import { describeObject, keyOf, type StateObject, type VxlanLink } from "../state/objects.ts";
import type { Backend, Host, NextHop, PublishedData } from "./backend.ts";
import { createBackend, deviceNamesOf, findBackend, parseNetwork } from "./backends.ts";
import { vxlan } from "./vxlan.ts";

const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: parseIp("fd00:7::1"),
  publicIp: parseIp("203.0.113.1"),
  publicIpv6: parseIp("fd00:7::1"),
};
const MAC_BYTES = Uint8Array.of(0xff, 0x11, 0x22, 0x33, 0x44, 0x55);
const OWN = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: undefined };
const nowhere = (): undefined => undefined;

/** Network config with this `Backend`. */
const networkOf = (backend: object, more: object = {}) =>
  parseNetwork(JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "vxlan", ...backend }, ...more }));

function backendFor(members: object = {}, existing: readonly StateObject[] = [], more: object = {}): Backend {
  return createBackend(networkOf(members, more), { existing, randomBytes: () => MAC_BYTES });
}

/** A lease as it stands in the datastore. */
function lease(key: string, value: object): Lease {
  const decoded = decodeLease(key, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

const peer = (number: number, changes: object = {}, data: object = {}): Lease =>
  lease(`10.5.${number}.0-24`, {
    PublicIP: `192.168.7.${number}`,
    PublicIPv6: null,
    BackendType: "vxlan",
    BackendData: { VNI: 1, VtepMAC: `02:00:00:00:01:0${number}`, ...data },
    ...changes,
  });

/** What is planned for these peers, besides this host's own, and what is wrong with them. */
function plan(peers: readonly Lease[], members: object = {}, nextHop: () => NextHop | undefined = nowhere) {
  const backend = backendFor(members);
  const network = networkOf(members);
  const { state, problems } = backend.plan({ host: HOST, network, own: OWN, peers, nextHop });
  const own = new Set(backend.plan({ host: HOST, network, own: OWN, peers: [], nextHop }).state.keys());
  return {
    objects: [...state].filter(([key]) => !own.has(key)).map(([, object]) => describeObject(object)),
    problems: problems.map(({ key, message }) => `${key}: ${message}`),
  };
}

const PEER_2 = [
  "fdb 02:00:00:00:01:02 dst 192.168.7.2 dev flannel.1",
  "neighbour 10.5.2.0 lladdr 02:00:00:00:01:02 dev flannel.1",
  "route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
];

test("before the lease: only the device, with its own MAC", () => {
  const backend = backendFor();
  const network = networkOf({});
  const { state } = backend.plan({ host: HOST, network, own: undefined, peers: [peer(2)], nextHop: nowhere });
  const link = state.get("link flannel.1") as VxlanLink;
  assert.deepEqual(link, {
    kind: "link",
    name: "flannel.1",
    type: "vxlan",
    vni: 1,
    lower: "eth0",
    local: "192.168.7.1",
    port: 8472,
    learning: false,
    gbp: false,
    mtuBytes: 1450,
    mac: "fe:11:22:33:44:55", // locally administered, unicast
    up: true,
  });
  assert.ok([...state.values()].every(({ kind }) => kind === "link" || kind === "setting"));
  assert.deepEqual(backend.published, {
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "fe:11:22:33:44:55" },
    backendV6Data: undefined,
  });
});

test("the MAC of an existing device is kept; that of a foreign one is not", () => {
  const there: VxlanLink = {
    kind: "link",
    name: "flannel.1",
    type: "vxlan",
    vni: 1,
    lower: "eth9",
    local: "192.168.7.9",
    port: 1,
    learning: true,
    gbp: true,
    mtuBytes: 9,
    mac: "02:00:00:00:00:07",
    up: false,
  };
  assert.deepEqual(backendFor({}, [there]).published.backendData, { VNI: 1, VtepMAC: "02:00:00:00:00:07" });
  const bridge: StateObject = { kind: "link", name: "flannel.1", type: "foreign", linkKind: "bridge" };
  assert.deepEqual(backendFor({}, [bridge]).published.backendData, { VNI: 1, VtepMAC: "fe:11:22:33:44:55" });
});

test("the published MAC is kept without a device, in each family, if it is a unicast address", () => {
  const macsOf = (published: PublishedData | undefined, existing: readonly StateObject[] = []) => {
    const network = networkOf({}, { EnableIPv6: true, IPv6Network: "fc00::/48" });
    const context = { existing, published, randomBytes: () => MAC_BYTES };
    const { backendData, backendV6Data } = createBackend(network, context).published;
    return [backendData, backendV6Data].map((data) => (data as { VtepMAC: string }).VtepMAC);
  };
  const random = "fe:11:22:33:44:55";
  const data = (VtepMAC: unknown) => ({ VNI: 1, VtepMAC });
  const before = {
    backendType: "vxlan",
    backendData: data("0A:00:00:00:00:01"),
    backendV6Data: data("0a:00:00:00:00:02"),
  };
  assert.deepEqual(macsOf(before), ["0a:00:00:00:00:01", "0a:00:00:00:00:02"]);
  const device: VxlanLink = {
    ...{ kind: "link", name: "flannel.1", type: "vxlan", vni: 1, lower: "eth0", local: "192.168.7.1" },
    ...{ port: 8472, learning: false, gbp: false, mtuBytes: 1450, mac: "02:00:00:00:00:07", up: true },
  };
  assert.deepEqual(
    macsOf(before, [device]),
    ["02:00:00:00:00:07", "0a:00:00:00:00:02"],
    "the device's first",
  );
  assert.deepEqual(macsOf(undefined), [random, random]);
  assert.deepEqual(macsOf({ ...before, backendType: "host-gw" }), [random, random]);
  for (const junk of ["01:00:5e:00:00:01", "00:00:00:00:00:00", "0a:00", 7, null, undefined])
    assert.deepEqual(macsOf({ ...before, backendData: data(junk) })[0], random, String(junk));
  assert.deepEqual(macsOf({ ...before, backendData: null, backendV6Data: [] }), [random, random]);
});

test("the own address, and per peer an FDB entry, a neighbour and a route", () => {
  const backend = backendFor();
  const { state } = backend.plan({
    host: HOST,
    network: networkOf({}),
    own: OWN,
    peers: [peer(2)],
    nextHop: nowhere,
  });
  assert.ok(state.has("address flannel.1 10.5.1.0/32"));
  assert.deepEqual(plan([peer(2)]), { objects: PEER_2, problems: [] });
  for (const [key, object] of state) assert.equal(key, keyOf(object));
});

test("members of the config are applied to the device, in any case", () => {
  const members = { vni: 77, PORT: 4789, Gbp: true, learning: true, mtu: 1400 };
  const backend = backendFor(members);
  const network = networkOf(members);
  const { state } = backend.plan({ host: HOST, network, own: OWN, peers: [], nextHop: nowhere });
  const link = state.get("link flannel.77") as VxlanLink;
  assert.deepEqual(
    { vni: link.vni, port: link.port, gbp: link.gbp, learning: link.learning, mtuBytes: link.mtuBytes },
    { vni: 77, port: 4789, gbp: true, learning: true, mtuBytes: 1350 },
  );
  assert.deepEqual(deviceNamesOf(network), ["flannel.77"]);
  assert.deepEqual([...backend.ownership(network).devices], ["flannel.77"]);
});

/** Peers that cannot be reached, each beside a good one, which is not harmed. */
const BAD_PEERS: readonly (readonly [what: string, peer: Lease, says: RegExp])[] = [
  ["no data", peer(3, { BackendData: undefined }), /it has no BackendData/],
  ["null data", peer(3, { BackendData: null }), /it has no BackendData/],
  ["text as data", peer(3, { BackendData: "02:00:00:00:01:03" }), /it has no BackendData/],
  ["no MAC", peer(3, {}, { VtepMAC: undefined }), /VtepMAC undefined is not a MAC address/],
  ["a number as MAC", peer(3, {}, { VtepMAC: 5 }), /VtepMAC 5 is not a MAC address/],
  ["half a MAC", peer(3, {}, { VtepMAC: "02:00:00" }), /VtepMAC "02:00:00" is not a MAC address/],
  ["a long MAC", peer(3, {}, { VtepMAC: "x".repeat(5000) }), /VtepMAC "x{39} is not a MAC address$/],
  ["a group's MAC", peer(3, {}, { VtepMAC: "01:00:5e:00:00:01" }), /is not the address of one station/],
  ["the broadcast MAC", peer(3, {}, { VtepMAC: "ff:ff:ff:ff:ff:ff" }), /is not the address of one station/],
  ["the zero MAC", peer(3, {}, { VtepMAC: "00:00:00:00:00:00" }), /is not the address of one station/],
  [
    "our MAC",
    peer(3, {}, { VtepMAC: "FE-11-22-33-44-55" }),
    /VtepMAC fe:11:22:33:44:55 .*already that of this host/,
  ],
  [
    "another's MAC",
    peer(3, {}, { VtepMAC: "02:00:00:00:01:02" }),
    /VtepMAC 02:00:00:00:01:02 .*already that of 10\.5\.2\.0-24/,
  ],
  ["another VNI", peer(3, {}, { VNI: 2 }), /its VNI is 2, this host's 1/],
  [
    "our public IP",
    peer(3, { PublicIP: "203.0.113.1" }),
    /public IP 203\.0\.113\.1 is this host's own: two hosts .*--public-ip/,
  ],
  ["no public IP", peer(3, { PublicIP: "0.0.0.0", PublicIPv6: "fd00::9" }), /it has no public IP/],
  ["loopback", peer(3, { PublicIP: "127.0.0.1" }), /127\.0\.0\.1 is not a unicast address of a host/],
  ["multicast", peer(3, { PublicIP: "224.0.0.1" }), /224\.0\.0\.1 is not a unicast address/],
  ["broadcast", peer(3, { PublicIP: "255.255.255.255" }), /255\.255\.255\.255 is not a unicast address/],
  [
    "everything",
    { ...peer(3), ...subnets("0.0.0.0/0") },
    /subnet 0\.0\.0\.0\/0 is not inside the network 10\.5\.0\.0\/16/,
  ],
  [
    "the whole network",
    { ...peer(3), ...subnets("10.5.0.0/16") },
    /10\.5\.0\.0\/16 is not inside the network/,
  ],
  ["outside", { ...peer(3), ...subnets("192.168.7.0/24") }, /192\.168\.7\.0\/24 is not inside/],
  [
    "our subnet",
    { ...peer(3), ...subnets("10.5.1.0/24") },
    /10\.5\.1\.0\/24 overlaps this host's own subnet/,
  ],
  [
    "around our subnet",
    { ...peer(3), ...subnets("10.5.0.0/20") },
    /overlaps this host's own subnet 10\.5\.1\.0\/24/,
  ],
  ["within our subnet", { ...peer(3), ...subnets("10.5.1.128/25") }, /overlaps this host's own subnet/],
  [
    "another's subnet",
    { ...peer(3), ...subnets("10.5.2.0/24") },
    /subnet 10\.5\.2\.0\/24 overlaps 10\.5\.2\.0\/24, which is that of 10\.5\.2\.0-24/,
  ],
  [
    "half of another's subnet",
    { ...peer(3), ...subnets("10.5.2.128/25") },
    /subnet 10\.5\.2\.128\/25 overlaps 10\.5\.2\.0\/24, which is that of 10\.5\.2\.0-24/,
  ],
  [
    "IPv6 only",
    { ...peer(3), subnets: { ipv4: undefined, ipv6: parsePrefix("fc00::/64") } },
    /it has no IPv4 subnet/,
  ],
];

function subnets(text: string) {
  const ipv4 = parsePrefix(text)!;
  return { key: text.replace("/", "-"), subnets: { ipv4, ipv6: undefined } };
}

for (const [what, bad, says] of BAD_PEERS) {
  test(`a peer with ${what} is skipped and reported, and the others stay`, () => {
    // Keys decide who was first; the good one's is the smaller.
    const named: Lease = { ...bad, key: `~${bad.key}` };
    for (const peers of [
      [peer(2), named],
      [named, peer(2)],
    ]) {
      const { objects, problems } = plan(peers);
      assert.deepEqual(objects, PEER_2);
      assert.equal(problems.length, 1);
      assert.match(problems[0]!, says);
    }
  });
}

test("leases of other backends are ignored", () => {
  const others = ["wireguard", "host-gw", "udp", ""].map((type, index) =>
    peer(index + 3, { BackendType: type, BackendData: { PublicKey: "x" } }),
  );
  assert.deepEqual(plan([...others, peer(2)]), { objects: PEER_2, problems: [] });
});

test("a peer without a VNI in its lease uses ours, as old versions did", () => {
  assert.deepEqual(plan([peer(2, {}, { VNI: undefined })]).objects, PEER_2);
});

test("of several spellings of a member of BackendData the last counts, as in Go", () => {
  const macOf = (text: string) => plan([{ ...peer(2), ...dataOf(text) }]).objects[0]?.split(" ")[1];
  const dataOf = (text: string) => ({
    attributes: { ...peer(2).attributes, backendData: JSON.parse(text) as unknown },
  });
  const [first, last] = ["02:00:00:00:01:01", "02:00:00:00:01:02"];
  assert.equal(macOf(`{"vni":1,"vtepmac":"${last}"}`), last);
  assert.equal(macOf(`{"VtepMAC":"${first}","vtepMac":"${last}"}`), last);
  assert.equal(macOf(`{"vtepMac":"${first}","VtepMAC":"${last}"}`), last);
  assert.equal(macOf(`{"VtepMAC":"${last}","vtepmac":null}`), last, "null changes nothing");
  assert.deepEqual(plan([{ ...peer(2), ...dataOf(`{"VNI":1,"vni":7,"VtepMAC":"${last}"}`) }]).problems, [
    "10.5.2.0-24: its VNI is 7, this host's 1",
  ]);
});

test("planning again for the same leases returns the same objects", () => {
  const backend = backendFor();
  const network = networkOf({});
  const peers = [peer(2), peer(3)];
  const objects = () =>
    backend.plan({ host: HOST, network, own: OWN, peers, nextHop: nowhere }).state.get("route 10.5.2.0/24");
  assert.equal(objects(), objects());
});

test("MTU: 50 bytes less than the interface's or the config's, whichever is smaller; W25 70 less over IPv6", () => {
  assert.equal(backendFor().mtuBytes(HOST), 1450);
  assert.equal(backendFor({ MTU: 1400 }).mtuBytes(HOST), 1350);
  assert.equal(backendFor({ MTU: 9000 }).mtuBytes(HOST), 1450, "the kernel would refuse 8950");
  assert.equal(backendFor().mtuBytes({ ...HOST, interfaceMtuBytes: 9000 }), 8950);
  const ipv6 = { EnableIPv6: true, IPv6Network: "fc00::/48" };
  assert.equal(backendFor({}, [], ipv6).mtuBytes(HOST), 1430);
  assert.equal(backendFor({}, [], { ...ipv6, EnableIPv4: false }).mtuBytes(HOST), 1430);
  assert.equal(backendFor({ MTU: 118 }).mtuBytes(HOST), 68);
  for (const [backend, host] of [
    [backendFor({ MTU: 117 }), HOST],
    [backendFor(), { ...HOST, interfaceMtuBytes: 100 }],
    [backendFor({}, [], ipv6), { ...HOST, interfaceMtuBytes: 1300 }],
  ] as const) {
    assert.throws(
      () => backend.mtuBytes(host),
      (error) =>
        error instanceof ConfigError &&
        /leaves \d+ inside VXLAN.*raise Backend\.MTU in the network config or the MTU of eth0/.test(
          error.message,
        ),
    );
  }
});

test("members out of range are refused by name, with the range", () => {
  const cases: readonly (readonly [members: object, says: RegExp])[] = [
    [{ VNI: 0 }, /Backend\.VNI must be a whole number from 1 to 16777215, not 0/],
    [{ VNI: 2 ** 24 }, /Backend\.VNI/],
    [{ VNI: "1" }, /Backend\.VNI .*not "1"/],
    [{ VNI: 1.5 }, /Backend\.VNI .*not 1\.5/],
    [{ Port: 65536 }, /Backend\.Port must be a whole number from 0 to 65535/],
    [{ MTU: -1 }, /Backend\.MTU/],
    [{ GBP: "true" }, /Backend\.GBP must be true or false/],
    [{ Learning: 1 }, /Backend\.Learning must be true or false/],
    [{ DirectRouting: "no" }, /Backend\.DirectRouting must be true or false/],
  ];
  for (const [members, says] of cases) {
    assert.throws(
      () => deviceNamesOf(networkOf(members)),
      (error) => error instanceof ConfigError && says.test(error.message),
    );
  }
  assert.deepEqual(deviceNamesOf(networkOf({ VNI: null, Port: null })), ["flannel.1"], "null = not given");
});

test("DirectRouting: a peer on the link gets a plain route, one behind a router the tunnel", () => {
  const members = { DirectRouting: true };
  const onLink = () => ({ device: "eth0", via: undefined });
  const routed = () => ({ device: "eth0", via: "192.168.7.254" });
  assert.deepEqual(plan([peer(2)], members, onLink).objects, ["route 10.5.2.0/24 via 192.168.7.2 dev eth0"]);
  assert.deepEqual(plan([peer(2)], members, routed).objects, PEER_2);
  assert.deepEqual(plan([peer(2)], members, nowhere).objects, PEER_2);
  assert.deepEqual(plan([peer(2)], {}, onLink).objects, PEER_2, "only when asked for");
});

test("backends are found in any case, and unknown types are named", () => {
  assert.equal(findBackend("VXLAN"), vxlan);
  assert.throws(() => findBackend("vxlam"), /Backend\.Type "vxlam" is not known; use one of: .*vxlan/);
  assert.throws(() => findBackend("constructor"), /is not known/);
});
