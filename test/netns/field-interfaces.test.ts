/**
 * The external interface on hosts as the field has them: devices and addresses made with ip(8), read and chosen from the
 * real kernel. Devices that not every kernel has (VLAN, bond, VRF, dummy) are in src/agent/external-interface.test.ts. Each host has eth0 192.168.7.11/24, fd77::11/64 with the default routes, and lo; the case adds the rest.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatIp, parseIp } from "../../src/address/ip.ts";
import { parsePrefix } from "../../src/address/prefix.ts";
import type { ChoiceContext } from "../../src/agent/external-interface.ts";
import { chooseInterface } from "../../src/agent/host.ts";
import { parseNetwork } from "../../src/backend/backends.ts";
import { messageOf } from "../../src/base/error.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { readOptions } from "../../src/config/options.ts";
import { FLANNELD_FLAGS } from "../../src/config/options-table.ts";
import { openRtnetlink } from "../../src/linux/netlink-socket.ts";
import { freshNetns, type TestNetns } from "./support.ts";

const IPV4 = { Network: "10.5.0.0/16" };
const DUAL = { ...IPV4, EnableIPv6: true, IPv6Network: "fc00::/48" };
const BASE = `
ip link add eth0 type veth peer name wire0
ip link set eth0 up; ip link set wire0 up
ip address add 192.168.7.11/24 dev eth0
ip -6 address add fd77::11/64 dev eth0 nodad
ip route add default via 192.168.7.254
ip -6 route add default via fd77::fe`;

function freshHost(t: Parameters<typeof freshNetns>[0], commands: string): TestNetns {
  const host = freshNetns(t, "f");
  shell(host, `${BASE}\n${commands}`);
  return host;
}

const shell = (host: TestNetns, commands: string): string => host.run("bash", "-ec", commands);

function choose(host: TestNetns, args: readonly string[], config: object, context: ChoiceContext = {}) {
  const parsed = parseFlags(FLANNELD_FLAGS, { args, environment: { variables: {}, prefix: "FLANNELD_" } });
  if (parsed.type !== "ok") throw new Error(JSON.stringify(parsed));
  using rtnetlink = openRtnetlink({ netns: host.path });
  const { interface: options } = readOptions(parsed.flags, {});
  return chooseInterface(rtnetlink, options, parseNetwork(JSON.stringify(config)), context);
}

/** "eth0 192.168.7.11 → 203.0.113.9" (→ what is published, if that is another address), or the error's text. */
function outcome(host: TestNetns, args: readonly string[], config: object, context?: ChoiceContext): string {
  try {
    const { name, ipv4, ipv6, publicIp, publicIpv6 } = choose(host, args, config, context);
    const own = [ipv4, ipv6].flatMap((ip) => (ip === undefined ? [] : [formatIp(ip)]));
    const published = [publicIp, publicIpv6].flatMap((ip) => (ip === undefined ? [] : [formatIp(ip)]));
    return `${name} ${own}${`${own}` === `${published}` ? "" : ` → ${published}`}`;
  } catch (error) {
    return messageOf(error);
  }
}

const ETH1 =
  "ip link add eth1 type veth peer name wire1; ip link set eth1 up; ip link set wire1 up; ip address add 10.99.0.5/24 dev eth1";
const FLANNEL =
  "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.7.11 dstport 8472; ip address add 10.5.1.0/32 dev flannel.1; ip link set flannel.1 up";
const CNI0 = "ip link add cni0 type bridge; ip address add 10.5.1.1/24 dev cni0; ip link set cni0 up";
const NO_ADDRESS = "ip address flush dev eth0";

interface Case {
  readonly title: string;
  readonly commands: string;
  readonly args?: readonly string[];
  readonly config?: object;
  readonly context?: ChoiceContext;
  readonly expected: string | RegExp;
}

