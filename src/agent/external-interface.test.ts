import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, type Ip, parseIp } from "../address/ip.ts";
import { ConfigError } from "../base/error.ts";
import type { InterfaceOptions } from "../config/options.ts";
import { type ChoiceContext, chooseExternalInterface, type EnabledFamilies } from "./external-interface.ts";
import type {
  DefaultRoute,
  HostInterfaces,
  InterfaceAddress,
  NetworkInterface,
} from "./network-interface.ts";

const ip = (text: string): Ip => {
  const parsed = parseIp(text);
  assert.ok(parsed, text);
  return parsed;
};

/** "10.0.0.5/24", then the kernel's flags that are set. */
function address(text: string, ...flags: string[]): InterfaceAddress {
  const [host, length] = text.split("/") as [string, string];
  const has = (flag: string) => flags.includes(flag);
  return {
    ip: ip(host),
    prefixLength: Number(length),
    scope: has("host") ? "host" : has("link") ? "link" : "global",
    permanent: !has("dynamic"),
    secondary: has("secondary"),
    temporary: has("temporary"),
    deprecated: has("deprecated"),
    tentative: has("tentative"),
    dadFailed: has("dadfailed"),
  };
}

let nextIndex = 1;
const link = (
  name: string,
  addresses: InterfaceAddress[],
  more: Partial<NetworkInterface> = {},
): NetworkInterface => ({
  index: nextIndex++,
  name,
  kind: undefined,
  isLoopback: name === "lo",
  mtuBytes: name === "lo" ? 65536 : 1500,
  up: true,
  masterIndex: undefined,
  lowerIndex: undefined,
  addresses,
  ...more,
});
const route = (...links: NetworkInterface[]): DefaultRoute => ({
  indexes: links.map(({ index }) => index),
  metric: 0,
  source: undefined,
});

const LO = link("lo", [address("127.0.0.1/8", "host"), address("::1/128", "host")]);
const ETH0 = link("eth0", [
  address("192.168.1.5/24", "dynamic"),
  address("fe80::5/64", "link"),
  address("2001:db8:1::5/64"),
]);
const ETH1 = link("eth1", [address("10.0.0.5/24"), address("10.0.0.6/24"), address("2001:db8:2::5/64")]);
const ETH10 = link("eth10", [address("172.16.0.5/24")]);
const DOWN = link("down0", [address("10.9.0.1/24")], { up: false });
const BARE = link("bare0", []);

const HOST: HostInterfaces = {
  interfaces: [LO, ETH0, ETH1, ETH10, DOWN, BARE],
  defaultRoutes: { ipv4: [route(ETH0)], ipv6: [route(ETH0)] },
  lookupRoute: (target) =>
    formatIp(target) === "10.0.0.77" ? { ifindex: ETH1.index, source: undefined } : undefined,
};
const IPV4: EnabledFamilies = { ipv4: true, ipv6: false };
const IPV6: EnabledFamilies = { ipv4: false, ipv6: true };
const DUAL: EnabledFamilies = { ipv4: true, ipv6: true };
const NO_OPTIONS: InterfaceOptions = {
  iface: [],
  ifaceRegex: [],
  ifaceCanReach: undefined,
  publicIp: undefined,
  publicIpv6: undefined,
};

function choose(
  options: Partial<InterfaceOptions>,
  families = IPV4,
  host = HOST,
  context: ChoiceContext = {},
) {
  const chosen = chooseExternalInterface(host, { ...NO_OPTIONS, ...options }, families, context);
  const text = (one: Ip | undefined) => one && formatIp(one);
  const { name, ipv4, ipv6, publicIp, publicIpv6 } = chosen;
  return { name, addresses: [text(ipv4), text(ipv6)], published: [text(publicIp), text(publicIpv6)] };
}

