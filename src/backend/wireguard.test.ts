import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../address/ip.ts";
import { parsePrefix } from "../address/prefix.ts";
import { ConfigError } from "../base/error.ts";
import type { Lease } from "../lease/lease.ts";
import { decodeLease, encodeLeaseValue, isProblem } from "../lease/lease-codec.ts";
import { describeObject } from "../state/objects.ts";
import type { Host } from "./backend.ts";
import { NO_KEYS } from "./backend.ts";
import { createBackend, parseNetwork } from "./backends.ts";

const keyOf = (number: number): string => Buffer.alloc(32, number).toString("base64");
const OWN_KEY = keyOf(1);
const HOST: Host = {
  interfaceName: "eth0",
  interfaceMtuBytes: 1500,
  ipv4: parseIp("192.168.7.1"),
  ipv6: parseIp("fd00:7::1"),
  publicIp: parseIp("192.168.7.1"),
  publicIpv6: parseIp("fd00:7::1"),
};
const OWN = { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") };
const DUAL = { EnableIPv6: true, IPv6Network: "fc00::/48" };

const networkOf = (members: object = {}, more: object = {}) =>
  parseNetwork(
    JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "wireguard", ...members }, ...more }),
  );

const backendFor = (members: object = {}, more: object = {}) =>
  createBackend(networkOf(members, more), {
    existing: [],
    randomBytes: () => new Uint8Array(6),
    keys: {
      publicKey: () => OWN_KEY,
      registerSecret: () => "",
      registerPresharedKey: (text) => `id of ${text.length} characters`,
    },
  });

function peer(number: number, changes: object = {}, isDual = false): Lease {
  const data = { PublicKey: keyOf(number), Port: 51820 };
  const value = {
    ...{ PublicIP: `192.168.7.${number}`, PublicIPv6: null, BackendType: "wireguard", BackendData: data },
    ...(isDual ? { PublicIPv6: `fd00:7::${number}`, BackendV6Data: { ...data, Port: 51821 } } : {}),
    ...changes,
  };
  const key = `10.5.${number}.0-24${isDual ? `&fc00:0:0:${number}::-64` : ""}`;
  const decoded = decodeLease(key, JSON.stringify(value));
  if (isProblem(decoded)) throw new Error(decoded.problem);
  return decoded;
}

function plan(peers: readonly Lease[], members: object = {}, more: object = {}, host = HOST) {
  const own = "EnableIPv6" in more ? OWN : { ...OWN, ipv6: undefined };
  const { state, problems } = backendFor(members, more).plan({
    ...{ host, network: networkOf(members, more), own, peers, nextHop: () => undefined },
  });
  return {
    objects: [...state.values()].map(describeObject),
    problems: problems.map(({ key, message }) => `${key}: ${message}`),
  };
}
const endpointsOf = (objects: readonly string[]): string[] =>
  objects.flatMap((text) => /endpoint (\S+) dev (\S+)/.exec(text)?.slice(1).join(" on ") ?? []);

test("device, identity, address, a route for the network, and per peer its key and allowed IP", () => {
  assert.deepEqual(plan([peer(2)]), {
    objects: [
      "device flannel-wg wireguard mtu 1420",
      `wireguard flannel-wg public key ${OWN_KEY} listen port 51820`,
      "address 10.5.1.0/32 dev flannel-wg",
      "route 10.5.0.0/16 dev flannel-wg",
      `wireguard peer ${keyOf(2)} endpoint 192.168.7.2:51820 dev flannel-wg`,
      `allowed-ip 10.5.2.0/24 of wireguard peer ${keyOf(2)} dev flannel-wg`,
    ],
    problems: [],
  });
});

test("the lease is as Go flannel's, with the port; a peer without a port has ours", () => {
  assert.deepEqual(backendFor({ ListenPort: 4500 }).published, {
    ...{
      backendType: "wireguard",
      backendData: { PublicKey: OWN_KEY, Port: 4500 },
      backendV6Data: undefined,
    },
  });
  const { objects } = plan([peer(2, { BackendData: { publickey: keyOf(2) } })], { ListenPort: 4500 });
  assert.deepEqual(endpointsOf(objects), ["192.168.7.2:4500 on flannel-wg"]);
});