const ADDRESSES: readonly Case[] = [
  {
    title: "F5 an IPv6 virtual address beside the host's own",
    commands: "ip -6 address add fd77::100/128 dev eth0 nodad",
    config: DUAL,
    expected: "eth0 192.168.7.11,fd77::11",
  },
  {
    title: "F5 an IPv4 virtual address that was there first (DHCP bound again)",
    commands:
      "ip address add 192.168.7.100/32 dev eth0; ip address del 192.168.7.11/24 dev eth0; ip address add 192.168.7.11/24 dev eth0",
    expected: "eth0 192.168.7.11",
  },
  {
    title: "F5 the host's address comes from DHCP, the virtual one is permanent",
    commands: `${NO_ADDRESS} scope global; ip address add 192.168.7.100/32 dev eth0; ip address add 192.168.7.11/24 dev eth0 valid_lft 600 preferred_lft 600`,
    args: ["--iface=eth0"],
    expected: "eth0 192.168.7.11",
  },
  {
    title: "F5 a virtual address with the network's length, dynamic address first",
    commands: `${NO_ADDRESS} scope global; ip address add 192.168.7.11/24 dev eth0 valid_lft 600 preferred_lft 600; ip address add 192.168.7.100/24 dev eth0`,
    args: ["--iface=eth0"],
    expected: "eth0 192.168.7.11",
  },
  {
    title: "F5 a host-length address that the default route names is no extra (cloud)",
    commands:
      "ip address add 10.128.0.5/32 dev eth0; ip address del 192.168.7.11/24 dev eth0; ip address add 172.30.0.1/24 dev eth0; ip route add 10.128.0.1 dev eth0; ip route replace default via 10.128.0.1 src 10.128.0.5",
    expected: "eth0 10.128.0.5",
  },
  {
    title: "F5 a host-length address alone (point-to-point)",
    commands: "ip address flush dev eth0 scope global; ip address add 10.64.0.1 peer 10.64.0.2/32 dev eth0",
    args: ["--iface=eth0"],
    expected: "eth0 10.64.0.1",
  },
  {
    title: "F5 of two equal addresses the one that the kernel sends from",
    commands:
      "ip address add 172.30.0.1/24 dev eth0; ip address del 192.168.7.11/24 dev eth0; ip address add 192.168.7.11/24 dev eth0; ip route replace default via 192.168.7.254",
    expected: "eth0 192.168.7.11",
  },
  {
    title: "F5 of two equal addresses the source of the route to the address that --iface-can-reach names",
    commands: "ip address add 172.30.0.1/24 dev eth0",
    args: ["--iface-can-reach=172.30.0.9"],
    expected: "eth0 172.30.0.1",
  },
  {
    title: "F5 a deprecated address is not used, also where it is in use",
    commands:
      "ip -6 address change fd77::11/64 dev eth0 preferred_lft 0; ip -6 address add fd77::12/64 dev eth0 nodad",
    config: DUAL,
    context: { previousAddresses: [parseIp("fd77::11")!] },
    expected: "eth0 192.168.7.11,fd77::12",
  },
  {
    title: "F5 the address that the tunnel used before a restart, among equals",
    commands: "ip -6 address add fd77::100/64 dev eth0 nodad",
    config: DUAL,
    context: { previousAddresses: [parseIp("fd77::11")!] },
    expected: "eth0 192.168.7.11,fd77::11",
  },
  {
    title: "F5 a virtual address that the tunnel used before a restart gives way to the host's own",
    commands: "ip -6 address add fd77::100/128 dev eth0 nodad",
    config: DUAL,
    context: { previousAddresses: [parseIp("fd77::100")!] },
    expected: "eth0 192.168.7.11,fd77::11",
  },
  {
    title: "F5 not the address that another host's lease has",
    commands:
      "ip address add 172.30.0.1/24 dev eth0; ip route replace default via 192.168.7.254 src 192.168.7.11",
    context: { isPeerAddress: (ip) => formatIp(ip) === "192.168.7.11" },
    expected: "eth0 172.30.0.1",
  },
  {
    title: "F5 a link-local address in use gives way to a global one",
    commands: "ip -6 address add fe80::aa/64 dev eth0 nodad",
    config: DUAL,
    context: { previousAddresses: [parseIp("fe80::aa")!] },
    expected: "eth0 192.168.7.11,fd77::11",
  },
];