const failure = (options: Partial<InterfaceOptions>, families = IPV4, host = HOST): string => {
  try {
    choose(options, families, host);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  assert.fail("nothing was thrown");
};

test("without options: the interface of the default route", () => {
  assert.deepEqual(choose({}), {
    name: "eth0",
    addresses: ["192.168.1.5", undefined],
    published: ["192.168.1.5", undefined],
  });
  assert.deepEqual(choose({}, IPV6).addresses, [undefined, "2001:db8:1::5"]);
  assert.deepEqual(choose({}, DUAL).addresses, ["192.168.1.5", "2001:db8:1::5"]);
  const { index, mtuBytes } = chooseExternalInterface(HOST, NO_OPTIONS, IPV4);
  assert.deepEqual([index, mtuBytes], [ETH0.index, 1500]);
});

test("dual stack: both default routes are needed and must agree", () => {
  const apart = { ...HOST, defaultRoutes: { ipv4: [route(ETH0)], ipv6: [route(ETH1)] } };
  assert.match(failure({}, DUAL, apart), /the default route: .*different interfaces \(eth0, eth1\)/);
  assert.equal(choose({}, IPV6, apart).name, "eth1");
  const half = { ...HOST, defaultRoutes: { ipv4: [route(ETH0)], ipv6: [] } };
  assert.match(failure({}, DUAL, half), /there is none for IPv6/);
  assert.match(
    failure({}, IPV4, { ...HOST, defaultRoutes: { ipv4: [{ ...route(), indexes: [99] }], ipv6: [] } }),
    /its interface is missing/,
  );
});

test("--iface: a name, or an address, which is then the one used; the first match wins", () => {
  assert.deepEqual(choose({ iface: ["eth1"] }).addresses, ["10.0.0.5", undefined]);
  assert.deepEqual(choose({ iface: ["10.0.0.6"] }), {
    name: "eth1",
    addresses: ["10.0.0.6", undefined],
    published: ["10.0.0.6", undefined],
  });
  assert.deepEqual(choose({ iface: ["2001:db8:2:0::5"] }, DUAL).addresses, ["10.0.0.5", "2001:db8:2::5"]);
  assert.equal(choose({ iface: ["nope0", "10.99.0.1", "down0", "bare0", "eth10", "eth1"] }).name, "eth10");
});

test("--iface-regex: addresses of all interfaces before any name, after --iface", () => {
  assert.deepEqual(choose({ ifaceRegex: [/^10\.0/] }).addresses, ["10.0.0.5", undefined]);
  assert.deepEqual(choose({ ifaceRegex: [/\.6$/] }).addresses, ["10.0.0.6", undefined]);
  assert.equal(choose({ ifaceRegex: [/10/] }).name, "eth1");
  assert.equal(choose({ ifaceRegex: [/eth10/] }).name, "eth10");
  assert.equal(choose({ ifaceRegex: [/nope/, /eth1/] }).name, "eth1");
  assert.equal(choose({ iface: ["eth10"], ifaceRegex: [/eth1/] }).name, "eth10");
  assert.equal(choose({ iface: ["nope"], ifaceRegex: [/eth1/] }).name, "eth1");
  assert.equal(choose({ ifaceRegex: [/./] }).name, "eth0");
  assert.equal(choose({ ifaceRegex: [/^2001:db8:2/] }, IPV6).name, "eth1");
  assert.equal(choose({ ifaceRegex: [/0$/] }).name, "eth0", "a name with an address goes before one without");
  assert.match(
    failure({ ifaceRegex: [/^127\./] }),
    /--iface-regex=\^127\\\.: matches no address and no name/,
  );
});

test("--iface-can-reach: the interface of the kernel's route", () => {
  assert.equal(choose({ ifaceCanReach: ip("10.0.0.77") }).name, "eth1");
  assert.equal(choose({ ifaceRegex: [/nope/], ifaceCanReach: ip("10.0.0.77") }).name, "eth1");
  assert.match(failure({ ifaceCanReach: ip("8.8.8.8") }), /--iface-can-reach=8\.8\.8\.8: there is no route/);
});

test("options that match nothing do not fall back to the default route", () => {
  const message = failure({ iface: ["eth7", "10.99.0.1", "down0", "bare0"], ifaceRegex: [/^wl/] });
  assert.equal(
    message,
    "no usable external interface. Tried --iface=eth7: there is no such interface; " +
      "--iface=10.99.0.1: no interface has this address; --iface=down0: down0 is down; " +
      "--iface=bare0: bare0 has no usable IPv4 address; " +
      "--iface-regex=^wl: matches no address and no name of an interface that is up. " +
      "This host has lo (127.0.0.1/8, ::1/128), eth0 (192.168.1.5/24, fe80::5/64, 2001:db8:1::5/64), " +
      "eth1 (10.0.0.5/24, 10.0.0.6/24, 2001:db8:2::5/64), eth10 (172.16.0.5/24), " +
      "down0 (down, 10.9.0.1/24), bare0 (no address). Name one of them with --iface",
  );
  assert.match(failure({ iface: ["eth10"] }, DUAL), /eth10 has no usable IPv6 address/);
  assert.match(failure({ iface: ["bare0"] }, DUAL), /bare0 has no usable IPv4 and no IPv6 address/);
  assert.match(failure({}, IPV4, { ...HOST, interfaces: [] }), /This host has no interface\./);
});

test("a public-ip that no interface has is published and changes neither interface nor address", () => {
  const options = { publicIp: ip("203.0.113.9"), publicIpv6: ip("2001:db8:9::9") };
  assert.deepEqual(choose(options, DUAL), {
    name: "eth0",
    addresses: ["192.168.1.5", "2001:db8:1::5"],
    published: ["203.0.113.9", "2001:db8:9::9"],
  });
  assert.deepEqual(choose(options, IPV4).published, ["203.0.113.9", undefined]);
});

test("addresses: global before link-local, permanent before dynamic, lasting before temporary", () => {
  const best = (...addresses: InterfaceAddress[]) => {
    const only = link("eth5", addresses);
    const host = { ...HOST, interfaces: [only] };
    return choose({ iface: ["eth5"] }, IPV6, host).addresses[1];
  };
  assert.equal(best(address("fe80::1/64", "link"), address("2001:db8::1/64", "dynamic")), "2001:db8::1");
  assert.equal(best(address("fe80::1/64", "link")), "fe80::1");
  assert.equal(best(address("2001:db8::1/64", "dynamic"), address("2001:db8::2/64")), "2001:db8::2");
  assert.equal(
    best(address("2001:db8::1/64", "dynamic", "temporary"), address("2001:db8::2/64", "dynamic")),
    "2001:db8::2",
  );
  assert.equal(best(address("2001:db8::1/64", "tentative"), address("2001:db8::2/64")), "2001:db8::2");
  assert.equal(
    best(
      address("2001:db8::1/64", "deprecated"),
      address("2001:db8::2/64", "dadfailed"),
      address("fe80::1/64"),
    ),
    "fe80::1",
  );
  assert.equal(best(address("2001:db8::1/64"), address("2001:db8::2/64")), "2001:db8::1");
  const host = { ...HOST, interfaces: [link("eth5", [address("2001:db8::1/64", "deprecated")])] };
  assert.match(failure({ iface: ["eth5"] }, IPV6, host), /eth5 has no usable IPv6 address/);
});

test("devices without a wire: never by rule, refused by name", () => {
  const ipvs = link("kube-ipvs0", [address("10.96.0.1/32")], { kind: "dummy" });
  const vrf = link("blue", [address("10.98.0.1/32")], { kind: "vrf" });
  const host = { ...HOST, interfaces: [LO, ipvs, vrf, ETH1] };
  assert.equal(choose({ ifaceRegex: [/^10\./] }, IPV4, host).name, "eth1");
  assert.match(
    failure({ iface: ["kube-ipvs0"] }, IPV4, host),
    /kube-ipvs0 is a dummy device, whose packets reach no other host/,
  );
  assert.match(failure({ iface: ["blue"] }, IPV4, host), /blue is a vrf device/);
});

test("F7 an address on a dummy device, as routed hosts have it, is used on top of the default route's device", () => {
  const router = link("dummy0", [address("10.255.0.11/32")], { kind: "dummy" });
  const host = { ...HOST, interfaces: [LO, router, ETH0] };
  assert.deepEqual(choose({ publicIp: ip("10.255.0.11") }, IPV4, host), {
    name: "eth0",
    addresses: ["10.255.0.11", undefined],
    published: ["10.255.0.11", undefined],
  });
});

test("VLANs, bonds and ports of a VRF are legitimate; ports of a bond have no address", () => {
  const vrf = link("blue", [], { kind: "vrf" });
  const bond = link("bond0", [address("10.97.0.5/24")], { kind: "bond" });
  const port = link("eth3", [], { masterIndex: bond.index });
  const vlan = link("bond0.5", [address("10.98.0.5/24")], { kind: "vlan", lowerIndex: bond.index });
  const inVrf = link("eth4", [address("10.99.0.5/24")], { masterIndex: vrf.index });
  const host = { ...HOST, interfaces: [LO, vrf, port, bond, vlan, inVrf] };
  for (const [name, pattern] of [
    ["bond0", /^(bond0|eth3)$/],
    ["bond0.5", /^10\.98/],
    ["eth4", /eth4/],
  ] as const)
    assert.equal(choose({ ifaceRegex: [pattern] }, IPV4, host).name, name);
  const flannel = link("flannel.1", [address("10.5.1.0/32")], { kind: "vxlan" });
  const onTop = link("v5", [address("10.98.0.6/24")], { kind: "vlan", lowerIndex: flannel.index });
  assert.match(
    failure({ iface: ["v5"] }, IPV4, { ...HOST, interfaces: [LO, flannel, onTop] }),
    /v5 is on top of flannel\.1, which is a device of flannel's/,
  );
});

test("devices that are their own lower device end the search", () => {
  const [a, b] = [link("a", [address("10.1.0.1/24")], { kind: "x" }), link("b", [], { kind: "x" })];
  const circle = [
    { ...a, lowerIndex: b.index },
    { ...b, lowerIndex: a.index },
  ];
  assert.equal(choose({ iface: ["a"] }, IPV4, { ...HOST, interfaces: circle }).name, "a");
});

test("F5 while it exists the address in use stays, whatever is added", () => {
  const current = chooseExternalInterface(HOST, { ...NO_OPTIONS, iface: ["eth1"] }, DUAL);
  const eth1 = {
    ...ETH1,
    addresses: [address("10.0.0.1/24"), address("2001:db8:2::1/64"), ...ETH1.addresses],
  };
  const more = { ...HOST, interfaces: [LO, eth1] };
  const at = (host: HostInterfaces, options = {}) =>
    choose({ iface: ["eth1"], ...options }, DUAL, host, { current }).addresses;
  assert.deepEqual(at(more), ["10.0.0.5", "2001:db8:2::5"]);
  assert.deepEqual(at(more, { iface: [], ifaceRegex: [/^10\./] }), ["10.0.0.5", "2001:db8:2::5"]);
  const gone = { ...HOST, interfaces: [LO, { ...eth1, addresses: eth1.addresses.slice(0, 2) }] };
  assert.deepEqual(at(gone), ["10.0.0.1", "2001:db8:2::1"]);
  const renamed = { ...more, interfaces: [LO, { ...eth1, name: "lan0" }] };
  assert.deepEqual(at(renamed, { iface: ["lan0"] }), ["10.0.0.5", "2001:db8:2::5"]);
});