test("mixed clusters: what this host publishes is byte for byte what Go flannel does", () => {
  const published = (more: object, { publicIp, publicIpv6 }: Host) =>
    encodeLeaseValue({ publicIp, publicIpv6, ...backendFor({}, more).published });
  assert.equal(
    published({}, { ...HOST, publicIpv6: undefined }),
    `{"PublicIP":"192.168.7.1","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"${OWN_KEY}","Port":51820}}`,
  );
  assert.equal(
    published(DUAL, HOST),
    '{"PublicIP":"192.168.7.1","PublicIPv6":"fd00:7::1","BackendType":"wireguard",' +
      `"BackendData":{"PublicKey":"${OWN_KEY}","Port":51820},"BackendV6Data":{"PublicKey":"${OWN_KEY}","Port":51821}}`,
  );
});

test("mixed clusters: leases of Go flannel's, new and old, are peers on our port where they name none", () => {
  const lease = (key: string, value: string): Lease => {
    const decoded = decodeLease(key, value);
    if (isProblem(decoded)) throw new Error(decoded.problem);
    return decoded;
  };
  const peers = [
    [2, `{"PublicKey":"${keyOf(2)}"}`, `{"PublicKey":"${keyOf(2)}"}`],
    [3, `{"PublicKey":"${keyOf(3)}","Port":4500}`, `{"PublicKey":"${keyOf(3)}","Port":4501}`],
    [4, `{"PublicKey":"${keyOf(4)}","Port":0}`, `{"PublicKey":"${keyOf(4)}","Port":null}`],
  ].map(([number, data, dataV6]) =>
    lease(
      `10.5.${number}.0-24&fc00:0:0:${number}::-64`,
      `{"PublicIP":"192.168.7.${number}","PublicIPv6":"fd00:7::${number}","BackendType":"wireguard","BackendData":${data},"BackendV6Data":${dataV6}}`,
    ),
  );
  const { objects, problems } = plan(peers, { ListenPort: 6000, ListenPortV6: 6001 }, DUAL);
  assert.deepEqual(problems, []);
  assert.deepEqual(endpointsOf(objects).sort(), [
    "192.168.7.2:6000 on flannel-wg",
    "192.168.7.3:4500 on flannel-wg",
    "192.168.7.4:6000 on flannel-wg",
    "[fd00:7::2]:6001 on flannel-wg-v6",
    "[fd00:7::3]:4501 on flannel-wg-v6",
    "[fd00:7::4]:6001 on flannel-wg-v6",
  ]);
  // One device for both families: a key in both members is one peer.
  const { objects: auto, problems: autoProblems } = plan(peers, { Mode: "auto" }, DUAL);
  assert.deepEqual(autoProblems, []);
  assert.equal(endpointsOf(auto).length, 3);
});