const PUBLIC: readonly Case[] = [
  {
    title:
      "F6 --public-ip alone chooses the interface that has it (Vagrant: default route on a NAT interface)",
    commands: ETH1,
    args: ["--public-ip=10.99.0.5"],
    expected: "eth1 10.99.0.5",
  },
  {
    title: "F6 the same in IPv6",
    commands: `${ETH1}; ip -6 address add fd99::5/64 dev eth1 nodad`,
    args: ["--public-ipv6=fd99::5"],
    config: { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/48" },
    expected: "eth1 fd99::5",
  },
  {
    title: "F6 dual stack: both on one interface",
    commands: `${ETH1}; ip -6 address add fd99::5/64 dev eth1 nodad; ip -6 address add fd99::6/64 dev eth1 nodad; ip address add 10.99.0.6/24 dev eth1`,
    args: ["--public-ip=10.99.0.6", "--public-ipv6=fd99::5"],
    config: DUAL,
    expected: "eth1 10.99.0.6,fd99::5",
  },
  {
    title: "F6 dual stack: on different interfaces",
    commands: ETH1,
    args: ["--public-ip=10.99.0.5", "--public-ipv6=fd77::11"],
    config: DUAL,
    expected: /different interfaces have them \(eth1, eth0\)/,
  },
  {
    title: "F6 an address that no interface has: the default route's interface",
    commands: ETH1,
    args: ["--public-ip=203.0.113.9"],
    expected: "eth0 192.168.7.11 → 203.0.113.9",
  },
  {
    title: "F6 with --iface the tunnel sends from the public address where the interface has it",
    commands: `${ETH1}; ip address add 10.99.0.6/24 dev eth1`,
    args: ["--iface=eth1", "--public-ip=10.99.0.6"],
    expected: "eth1 10.99.0.6",
  },
  {
    title: "F6 with --iface-regex as well",
    commands: `${ETH1}; ip address add 10.99.0.6/24 dev eth1`,
    args: ["--iface-regex=^10\\.99", "--public-ip=10.99.0.6"],
    expected: "eth1 10.99.0.6",
  },
  {
    title: "F6 an address that --iface names is the source, whatever is published",
    commands: `${ETH1}; ip address add 10.99.0.6/24 dev eth1`,
    args: ["--iface=10.99.0.5", "--public-ip=10.99.0.6"],
    expected: "eth1 10.99.0.5 → 10.99.0.6",
  },
  {
    title: "F6 an option that names an interface goes before the public address",
    commands: ETH1,
    args: ["--iface=eth0", "--public-ip=10.99.0.5"],
    expected: "eth0 192.168.7.11 → 10.99.0.5",
  },
  {
    title: "F6 its interface is down",
    commands: `${ETH1}; ip link set eth1 down`,
    args: ["--public-ip=10.99.0.5"],
    expected: /the public IP 10\.99\.0\.5: eth1 is down/,
  },
];

const REFUSED: readonly Case[] = [
  {
    title: "F7 --iface-regex while eth0 has no address",
    commands: `${FLANNEL}; ${CNI0}; ${NO_ADDRESS}`,
    args: ["--iface-regex=^10\\."],
    expected:
      /matches no address and no name of an interface that is up, except that flannel\.1 is a device of flannel's/,
  },
  {
    title: "F7 --iface-regex finds the real interface behind flannel's",
    commands: `${FLANNEL}; ${CNI0}; ${ETH1}`,
    args: ["--iface-regex=^10\\."],
    expected: "eth1 10.99.0.5",
  },
  {
    title: "F7 lo by name",
    commands: "",
    args: ["--iface=lo"],
    expected: /--iface=lo: lo is the loopback device, whose/,
  },
  {
    title: "F7 lo by address",
    commands: "",
    args: ["--iface=127.0.0.1"],
    expected: /--iface=127\.0\.0\.1: lo is the loopback device/,
  },
  {
    title: "F7 lo by pattern",
    commands: "",
    args: ["--iface-regex=^(lo|127.*)$"],
    expected: /matches no address and no name/,
  },
  {
    title: "F7 flannel's device by name",
    commands: FLANNEL,
    args: ["--iface=flannel.1"],
    expected: /--iface=flannel\.1: flannel\.1 is a device of flannel's/,
  },
  {
    title: "F7 flannel's device by its address",
    commands: FLANNEL,
    args: ["--iface=10.5.1.0"],
    expected: /--iface=10\.5\.1\.0: flannel\.1 is a device of flannel's/,
  },
  {
    title: "F7 the device of a former VNI",
    commands: FLANNEL.replaceAll("flannel.1", "flannel.77").replace("id 1", "id 77"),
    args: ["--iface-regex=^10\\."],
    expected: /flannel\.77 is a device of flannel's/,
  },
  {
    title: "F7 a bridge of that name is judged by its addresses",
    commands:
      "ip link add flannel.9 type bridge; ip address add 172.30.0.1/24 dev flannel.9; ip link set flannel.9 up",
    args: ["--iface=flannel.9"],
    expected: "flannel.9 172.30.0.1",
  },
  {
    title: "F7 the container bridge by name",
    commands: CNI0,
    args: ["--iface=cni0"],
    expected:
      /cni0 has the address 10\.5\.1\.1 of the flannel network 10\.5\.0\.0\/16: it belongs to containers/,
  },
  {
    title: "F7 the container bridge of a former network",
    commands: CNI0.replace("10.5.1.1", "10.6.1.1"),
    args: ["--iface-regex=^10\\."],
    context: { networks: [parsePrefix("10.6.0.0/16")!] },
    expected: /cni0 has the address 10\.6\.1\.1 of the flannel network 10\.6\.0\.0\/16/,
  },
  {
    title: "F7 a port of the container bridge",
    commands: `${CNI0}; ${ETH1}; ip link set eth1 master cni0`,
    args: ["--iface=eth1"],
    expected: /eth1 is a port of cni0, which has the address 10\.5\.1\.1/,
  },
  {
    title: "F7 a container's veth (ptp plugin)",
    commands:
      "ip link add v0 type veth peer name v1; ip address add 10.5.1.1/32 dev v0; ip link set v0 up; ip link set v1 up",
    args: ["--iface-regex=^10\\."],
    expected: /v0 has the address 10\.5\.1\.1 of the flannel network/,
  },
  {
    title: "F7 a device on top of flannel's",
    commands: `${FLANNEL}; ip link add m5 link flannel.1 type macvlan mode bridge; ip address add 172.30.0.1/24 dev m5; ip link set m5 up`,
    args: ["--iface=m5"],
    expected: /m5 is on top of flannel\.1, which is a device of flannel's/,
  },
  {
    title: "F7 a route that leads through flannel's device",
    commands: `${FLANNEL}; ip route add 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink`,
    args: ["--iface-can-reach=10.5.2.9"],
    expected: /--iface-can-reach=10\.5\.2\.9: flannel\.1 is a device of flannel's/,
  },
  {
    title: "F7 a default route through flannel's device is passed over",
    commands: `${FLANNEL}; ip route del default; ip route add default via 10.5.2.0 dev flannel.1 onlink; ip route add default via 192.168.7.254 metric 100`,
    expected: "eth0 192.168.7.11",
  },
  {
    title: "F7 the host's own network overlaps flannel's: the device of the default route stays usable",
    commands:
      "ip link add br0 type bridge; ip link set br0 up; ip address flush dev eth0; ip link set eth0 master br0; ip address add 10.5.7.11/16 dev br0; ip route add default via 10.5.7.254",
    expected: "br0 10.5.7.11",
  },
  {
    title: "F7 a router's address on lo, named: on top of the default route's device",
    commands: "ip address add 10.255.0.11/32 dev lo",
    args: ["--iface=10.255.0.11"],
    expected: "eth0 10.255.0.11",
  },
  {
    title: "F7 a router's address on lo as --public-ip",
    commands: "ip address add 10.255.0.11/32 dev lo",
    args: ["--public-ip=10.255.0.11"],
    expected: "eth0 10.255.0.11",
  },
  {
    title: "F7 a router's address on lo with the device named",
    commands: "ip address add 10.255.0.11/32 dev lo",
    args: ["--iface=eth0", "--public-ip=10.255.0.11"],
    expected: "eth0 10.255.0.11",
  },
  {
    title: "F7 a routed host: no address but the one on lo, which its default route names",
    commands:
      "ip address flush dev eth0 scope global; ip address add 10.255.0.11/32 dev lo; ip route add default dev eth0 src 10.255.0.11",
    expected: "eth0 10.255.0.11",
  },
  {
    title: "F7 an address on lo without a device below",
    commands: "ip address add 10.255.0.11/32 dev lo; ip route del default",
    args: ["--iface=10.255.0.11"],
    expected: /lo has it, and there is no default route.*--iface.*--public-ip/,
  },
];

const LEGITIMATE: readonly Case[] = [
  {
    title: "a multipath default route: its first interface",
    commands: `${ETH1}; ip route del default; ip route add default nexthop via 192.168.7.254 nexthop via 10.99.0.254`,
    expected: "eth0 192.168.7.11",
  },
  {
    title: "dual stack: several default routes, one interface in common",
    commands: `${ETH1}; ip -6 address add fd99::5/64 dev eth1 nodad; ip -6 route del default; ip -6 route add default via fd99::fe; ip route del default; ip route add default nexthop via 192.168.7.254 nexthop via 10.99.0.254`,
    config: DUAL,
    expected: "eth1 10.99.0.5,fd99::5",
  },
  {
    title: "a macvlan",
    commands:
      "ip link add m0 link eth0 type macvlan mode bridge; ip address add 10.99.0.5/24 dev m0; ip link set m0 up",
    args: ["--iface=m0"],
    expected: "m0 10.99.0.5",
  },
  {
    title: "a tunnel of another program (tailscale's tun)",
    commands:
      "ip tuntap add mode tun tailscale0; ip address add 100.64.0.5/32 dev tailscale0; ip link set tailscale0 up",
    args: ["--iface=tailscale0"],
    expected: "tailscale0 100.64.0.5",
  },
  {
    title: "a bridge of the host's own",
    commands: "ip link add br0 type bridge; ip address add 10.99.0.5/24 dev br0; ip link set br0 up",
    args: ["--iface-regex=^10\\."],
    expected: "br0 10.99.0.5",
  },
];

for (const { title, commands, args = [], config = IPV4, context, expected } of [
  ...ADDRESSES,
  ...PUBLIC,
  ...REFUSED,
  ...LEGITIMATE,
]) {
  test(title, (t) => {
    const found = outcome(freshHost(t, commands), args, config, context);
    if (typeof expected === "string") assert.equal(found, expected);
    else assert.match(found, expected);
  });
}

test("two default routes of equal metric, set again in another order: the interface in use stays", (t) => {
  const host = freshHost(t, ETH1);
  const current = choose(host, [], IPV4);
  assert.equal(current.name, "eth0");
  shell(
    host,
    "ip route del default; ip route add default via 10.99.0.254; ip route append default via 192.168.7.254",
  );
  assert.equal(outcome(host, [], IPV4, { current }), "eth0 192.168.7.11");
});

test("F6 an interface that has lost the public address is not left for the default route's", (t) => {
  const host = freshHost(t, ETH1);
  const current = choose(host, ["--public-ip=10.99.0.5"], IPV4);
  shell(host, "ip address flush dev eth1");
  const found = outcome(host, ["--public-ip=10.99.0.5"], IPV4, { current });
  assert.match(found, /the public IP 10\.99\.0\.5: no interface has this address/);
});
