import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../address/prefix.ts";
import { hasCode } from "../base/error.ts";
import { parseNetworkConfig } from "../config/network-config.ts";
import {
  type RouteSpec,
  RT_TABLE_LOCAL,
  RTN_BLACKHOLE,
  RTPROT_KERNEL,
  RTPROT_STATIC,
} from "../netlink/route.ts";
import { FakeHost } from "../testing/fake-host.ts";
import { adviceOnRoutes, type RouteAdviceInput } from "./foreign-routes.ts";
import { adviceFor } from "./host-advice.ts";

const IPV4 = '{"Network":"10.5.0.0/16"}';
const DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}';
const IPV6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}';
const HEALTHY = {
  "/proc/sys/net/ipv4/ip_forward": "1\n",
  "/proc/sys/net/ipv6/conf/all/forwarding": "1\n",
  "/proc/sys/net/bridge/bridge-nf-call-iptables": "1\n",
};

/** The advice on a host with these files and routes, of which eth0 is 2, flannel.1 is 3 and cni0 is 4. */
function advice(
  files: Readonly<Record<string, string | undefined>>,
  routes: readonly RouteSpec[] = [],
  config = IPV4,
): string[] {
  const host = new FakeHost();
  for (const [index, name] of [
    [2, "eth0"],
    [3, "flannel.1"],
    [4, "cni0"],
  ] as const) {
    host.setLink(index, { name, up: true });
  }
  for (const route of routes) host.addRoute(route);
  const network = parseNetworkConfig(config);
  return [
    ...adviceFor({ network, readFile: (path) => files[path] }),
    ...adviceOnRoutes(
      {
        network,
        own: { ipv4: parsePrefix("10.5.1.0/24"), ipv6: parsePrefix("fc00:0:0:1::/64") },
        peers: [],
        devices: new Set(["flannel.1"]),
        externalInterface: "eth0",
        isPlanned: () => false,
      },
      host.rtnetlink,
    ),
  ];
}

test("a healthy host gives no advice", () => {
  assert.deepEqual(advice(HEALTHY, [], DUAL), []);
});

test("forwarding that is off is named with its sysctl, in the families of the network only", () => {
  const off = {
    ...HEALTHY,
    "/proc/sys/net/ipv4/ip_forward": "0\n",
    "/proc/sys/net/ipv6/conf/all/forwarding": "0\n",
  };
  const ipv4 = /^This host does not forward IPv4,.* 'sysctl -w net\.ipv4\.ip_forward=1'/;
  const ipv6 = /^This host does not forward IPv6,.* 'sysctl -w net\.ipv6\.conf\.all\.forwarding=1'/;
  for (const [config, expected] of [
    [IPV4, [ipv4]],
    [IPV6, [ipv6]],
    [DUAL, [ipv4, ipv6]],
  ] as const) {
    const lines = advice(off, [], config);
    assert.equal(lines.length, expected.length);
    for (const [index, pattern] of expected.entries()) assert.match(lines[index]!, pattern);
  }
});

test("a sysctl that cannot be read is no fault", () => {
  assert.deepEqual(advice({ "/proc/sys/net/bridge/bridge-nf-call-iptables": "0" }), []);
});

test("a missing br_netfilter is named", () => {
  const lines = advice({ ...HEALTHY, "/proc/sys/net/bridge/bridge-nf-call-iptables": undefined });
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /br_netfilter is not loaded.*'modprobe br_netfilter'.*\/etc\/modules-load\.d/);
});

test("a foreign route that overlaps the network is named with its device and gateway", () => {
  const overlap = (destination: string, network: string) =>
    `The flannel network ${network} overlaps this host's route ${destination}: ` +
    "addresses in both can be reached on one side only; remove the route or choose another network";
  assert.deepEqual(
    advice(
      HEALTHY,
      [
        { destination: "10.0.0.0/8", oif: 2, gateway: "192.168.7.254", protocol: RTPROT_STATIC },
        { destination: "10.5.9.0/24", oif: 4, protocol: RTPROT_KERNEL },
        { destination: "fc00::/32", oif: 77, protocol: RTPROT_STATIC },
      ],
      DUAL,
    ),
    [
      overlap("10.0.0.0/8 via 192.168.7.254 dev eth0", "10.5.0.0/16"),
      overlap("10.5.9.0/24 dev cni0", "10.5.0.0/16"),
      overlap("fc00::/32 dev #77", "fc00::/48"),
    ],
  );
});

test("a multipath route is named with its first device", () => {
  const hop = (oif: number) => ({ oif, gateway: "192.168.7.254", weight: 1, onlink: false });
  const [line] = advice(HEALTHY, [
    { destination: "10.4.0.0/15", nextHops: [hop(2), hop(4)], protocol: RTPROT_STATIC },
  ]);
  assert.match(line!, /route 10\.4\.0\.0\/15 dev eth0:/);
});

const IRRELEVANT: readonly (readonly [title: string, route: RouteSpec])[] = [
  ["a default route", { destination: "0.0.0.0/0", oif: 2, gateway: "192.168.7.254" }],
  ["a route elsewhere", { destination: "10.6.0.0/16", oif: 2 }],
  ["a route through a device of flanneld", { destination: "10.5.2.0/24", oif: 3, gateway: "10.5.2.0" }],
  ["the route of the container bridge", { destination: "10.5.1.0/24", oif: 4, protocol: RTPROT_KERNEL }],
  ["a part of the own subnet", { destination: "10.5.1.128/25", oif: 4 }],
  ["a route of a routing daemon", { destination: "10.0.0.0/8", oif: 2, protocol: 186 }], // RTPROT_BGP
  ["a route of another table", { destination: "10.0.0.0/8", oif: 2, table: RT_TABLE_LOCAL }],
  ["a blackhole", { destination: "10.0.0.0/8", type: RTN_BLACKHOLE }],
];

for (const [title, route] of IRRELEVANT) {
  test(`${title} is no conflict`, () => assert.deepEqual(advice(HEALTHY, [route]), []));
}

test("an error of the kernel is thrown", () => {
  const host = new FakeHost();
  host.errno = 105; // ENOBUFS
  const input: RouteAdviceInput = {
    network: parseNetworkConfig(IPV4),
    own: { ipv4: undefined, ipv6: undefined },
    peers: [],
    devices: new Set<string>(),
    externalInterface: "eth0",
    isPlanned: () => false,
  };
  assert.throws(
    () => adviceOnRoutes(input, host.rtnetlink),
    (error) => hasCode(error, "ENOBUFS"),
  );
});

test("F11 a subnet that is also a link or route of the host is named", () => {
  const link = { destination: "10.5.1.0/24", oif: 2, protocol: RTPROT_KERNEL };
  assert.match(
    advice(HEALTHY, [link]).join(),
    /^Subnet 10\.5\.1\.0\/24 of this host overlaps its own route 10\.5\.1\.0\/24 dev eth0: .*SubnetMin/,
  );
  const route = { destination: "10.5.1.128/25", oif: 4, gateway: "10.9.0.1", protocol: RTPROT_STATIC };
  assert.match(
    advice(HEALTHY, [route]).join(),
    /overlaps its own route 10\.5\.1\.128\/25 via 10\.9\.0\.1 dev cni0/,
  );
  assert.deepEqual(advice(HEALTHY, [{ ...link, oif: 4 }]), [], "the container bridge");
});