test("peers of other backends are ignored, also with data that looks like a key; other backends' data is reported", () => {
  const { objects, problems } = plan([
    peer(2, { BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:02" } }),
    peer(3, { BackendType: "vxlan" }),
    peer(4, { BackendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:04" } }),
    peer(5, { BackendData: ["PublicKey", keyOf(5)] }),
    peer(6, { BackendData: '"text"' }),
    peer(7, { BackendData: { PublicKey: { text: keyOf(7) } } }),
    peer(8, { BackendData: { PublicKey: keyOf(8), Port: "51820" } }),
  ]);
  assert.deepEqual(endpointsOf(objects), []);
  assert.deepEqual(problems, [
    "10.5.4.0-24: it has no PublicKey in its BackendData",
    "10.5.5.0-24: it has no PublicKey in its BackendData",
    "10.5.6.0-24: it has no PublicKey in its BackendData",
    '10.5.7.0-24: its PublicKey {"text":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="} is not a key of 32 bytes in base64',
    '10.5.8.0-24: its Port "51820" is not a UDP port',
  ]);
});

test("Mode separate: each family has a device and a port of its own", () => {
  const { objects, problems } = plan([peer(2, {}, true)], {}, DUAL);
  assert.deepEqual(endpointsOf(objects), [
    "192.168.7.2:51820 on flannel-wg",
    "[fd00:7::2]:51821 on flannel-wg-v6",
  ]);
  assert.deepEqual(problems, []);
  assert.throws(
    () => networkOf({ ListenPort: 1, ListenPortV6: 1 }, DUAL),
    /are both 1: give each device a port/,
  );
});

test("Modes ipv4 and ipv6: one device, one peer with the subnets of both families", () => {
  for (const [mode, endpoint] of [
    ["ipv4", "192.168.7.2:51820"],
    ["ipv6", "[fd00:7::2]:51821"],
  ] as const) {
    const { objects, problems } = plan([peer(2, {}, true)], { Mode: mode }, DUAL);
    assert.ok(endpointsOf(objects).every((text) => text.endsWith("on flannel-wg")));
    assert.ok(endpointsOf(objects).length === 1, `${mode}: ${endpointsOf(objects)}`);
    assert.ok(endpointsOf(objects)[0]!.startsWith(endpoint.split(":518")[0]!));
    assert.equal(objects.filter((text) => text.startsWith("allowed-ip")).length, 2);
    assert.deepEqual(problems, []);
  }
});

test("W28 Mode auto: IPv4 if the peer's is public, IPv6 if both are public, else IPv4; works without IPv6", () => {
  const publicHost = { ...HOST, ipv6: parseIp("2001:db8::1"), publicIpv6: parseIp("2001:db8::1") };
  const cases: readonly (readonly [changes: object, host: Host, endpoint: RegExp])[] = [
    [{ PublicIP: "203.0.113.2", PublicIPv6: "2001:db8::2" }, publicHost, /^203\.0\.113\.2:/],
    [{ PublicIPv6: "2001:db8::2" }, publicHost, /^\[2001:db8::2\]:/],
    [{ PublicIPv6: "2001:db8::2" }, HOST, /^192\.168\.7\.2:/],
    [{}, publicHost, /^192\.168\.7\.2:/],
  ];
  for (const [changes, host, endpoint] of cases) {
    const { objects } = plan([peer(2, changes, true)], { Mode: "auto" }, DUAL, host);
    assert.match(endpointsOf(objects)[0]!, endpoint);
  }
  const { objects } = plan(
    [peer(2)],
    { Mode: "auto" },
    {},
    { ...HOST, ipv6: undefined, publicIpv6: undefined },
  );
  assert.deepEqual(endpointsOf(objects), ["192.168.7.2:51820 on flannel-wg"]);
});

test("two peers with one key, our own key, and malformed data are reported", () => {
  const { problems } = plan([
    peer(2),
    peer(3, { BackendData: { PublicKey: keyOf(2) } }),
    peer(4, { BackendData: { PublicKey: OWN_KEY } }),
    peer(5, { BackendData: null }),
    peer(6, { BackendData: { PublicKey: "short" } }),
    peer(7, { BackendData: { PublicKey: keyOf(7), Port: 70000 } }),
  ]);
  assert.equal(problems.length, 5, problems.join("\n"));
  assert.match(problems.join("\n"), /PublicKey .* is already that of this host/);
  assert.match(problems.join("\n"), /Port 70000 is not a UDP port/);
});

test("settings: a preshared key by its fingerprint, keepalive, MTU; malformed ones are refused without showing the key", () => {
  const { objects } = plan([peer(2)], { PSK: keyOf(9), PersistentKeepaliveInterval: 25, MTU: 1400 });
  assert.ok(objects.includes("device flannel-wg wireguard mtu 1320"));
  assert.match(objects.join("\n"), /persistent-keepalive 25 preshared key id of 44 characters/);
  assert.throws(() => networkOf({ Mode: "fast" }), /Backend\.Mode must be one of separate, auto, ipv4, ipv6/);
  assert.throws(() => networkOf({ ListenPort: 0 }), /ListenPort must be a whole number from 1 to 65535/);
  assert.throws(
    () => networkOf({ PSK: 12345678 }),
    (error) => error instanceof ConfigError && !error.message.includes("12345678"),
  );
  assert.throws(
    () => backendFor({ MTU: 1300 }, DUAL).mtuBytes(HOST),
    /leaves 1220 inside WireGuard, less than IP's 1280/,
  );
});

test("Implementation: a TUN device where flanneld speaks the protocol, by setting or because the kernel cannot", () => {
  const typeOf = (members: object, hasKernelWireguard: boolean | undefined) => {
    const network = networkOf(members);
    const keys = NO_KEYS;
    const context = { existing: [], randomBytes: () => new Uint8Array(6), keys, hasKernelWireguard };
    const backend = createBackend(network, context);
    const { state } = backend.plan({
      ...{ host: HOST, network, own: undefined, peers: undefined, nextHop: () => undefined },
    });
    const types = [...state.values()].flatMap((object) => (object.kind === "link" ? object.type : []));
    return [...types, backend.implementation];
  };
  for (const [implementation, hasKernel, type] of [
    ["auto", true, "wireguard"],
    ["auto", undefined, "wireguard"],
    ["auto", false, "tun"],
    ["kernel", false, "wireguard"],
    ["userspace", true, "tun"],
  ] as const)
    assert.deepEqual(
      typeOf({ Implementation: implementation }, hasKernel),
      [type, type === "tun" ? "userspace" : "kernel"],
      `${implementation}, ${hasKernel}`,
    );
  assert.throws(
    () => networkOf({ Implementation: "go" }),
    /Backend\.Implementation must be one of auto, kernel, userspace/,
  );
});
